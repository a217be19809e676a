"""The report of a run: plain text, fixed width."""

from collections import Counter
from collections.abc import Iterable

from .history import History
from .notes import Notes
from .recovery import Recovery
from .settings import Settings, bounds
from .violations import KINDS, Violation

SHOWN_VIOLATIONS = 20
SHOWN_UNEXPECTED = 5


def report(
    settings: Settings,
    history: History,
    notes: Notes,
    recovered: list[Recovery],
    violations: list[Violation],
    excused_seconds: list[float],
) -> str:
    """Return what happened, what was wrong, and how to do it again."""
    return "\n".join(
        [
            *_violation_lines(violations),
            *_unexpected_lines(notes.unexpected),
            *_recovery_lines(recovered),
            "",
            *_bound_lines(settings.seed),
            "",
            *_total_lines(history, notes, excused_seconds),
            "",
            *_count_lines(notes.counts),
            "",
            *_verdict_lines(settings, violations),
        ]
    )


def _violation_lines(violations: list[Violation]) -> Iterable[str]:
    for violation in violations[:SHOWN_VIOLATIONS]:
        yield f"VIOLATION {violation.kind}: {violation.sentence}"
        yield from (f"    {line}" for line in violation.context)
        yield ""
    if len(violations) > SHOWN_VIOLATIONS:
        yield f"... and {len(violations) - SHOWN_VIOLATIONS} more violations"
        yield ""


def _unexpected_lines(unexpected: list[str]) -> Iterable[str]:
    for line in unexpected[:SHOWN_UNEXPECTED]:
        yield f"UNEXPECTED {line}"
    if len(unexpected) > SHOWN_UNEXPECTED:
        yield f"... and {len(unexpected) - SHOWN_UNEXPECTED} more unexpected answers"


def _recovery_lines(recovered: list[Recovery]) -> Iterable[str]:
    yield "seconds from the end of a fault that came alone to the first news after it"
    yield f"{'fault':<34} {'count':>5}   {'median':>8} {'longest':>8}"
    for line in recovered:
        yield f"{line.kind:<34} {line.count:>5}   {_seconds(line.median_seconds)} {_seconds(line.longest_seconds)}"


def _seconds(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>8.2f}"


def _total_lines(history: History, notes: Notes, excused_seconds: list[float]) -> Iterable[str]:
    answers = [answer for client in history.clients for answer in client.answers]
    totals = {
        "events in the log": len(history.events),
        "events acknowledged over NATS": len(history.published),
        "task writes acknowledged": sum(write.outcome == "acknowledged" for write in history.task_writes),
        "task writes refused": sum(write.outcome == "refused" for write in history.task_writes),
        "task writes of unknown outcome": sum(write.outcome == "unknown" for write in history.task_writes),
        "tasks at the end": len(history.rows),
        "changes of the application": len(history.changes or []),
        "polls answered": len(answers),
        "deliveries": sum(bool(update.message) for answer in answers for update in answer.updates),
        "grant changes": sum(len(client.records) for client in history.clients),
        "withdrawals": sum(len(client.withdrawals) for client in history.clients),
        "withdrawals by the application": sum(
            bool(item.then) for client in history.clients for item in client.withdrawals
        ),
        "late withdrawals by a fault": len(excused_seconds),
        "uids": len({answer.new_uid for answer in answers}),
        "unexpected answers": len(notes.unexpected),
    }
    yield from (f"{name:<34} {number:>9,}" for name, number in totals.items())
    stall = max((stall.ended_at - stall.began_at for stall in history.stalls), default=0.0)
    yield f"{'longest of the late withdrawals, s':<34} {max(excused_seconds, default=0.0):>9.2f}"
    yield f"{'longest stall of this process, s':<34} {stall:>9.2f}"


def _bound_lines(seed: int) -> Iterable[str]:
    yield "bounds of this seed"
    yield from (f"    {name}={value}" for name, value in bounds(seed).items())


def _count_lines(counts: Counter[str]) -> Iterable[str]:
    yield "answers and failures"
    yield from (f"    {name:<30} {number:>9,}" for name, number in sorted(counts.items()))


def _verdict_lines(settings: Settings, violations: list[Violation]) -> Iterable[str]:
    found = Counter(violation.kind for violation in violations)
    yield ", ".join(f"{found[kind]} {kind}" for kind in KINDS)
    yield f"again: {settings.again}"
