"""How connecting and disconnecting change a grant record."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots_common.streams import StreamState
from roots_subscriptions.errors import TooManyPathsError
from roots_subscriptions.record import (
    LIFETIME_SECONDS,
    MAX_PATHS,
    GrantRecord,
    PathGrant,
    connected,
    disconnected,
    extended,
    new_record,
)

NOW = 1_000_000.0
EPOCH = 1_700_000_000_000
PATHS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


def head(seq: int) -> StreamState:
    """Return the end of an event stream with so many events."""
    return StreamState(epoch=EPOCH, first=1, last=seq)


def test_record_has_the_documented_form_when_encoded() -> None:
    """Longpoll reads exactly the members that docs/protocol.md lists."""
    record = disconnected(connected(new_record(41), ["tasks", "news"], head=head(7), now=NOW), ["news"])
    expected = {
        "subject": None,
        "n": 43,
        "paths": {"tasks": {"from": 7, "epoch": EPOCH, "since": 42, "n": 42, "until": None}},
        "gone": {"news": 43},
        "expires": 1_000_000 + LIFETIME_SECONDS,
    }
    assert expected == json.loads(msgspec.json.encode(record))


def test_connect_keeps_the_start_when_the_path_is_held() -> None:
    """I1: confirming a path again moves its number, so that the client is told, and not its start."""
    first = connected(new_record(0), ["a"], head=head(5), now=NOW)
    second = connected(first, ["a", "b"], head=head(9), now=NOW + 1)
    assert {
        "a": PathGrant(from_seq=5, epoch=EPOCH, since=1, n=2),
        "b": PathGrant(from_seq=9, epoch=EPOCH, since=2, n=2),
    } == second.paths
    assert first.expires + 1 == second.expires


def test_connect_starts_anew_when_the_path_was_withdrawn() -> None:
    """I5: what happened between the withdrawal and the new grant is not heard."""
    record = disconnected(connected(new_record(0), ["a"], head=head(5), now=NOW), ["a"])
    again = connected(record, ["a"], head=head(9), now=NOW)
    assert {"a": PathGrant(from_seq=9, epoch=EPOCH, since=3, n=3)} == again.paths
    assert {} == again.gone


def test_disconnect_changes_nothing_when_the_path_is_not_held() -> None:
    """A client that wants a path gone which it does not hear is told nothing new."""
    record = connected(new_record(0), ["a"], head=head(5), now=NOW)
    assert record is disconnected(record, ["b"])


def test_connect_is_refused_when_the_client_would_hear_too_many_paths() -> None:
    """I7: the paths of one client are bounded, counted over all its connects."""
    full = connected(new_record(0), [f"p{i}" for i in range(MAX_PATHS)], head=head(1), now=NOW)
    assert MAX_PATHS == len(connected(full, ["p0"], head=head(2), now=NOW).paths)
    with pytest.raises(TooManyPathsError) as caught:
        connected(full, ["p0", "more"], head=head(2), now=NOW)
    assert (MAX_PATHS, 1) == (caught.value.held, caught.value.added)


def test_gone_keeps_the_newest_when_many_paths_were_withdrawn() -> None:
    """I7: what a record remembers of withdrawn paths is bounded; the oldest are forgotten first."""
    record = new_record(0)
    for round_ in range(2):
        paths = [f"r{round_}-{i}" for i in range(MAX_PATHS)]
        record = connected(record, paths, head=head(1), now=NOW)
        record = disconnected(record, paths)
    record = connected(record, ["last"], head=head(1), now=NOW)
    record = disconnected(record, ["last"])
    assert MAX_PATHS == len(record.gone)
    assert record.n == record.gone["last"]
    assert not any(path.startswith("r0") for path in record.gone)


def test_extended_changes_only_the_end_when_touched() -> None:
    """A touch is no change that a client would be told of."""
    record = connected(new_record(3), ["a"], head=head(5), now=NOW)
    touched = extended(record, now=NOW + 1800.5)
    assert msgspec.structs.replace(record, expires=1_001_801 + LIFETIME_SECONDS) == touched


def test_record_ends_when_its_lifetime_has_passed() -> None:
    """A record counts until its `expires`, and is due for a touch after half of it."""
    record = connected(new_record(0), ["a"], head=head(1), now=NOW)
    half = NOW + LIFETIME_SECONDS / 2
    assert (True, False) == (record.is_live(record.expires - 0.1), record.is_live(record.expires))
    assert (False, True) == (record.is_half_over(half), record.is_half_over(half + 0.1))


@given(steps=st.lists(st.tuples(st.booleans(), PATHS), max_size=20), first=st.integers(0, 1 << 40))
def test_record_numbers_tell_every_change_when_connects_and_disconnects_mix(
    steps: list[tuple[bool, list[str]]], first: int
) -> None:
    """The count grows by one with each change, whose paths have the newest number; none is both held and gone."""
    record: GrantRecord = new_record(first)
    held: set[str] = set()
    for is_connect, paths in steps:
        before = record
        record = connected(record, paths, head=head(1), now=NOW) if is_connect else disconnected(record, paths)
        changed = set(paths) if is_connect else held & set(paths)
        held = held | changed if is_connect else held - changed
        numbers = {**{path: grant.n for path, grant in record.paths.items()}, **record.gone}
        assert before.n + bool(changed) == record.n
        assert held == set(record.paths)
        assert not record.paths.keys() & record.gone.keys()
        assert changed == {path for path, n in numbers.items() if n > before.n}
