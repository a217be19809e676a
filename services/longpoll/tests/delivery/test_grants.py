"""The view of the grants: what it keeps, what it forgets, and in which order it believes."""

import json

import pytest

from roots.contracts.grant_records import UnreadableRecordError
from roots_longpoll.delivery.grants import NEVER, UNKNOWN, ClientGrants, GrantsView

from ..dispatcher_support import EPOCH, FAR_FUTURE, grant, record

UID = b"uid"


@pytest.fixture
def view() -> GrantsView:
    """Return an empty view."""
    return GrantsView(10)


def client_of(raw: bytes) -> ClientGrants:
    """Return the client that a record makes."""
    client = GrantsView(10).apply(UID, raw, 1)
    assert isinstance(client, ClientGrants)
    return client


def test_withdrawal_says_that_the_grant_has_ended_when_it_has() -> None:
    """A client tells it from a right that was taken away, which has no reason."""
    raw = json.loads(record(3, {}, gone={"a": 2, "b": 3})) | {"ended": ["b"]}
    told = [json.loads(update) for update in client_of(json.dumps(raw).encode()).changes_after(0)]
    withdrawal = {"path": "::+::disconnect"}
    assert [withdrawal | {"message": "a"}, withdrawal | {"message": "b", "reason": "ended"}] == told


def test_get_tells_unknown_from_absent_when_nothing_came(view: GrantsView) -> None:
    """What was not learned of has to be asked for; what was found absent has not."""
    assert UNKNOWN is view.get(UID)
    assert view.note_absent(UID) is None
    assert view.get(UID) is None


def test_apply_keeps_the_later_record_when_revisions_come_out_of_order(view: GrantsView) -> None:
    """I5: the answer to a question may be older than what came on the live way meanwhile."""
    newer = view.apply(UID, record(2, {}), 9)
    assert newer is view.apply(UID, record(1, {"a": grant(0)}), 8)
    assert newer is view.get(UID)
    assert newer is view.note_absent(UID)


def test_deleted_record_stays_deleted_when_an_older_one_comes_late(view: GrantsView) -> None:
    """I5: an answer that was read before the deletion does not bring the grants back."""
    view.apply(UID, record(1, {"a": grant(0)}), 8)
    assert view.apply(UID, b"", 9) is None
    assert view.apply(UID, record(1, {"a": grant(0)}), 8) is None
    assert view.get(UID) is None
    assert isinstance(view.apply(UID, record(5, {}), 10), ClientGrants)


def test_record_counts_when_its_uid_was_absent_before(view: GrantsView) -> None:
    """A client that is connected after its first poll is known from then on."""
    view.note_absent(UID)
    assert isinstance(view.apply(UID, record(1, {}), 1), ClientGrants)


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"n":1}', b'{"n":"1","paths":{},"expires":1}', b"\xff"])
def test_apply_raises_and_keeps_what_it_knew_when_a_record_is_unreadable(view: GrantsView, raw: bytes) -> None:
    """What becomes of it is the feed's business."""
    known = view.apply(UID, record(1, {}), 1)
    with pytest.raises(UnreadableRecordError):
        view.apply(UID, raw, 2)
    assert known is view.get(UID)


def test_apply_passes_over_members_when_a_record_has_more_than_it_needs(view: GrantsView) -> None:
    """The subscriptions service may add to its records."""
    raw = record(1, {"a": {**grant(3), "colour": 7}})
    client = view.apply(UID, raw.replace(b"{", b'{"subject":"me","more":[1],', 1), 1)
    assert client is not None
    assert [("a", 7)] == client.starts(7, 1, EPOCH)


@pytest.mark.parametrize("capacity", [1, 2, 3, 10, 11])
def test_view_never_holds_more_than_its_capacity_when_many_come(capacity: int) -> None:
    """I7: the least recently used go first."""
    view = GrantsView(capacity)
    for number in range(100):
        view.note_absent(b"%d" % number)
        assert len(view) <= max(capacity, 1)
    assert view.get(b"99") is None


