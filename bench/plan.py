"""What `make bench` measures: every scenario, its targets in turn, and how each figure is compared."""

from dataclasses import dataclass
from typing import Any

MESSAGE_BYTES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One scenario with one set of options, on each of some targets.

    Shape: headline are the figures that the report shows, and compares with those of the other targets. Each target is
        measured `runs` times, and the median counts.
    """

    name: str
    title: str
    scenario: str
    options: dict[str, Any]
    targets: tuple[str, ...]
    headline: tuple[str, ...]
    runs: int = 5


_FEW = 1_000
_FANOUT = ("cpu_us_per_delivery", "p50_ms", "p99_ms", "lost")
_FANOUT_TARGETS = {
    1_000: ("roots", "nchan", "floor", "granian", "waitress"),
    5_000: ("roots", "nchan", "floor"),
    10_000: ("roots", "nchan", "floor"),
}
# Twenty thousand deliveries a second, whatever the number of polls, and not over ten events.
_FANOUT_RATES = {1_000: 10, 5_000: 4, 10_000: 2}


def full() -> list[Experiment]:
    """Return everything, with the numbers that docs/benchmarks.md quotes."""
    return [
        *(_fanout(polls, seconds=5.0) for polls in _FANOUT_TARGETS),
        Experiment(
            name="idle",
            title="10,000 held polls, and no event",
            scenario="idle",
            options={"polls": 10_000, "seconds": 12.0},
            targets=("roots", "nchan"),
            headline=("memory_bytes_per_poll", "core_percent"),
        ),
        Experiment(
            name="at-rest",
            title="10,000 polls whose holds end and begin again, and no event",
            scenario="idle",
            options={"polls": 10_000, "seconds": 50.0},
            targets=("roots",),
            headline=("core_percent",),
            runs=3,
        ),
        Experiment(
            name="unicast",
            title="10,000 paths with one poll each: events a second until p99 passes 100 ms",
            scenario="unicast",
            options={"polls": 10_000, "seconds": 2.0, "size_bytes": MESSAGE_BYTES},
            targets=("roots", "nchan"),
            headline=("max_events_per_second", "half_p50_ms", "half_p99_ms", "cpu_us_per_delivery"),
        ),
        Experiment(
            name="mixed",
            title="5,000 polls, each on 5 of 1,000 paths; 200 events a second",
            scenario="mixed",
            options={
                "polls": 5_000,
                "paths": 1_000,
                "paths_of_poll": 5,
                "events_per_second": 200,
                "seconds": 5.0,
                "size_bytes": MESSAGE_BYTES,
            },
            targets=("roots", "nchan"),
            headline=_FANOUT,
            runs=3,
        ),
        Experiment(
            name="storm",
            title="10,000 clients lose their replica at once: another one, and its own successor",
            scenario="storm",
            options={"polls": 10_000, "size_bytes": MESSAGE_BYTES},
            targets=("roots-pair", "roots"),
            headline=("caught_up_seconds", "slowest_answer_seconds", "lost", "errors"),
            runs=3,
        ),
        Experiment(
            name="costs",
            title="What one poll more costs among 100 and among 9,000, and an event without a receiver",
            scenario="costs",
            options={"few": 100, "many": 9_000, "added": 200, "events": 20_000, "size_bytes": MESSAGE_BYTES},
            # Three NATS servers on one machine share its disk and its cores: a lower bound.
            targets=("roots", "roots-r3"),
            headline=(
                "add_poll_us_at_few",
                "add_poll_us_at_many",
                "add_poll_ratio",
                "unheard_event_us",
                "unheard_events_per_second",
            ),
            runs=3,
        ),
        Experiment(
            name="subscribe",
            title="Connect requests on 16 connections, each client a new one",
            scenario="subscribe",
            options={"connections": 16, "seconds": 5.0},
            targets=("subscriptions",),
            headline=("connects_per_second", "p50_ms", "p99_ms", "service_us_per_connect"),
            runs=3,
        ),
        Experiment(
            name="backend-api",
            title="The back-end API: 100 single updates a second, and 10,000 messages by `cornelius publish`",
            scenario="backend-api",
            options={"updates_per_second": 100, "seconds": 20.0, "messages": 10_000, "size_bytes": MESSAGE_BYTES},
            targets=("backend-api",),
            headline=("p50_ms", "p99_ms", "published_per_second", "publish_seconds", "service_us_per_update"),
            runs=3,
        ),
        Experiment(
            name="outbox",
            title="The outbox of an application: 10,000 rows of one statement, and small transactions",
            scenario="outbox",
            options={"rows": 10_000, "rounds": 7, "transactions": 500},
            targets=("application",),
            headline=(
                "published_per_second",
                "one_path_per_second",
                "insert_ratio",
                "update_ratio",
                "publish_adds_ms",
                "publish_adds_cpu_us",
                "watch_adds_cpu_us",
            ),
            runs=3,
        ),
        Experiment(
            name="outbox-writes",
            title="50 rows inserted a second into a watched table, each received by 100 held polls",
            scenario="write_to_event",
            options={"polls": 100, "writes_per_second": 50, "seconds": 5.0},
            targets=("application",),
            headline=("p50_ms", "p99_ms", "lost"),
            runs=3,
        ),
        Experiment(
            name="posts",
            title="Tasks created on 16 connections, their events published; and without an outbox",
            scenario="posts",
            options={"connections": 16, "seconds": 5.0},
            targets=("tasks", "tasks-without-outbox"),
            headline=("posts_per_second", "p50_ms", "p99_ms", "service_us_per_post", "behind_seconds"),
        ),
        Experiment(
            name="writes",
            title="50 tasks created a second, each received by 1,000 held polls",
            scenario="write_to_event",
            options={"polls": 1_000, "writes_per_second": 50, "seconds": 5.0},
            targets=("writes", "writes-gateway"),
            headline=("p50_ms", "p99_ms", "cpu_us_per_delivery", "lost"),
        ),
    ]


def quick() -> list[Experiment]:
    """Return a minute's worth: whether it all works, and roughly how it compares."""
    return [
        Experiment(
            name="fanout-1000",
            title="1,000 polls on one path",
            scenario="fanout",
            options={"polls": 1_000, "events_per_second": 10, "seconds": 2.0, "size_bytes": MESSAGE_BYTES},
            targets=_FANOUT_TARGETS[1_000],
            headline=_FANOUT,
            runs=3,
        ),
        Experiment(
            name="storm",
            title="1,000 clients lose their replica at once",
            scenario="storm",
            options={"polls": 1_000, "size_bytes": MESSAGE_BYTES},
            targets=("roots-pair", "roots"),
            headline=("caught_up_seconds", "slowest_answer_seconds", "lost", "errors"),
            runs=3,
        ),
    ]


def _fanout(polls: int, *, seconds: float) -> Experiment:
    rate = _FANOUT_RATES[polls]
    return Experiment(
        name=f"fanout-{polls}",
        title=f"{polls:,} polls on one path, {rate} events a second",
        scenario="fanout",
        options={"polls": polls, "events_per_second": rate, "seconds": seconds, "size_bytes": MESSAGE_BYTES},
        targets=_FANOUT_TARGETS[polls],
        headline=_FANOUT,
        # The naive designs are so far off that three runs are enough.
        runs=5 if polls > _FEW else 3,
    )
