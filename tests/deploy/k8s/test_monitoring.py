"""A cluster has the rules and the dashboards of deploy/prometheus and deploy/grafana, as they are there."""

import json
import re

import yaml

from .conftest import Build
from .manifests import decoded
from .programs import DEPLOY
from .rules import RULES, WRITTEN, updated

DASHBOARDS = DEPLOY / "grafana/dashboards"
# kubectl apply keeps a copy of an object in an annotation, which has at most 256 KiB.
MAX_DASHBOARD_BYTES = 250_000


def test_rules_are_those_of_prometheus_when_they_change() -> None:
    """`make format` writes the rules for the Prometheus Operator anew."""
    assert updated() == WRITTEN.read_text(encoding="utf-8")


def test_groups_are_those_of_prometheus_when_built(build: Build) -> None:
    """What kustomize builds has the groups of every rule file, but for line ends that it adds to folded expressions."""
    rules = build("component-monitoring").of("PrometheusRule")
    built = {found["metadata"]["name"]: _unfolded(found["spec"]) for found in rules}
    files = {f"roots-{path.stem}": yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES.glob("*.yml")}

    assert {name: _unfolded(file) for name, file in files.items()} == built


def test_dashboards_are_found_by_grafana_when_built(build: Build) -> None:
    """Every dashboard is in a ConfigMap of its own with the sidecar's label, and none is too large for kubectl."""
    maps = [
        found
        for found in build("component-monitoring").of("ConfigMap")
        if found["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    built = {name: json.loads(text) for found in maps for name, text in decoded(found).items()}

    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS.glob("*.json")} == built
    assert [1] * len(maps) == [len(found["data"]) for found in maps]
    assert MAX_DASHBOARD_BYTES > max(len(text) for found in maps for text in decoded(found).values())


def _unfolded(value: object) -> str:
    return re.sub(r"(\\n|\s)+", " ", json.dumps(value, sort_keys=True))
