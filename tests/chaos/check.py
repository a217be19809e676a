"""Judges a whole run."""

from dataclasses import dataclass

from .check_answers import AnswerChecker
from .check_application import check_application
from .check_writes import check_writes
from .history import Answer, Fault, History, Withdrawal
from .log import Log
from .routes import GATEWAY
from .violations import Violation

# After a fault a replica compares its view with NATS anew within five seconds, and needs a moment to get there.
RECONCILED_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was wrong; and how late withdrawals were that a fault kept a replica from hearing of.

    Units: excused_seconds since each was answered.
    """

    violations: list[Violation]
    excused_seconds: list[float]


def judge(history: History, log: Log) -> Judgement:
    """Return everything that is wrong with a run."""
    checker = AnswerChecker(
        log=log,
        excuse=lambda withdrawal, answer: is_disturbed(history.faults, withdrawal, answer),
        stalls=history.stalls,
    )
    violations = list(check_writes(history, log))
    if history.changes is not None:
        violations += check_application(history.events, history.changes)
    for client in history.clients:
        violations += checker.check(client)
    return Judgement(violations=violations, excused_seconds=checker.excused_seconds)


def is_disturbed(faults: list[Fault], withdrawal: Withdrawal, answer: Answer) -> bool:
    """Tell whether a fault of NATS, or of the replica that answered, kept that replica from hearing of a withdrawal."""
    return any(
        _is_between(fault, answer)
        and fault.began_at <= answer.got_at
        and withdrawal.asked_at <= fault.ready_at + RECONCILED_SECONDS
        and answer.got_at <= max(fault.ready_at, withdrawal.answered_at) + RECONCILED_SECONDS
        for fault in faults
    )


def _is_between(fault: Fault, answer: Answer) -> bool:
    if fault.target.startswith("nats"):
        return True
    if answer.via.startswith(GATEWAY):
        return fault.target.startswith(("longpoll", GATEWAY))
    return answer.via.startswith(fault.target)
