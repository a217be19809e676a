"""The ring of recent events, compared with a list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from roots_longpoll.delivery.ring import EVENT_OVERHEAD_BYTES, Backlog, Ring, cut

from ..dispatcher_support import EPOCH, event

PATHS = ("a", "b", "c/d")
COST = event(1, "a").cost_bytes


def ring_of(*, max_bytes: int = 1 << 20, after: int = 0) -> Ring:
    """Return an empty ring that begins after `after`."""
    ring = Ring(max_bytes)
    ring.reset(EPOCH, after)
    return ring


def seqs(backlog: Backlog) -> list[int]:
    """Return the sequences of a backlog."""
    return [one.seq for one in backlog.events]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(PATHS), st.integers(1, 3), st.integers(0, 200)), max_size=120),
    room=st.integers(0, 30),
    starts=st.dictionaries(st.sampled_from((*PATHS, "unheard")), st.integers(0, 250)),
    max_events=st.integers(1, 20),
    max_bytes=st.integers(1, 2000),
)
def test_ring_agrees_with_a_list_when_events_come_and_go(
    steps: list[tuple[str, int, int]], room: int, starts: dict[str, int], max_events: int, max_bytes: int
) -> None:
    """Whatever was appended and evicted, a reading is what filtering a list gives."""
    ring = ring_of(max_bytes=room * COST)
    kept = []
    seq = 0
    for path, step, size in steps:
        seq += step
        one = event(seq, path, "x" * size)
        ring.append(one)
        kept.append(one)
        while sum(each.cost_bytes for each in kept) > ring.max_bytes:
            assert kept.pop(0).seq <= ring.tail
    usable = [(path, max(after, ring.tail)) for path, after in starts.items()]
    received = [one for one in kept if any(one.path == path and one.seq > after for path, after in usable)]
    expected = cut(received, ring.head, max_events, max_bytes)
    assert (seqs(expected), expected.seq) == (
        seqs(found := ring.collect(usable, max_events, max_bytes)),
        found.seq,
    )
    assert (len(kept), sum(one.cost_bytes for one in kept)) == (len(ring), ring.bytes)
    assert len(steps) - len(kept) == ring.evicted_total


def test_collect_returns_nothing_and_the_head_when_all_is_known() -> None:
    """A client at the head is told to stay there."""
    ring = ring_of()
    ring.append(event(1, "a"))
    ring.skip_to(7)
    assert Backlog([], 7) == ring.collect([("a", 1)], 10, 1000)


def test_collect_ends_at_its_last_event_when_the_count_is_reached() -> None:
    """What did not fit is still ahead of the position."""
    ring = ring_of()
    for seq in range(1, 6):
        ring.append(event(seq, PATHS[seq % 2]))
    backlog = ring.collect([("a", 0), ("b", 0)], 3, 10_000)
    assert ([1, 2, 3], 3) == (seqs(backlog), backlog.seq)


def test_collect_stays_before_the_first_event_when_there_is_no_room() -> None:
    """An answer that is full of other updates considers no event."""
    ring = ring_of()
    ring.append(event(5, "a"))
    assert Backlog([], 4) == ring.collect([("a", 0)], 0, 10_000)


def test_collect_returns_one_event_when_it_alone_is_over_the_bytes() -> None:
    """A client always gets on, however large the next event is."""
    ring = ring_of()
    ring.append(event(1, "a", "x" * 100))
    ring.append(event(2, "a"))
    backlog = ring.collect([("a", 0)], 10, 50)
    assert ([1], 1) == (seqs(backlog), backlog.seq)


def test_append_evicts_even_the_newest_when_it_is_larger_than_the_ring() -> None:
    """The bound holds (I7); the event is then the stream's to tell."""
    ring = ring_of(max_bytes=EVENT_OVERHEAD_BYTES)
    ring.append(event(1, "a", "x"))
    assert (0, 0, 1, 1) == (len(ring), ring.bytes, ring.head, ring.tail)


def test_path_is_forgotten_when_its_last_event_is_evicted() -> None:
    """Paths that fell silent cost nothing (I7)."""
    ring = ring_of(max_bytes=COST * 3)
    for seq in range(1, 2000):
        ring.append(event(seq, f"p{seq}"))
    assert len(ring) == len(ring._logs)


def test_skip_to_never_moves_back_when_given_an_older_sequence() -> None:
    """The head only grows."""
    ring = ring_of(after=5)
    ring.skip_to(3)
    assert 5 == ring.head


def test_reset_forgets_everything_when_the_stream_began_anew() -> None:
    """Events of another epoch are not mixed up with this one's."""
    ring = ring_of()
    ring.append(event(1, "a"))
    ring.reset(EPOCH + 1, 9)
    assert (0, 0, 9, 9, EPOCH + 1) == (len(ring), ring.bytes, ring.head, ring.tail, ring.epoch)


def test_update_is_valid_json_when_the_message_is_not_utf8() -> None:
    """Bytes that JSON can't carry are replaced."""
    ring = ring_of()
    ring.append(event(1, "a", '"\n'))
    assert b'{"path":"a","message":"\\"\\n"}' == ring.collect([("a", 0)], 1, 100).events[0].update
