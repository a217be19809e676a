"""How connecting and disconnecting change a grant record."""

import json
from collections.abc import Collection
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from roots.contracts.grant_records import MAX_PATHS, GrantRecord, PathGrant
from roots.contracts.identity import ANONYMOUS, Identity
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS
from roots.nats.streams import StreamState
from roots_subscriptions.errors import ForeignClientError
from roots_subscriptions.grants.record import Allows, connected, disconnected, ended, extended, new_record, reapplied

NOW = 1_000_000.0
EPOCH = 1_700_000_000_000
PATHS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


def connect(record: GrantRecord, paths: Collection[str], *, seq: int, now: float = NOW) -> GrantRecord:
    """Return `record` after an anonymous client has connected `paths`, when the event stream had `seq` events."""
    head = StreamState(epoch=EPOCH, first=1, last=seq)
    return connected(record, paths, by="apps.tasks", identity=ANONYMOUS, allows=allow_all, head=head, now=now)


def allow_all(_by: str, _path: str, _identity: Identity) -> bool:
    """Allow everything."""
    return True


def test_record_has_the_documented_form_when_encoded() -> None:
    """Longpoll reads exactly the members that docs/protocol.md lists."""
    record = disconnected(connect(new_record(41), ["tasks", "news"], seq=7), ["news"])
    grant = {"from": 7, "epoch": EPOCH, "since": 42, "n": 42, "until": None, "by": "apps.tasks", "at": 1_000_000}
    expected = {
        "subject": None,
        "n": 43,
        "paths": {"tasks": grant},
        "gone": {"news": 43},
        "expires": 1_000_000 + GRANT_LIFETIME_SECONDS,
        "said": {},
    }
    assert expected == json.loads(msgspec.json.encode(record))


def test_connect_keeps_the_start_when_the_path_is_held() -> None:
    """I1: confirming a path again moves its number, so that the client is told, and not its start."""
    first = connect(new_record(0), ["a"], seq=5)
    second = connect(first, ["a", "b"], seq=9, now=NOW + 1)
    assert {
        "a": PathGrant(from_seq=5, epoch=EPOCH, since=1, version=2, by="apps.tasks", at=1_000_000),
        "b": PathGrant(from_seq=9, epoch=EPOCH, since=2, version=2, by="apps.tasks", at=1_000_001),
    } == second.paths
    assert first.expires + 1 == second.expires


def test_connect_starts_anew_when_the_path_was_withdrawn() -> None:
    """I5: what happened between the withdrawal and the new grant is not heard."""
    record = disconnected(connect(new_record(0), ["a"], seq=5), ["a"])
    again = connect(record, ["a"], seq=9)
    assert {"a": PathGrant(from_seq=9, epoch=EPOCH, since=3, version=3, by="apps.tasks", at=1_000_000)} == again.paths
    assert {} == again.withdrawn


def signed_in(*, until: int, **said: Any) -> Identity:
    """Return the identity of a subject whose token ends at `until`."""
    return Identity(subject="ann", expires=until, **said)


def connect_as(
    record: GrantRecord,
    paths: Collection[str],
    identity: Identity | None,
    *,
    now: float = NOW,
    allows: Allows = allow_all,
) -> GrantRecord:
    """Return `record` after somebody has connected `paths`: a client, or a back end when there is no identity."""
    by = "apps.tasks" if identity is not None else "backends.todos"
    head = StreamState(epoch=EPOCH, first=1, last=9)
    return connected(record, paths, by=by, identity=identity, allows=allows, head=head, now=now)


def test_connect_starts_anew_when_the_grant_has_ended() -> None:
    """I5: what happened between a token's end and the next grant is not heard; other paths that ended are withdrawn."""
    first = connect_as(new_record(0), ["a", "b"], signed_in(until=int(NOW) + 10))
    again = connect_as(first, ["a"], signed_in(until=int(NOW) + 99), now=NOW + 10)
    assert {"a": (2, 2, int(NOW) + 99)} == {
        path: (grant.since, grant.version, grant.until) for path, grant in again.paths.items()
    }
    assert {"b": 2} == again.withdrawn
    still = connect_as(first, ["a"], signed_in(until=int(NOW) + 99), now=NOW + 9.9)
    assert {"a": 1, "b": 1} == {path: grant.since for path, grant in still.paths.items()}


