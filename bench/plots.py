"""Pictures of the results, as SVG."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results import Measured, Results

_COLOURS = {
    "roots": "#c2410c",
    "nchan": "#2563eb",
    "floor": "#6b7280",
    "granian": "#7c3aed",
    "waitress": "#059669",
}
_SIZE_INCHES = (7.0, 4.2)
_PERCENTILES = {"p50_ms": ":", "p90_ms": "--", "p99_ms": "-"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw every picture that the results are enough for; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    fanouts = [one for one in results.measured if one.experiment.startswith("fanout-") and one.runs]
    if not fanouts:
        return []
    return [_latency(fanouts, folder / "fanout-latency.svg"), _cpu(fanouts, folder / "fanout-cpu.svg")]


def _latency(fanouts: list[Measured], path: Path) -> Path:
    figure, axes = _axes_of("Publish → read by the client", "held polls on one path", "milliseconds")
    for target in _targets(fanouts):
        points = sorted((one.options["polls"], one) for one in fanouts if one.target == target)
        for percentile, style in _PERCENTILES.items():
            axes.plot(
                [polls for polls, _ in points],
                [one.median(percentile) or 0.0 for _, one in points],
                linestyle=style,
                marker="o",
                markersize=4,
                color=_COLOURS.get(target),
                label=f"{target} {percentile.removesuffix('_ms')}",
            )
    axes.set_yscale("log")
    axes.legend(fontsize=7, ncols=2)
    return _save(figure, path)


def _cpu(fanouts: list[Measured], path: Path) -> Path:
    figure, axes = _axes_of(
        "CPU of the server for one delivery, the next poll included", "held polls on one path", "µs"
    )
    sizes = sorted({one.options["polls"] for one in fanouts})
    targets = _targets(fanouts)
    width = 0.8 / len(targets)
    for place, target in enumerate(targets):
        by_size = {one.options["polls"]: one.median("cpu_us_per_delivery") for one in fanouts if one.target == target}
        bars = axes.bar(
            [index + place * width for index in range(len(sizes))],
            [by_size.get(size) or 0.0 for size in sizes],
            width=width,
            color=_COLOURS.get(target),
            label=target,
        )
        axes.bar_label(bars, fmt=lambda value: f"{value:.0f}" if value else "", fontsize=7)
    axes.set_xticks([index + 0.4 - width / 2 for index in range(len(sizes))], [f"{size:,}" for size in sizes])
    axes.legend(fontsize=8)
    return _save(figure, path)


def _targets(fanouts: list[Measured]) -> list[str]:
    return [target for target in _COLOURS if any(one.target == target for one in fanouts)]


def _axes_of(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return an empty picture and its axes."""
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> Path:
    """Write the picture and return its file."""
    # Without a date and with fixed ids, a picture changes only when its figures do.
    with mpl.rc_context({"svg.hashsalt": "roots"}):
        figure.savefig(path, metadata={"Date": None})
    return path
