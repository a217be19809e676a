"""Checks one client's answers against the log and its grants.

A replica holds no state for a client (I3), so every answer can be judged alone: between the cursor that was sent and
the one that was given back it has to tell every event on every granted path, once, in order, and nothing else. What an
answer knew of the grants is told by its own cursor. Source: docs/protocol.md, I1 to I3, I5, I6.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .grants import Span, Spans
from .history import Answer, ClientHistory, Path, Position, Stall, Uid, Update, Withdrawal
from .log import Log
from .protocol import DISCONNECT_PATH
from .violations import Kind, Violation

WITHDRAWN_WITHIN_SECONDS = 1.0
CONTEXT_ANSWERS = 3
CONTEXT_RECORDS = 4

Excuse = Callable[[Withdrawal, Answer], bool]
"""Tells whether a withdrawal may have been late at an answer, since a fault kept the replica from hearing of it."""


Withdrawals = dict[tuple[Uid, Path, int], Withdrawal]
"""Withdrawals by uid, path and the number of the change."""


def never(_withdrawal: Withdrawal, _answer: Answer) -> bool:
    """Excuse nothing."""
    return False


@dataclass(slots=True)
class AnswerChecker:
    """Judges the answers of clients. Shape: allows_gaps is set when the run itself takes events out of the log."""

    log: Log
    excuse: Excuse = never
    allows_gaps: bool = False
    stalls: list[Stall] = field(default_factory=list)
    excused_seconds: list[float] = field(default_factory=list)

    def check(self, client: ClientHistory) -> Iterator[Violation]:
        """Yield what is wrong with one client's answers."""
        uids = {record.uid for record in client.records}
        spans = {uid: Spans([record for record in client.records if record.uid == uid]) for uid in uids}
        withdrawals = {(item.uid, item.path, item.n): item for item in client.withdrawals}
        for place, answer in enumerate(client.answers):
            for violation in self._check_answer(answer, spans.get(answer.uid, Spans([])), withdrawals):
                yield _explain(violation, client, place)
        yield from self._check_end(client, spans)

    def _check_answer(self, answer: Answer, spans: Spans, withdrawals: Withdrawals) -> Iterator[Violation]:
        sent = answer.sent
        if sent is None:
            if answer.updates:
                yield _violation("unauthorised", answer, "a first poll was answered with updates")
            return
        if answer.new_uid != answer.uid:
            yield _violation("renewed", answer, "the uid was replaced, though its grants hold")
            return
        yield from self._check_position(answer, sent)
        yield from self._check_events(answer, sent, spans)
        yield from _check_changes(answer, sent, spans)
        yield from self._check_withdrawals(answer, spans, withdrawals)

    def _check_position(self, answer: Answer, sent: Position) -> Iterator[Violation]:
        if answer.gaps and not self.allows_gaps:
            yield _violation("gap", answer, f"gaps were reported, though nothing left the log: {answer.gaps}")
        if answer.position.epoch != sent.epoch and not answer.gaps:
            yield _violation("gap", answer, "the epoch changed, and no gap was reported")
        if answer.position.grants < sent.grants:
            yield _violation("out of order", answer, "the number of the told grant change went back")
        if answer.position.seq > self.log.end:
            yield _violation("out of order", answer, f"the cursor is past the log's end {self.log.end}")

    def _check_events(self, answer: Answer, sent: Position, spans: Spans) -> Iterator[Violation]:
        upto = answer.position.seq
        starts = {span.path: _start(span, sent) for span in spans.at(answer.position.grants)}
        told: set[int] = set()
        last = 0
        for update in answer.updates:
            if update.path == DISCONNECT_PATH or not update.message:
                continue
            start = starts.get(update.path)
            seq = self.log.seq_of(update, last if start is None else max(last, start))
            if seq is None:
                yield _violation("write invented", answer, f"an event is not in the log: {_brief(update)}")
                continue
            wrong = _misplaced(seq, last=last, start=start, upto=upto, sent=sent)
            if wrong is not None:
                yield _violation(wrong[0], answer, f"event {seq} on {update.path} {wrong[1]}")
            told.add(seq)
            last = max(last, seq)
        gaps = {path for path, _ in answer.gaps}
        for path, start in starts.items():
            missing = [seq for seq in self.log.between(path, start, upto) if seq not in told]
            if missing and path not in gaps:
                yield _violation("lost", answer, f"events {missing} on {path} (heard from {start} on) were passed over")

    def _check_withdrawals(self, answer: Answer, spans: Spans, withdrawals: Withdrawals) -> Iterator[Violation]:
        heard = {update.path for update in answer.updates if update.message}
        for span in spans.at(answer.position.grants):
            if span.until is None or span.path not in heard:
                continue
            withdrawal = withdrawals.get((answer.uid, span.path, span.until))
            if withdrawal is None:
                continue
            late = answer.got_at - withdrawal.answered_at
            within = WITHDRAWN_WITHIN_SECONDS + self._stalled_seconds(withdrawal.answered_at, answer.got_at)
            has_later = _has_later_write(answer, withdrawal)
            if not has_later and (answer.is_slow or late <= within):
                continue
            if self.excuse(withdrawal, answer):
                self.excused_seconds.append(max(0.0, late))
            elif has_later:
                yield _violation("unauthorised", answer, f"what was written on {span.path} after its kick was heard")
            else:
                yield _violation("unauthorised", answer, f"{span.path} was heard {late:.2f} s after its withdrawal")

    def _stalled_seconds(self, since: float, until: float) -> float:
        """Return for how long of that time this process did nothing."""
        return sum(max(0.0, min(stall.ended_at, until) - max(stall.began_at, since)) for stall in self.stalls)

    def _check_end(self, client: ClientHistory, spans: dict[Uid, Spans]) -> Iterator[Violation]:
        """Check what the user saw in all: each event of each grant that held to the end."""
        answers = client.answers
        if not answers:
            yield Violation(kind="unfinished", sentence=f"client {client.number} never got an answer")
            return
        uid = answers[-1].new_uid
        final = max((answer.position.seq for answer in answers if answer.new_uid == uid), default=0)
        if final < self.log.end:
            sentence = f"client {client.number} ended at {final}, the log at {self.log.end}"
            yield _explain(Violation(kind="unfinished", sentence=sentence), client, len(client.answers) - 1)
        heard = {(update.path, update.message) for answer in answers if answer.uid == uid for update in answer.updates}
        gaps = {path for answer in answers if answer.uid == uid for path, _ in answer.gaps}
        for span in spans.get(uid, Spans([])).open():
            if span.path in gaps:
                continue
            events = (self.log.events[seq] for seq in self.log.between(span.path, span.start, final))
            missing = [event.seq for event in events if (event.path, event.message) not in heard]
            if missing:
                sentence = f"client {client.number} never heard {missing} on {span.path}, granted from {span.start} on"
                yield _explain(Violation(kind="lost", sentence=sentence), client, len(client.answers) - 1)


