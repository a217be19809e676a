"""`python -m bench.capacity`: compute what a system needs, from what was measured; see docs/scaling.md.

It measures nothing. Without arguments it writes the tables of the document; the same results give the same tables.
With --load it prints what one load needs.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.errors import LoadError
from bench.formula import (
    FANOUT_POLLS,
    GATEWAY_POLL_BYTES,
    INDEX_BYTES_PER_CLIENT,
    TOLERANCE,
    VISIT_SECONDS,
    Capacity,
    Check,
    Load,
)
from bench.measurements import Measurements
from roots.contracts.requests import RENEWAL_INTERVAL_SECONDS
from roots_longpoll.config import MAX_RENEWAL_SECONDS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "scaling.md"
_BY = "written by python -m bench.capacity"
_CLIENTS = (100_000, 1_000_000, 10_000_000)
_LOADS = tuple(
    Load(clients=1_000_000, receivers=receivers, events_per_second=events)
    for receivers, events in itertools.product((1, 100, 1_000), (100, 1_000, 5_000))
)
_POLLS_BEFORE_DEATH = 25_000
_DENSE = 100
# Where a cost was measured, how it is called there, and how the document calls it.
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
    ("at-rest", "roots", "core_percent", "10,000 polls whose holds end and begin again", "% of a core"),
    ("costs", "roots", "unheard_events_per_second", "events into one NATS server, as the relay sends them", "a second"),
    ("costs", "roots-r3", "unheard_events_per_second", "events into three, all on one machine", "a second"),
    ("subscribe", "subscriptions", "service_us_per_connect", "a connect, in subscriptions", "µs"),
    ("posts", "tasks", "posts_per_second", "tasks created, one process of tasks", "a second"),
)


def main() -> int:
    """Write the document, or print one load; return 1 when a figure that is needed was not measured."""
    arguments = _arguments()
    try:
        measurements = Measurements.load(arguments.results)
        capacity = Capacity(measurements)
        if arguments.load is not None:
            print(needs(capacity, [arguments.load]), system(capacity, [arguments.load.clients]), sep="\n")
            return 0
        text = updated(DOCUMENT.read_text(encoding="utf-8"), measurements)
    except (OSError, LoadError) as error:
        print(error, file=sys.stderr)
        return 1
    DOCUMENT.write_text(text, encoding="utf-8")
    print(DOCUMENT)
    return 0


def updated(document: str, measurements: Measurements) -> str:
    """Return `document` with its tables as they should be. Errors: LoadError."""
    capacity = Capacity(measurements)
    sections = {
        "costs": costs(measurements, capacity),
        "checks": checks(capacity.checks()),
        "needs": needs(capacity, _LOADS),
        "system": system(capacity, _CLIENTS),
        "deaths": deaths(capacity, 1_000_000),
    }
    for name, text in sections.items():
        begin, end = f"<!-- {name}: {_BY} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = document.partition(begin)
        _, _, after = rest.partition(end)
        document = f"{before}{begin}\n{text}\n{end}{after}"
    return document


def costs(measurements: Measurements, capacity: Capacity) -> str:
    """Return what was measured and when, and the two figures that follow from it at once."""
    rows = [
        ("a replica without polls", f"{capacity.process_bytes / 1e6:.0f} MB", "fanout-1000, less its polls", ""),
        ("all before the first answer", f"{capacity.log_seconds * 1000:.2g} ms", "mixed: p50_ms, less its answers", ""),
    ]
    for experiment, target, figure, what, unit in _COSTS:
        row = measurements.of(experiment, target)
        rows.append((what, f"{_number(row.median(figure))} {unit}", f"{experiment}, {target}: {figure}", row.date))
    return _table(("what", "takes or does", "measured as", "on"), rows)


def checks(compared: Iterable[Check]) -> str:
    """Return figures of the formula beside those that were measured."""
    rows = (
        (
            one.what,
            _number(one.computed),
            _number(one.measured),
            f"{one.error:+z.0%}",
            f"{TOLERANCE:.0%}" if one.is_covered else "not covered",
        )
        for one in compared
    )
    return _table(("", "formula", "measured", "error", "a test allows"), rows)


def needs(capacity: Capacity, loads: Iterable[Load]) -> str:
    """Return what some loads need of longpoll and of the gateways."""
    head = ("clients", "receivers", "events a second", "replicas", "of each core", "memory of each", "mean delivery")
    return _table((*head, "cores of all gateways"), (_needed(capacity, load) for load in loads))


def system(capacity: Capacity, populations: Sequence[int]) -> str:
    """Return what numbers of clients need, however many events there are."""
    columns = [_column(capacity, clients) for clients in populations]
    names = (
        "connects a second",
        "cores of all subscriptions, for these",
        "index of each replica of subscriptions",
        "grant records written a second",
        "of each core of longpoll, for these",
        f"records read a second for renewals, every {RENEWAL_INTERVAL_SECONDS:.0f} s; {MAX_RENEWAL_SECONDS:.0f} s",
        "memory of all gateways",
    )
    head = ("", *(f"{clients:,} clients" for clients in populations))
    return _table(head, zip(names, *columns, strict=True))


def deaths(capacity: Capacity, clients: int) -> str:
    """Return how long clients of replicas that died wait until their polls are held again."""
    replicas = clients // _POLLS_BEFORE_DEATH
    third = replicas // 3
    rows = [
        (
            what,
            f"{capacity.reconnect_seconds(lost, left, is_known=True):.2g} s" if left < replicas else "",
            f"{capacity.reconnect_seconds(lost, left, is_known=False):.2g} s",
        )
        for what, lost, left in (
            (f"one of {replicas}", _POLLS_BEFORE_DEATH, replicas - 1),
            (f"a third of {replicas}", third * _POLLS_BEFORE_DEATH, replicas - third),
            (f"all {replicas}, and all start again", clients, replicas),
        )
    ]
    note = "Replicas that may fetch all their clients' grants from three NATS servers at the same time"
    return _table(("who dies", "grants known", "grants fetched"), rows) + f"\n{note}: {capacity.cold_replicas}.\n"


def _column(capacity: Capacity, clients: int) -> tuple[str, ...]:
    connects, changes = clients / VISIT_SECONDS, capacity.grant_changes(clients)
    return (
        f"{connects:,.0f}",
        f"{connects * capacity.connect:.2g}",
        f"{clients * INDEX_BYTES_PER_CLIENT / 1e6:,.0f} MB",
        f"{changes:,.0f}",
        f"{changes * capacity.grant_change:.1%}",
        f"{clients / RENEWAL_INTERVAL_SECONDS:,.0f}; {clients / MAX_RENEWAL_SECONDS:,.0f}",
        f"{clients * GATEWAY_POLL_BYTES / 1e9:.3g} GB",
    )


def _needed(capacity: Capacity, load: Load) -> tuple[str, ...]:
    begin = (f"{load.clients:,}", f"{load.receivers:,}", f"{load.events_per_second:,}")
    need = capacity.need(load)
    if need is None:
        return (*begin, "no number", *("-",) * 4)
    return (
        *begin,
        f"{need.replicas:,}",
        f"{need.core_part:.0%}",
        f"{need.replica_bytes / 1e6:,.0f} MB",
        f"{need.delivery_seconds * 1000:.1f} ms",
        f"{need.gateway_cores:.2g}" if need.gateway_cores < _DENSE else f"{need.gateway_cores:,.0f}",
    )


def _table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _DENSE else f"{value:.3g}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description="Compute what a system needs.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the results")
    parser.add_argument("--load", type=_load, metavar="CLIENTS,RECEIVERS,EVENTS_PER_SECOND", help="print this one")
    return parser.parse_args()


def _load(text: str) -> Load:
    try:
        clients, receivers, events_per_second = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three whole numbers with commas") from None
    if not (1 <= receivers <= clients and 0 <= events_per_second):
        raise argparse.ArgumentTypeError("an event has one receiver or more, and at most all clients are receivers")
    return Load(clients=clients, receivers=receivers, events_per_second=events_per_second)


if __name__ == "__main__":
    sys.exit(main())
