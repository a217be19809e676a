"""Every PromQL expression that dashboards and rules ask, and what metrics and labels it names."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"

# What Prometheus itself adds to every series.
TARGET_LABELS = frozenset({"job", "instance"})
# A dashboard's variables, as Grafana would fill them in with a scrape every second.
VARIABLES = {"$__rate_interval": "5s", "$replica": ".*"}

_STRING = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"(?<![\w:])((?:roots|haproxy|process)[_:][\w:]+|up)(?![\w:(])(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One expression. Shape: place says whose it is, for a person; legend is how a panel calls its series."""

    place: str
    text: str
    legend: str = ""

    @property
    def selected(self) -> dict[str, set[str]]:
        """The metrics that it selects, with the labels that it selects them by."""
        found: dict[str, set[str]] = {}
        for name, matchers in _SELECTOR.findall(_STRING.sub('""', self.text)):
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        return found

    @property
    def grouped(self) -> set[str]:
        """The labels that it groups or matches by, and those that its legend shows."""
        groups = ",".join(_GROUPING.findall(self.text)).replace(" ", "").split(",")
        return {label for label in [*groups, *re.findall(r"\{\{(\w+)\}\}", self.legend)] if label}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every provisioned dashboard by its file's name."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def rules() -> Iterator[dict[str, Any]]:
    """Yield every recording and alerting rule."""
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def asked_by_panels() -> list[Expression]:
    """Return the expressions of all panels, with their variables filled in."""
    return [
        Expression(
            place=f"{name}: {panel['title']} {target['refId']}",
            text=filled(target["expr"]),
            legend=target["legendFormat"],
        )
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def asked_by_rules() -> list[Expression]:
    """Return the expressions of all rules."""
    return [Expression(place=rule.get("alert") or rule["record"], text=rule["expr"]) for rule in rules()]


def filled(text: str, variables: Mapping[str, str] = VARIABLES) -> str:
    """Return `text` with a dashboard's variables filled in."""
    for variable, value in variables.items():
        text = text.replace(variable, value)
    return text
