"""Draws a dashboard much as Grafana shows it, from its file and the data of its queries."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from .expressions import panels

COLUMN_INCHES = 0.5
ROW_INCHES = 0.27
DPI = 130
COLOURS = 220
_MARGIN = 0.12
_PAGE, _PANEL, _EDGE, _TEXT, _FAINT, _GRID = "#111217", "#181b1f", "#2c3235", "#d8d9da", "#9098a3", "#2a2e34"
_COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
_LINES = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff", "#96d98d", "#ffb357", "#ca95e5")
_SIZES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
# Parts below it are shown with decimals.
_SMALL_PART = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series. Shape: values has a number, or NaN, for each of the picture's times."""

    name: str
    labels: Mapping[str, str]
    values: np.ndarray[Any, np.dtype[np.float64]]


def draw(dashboard: dict[str, Any], seconds: Sequence[float], data: Mapping[str, list[Line]], path: Path) -> None:
    """Draw `dashboard` to `path`; `data` has each panel's series by its title, at `seconds` since the beginning."""
    mpl.rcParams["font.family"] = ["DejaVu Sans"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 2
    width, height = 24 * COLUMN_INCHES, rows * ROW_INCHES
    figure = Figure(figsize=(width, height), facecolor=_PAGE)
    figure.text(
        _MARGIN / width, 1 - 0.9 / rows, dashboard["title"], color=_TEXT, fontsize=13, weight="bold", va="center"
    )

    def box(place: Mapping[str, int]) -> tuple[float, float, float, float]:
        left, top = place["x"] * COLUMN_INCHES, (place["y"] + 2) * ROW_INCHES
        size = place["w"] * COLUMN_INCHES, place["h"] * ROW_INCHES
        return left / width, 1 - (top + size[1]) / height, size[0] / width, size[1] / height

    for panel in dashboard["panels"]:
        left, bottom, wide, high = box(panel["gridPos"])
        if panel["type"] == "row":
            figure.text(left + _MARGIN / width, bottom + high / 2, panel["title"], color=_TEXT, fontsize=9, va="center")
    for panel in panels(dashboard):
        left, bottom, wide, high = box(panel["gridPos"])
        gap_x, gap_y = 0.06 / width, 0.06 / height
        frame = FancyBboxPatch(
            (left + gap_x, bottom + gap_y),
            wide - 2 * gap_x,
            high - 2 * gap_y,
            boxstyle="round,pad=0,rounding_size=0.002",
            transform=figure.transFigure,
            facecolor=_PANEL,
            edgecolor=_EDGE,
            linewidth=0.6,
            zorder=-1,
        )
        figure.add_artist(frame)
        figure.text(
            left + 0.16 / width, bottom + high - 0.2 / height, panel["title"], color=_TEXT, fontsize=8, va="center"
        )
        inner = (
            left + (0.62 if panel["type"] != "stat" else 0.1) / width,
            bottom + (0.56 if panel["type"] == "timeseries" else 0.3) / height,
            wide - (0.8 if panel["type"] != "stat" else 0.2) / width,
            high - (0.96 if panel["type"] == "timeseries" else 0.7) / height,
        )
        axes = figure.add_axes(inner, facecolor=_PANEL)
        _DRAWERS[panel["type"]](axes, panel, np.asarray(seconds), data[panel["title"]])
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write `figure` with few colours, which takes a third of the bytes."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, facecolor=_PAGE)
    Image.open(picture).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def _stat(axes: Axes, panel: dict[str, Any], _seconds: Any, lines: list[Line]) -> None:
    axes.axis("off")
    defaults = panel["fieldConfig"]["defaults"]
    value = float(lines[0].values[~np.isnan(lines[0].values)][-1])
    colour = [step["color"] for step in defaults["thresholds"]["steps"] if (step["value"] or -math.inf) <= value][-1]
    text = amount(value, defaults["unit"], defaults.get("decimals"))
    axes.text(0.5, 0.5, text, color=_COLOURS[colour], fontsize=22, weight="bold", ha="center", va="center")


def _timeseries(axes: Axes, panel: dict[str, Any], seconds: Any, lines: list[Line]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults["custom"], defaults["unit"]
    colours = [_LINES[number % len(_LINES)] for number in range(len(lines))]
    if custom["stacking"]["mode"] == "normal":
        axes.stackplot(seconds, *[np.nan_to_num(line.values) for line in lines], colors=colours, alpha=0.55, lw=0.6)
    else:
        for line, colour in zip(lines, colours, strict=True):
            axes.plot(seconds, line.values, color=colour, linewidth=1.1)
            if custom["scaleDistribution"]["type"] == "linear":
                axes.fill_between(seconds, line.values, color=colour, alpha=0.08, linewidth=0)
    top = max((float(np.nanmax(line.values)) for line in lines), default=0.0)
    if custom["scaleDistribution"]["type"] == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        _bound(axes, custom, top)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    if custom["thresholdsStyle"]["mode"] == "line":
        for step in defaults["thresholds"]["steps"][1:]:
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linewidth=0.7, linestyle=(0, (4, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: amount(value, unit)))
    _dress(axes, seconds)
    _legend(axes, lines, colours)


def _bound(axes: Axes, custom: dict[str, Any], top: float) -> None:
    """Begin a linear axis at 0, and leave room above the highest value; limits far above it stay outside."""
    if custom["stacking"]["mode"] == "normal":
        axes.set_ylim(bottom=0)
        top = max(top, axes.get_ylim()[1] / 1.15)
    axes.set_ylim(0, top * 1.15 or 1.0)


def _heatmap(axes: Axes, panel: dict[str, Any], seconds: Any, lines: list[Line]) -> None:
    ordered = sorted(lines, key=lambda line: float(line.labels["le"].replace("+Inf", "inf")))
    counts = np.diff(np.vstack([np.zeros(len(seconds)), *[np.nan_to_num(line.values) for line in ordered]]), axis=0)
    counts = np.clip(counts, 0, None)
    used = [number for number, row in enumerate(counts) if row.max() > 0]
    first, last = max(0, used[0] - 1), min(len(ordered), used[-1] + 2)
    shown = np.ma.masked_less_equal(counts[first:last], 0)
    edges = np.arange(first, last + 1)
    steps = np.append(seconds, seconds[-1] + (seconds[1] - seconds[0]))
    axes.pcolormesh(steps, edges, shown, cmap="YlOrRd_r", norm=PowerNorm(0.5, vmin=0), linewidth=0)
    axes.set_yticks(
        edges[1:],
        [amount(float(line.labels["le"].replace("+Inf", "inf")), "s") for line in ordered[first:last]],
    )
    _dress(axes, seconds)
    axes.grid(visible=False)


def _dress(axes: Axes, seconds: Any) -> None:
    axes.set_xlim(seconds[0], seconds[-1])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{int(value) // 60}:{int(value) % 60:02d}"))
    axes.tick_params(colors=_FAINT, labelsize=6.5, length=0, which="both")
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(axes: Axes, lines: list[Line], colours: list[str]) -> None:
    """Name the series below in two rows; of many, those with the highest values."""
    high, wide = (side / axes.figure.dpi for side in (axes.bbox.height, axes.bbox.width))
    columns = max(2, int(wide / (0.34 + 0.062 * max(len(line.name) for line in lines))))
    order = sorted(range(len(lines)), key=lambda number: -float(np.nanmax(lines[number].values)))
    left_over = len(lines) - 2 * columns
    named = sorted(order if left_over <= 0 else order[: 2 * columns - 1])
    handles = [Line2D([], [], color=colours[number], linewidth=2) for number in named]
    names = [lines[number].name for number in named]
    if left_over > 0:
        handles.append(Line2D([], [], linewidth=0))
        names.append(f"and {left_over + 1} more")
    axes.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(-0.42 / wide, -0.21 / high),
        ncols=min(len(names), columns),
        fontsize=6.5,
        labelcolor=_FAINT,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.2,
        borderaxespad=0.0,
    )


def amount(value: float, unit: str, decimals: int | None = None) -> str:
    """Return `value` with its unit, as a person would write it."""
    if math.isinf(value):
        return "more"
    if unit == "percentunit":
        places = (2 if 0 < value < _SMALL_PART else 0) if decimals is None else decimals
        return f"{value * 100:.{places}f} %"
    if unit == "s":
        return _time(value)
    size, letter = next(((size, letter) for size, letter in _SIZES if abs(value) >= size), (1.0, ""))
    number = f"{value / size:.3g}{letter}"
    return number + {"ops": "/s", "reqps": "/s", "bytes": "B"}.get(unit, "")


def _time(seconds: float) -> str:
    for size, name in ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1e6:.3g} µs" if seconds else "0"


_DRAWERS = {"stat": _stat, "timeseries": _timeseries, "heatmap": _heatmap}
