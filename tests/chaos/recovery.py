"""How soon after each fault delivery went on: the first news that could not come while it lasted."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from .history import Answer, Event, Fault, History, Update
from .log import Log
from .routes import GATEWAY, PROXIED
from .settings import ROOM_PATHS, TASKS_PATH

# Faults of these show in the tasks' events alone; others are published past them.
WRITE_SIDE = ("postgres", "tasks", "relay")
# Faults of these keep the events of the application back, too.
NEEDED_BY_APPLICATION = ("postgres", "nats", "subscriptions")
APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One kind of fault.

    Units: seconds from the end of a fault that came alone to the first news after it; None when none came alone.
    """

    kind: str
    count: int
    median_seconds: float | None
    longest_seconds: float | None


def recoveries(history: History, log: Log) -> list[Recovery]:
    """Return one line for each kind of fault, in alphabetical order."""
    answers = sorted((answer for client in history.clients for answer in client.answers), key=lambda one: one.got_at)
    times = [answer.got_at for answer in answers]
    found: dict[str, list[float | None]] = {}
    for fault in history.faults:
        after = answers[bisect_right(times, fault.over_at) :]
        for kind, shows in _signs_of(fault, log, has_application=history.changes is not None):
            news_at = next((answer.got_at for answer in after if shows(answer)), None)
            # With two at once, the time of one would tell of the other.
            if news_at is not None and _others(history.faults, fault, news_at):
                news_at = None
            found.setdefault(kind, []).append(None if news_at is None else news_at - fault.over_at)
    return [_recovery(kind, seconds) for kind, seconds in sorted(found.items())]


def _recovery(kind: str, found: list[float | None]) -> Recovery:
    seconds = [one for one in found if one is not None]
    return Recovery(
        kind=kind,
        count=len(found),
        median_seconds=median(seconds) if seconds else None,
        longest_seconds=max(seconds, default=None),
    )


def _others(faults: list[Fault], fault: Fault, news_at: float) -> bool:
    return any(
        other is not fault and other.began_at <= news_at and fault.began_at <= other.ready_at for other in faults
    )


def _signs_of(fault: Fault, log: Log, *, has_application: bool) -> Iterator[tuple[str, Callable[[Answer], bool]]]:
    """Yield the kind of the fault, and what tells an answer that could not come during it.

    With an application of one's own there is another line for its events, when the fault kept these back as well.
    """

    def has_news(answer: Answer, *paths: str) -> bool:
        return any(
            (not paths or update.path in paths) and _stored_at(update, log) > fault.over_at for update in answer.updates
        )

    def has_application_news(answer: Answer) -> bool:
        return has_news(answer, *ROOM_PATHS)

    if fault.target.startswith(APPLICATION):
        yield fault.kind, has_application_news
        return
    yield fault.kind, _sign_of(fault, has_news)
    if has_application and fault.target.startswith(NEEDED_BY_APPLICATION):
        yield f"{fault.kind}: {APPLICATION}", has_application_news


def _sign_of(fault: Fault, has_news: Callable[..., bool]) -> Callable[[Answer], bool]:
    """Return what tells a new event, by the way that was broken."""
    if fault.target in WRITE_SIDE:
        return lambda answer: has_news(answer, TASKS_PATH)
    if fault.target == GATEWAY:
        return lambda answer: answer.via.startswith(GATEWAY) and has_news(answer)
    if fault.target.startswith("longpoll"):
        return lambda answer: answer.via.startswith(fault.target) and has_news(answer)
    if fault.target == "subscriptions":
        return lambda answer: any(not update.message for update in answer.updates)
    if fault.target == "proxies":
        return lambda answer: answer.via.endswith(PROXIED) and has_news(answer)
    return has_news


def _stored_at(update: Update, log: Log) -> float:
    seq = log.seq_of(update, 0)
    event: Event | None = None if seq is None else log.events[seq]
    return 0.0 if event is None else event.stored_at
