"""Pictures of the projections, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bench.plots import axes_of, save
from bench.results import Results
from bench.simulation.parameters import optional
from bench.simulation.projections import CORE_PART, POPULATIONS, Projection, Storm
from roots_longpoll.delivery.poll import Limits

_COLOURS = ("#c2410c", "#2563eb", "#059669", "#7c3aed")
_STYLES = dict(zip(POPULATIONS, ("-", "--"), strict=True))
_GREY = "#6b7280"
_RATES = {0.1: "an event every ten seconds", 10.0: "ten events a second"}
_PARTS = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 35_000, 50_000)
_HEARERS = (1, 10, 100, 1_000)
_EVENTS = (100, 200, 500, 1_000, 2_000, 3_500, 5_000, 7_000, 10_000, 14_000, 20_000, 30_000, 40_000, 50_000)
_ENOUGH_REPLICAS = 10_000
_POINTS = 200


def draw(results: Results, projection: Projection, folder: Path) -> list[Path]:
    """Draw every picture; return the files."""
    return [
        _latency(projection, folder / "scaling-latency.svg"),
        _replicas(results, projection, folder / "scaling-replicas.svg"),
        _storms([storm for clients in POPULATIONS for storm in projection.storms(clients)], folder),
    ]


def _latency(projection: Projection, path: Path) -> Path:
    figure, axes = axes_of("An event that all clients hear: 99 of 100 answers are sent within", "replicas", "seconds")
    for (rate, label), colour in zip(_RATES.items(), _COLOURS, strict=False):
        delays = [projection.broadcast(polls, rate).p99 for polls in _PARTS]
        for clients, style in _STYLES.items():
            replicas = [clients / polls for polls in _PARTS]
            axes.plot(replicas, delays, style, marker="o", markersize=3, color=colour, label=_once(label, clients))
    for clients in POPULATIONS:
        _mark(axes, clients / Limits().max_held, f"{Limits().max_held:,} polls each")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _count_on_x(axes)
    _finish(axes, "upper right")
    return save(figure, path)


def _replicas(results: Results, projection: Projection, path: Path) -> Path:
    figure, axes = axes_of(
        f"Replicas needed, each using at most {CORE_PART:.0%} of its core", "events a second in one stream", "replicas"
    )
    for hearers, colour in zip(_HEARERS, _COLOURS, strict=True):
        label = f"{hearers:,} clients hear an event" if hearers > 1 else "one client hears an event"
        for clients, style in _STYLES.items():
            needed = {rate: projection.replicas(clients, rate, hearers) for rate in _EVENTS}
            points = {rate: count for rate, count in needed.items() if count is not None and count <= _ENOUGH_REPLICAS}
            axes.plot(list(points), list(points.values()), style, color=colour, label=_once(label, clients))
    for target, what in (("roots", "one NATS server, measured"), ("roots-r3", "three, measured")):
        rate = optional(results, "costs", target, "unheard_events_per_second")
        if rate is not None:
            _mark(axes, rate, what)
    axes.set_yscale("log")
    axes.set_ylim(bottom=10)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    _count_on_x(axes)
    _finish(axes, "upper left")
    return save(figure, path)


def _storms(storms: Sequence[Storm], folder: Path) -> Path:
    figure, axes = axes_of(
        "Clients whose replicas died, until others hold them", "seconds after the death", "percent of them"
    )
    each = len(storms) // len(POPULATIONS)
    for number, storm in enumerate(storms):
        clients = POPULATIONS[number // each]
        places = [round(part * (len(storm.held) - 1) / _POINTS) for part in range(_POINTS + 1)]
        axes.plot(
            [0.0, *(storm.held[place] for place in places)],
            [0.0, *(100 * (place + 1) / len(storm.held) for place in places)],
            _STYLES[clients],
            color=_COLOURS[number % each],
            label=_once(storm.what, clients),
        )
    _finish(axes, "lower right")
    return save(figure, folder / "scaling-storm.svg")


def _once(label: str, clients: int) -> str | None:
    """Return the label for one of the lines that have it in common."""
    return label if clients == POPULATIONS[0] else None


def _mark(axes: Axes, at: float, what: str) -> None:
    """Draw a line upwards, with what it is."""
    axes.axvline(at, color=_GREY, linewidth=0.8, linestyle=":")
    axes.text(
        *(at, 0.02, what),
        rotation=90,
        fontsize=7,
        color=_GREY,
        ha="right",
        transform=axes.get_xaxis_transform(),
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _finish(axes: Axes, place: Literal["upper left", "upper right", "lower right"]) -> None:
    """Tell which lines are of which population."""
    for clients, style in _STYLES.items():
        axes.plot([], [], style, color=_GREY, label=f"{_count(clients)} clients")
    axes.legend(fontsize=7, loc=place)


def _count_on_x(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))


def _count(value: float) -> str:
    millions = 1_000_000
    return f"{value / millions:g} million" if value >= millions else f"{value:,.0f}"
