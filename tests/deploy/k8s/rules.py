"""Writes the alerts and recording rules for the Prometheus Operator: `python -m tests.deploy.k8s.rules`.

A PrometheusRule is a rule file in an object of the cluster. kustomize can't put one into the other, so this does, and a
test compares.
"""

from pathlib import Path
from textwrap import indent

from .programs import DEPLOY

RULES = DEPLOY / "prometheus/rules"
WRITTEN = DEPLOY / "k8s/components/monitoring/rules.yaml"

_HEAD = "# Made from deploy/prometheus/rules by `make format`; change it there.\n"


def updated() -> str:
    """Return what WRITTEN has to be."""
    return _HEAD + "---\n".join(map(_object, sorted(RULES.glob("*.yml"))))


def _object(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    head = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n"
    return f"{head}  name: roots-{path.stem}\nspec:\n{indent(text, '  ')}"


if __name__ == "__main__":
    WRITTEN.write_text(updated(), encoding="utf-8")