def test_used_client_stays_when_others_come_and_go(view: GrantsView) -> None:
    """What is asked for now and then is never forgotten."""
    view.apply(UID, record(1, {}), 1)
    for number in range(100):
        view.note_absent(b"%d" % number)
        assert isinstance(view.get(UID), ClientGrants)


def test_clear_forgets_all_when_grants_may_have_changed_unseen(view: GrantsView) -> None:
    """After it every record is asked for again."""
    view.note_absent(UID)
    view.clear()
    assert (UNKNOWN, 0) == (view.get(UID), len(view))


def test_clients_share_their_paths_when_they_hear_the_same(view: GrantsView) -> None:
    """One body then serves them all."""
    first = view.apply(b"1", record(1, {"a": grant(0), "b": grant(0)}), 1)
    second = view.apply(b"2", record(7, {"b": grant(5, 3), "a": grant(9, 2)}), 2)
    assert first is not None
    assert second is not None
    assert first.paths is second.paths


def test_at_takes_paths_away_when_their_time_is_over(view: GrantsView) -> None:
    """I5: each path ends by its own `until`, all end with the record."""
    raw = record(1, {"a": grant(3, until=100.0), "b": grant(5, until=200.0), "c": grant(1)}, expires=300.0)
    client = view.apply(UID, raw, 1)
    assert client is not None
    assert client is view.at(client, 99.9)
    later = view.at(client, 100.0)
    assert later is not None
    assert (("b", "c"), 200.0, 5, 1) == (later.paths, later.ends_at, later.min_seq, later.version)
    last = view.at(later, 250.0)
    assert last is not None
    assert ("c",) == last.paths
    assert view.at(last, 300.0) is None


def test_at_leaves_a_client_without_paths_when_only_the_record_is_left(view: GrantsView) -> None:
    """It is still known, and receives nothing."""
    client = view.apply(UID, record(1, {"a": grant(0, until=1.0)}), 1)
    assert client is not None
    left = view.at(client, 2.0)
    assert left is not None
    assert ((), FAR_FUTURE, 0) == (left.paths, left.ends_at, left.min_seq)


@pytest.mark.parametrize(
    ("seq", "told", "expected"),
    [(0, 5, 40), (50, 5, 50), (50, 3, 50), (50, 2, 40), (30, 2, 40), (50, 0, 40)],
)  # fmt: skip
def test_starts_go_back_to_the_grant_when_the_client_was_not_told_of_it(seq: int, told: int, expected: int) -> None:
    """I1: a path granted by change 3 is read from its grant on by who knows of 2 only, however far its position is."""
    client = client_of(record(5, {"a": {**grant(40), "since": 3, "n": 5}}))
    assert [("a", expected)] == client.starts(seq, told, EPOCH)


def test_starts_ignore_from_when_the_grant_is_of_another_epoch() -> None:
    """I9: a sequence of an older stream means nothing in this one."""
    client = client_of(record(1, {"a": grant(40)}))
    assert [("a", 7)] == client.starts(7, 1, EPOCH + 1)
    assert [("a", 0)] == client.starts(7, 0, EPOCH + 1)


def test_path_has_nothing_to_tell_when_it_was_granted_in_a_newer_stream() -> None:
    """I5: a replica that still follows the older stream must not tell what came before the grant."""
    client = client_of(record(1, {"a": grant(40)}))
    assert [("a", NEVER)] == client.starts(7, 0, EPOCH - 1)


def test_changes_are_told_in_order_when_they_come_after_what_is_known() -> None:
    """Confirmations and withdrawals keep the order of their numbers, those of one number any fixed one."""
    client = client_of(record(9, {"a": grant(0, 9), "b": grant(0, 2)}, gone={"c": 5, "d": 9}))
    told = [client.changes_after(number) for number in (0, 2, 5, 9, 12)]
    assert [4, 3, 2, 0, 0] == [len(changes) for changes in told]
    assert [b'{"path":"b","message":""}', b'{"path":"::+::disconnect","message":"c"}'] == told[0][:2]