def test_ended_paths_are_told_from_revoked_ones_when_both_are_withdrawn() -> None:
    """A path is an ended one for as long as that is how it was withdrawn last."""
    record = connect_as(new_record(0), ["a", "b", "c"], signed_in(until=int(NOW) + 10))
    assert ended(record, now=NOW) is record
    record = ended(disconnected(record, ["c"]), now=NOW + 10)
    assert (["a", "b"], {"a", "b", "c"}) == (record.ended, set(record.withdrawn))
    again = connect_as(record, ["a", "c"], signed_in(until=int(NOW) + 99), now=NOW + 11)
    assert ["b"] == again.ended
    revoked = disconnected(again, ["a"])
    assert ["b"] == revoked.ended
    assert UNSET is connect_as(revoked, ["b"], signed_in(until=int(NOW) + 99), now=NOW + 12).ended
    later = connect_as(again, ["c"], signed_in(until=int(NOW) + 200), now=NOW + 99)
    assert (["b", "a"], {"a", "b"}) == (later.ended, set(later.withdrawn))


def test_ended_paths_leave_room_when_there_are_as_many_as_may_be() -> None:
    """I7: only what a client still hears counts for the bound."""
    full = connect_as(new_record(0), [f"p{i}" for i in range(MAX_PATHS)], signed_in(until=int(NOW) + 10))
    more = connect_as(full, ["more"], signed_in(until=int(NOW) + 99), now=NOW + 10)
    assert ({"more"}, MAX_PATHS) == (set(more.paths), len(more.withdrawn))


def test_record_is_bound_when_the_first_token_comes() -> None:
    """I5: an anonymous client becomes somebody's, with all that it holds; a back end binds nobody."""
    record = connect_as(new_record(0), ["a"], ANONYMOUS)
    record = connect_as(record, ["b"], None)
    assert record.subject is None
    record = connect_as(record, ["c"], signed_in(until=int(NOW) + 10))
    assert "ann" == record.subject
    assert {"a": int(NOW) + 10, "b": None, "c": int(NOW) + 10} == {
        path: grant.until for path, grant in record.paths.items()
    }
    for other in (ANONYMOUS, Identity(subject="bob", expires=int(NOW) + 10)):
        with pytest.raises(ForeignClientError):
            connect_as(record, ["d"], other)
    assert "ann" == connect_as(record, ["d"], None).subject


def test_newest_token_withdraws_when_it_allows_less() -> None:
    """I5: paths of apps are decided again with each token, in the one change that tells of it; a back end's stay."""
    record = connect_as(new_record(0), ["a", "b", "c"], signed_in(until=int(NOW) + 10))
    record = connect_as(record, ["v"], None)
    asked = []

    def allow_b(by: str, path: str, identity: Identity) -> bool:
        asked.append((by, path, identity.subject))
        return path == "b"

    renewed = connect_as(record, ["c"], signed_in(until=int(NOW) + 20), allows=allow_b)
    assert {"b", "c", "v"} == set(renewed.paths)
    assert {"a": record.version + 1} == renewed.withdrawn
    assert record.version + 1 == renewed.version
    assert [("apps.tasks", "a", "ann"), ("apps.tasks", "b", "ann")] == sorted(asked)


def test_back_ends_word_is_kept_when_the_client_asks_too() -> None:
    """What a back end has granted gets no end when the client confirms it; what a client has, a back end takes over."""
    record = connect_as(new_record(0), ["v"], None)
    record = connect_as(record, ["v", "a"], signed_in(until=int(NOW) + 10))
    assert (None, "backends.todos", 2) == (record.paths["v"].until, record.paths["v"].by, record.paths["v"].version)
    record = connect_as(record, ["a"], None)
    assert (None, "backends.todos", 2) == (record.paths["a"].until, record.paths["a"].by, record.paths["a"].since)


