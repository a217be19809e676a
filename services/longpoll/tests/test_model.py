"""Two replicas and three clients through arbitrary interleavings, against a model that is simple enough to be right."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from roots_longpoll import fanout

from .model import Listener, Replica, Truth

PATHS = st.sampled_from(("a", "a", "b"))
REPLICAS = st.integers(0, 1)
CLIENTS = st.integers(0, 1)
LATE: st.SearchStrategy[tuple[int, ...]] = st.sampled_from(((), (), (), (), (0,), (1,), (0, 1)))
WHICH = st.integers(0, 5)
DISTURBANCES = st.sampled_from(
    ("end_holds", "end_holds", "restart", "restart", "abandon", "set_stale", "set_stale", "forget_grants",
     "begin_ring_anew", "purge", "recreate_stream")
)  # fmt: skip
MAX_ROUNDS = 300
# The same runs each time, so that a failure is a change's; other seeds are for a developer's own machine.
FIXED = settings(
    max_examples=int(os.environ.get("ROOTS_MODEL_EXAMPLES", "150")),
    stateful_step_count=60,
    deadline=None,
    derandomize="ROOTS_MODEL_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class DeliveryMachine(RuleBasedStateMachine):
    """Each rule is one thing that may happen next, anywhere in the system."""

    @initialize(count=st.integers(0, 8), preloads=st.tuples(st.integers(0, 3), st.integers(0, 3)))
    def begin(self, count: int, preloads: tuple[int, int]) -> None:
        """Begin with some events in the stream, and with clients that hear a path."""
        self.truth = Truth()
        for number in range(count):
            self.truth.publish("ab"[number % 2])
        self.replicas = [Replica(self.truth, preload) for preload in preloads]
        self.clients = [Listener(self.truth, self.replicas[0]) for _ in range(2)]
        for client in range(2):
            self.change_grants(client, "a", is_grant=True, late=())
            self.go_on(client, client, is_answered=True)

    @rule(path=PATHS, count=st.integers(1, 5), late=LATE)
    def publish(self, path: str, count: int, late: tuple[int, ...]) -> None:
        """Store events; the replicas hear of them now or later."""
        for _ in range(count):
            event = self.truth.publish(path)
            for replica in self.replicas:
                replica.events.append(event)
        for which in {0, 1} - set(late):
            self.hear_events(which, MAX_ROUNDS)

    @rule(client=CLIENTS, path=PATHS, is_grant=st.booleans(), late=LATE)
    def change_grants(self, client: int, path: str, is_grant: bool, late: tuple[int, ...]) -> None:  # noqa: FBT001  # hypothesis names it
        """Grant a path, confirm it again, or withdraw it; the replicas hear of it now or later."""
        uid = self.clients[client].uid
        account = self.truth.accounts[uid]
        before = account.n
        (self.truth.connect if is_grant else self.truth.disconnect)(uid, path)
        if account.n > before:
            for replica in self.replicas:
                replica.records.append((uid, account.raw, account.revision, account.n))
        for which in {0, 1} - set(late):
            self.hear_records(which, MAX_ROUNDS)

    @rule(which=REPLICAS, count=st.integers(1, 10))
    def hear_events(self, which: int, count: int) -> None:
        """Let a replica catch up by some events."""
        replica = self.replicas[which]
        for _ in range(min(count, len(replica.events))):
            replica.take_event()

    @rule(which=REPLICAS, count=st.integers(1, 3))
    def hear_records(self, which: int, count: int) -> None:
        """Let a replica catch up by some records."""
        replica = self.replicas[which]
        for _ in range(min(count, len(replica.records))):
            replica.take_record()

    @rule(client=CLIENTS, which=REPLICAS, is_answered=st.booleans())
    def go_on(self, client: int, which: int, is_answered: bool) -> None:  # noqa: FBT001  # hypothesis names it
        """Let an answer arrive if there is one, and poll, also while an older poll waits here or elsewhere (I6)."""
        listener = self.clients[client]
        if listener.waiting is not None and listener.waiting[0].is_done:
            listener.receive()
        listener.poll(self.replicas[which])
        while is_answered and self.replicas[which].answers:
            self.replicas[which].take_answer(0)

    @rule(client=CLIENTS, which=REPLICAS, back=WHICH)
    def poll_again(self, client: int, which: int, back: int) -> None:
        """Poll with an older cursor, as a client does whose answers were lost (I3)."""
        listener = self.clients[client]
        if listener.past:
            listener.cursor, listener.heard = listener.past[-1 - back % len(listener.past)]
        listener.poll(self.replicas[which])

    @rule(which=REPLICAS, question=WHICH)
    def answer_lookup(self, which: int, question: int) -> None:
        """Let the store answer a replica, in any order."""
        if self.replicas[which].answers:
            self.replicas[which].take_answer(question)

    @rule(which=REPLICAS, question=WHICH)
    def end_replay(self, which: int, question: int) -> None:
        """Let a replay end, in any order."""
        if self.replicas[which].outside.readings:
            self.replicas[which].take_reading(question)

    @rule(which=REPLICAS)
    def run_slice(self, which: int) -> None:
        """Let a fan-out go on by one slice."""
        if self.replicas[which].outside.deferred:
            self.replicas[which].outside.deferred.popleft()()

    @rule(which=REPLICAS)
    def reconcile(self, which: int) -> None:
        """Begin to compare a replica with the stream, or end it."""
        replica = self.replicas[which]
        if replica.reconciling is None:
            replica.reconciling = self.truth.head
        else:
            replica.end_reconciling()

    @rule(which=REPLICAS, disturb=DISTURBANCES, number=st.integers(0, 6))
    def disturb(self, which: int, disturb: str, number: int) -> None:
        """Let something happen that is rare."""
        getattr(self, disturb)(which, number)

    def abandon(self, client: int, _number: int) -> None:
        """Cut a client's connection."""
        listener = self.clients[client]
        if listener.waiting is not None:
            _, replica, poll = listener.waiting
            if poll is not None:
                replica.desk.abandon(poll)
            listener.waiting = None

    def set_stale(self, which: int, number: int) -> None:
        """Let a replica lose or regain its trust in what it knows."""
        self.replicas[which].desk.set_stale(is_stale=number % 2 == 1)

    def end_holds(self, which: int, _number: int) -> None:
        """End the holds of one replica."""
        for poll in self.replicas[which].desk.polls:
            self.replicas[which].desk.release(poll)

    def forget_grants(self, which: int, _number: int) -> None:
        """Let a replica ask for every record anew."""
        replica = self.replicas[which]
        replica.office.view.clear()
        replica.records.clear()
        replica.desk.forget_grants()

    def restart(self, which: int, preload: int) -> None:
        """Replace a replica; its polls die with it."""
        old = self.replicas[which]
        for listener in self.clients:
            if listener.waiting is not None and listener.waiting[1] is old and not listener.waiting[0].is_done:
                listener.waiting = None
        self.replicas[which] = Replica(self.truth, preload)

    def begin_ring_anew(self, which: int, preload: int) -> None:
        """Let a replica that fell far behind begin again near the stream's end."""
        self.replicas[which].begin(preload)

    def purge(self, _which: int, number: int) -> None:
        """Let the stream drop its oldest events."""
        self.truth.first = max(self.truth.first, self.truth.head - number)

    def recreate_stream(self, _which: int, preload: int) -> None:
        """Delete the stream and create it again."""
        self.truth.epoch += 1
        self.truth.log.clear()
        self.truth.first = 1
        for replica in self.replicas:
            replica.begin(preload)

    def settle(self) -> None:
        """Let everything arrive; then every client has heard all, and waits."""
        for replica in self.replicas:
            replica.desk.set_stale(is_stale=False)
        self._let_all_arrive()
        for listener in self.clients:
            if listener.waiting is not None and listener.waiting[0].is_done:
                listener.receive()
            for _ in range(MAX_ROUNDS):
                listener.poll(self.replicas[0])
                self._let_all_arrive()
                assert listener.waiting is not None
                if not listener.waiting[0].is_done:
                    break
                listener.receive()
            else:
                pytest.fail("a client that has heard all is still answered at once")
            account = self.truth.accounts[listener.uid]
            assert account.n == listener.cursor.grants
            owed = self.truth.owed(account.versions[-1], (self.truth.epoch, self.truth.head))
            assert owed <= listener.heard, "I1: an event was never delivered"

    def _let_all_arrive(self) -> None:
        for replica in self.replicas:
            for _ in range(MAX_ROUNDS):
                outside = replica.outside
                if replica.events:
                    replica.take_event()
                elif replica.records:
                    replica.take_record()
                elif replica.answers:
                    replica.take_answer(0)
                elif outside.readings:
                    replica.take_reading(0)
                elif outside.deferred:
                    outside.deferred.popleft()()
                else:
                    break
            else:
                pytest.fail("a replica never comes to rest")

    def teardown(self) -> None:
        """Whatever happened, it can be set right."""
        if hasattr(self, "clients"):
            self.settle()


@pytest.mark.parametrize("slice_size", [1, 256])
def test_every_client_hears_everything_when_anything_happens_in_any_order(
    slice_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I2, I3, I4, I5, I6 hold through lost answers, lag, eviction, replays, restarts and re-created streams."""
    monkeypatch.setattr(fanout, "SLICE", slice_size)
    run_state_machine_as_test(DeliveryMachine, settings=FIXED)
