"""What happens between the slices of a fan-out: nobody is answered twice or forgotten, and all is in order."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.testkit.examples import drawn

from roots_longpoll.delivery import fanout
from roots_longpoll.delivery.cursor import Cursor

from ..dispatcher_support import EPOCH, FAR_FUTURE, DispatcherBench, FakeReply, event, grant, record

CLIENTS = 12
PATHS = ("a", "b")


@dataclass
class Page:
    """One client: its uid, where it stands, the poll that it waits for, and what it received."""

    uid: bytes
    cursor: Cursor
    paths: tuple[str, ...]
    reply: FakeReply | None = None
    received: list[str] = field(default_factory=list)
    gaps: int = 0
    n: int = 1


class Crowd:
    """A dispatcher whose slices are of three polls, its clients, and what each should receive."""

    def __init__(self) -> None:
        self.bench = DispatcherBench()
        self.published: dict[str, list[str]] = {path: [] for path in PATHS}
        self.pages = []
        self.epoch = EPOCH
        for number in range(CLIENTS):
            paths = PATHS[: 1 + number % 2] if number % 3 else PATHS[1:]
            page = Page(self.bench.mint(), Cursor(EPOCH, 0, 1), paths)
            self.bench.put(record(1, {path: grant(0) for path in paths}), page.uid)
            self.pages.append(page)
            self.poll(page)

    def poll(self, page: Page) -> None:
        """Let a client poll from where it stands, which ends the poll that it has."""
        self.collect(page)
        older, page.reply = page.reply, self.bench.poll_at(page.cursor, page.uid)
        if older is not None:
            # It was superseded: a cursor up to which there was nothing for it, and nothing else.
            assert [] == older.only.updates
            assert page.cursor <= older.only.cursor
        self.collect(page)

    def collect(self, page: Page) -> None:
        """Take what a client was answered."""
        reply = page.reply
        if reply is None or not reply.is_done:
            return
        page.reply = None
        answer = reply.only
        assert answer.uid == page.uid
        assert (answer.cursor.epoch, answer.cursor.seq) >= (page.cursor.epoch, page.cursor.seq)
        page.cursor = answer.cursor
        page.gaps += len(answer.gaps)
        page.received += [message for path, message in answer.updates if path in PATHS and message]

    def publish(self, path: str) -> None:
        """Let an event come."""
        message = f"{path}{self.bench.ring.head + 1}"
        self.published[path].append(message)
        self.bench.publish(path, message)

    def run_slice(self) -> None:
        """Let the next slice have its turn."""
        self.bench.run_slice()

    def withdraw(self, page: Page) -> None:
        """Take all from a client, and stop to compare what it receives."""
        if page.paths:
            page.n += 1
            page.paths = ()
            self.bench.put(record(page.n, {}, gone=dict.fromkeys(PATHS, page.n)), page.uid)

    def end_holds(self) -> None:
        """Let the time of all holds come."""
        for poll in self.bench.dispatcher.held.polls:
            poll.due = -math.inf
        self.bench.dispatcher.tick()

    def release(self, number: int) -> None:
        """Let a drain send one client away."""
        polls = self.bench.dispatcher.held.polls
        if polls:
            self.bench.dispatcher.release(polls[number % len(polls)])

    def abandon(self, page: Page) -> None:
        """Let a client go away, with or without its answer."""
        self.collect(page)
        page.reply = None
        for poll in self.bench.dispatcher.held.polls:
            if poll.uid == page.uid:
                self.bench.dispatcher.abandon(poll)

    def expire(self, page: Page) -> None:
        """Let the record that a client has come again, with an end of its own that is near or far."""
        if page.paths:
            raw = record(page.n, {path: grant(0, 1) for path in page.paths}, expires=FAR_FUTURE - 1)
            self.bench.put(raw, page.uid)

    def begin_anew(self) -> None:
        """Let the stream start again; who was published so, receives all of the new one."""
        self.epoch += 1
        self.bench.dispatcher.begin(self.epoch, 0, [event(1, "a", "a1")], 1)
        self.published = {"a": ["a1"], "b": []}


STEPS = st.tuples(
    st.sampled_from(
        ["publish"] * 6 + ["slice"] * 6 + ["poll"] * 4
        + ["withdraw", "end", "release", "abandon", "stale", "fresh", "expire"]
    ),
    st.integers(0, CLIENTS - 1),
)  # fmt: skip


def step(crowd: Crowd, kind: str, number: int) -> None:
    """Let one thing happen."""
    page = crowd.pages[number]
    done: dict[str, Callable[[], None]] = {
        "publish": lambda: crowd.publish(PATHS[number % 2]),
        "slice": crowd.run_slice,
        "poll": lambda: crowd.poll(page),
        "withdraw": lambda: crowd.withdraw(page),
        "end": crowd.end_holds,
        "release": lambda: crowd.release(number),
        "abandon": lambda: crowd.abandon(page),
        "expire": lambda: crowd.expire(page),
        "stale": lambda: crowd.bench.dispatcher.set_stale(is_stale=True),
        "fresh": lambda: crowd.bench.dispatcher.set_stale(is_stale=False),
    }
    done[kind]()


@settings(max_examples=drawn(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=40))
def test_each_poll_is_answered_once_and_hears_all_when_anything_happens_between_slices(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int]]
) -> None:
    """I1, I2, I3: time-outs, withdrawals, newer polls, a drain, a stale view: no event is lost, doubled or early."""
    monkeypatch.setattr(fanout, "SLICE", 3)
    monkeypatch.setattr(fanout, "SLICE_SECONDS", math.inf)
    crowd = Crowd()
    for kind, number in steps:
        step(crowd, kind, number)
    crowd.bench.dispatcher.set_stale(is_stale=False)
    crowd.bench.run_slices()
    for page in crowd.pages:
        for _ in range(3):
            crowd.collect(page)
            if page.reply is None:
                crowd.poll(page)
        # All that there is has been published: the last poll waits.
        assert page.reply is not None
        assert not page.reply.is_done
        if page.paths:
            published = sorted(
                (one for path in page.paths for one in crowd.published[path]), key=lambda one: int(one[1:])
            )
            assert (published, 0) == (page.received, page.gaps)
    assert CLIENTS == len(crowd.bench.dispatcher.held)
    assert not crowd.bench.needs.lookups


@settings(max_examples=drawn(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(STEPS, max_size=15), after=st.lists(STEPS, max_size=15))
def test_each_client_is_told_of_the_gap_when_the_stream_begins_anew_between_slices(
    monkeypatch: pytest.MonkeyPatch, before: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    """I9: what woke a poll was of the log before; it learns of the new one, with a gap, and of all that follows."""
    monkeypatch.setattr(fanout, "SLICE", 3)
    monkeypatch.setattr(fanout, "SLICE_SECONDS", math.inf)
    crowd = Crowd()
    for kind, number in before:
        step(crowd, kind, number)
    crowd.begin_anew()
    for kind, number in after:
        step(crowd, kind, number)
    crowd.bench.dispatcher.set_stale(is_stale=False)
    crowd.bench.run_slices()
    for page in crowd.pages:
        for _ in range(4):
            crowd.collect(page)
            if page.reply is None:
                crowd.poll(page)
        assert page.reply is not None
        assert not page.reply.is_done
        if page.paths:
            assert len(page.paths) == page.gaps
            assert (crowd.epoch, crowd.bench.ring.head) >= page.cursor[:2]
    assert CLIENTS == len(crowd.bench.dispatcher.held)