def test_record_loses_what_is_allowed_no_more_when_reconsidered() -> None:
    """A changed policy is asked about each path, what granted it, and all that is kept of the token."""
    said: dict[str, Any] = {
        "claims": {"team": "red"},
        "scopes": frozenset({"s"}),
        "roles": frozenset({"r"}),
        "hear": ("x/*",),
    }
    record = connect_as(new_record(0), ["a", "b"], signed_in(until=int(NOW) + 10, **said))
    expected = Identity(subject="ann", **said)
    assert record is reapplied(record, lambda _by, _path, identity: identity == expected)
    without = reapplied(record, lambda by, path, _: (by, path) == ("apps.tasks", "b"))
    assert ({"b"}, {"a": record.version + 1}) == (set(without.paths), without.withdrawn)


def test_disconnect_changes_nothing_when_the_path_is_not_held() -> None:
    """A client that wants a path gone which it does not hear is told nothing new."""
    record = connect(new_record(0), ["a"], seq=5)
    assert record is disconnected(record, ["b"])


def test_connect_leaves_out_the_last_when_the_client_would_hear_too_many_paths() -> None:
    """I7: the paths of one client are bounded over all its connects; what fits is granted, what is held confirmed."""
    full = connect(new_record(0), [f"p{i}" for i in range(MAX_PATHS)], seq=1)
    assert MAX_PATHS == len(connect(full, ["p0"], seq=2).paths)
    again = connect(full, ["more", "p0"], seq=2)
    assert full.paths.keys() == again.paths.keys()
    assert (full.version + 1, full.version) == (again.paths["p0"].version, again.paths["p1"].version)
    assert full is connect(full, ["more", "and more"], seq=2)
    room = disconnected(full, ["p0", "p1"])
    assert {"a", "b"} == connect(room, ["a", "b", "c"], seq=2).paths.keys() - room.paths.keys()


def test_gone_keeps_the_newest_when_many_paths_were_withdrawn() -> None:
    """I7: what a record remembers of withdrawn paths is bounded; the oldest are forgotten first."""
    record = new_record(0)
    for round_ in range(2):
        paths = [f"r{round_}-{i}" for i in range(MAX_PATHS)]
        record = connect(record, paths, seq=1)
        record = disconnected(record, paths)
    record = connect(record, ["last"], seq=1)
    record = disconnected(record, ["last"])
    assert MAX_PATHS == len(record.withdrawn)
    assert record.version == record.withdrawn["last"]
    assert not any(path.startswith("r0") for path in record.withdrawn)


def test_extended_changes_only_the_end_when_renewed() -> None:
    """A renewal is no change that a client acknowledges."""
    record = connect(new_record(3), ["a"], seq=5)
    renewed = extended(record, now=NOW + 1800.5)
    assert msgspec.structs.replace(record, expires=1_001_801 + GRANT_LIFETIME_SECONDS) == renewed


def test_record_ends_when_its_lifetime_has_passed() -> None:
    """A record counts until its `expires`, and is due for a renewal after half of it."""
    record = connect(new_record(0), ["a"], seq=1)
    half = NOW + GRANT_LIFETIME_SECONDS / 2
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
        record = connect(record, paths, seq=1) if is_connect else disconnected(record, paths)
        changed = set(paths) if is_connect else held & set(paths)
        held = held | changed if is_connect else held - changed
        numbers = {**{path: grant.version for path, grant in record.paths.items()}, **record.withdrawn}
        assert before.version + bool(changed) == record.version
        assert held == set(record.paths)
        assert not record.paths.keys() & record.withdrawn.keys()
        assert changed == {path for path, n in numbers.items() if n > before.version}


def test_end_withdraws_under_one_number_when_it_has_come() -> None:
    """I3, I5: paths whose second has come are gone with the next number; without one the record is the same."""
    record = connect(new_record(0), ["forever"], seq=1)
    for path, until in (("a", 10), ("b", 11), ("c", 12)):
        grant = msgspec.structs.replace(record.paths["forever"], until=until)
        record = msgspec.structs.replace(record, paths={**record.paths, path: grant})
    assert 10 == record.next_end
    assert record is ended(record, now=9.9)
    after = ended(record, now=11.0)
    assert (record.version + 1, {"a": record.version + 1, "b": record.version + 1}, 12) == (
        after.version,
        after.withdrawn,
        after.next_end,
    )
    assert {"forever", "c"} == after.paths.keys()
    assert ended(after, now=12.0).next_end is None
