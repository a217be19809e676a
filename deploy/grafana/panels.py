"""Panels and dashboards as Grafana's JSON has them, without what is the same in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "heatmap"]

COLUMNS = 24
SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression, and what its series are called.

    Shape: has_exemplars shows single observations, each of which knows its trace, as points.
    """

    expr: str
    legend: str = ""
    has_exemplars: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Shape: unit is one of Grafana's. thresholds are pairs of a colour and the value from which on it holds; the first
        colour holds from the beginning. limits draw them as lines. width is of 24 columns.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    width: int = 12
    height: int = 8
    is_stacked: bool = False
    is_logarithmic: bool = False
    thresholds: Sequence[tuple[str, float | None]] = (("green", None),)
    has_limits: bool = False
    decimals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under one heading, laid out from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard.

    Shape: uid is its address and never changes. replicas adds a variable with that name, for the replicas of longpoll.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    has_replicas: bool = False

    def build(self) -> dict[str, Any]:
        """Return the dashboard as Grafana provisions it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["roots"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "",
            "templating": {"list": _variables(has_replicas=self.has_replicas)},
            "annotations": {"list": [_ALERTS]},
            "links": [_OTHERS],
            "panels": _lay_out(self.rows),
        }


def _lay_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": place,
            }
        )
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    is_heatmap = panel.kind == "heatmap"
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        defaults |= {"min": None if panel.is_logarithmic else 0, "custom": _lines(panel)}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": "{{le}}" if is_heatmap else query.legend,
                "format": "heatmap" if is_heatmap else "time_series",
                "exemplar": query.has_exemplars,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in panel.thresholds]}


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "lineWidth": 1,
        "fillOpacity": 40 if panel.is_stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10} if panel.is_logarithmic else {"type": "linear"},
        "thresholdsStyle": {"mode": "line" if panel.has_limits else "off"},
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64},
            "yAxis": {"unit": panel.unit},
            "filterValues": {"le": 1e-9},
            "tooltip": {"mode": "single", "yHistogram": False},
            "legend": {"show": True},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _variables(*, has_replicas: bool) -> list[dict[str, Any]]:
    datasource = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }
    replicas = {
        "name": "replica",
        "label": "Replica",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": "label_values(roots_longpoll_polls_held, instance)", "refId": "replica"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    return [datasource, replicas] if has_replicas else [datasource]


_ALERTS = {
    "name": "Alerts",
    "datasource": DATASOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": 'ALERTS{alertname=~"Roots.+", alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{severity}} {{job}} {{instance}}",
    "step": "30s",
}
_OTHERS = {
    "title": "Roots",
    "type": "dashboards",
    "tags": ["roots"],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
}