def _has_later_write(answer: Answer, withdrawal: Withdrawal) -> bool:
    """Tell whether it has what was written after the path was taken away, in the order of the application."""
    return bool(withdrawal.then) and any(withdrawal.then in update.message for update in answer.updates)


def _start(span: Span, sent: Position) -> int:
    """Return the sequence after which a client wants the path: the grant's own start until it was told of the grant."""
    return span.start if sent.grants < span.since else max(sent.seq, span.start)


def _misplaced(seq: int, *, last: int, start: int | None, upto: int, sent: Position) -> tuple[Kind, str] | None:
    if start is None:
        return "unauthorised", "is on a path that was not granted"
    if seq <= start:
        if seq <= sent.seq:
            return "repeated", f"had been acknowledged up to {sent.seq}"
        return "unauthorised", f"is older than the grant, which begins after {start}"
    if seq <= last:
        return "out of order", f"comes after event {last}"
    if seq > upto:
        return "out of order", f"is past the answer's own cursor {upto}"
    return None


def _check_changes(answer: Answer, sent: Position, spans: Spans) -> Iterator[Violation]:
    """Check that new grants are confirmed and withdrawals told, each until it is acknowledged."""
    n = answer.position.grants
    confirmed = {update.path for update in answer.updates if not update.message}
    withdrawn = {update.message for update in answer.updates if update.path == DISCONNECT_PATH}
    for span in spans.at(n):
        if sent.grants < span.since and span.path not in confirmed:
            yield _violation("lost", answer, f"the grant of {span.path} was not confirmed")
    for path in spans.withdrawn_between(sent.grants, n) - withdrawn:
        yield _violation("lost", answer, f"the withdrawal of {path} was not told")


def _violation(kind: Kind, answer: Answer, what: str) -> Violation:
    return Violation(kind=kind, sentence=f"client {answer.client}, {answer.via}: {what}")


def _explain(violation: Violation, client: ClientHistory, place: int) -> Violation:
    answer = client.answers[place]
    around = client.answers[max(0, place - CONTEXT_ANSWERS) : place + CONTEXT_ANSWERS]
    lines = [f"{'>' if other is answer else ' '} {describe(other)}" for other in around]
    lines += [f"  {record}" for record in client.records if record.uid == answer.uid][-CONTEXT_RECORDS:]
    return Violation(kind=violation.kind, sentence=violation.sentence, context=tuple(lines))


def describe(answer: Answer) -> str:
    """Return one answer as one line."""
    sent = "first poll" if answer.sent is None else f"{answer.sent.seq}.{answer.sent.grants}"
    position = answer.position
    updates = ", ".join(_brief(update) for update in answer.updates[:8])
    more = f" and {len(answer.updates) - 8} more" if len(answer.updates) > 8 else ""
    return (
        f"{answer.sent_at:.3f}-{answer.got_at:.3f} {answer.via} {answer.uid[:8]} {sent} -> {answer.new_uid[:8]} "
        f"{position.seq}.{position.grants} [{updates}{more}] gaps {list(answer.gaps)}"
    )


def _brief(update: Update) -> str:
    return f"{update.path}={update.message[:40]}"
