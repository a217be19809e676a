"""The tables of docs/scaling.md, written between their marks."""

from collections.abc import Iterator, Sequence

from bench.results import Results
from bench.simulation.check import Compared
from bench.simulation.parameters import FANOUT_POLLS, optional
from bench.simulation.projections import POPULATIONS, Projection

_BY = "written by python -m bench.simulate"
_HEARERS = (1, 100, 1_000)
_EVENTS = (100, 1_000, 5_000, 20_000)
_DENSE = 10
# What an operator reads: where it was measured, how it is called there, and how it is said here.
_COSTS = (
    *(
        (f"fanout-{polls}", "roots", "cpu_us_per_delivery", f"a delivery, when {polls:,} polls receive the event", "µs")
        for polls in reversed(FANOUT_POLLS)
    ),
    ("mixed", "roots", "cpu_us_per_delivery", "a delivery, when 25 polls receive it", "µs"),
    ("unicast", "roots", "cpu_us_per_delivery", "a delivery, when one poll receives it", "µs"),
    ("costs", "roots", "unheard_event_us", "an event without a receiver there", "µs"),
    ("subscribe", "subscriptions", "longpoll_us_per_connect", "a change of a client's grants", "µs"),
    ("storm", "roots-pair", "replica_us_per_client", "a client that comes from a replica that died", "µs"),
    ("storm", "roots", "replica_us_per_client", "the same, when its grants have to be fetched", "µs"),
    ("storm", "roots", "nats_us_per_client", "NATS's part of that", "µs"),
    ("idle", "roots", "memory_bytes_per_poll", "memory of a held poll, with its client's grants", "bytes"),
    ("idle", "roots", "core_percent", "10,000 held polls, no hold ending", "% of a core"),
    ("at-rest", "roots", "core_percent", "10,000 polls whose holds end and begin again", "% of a core"),
    ("costs", "roots", "unheard_events_per_second", "events into one NATS server, each synced", "a second"),
    ("costs", "roots-r3", "unheard_events_per_second", "events into three, all on this machine", "a second"),
    ("subscribe", "subscriptions", "connects_per_second", "connects, one process of subscriptions", "a second"),
    ("posts", "tasks", "posts_per_second", "tasks created, one process of tasks", "a second"),
)


def updated(document: str, sections: dict[str, str]) -> str:
    """Return `document` with each of `sections` between its marks."""
    for name, text in sections.items():
        begin, end = f"<!-- {name}: {_BY} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = document.partition(begin)
        _, _, after = rest.partition(end)
        document = f"{before}{begin}\n{text}\n{end}{after}"
    return document


def costs(results: Results) -> str:
    """Return what was measured, as far as it was."""
    lines = [
        f'Measured on {results.date}, at `{results.commit}`; the names are those of `make bench BENCH="--only NAME"`.',
        "",
        "| what | takes or does | measured as |",
        "|---|---|---|",
    ]
    for experiment, target, figure, what, unit in _COSTS:
        value = optional(results, experiment, target, figure)
        if value is not None:
            lines.append(f"| {what} | {_number(value)} {unit} | {experiment}, {target}: {figure} |")
    return "\n".join(lines) + "\n"


def checks(compared: Sequence[Compared]) -> str:
    """Return what was simulated beside what was measured."""
    lines = ["| | simulated | measured | error | a test allows |", "|---|---|---|---|---|"]
    for one in compared:
        allowed = "" if one.bounds is None else f"{one.bounds[0]:+.0%} to {one.bounds[1]:+.0%}"
        figures = f"{_number(one.simulated)} | {_number(one.measured)} {one.unit}"
        lines.append(f"| {one.what} | {figures} | {one.error:+.0%} | {allowed} |")
    return "\n".join(lines) + "\n"


def needed(projection: Projection) -> str:
    """Return how many replicas some loads need, and how late events are with so many."""
    lines = ["| clients | receivers | events a second | replicas | of each core | p50 | p99 |", "|" + "---|" * 7]
    lines += [_needed(projection, *load) for load in _loads()]
    cold = projection.cold_replicas
    lines += [
        "",
        f"Replicas that may fetch all their clients' grants from three NATS servers at the same time: {cold}.",
    ]
    return "\n".join(lines) + "\n"


def _loads() -> Iterator[tuple[int, int, int]]:
    for clients in POPULATIONS:
        for hearers in _HEARERS:
            for events_per_second in _EVENTS:
                yield clients, hearers, events_per_second


def _needed(projection: Projection, clients: int, hearers: int, events_per_second: int) -> str:
    begin = f"| {clients:,} | {hearers:,} | {events_per_second:,} |"
    replicas = projection.replicas(clients, events_per_second, hearers)
    if replicas is None:
        return f"{begin} no number | | | |"
    part = projection.core_part(clients, replicas, events_per_second, hearers)
    delay = projection.steady(clients, replicas, events_per_second, hearers)
    return f"{begin} {replicas:,} | {part:.0%} | {delay.p50 * 1000:.0f} ms | {delay.p99 * 1000:.0f} ms |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _DENSE * _DENSE else f"{value:.3g}"
