"""The whole of the model: the truth, two replicas, three clients, and each thing that may happen to them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from .model_client import Listener
from .model_replica import LIMITS, Replica
from .model_truth import Clock, Truth

CLIENTS = range(3)
REPLICAS = range(2)
MAX_ROUNDS = 300
START = 1_800_000_000.0


class System:
    """What the steps of a run happen to. Shape: which is the number of a replica, late those that learn of it later."""

    def __init__(self, clock: Clock, preloads: tuple[int, int]) -> None:
        self.clock = clock
        clock.now = START
        self.truth = Truth(clock)
        for path in "ababab":
            self.truth.publish(path, is_large=False)
        self.replicas = [Replica(self.truth, preload) for preload in preloads]
        self.clients = [Listener(self.truth, self.replicas[0]) for _ in CLIENTS]
        for client in (*CLIENTS, 0, 0, 1):
            # In the end all have the same number, so that they could be taken for each other.
            self.connect(client, ("a",), (), None)
        self.gather(0)

    # What happens to the truth

    def publish(self, paths: str, late: tuple[int, ...], *, is_large: bool) -> None:
        """Store events; the replicas learn of them now or later."""
        for path in paths:
            event = self.truth.publish(path, is_large=is_large)
            for replica in self.replicas:
                replica.events.append((self.truth.epoch, event))
        for which in set(REPLICAS) - set(late):
            self.catch_up(which, MAX_ROUNDS, 0)

    def connect(self, client: int, paths: tuple[str, ...], late: tuple[int, ...], lifetime: float | None) -> None:
        """Grant paths, or confirm them again."""
        uid = self.clients[client].uid
        self._change(uid, late, lambda: self.truth.connect(uid, paths, lifetime))

    def disconnect(self, client: int, paths: tuple[str, ...], late: tuple[int, ...]) -> None:
        """Withdraw paths."""
        uid = self.clients[client].uid
        self._change(uid, late, lambda: self.truth.disconnect(uid, paths))

    def touch(self, client: int, lifetime: float, late: tuple[int, ...]) -> None:
        """Let a record live longer, or almost no longer."""
        uid = self.clients[client].uid
        self._change(uid, late, lambda: self.truth.touch(uid, lifetime))

    def delete_record(self, client: int, late: tuple[int, ...]) -> None:
        """End a record."""
        uid = self.clients[client].uid
        self._change(uid, late, lambda: self.truth.delete(uid))

    def purge(self, kept: int) -> None:
        """Let the stream drop its oldest events."""
        log = self.truth.log
        log.first = max(log.first, log.head + 1 - kept)

    def begin_stream_anew(self) -> None:
        """Delete the stream and create it again (I9)."""
        self.truth.begin_anew()

    # What reaches the replicas

    def catch_up(self, which: int, events: int, records: int) -> None:
        """Let a replica catch up by some events and records."""
        replica = self.replicas[which]
        for _ in range(min(events, len(replica.events))):
            replica.take_event()
        for _ in range(min(records, len(replica.records))):
            replica.take_record()

    def lose_events(self, which: int, count: int) -> None:
        """Lose events on their way to a replica (I9)."""
        self.replicas[which].lose_events(count)

    def lose_records(self, which: int) -> None:
        """Let a replica learn of the last record of each uid only."""
        self.replicas[which].lose_records()

    def answer_lookup(self, which: int, question: int, *, is_ok: bool) -> None:
        """Let the store answer a replica, in any order, or not in time."""
        replica = self.replicas[which]
        if replica.needs.lookups:
            (replica.take_lookup if is_ok else replica.fail_lookup)(question)

    def end_replay(self, which: int, question: int, *, is_ok: bool) -> None:
        """Let a replay end, in any order, or fail."""
        replica = self.replicas[which]
        if replica.needs.replays:
            (replica.take_replay if is_ok else replica.fail_replay)(question)

    def run_slice(self, which: int) -> None:
        """Let a fan-out go on by one slice."""
        replica = self.replicas[which]
        if replica.needs.slices:
            replica.needs.slices -= 1
            replica.dispatcher.answer_woken()

    def reconcile(self, which: int, *, is_whole: bool) -> None:
        """Begin to compare a replica with the stream, or end it, or both."""
        replica = self.replicas[which]
        is_begun = replica.reconciling is not None
        if not is_begun:
            replica.begin_reconciling()
        if is_begun or is_whole:
            replica.end_reconciling()

    def set_stale(self, which: int, *, is_stale: bool) -> None:
        """Let a replica lose or regain its trust in what it knows."""
        self.replicas[which].set_stale(is_stale=is_stale)

    def forget_grants(self, which: int) -> None:
        """Let a replica ask for every record again."""
        self.replicas[which].forget_grants()

    def begin_ring_anew(self, which: int, preload: int) -> None:
        """Let a replica that fell far behind begin again near the stream's end."""
        self.replicas[which].begin(preload)

    # How replicas and time go on

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and holds end."""
        self.clock.now += seconds
        for replica in self.replicas:
            replica.tick()

    def release(self, which: int) -> None:
        """Send the held polls of a replica elsewhere."""
        self.replicas[which].release()

    def drain(self, which: int) -> None:
        """Begin the end of a replica (I8)."""
        replica = self.replicas[which]
        replica.dispatcher.is_draining = True
        replica.release()

    def restart(self, which: int, preload: int) -> None:
        """Replace a replica; its polls die with it."""
        old = self.replicas[which]
        for client in self.clients:
            if client.waiting is not None and client.waiting.replica is old and not client.is_answered:
                client.waiting = None
        self.replicas[which] = Replica(self.truth, preload)

    # What clients do

    def go_on(self, client: int, which: int, *, is_answered: bool) -> None:
        """Let an answer arrive if there is one, and poll, also while an older poll waits here or elsewhere (I6)."""
        listener, replica = self.clients[client], self.replicas[which]
        if listener.is_answered and listener.receive():
            self.connect(client, ("a",), (), None)
        listener.poll(replica)
        if is_answered:
            self._answer_all(replica.needs.lookups, replica.take_lookup)

    def wait(self, client: int, which: int) -> None:
        """Poll until there is nothing left to receive."""
        replica, listener = self.replicas[which], self.clients[client]
        for _ in range(5):
            self.go_on(client, which, is_answered=True)
            self._answer_all(replica.needs.replays, replica.take_replay)
            if not listener.is_answered:
                break

    def gather(self, which: int) -> None:
        """Let all clients wait at one replica, with a fan-out to come."""
        for client in CLIENTS:
            self.wait(client, which)

    def poll_again(self, client: int, which: int, back: int) -> None:
        """Poll with an older cursor, as a client does whose answers were lost (I3)."""
        self.clients[client].go_back(back)
        self.clients[client].poll(self.replicas[which])

    def claim(self, client: int, which: int, count: int) -> None:
        """Poll with a cursor that is ahead of the stream."""
        self.clients[client].claim(count)
        self.clients[client].poll(self.replicas[which])

    def abandon(self, client: int) -> None:
        """Cut a client's connection."""
        self.clients[client].hang_up()

    # What leads to where much can go wrong

    def wake(self, which: int, paths: str, again: str, *, is_stale: bool) -> None:
        """Let a fan-out begin, and perhaps wake one of its clients again, or doubt what is known."""
        self.gather(which)
        self.publish(paths, (), is_large=False)
        if again:
            self.wait(0, which)
            self.publish(again, (), is_large=False)
        if is_stale:
            self.set_stale(which, is_stale=True)

    def fall_back(self, client: int, which: int, paths: str) -> None:
        """Poll from behind the ring."""
        self.publish(paths, (), is_large=False)
        self.clients[client].go_back(0)
        self.go_on(client, which, is_answered=True)

    def overtake(self, client: int, which: int, paths: str, *, is_checking: bool) -> None:
        """Poll at a replica that lags, with the cursor of one that does not."""
        if is_checking and self.replicas[which].reconciling is None:
            self.replicas[which].begin_reconciling()
        self.publish(paths, (which,), is_large=False)
        self.wait(client, 1 - which)
        self.go_on(client, which, is_answered=True)

    def grant_unseen(self, client: int, which: int, paths: str) -> None:
        """Grant a path on which there are events before the replica of its client knows of it."""
        self.wait(client, which)
        self.disconnect(client, ("b",), ())
        self.wait(client, which)
        self.connect(client, ("b",), (which,), None)
        self.publish(f"b{paths}", (), is_large=False)

    def grant_ahead(self, client: int, which: int, paths: str, events: int, *, is_new_log: bool) -> None:
        """Grant a path from where the replica of its client has not come to yet, perhaps in another log."""
        self.disconnect(client, ("b",), ())
        self.publish(f"b{paths}b", (which,), is_large=False)
        if is_new_log:
            self.begin_stream_anew()
        self.connect(client, ("b",), (), None)
        self.wait(client, which)
        self.catch_up(which, events, 0)

    def outlive(self, client: int, which: int, paths: str, *, is_record: bool, is_back: bool) -> None:
        """Let a grant or a whole record end while its client waits."""
        self.disconnect(client, ("b",), ())
        self.connect(client, ("b",), (), None if is_record else 8.0)
        if is_record:
            self.touch(client, 8.0, ())
        self.wait(client, which)
        self.pass_time(9.0)
        if is_back:
            self.wait(client, which)
        self.publish(paths, (), is_large=False)

    # What has to hold

    def check(self) -> None:
        """Check that nobody waits for what is there, and that bounds are kept."""
        for client in self.clients:
            if client.waiting is not None:
                client.waiting.check_held()
        for replica in self.replicas:
            assert replica.ring.bytes <= replica.ring.max_bytes, "I7: the ring is bounded"
            assert len(replica.dispatcher.held) <= LIMITS.max_held, "I7: held polls are bounded"

    def settle(self) -> None:
        """Let everything arrive; then every client has received all, and waits; then every hold ends."""
        for which in REPLICAS:
            self.set_stale(which, is_stale=False)
            if self.replicas[which].dispatcher.is_draining:
                self._let_all_arrive()
                self.restart(which, 2)
        self._let_all_arrive()
        for client in self.clients:
            client.forget_older()
        for number in CLIENTS:
            self._receive_all(number, number % 2)
        self.clock.now += LIMITS.hold_seconds + 1
        for replica in self.replicas:
            replica.tick()
            self._let_all_arrive()
            left = (len(replica.dispatcher.held), len(replica.dispatcher.held.by_path))
            assert (0, 0) == left, "I3: nothing is left of an answered poll"

    def _receive_all(self, number: int, which: int) -> None:
        client, replica = self.clients[number], self.replicas[which]
        for _ in range(MAX_ROUNDS):
            self.go_on(number, which, is_answered=False)
            self._let_all_arrive()
            if not client.is_answered:
                break
        else:
            pytest.fail("a client that has received all is still answered at once")
        account = self.truth.accounts[client.uid]
        if self.truth.is_live(account):
            assert account.n == client.position.cursor.grants
            assert self.truth.owed(account.version, replica.place) <= client.position.received, "I1: an event is lost"

    @staticmethod
    def _answer_all(questions: Sequence[Any], answer: Callable[[int], None]) -> None:
        """Answer `questions`, and what is asked on that."""
        for _ in range(MAX_ROUNDS):
            if not questions:
                return
            answer(0)
        pytest.fail("a replica asks for ever")

    def _let_all_arrive(self) -> None:
        for which, replica in enumerate(self.replicas):
            for _ in range(MAX_ROUNDS):
                needs = replica.needs
                if replica.events or replica.records:
                    self.catch_up(which, 1, 1)
                elif needs.lookups:
                    replica.take_lookup(0)
                elif needs.replays:
                    replica.take_replay(0)
                elif needs.slices:
                    self.run_slice(which)
                elif replica.reconciling or needs.is_head_asked or not replica.is_at_head:
                    self.reconcile(which, is_whole=False)
                else:
                    break
            else:
                pytest.fail("a replica never comes to rest")
        self.check()

    def _change(self, uid: bytes, late: tuple[int, ...], change: Callable[[], None]) -> None:
        """Change a record; the replicas learn of it now or later."""
        account = self.truth.accounts[uid]
        before = account.revision
        change()
        for replica in self.replicas if account.revision > before else ():
            replica.expect(uid)
        for which in set(REPLICAS) - set(late):
            self.catch_up(which, 0, MAX_ROUNDS)
