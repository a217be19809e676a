"""The dashboards' files, as Grafana takes them."""

from typing import Any

import pytest
import yaml
from deploy.grafana.build import DASHBOARDS as DEFINITIONS
from deploy.grafana.build import file_of, text_of
from deploy.grafana.panels import COLUMNS, DATASOURCE, Dashboard

from .expressions import DASHBOARDS, ROOT, dashboards, panels

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
# Of Grafana's units, those that the dashboards use.
UNITS = {"s", "ops", "reqps", "short", "none", "bytes", "percentunit"}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.uid)
def test_file_is_current_when_definitions_change(definition: Dashboard) -> None:
    """`python -m deploy.grafana` writes it."""
    assert text_of(definition) == file_of(definition).read_text(encoding="utf-8")


def test_no_file_is_left_when_a_dashboard_goes() -> None:
    """Grafana would go on to provision it."""
    assert {file_of(definition) for definition in DEFINITIONS} == set(DASHBOARDS.iterdir())


@pytest.mark.parametrize("name", dashboards())
def test_dashboard_is_sound_when_grafana_reads_it(name: str) -> None:
    """Links to it last, every panel says what it is for and in which unit, and none covers another."""
    dashboard = dashboards()[name]
    assert name == dashboard["uid"]
    assert "datasource" == dashboard["templating"]["list"][0]["name"]
    shown = panels(dashboard)
    assert shown
    assert len(dashboard["panels"]) == len({panel["id"] for panel in dashboard["panels"]})
    assert len(shown) == len({panel["title"] for panel in shown})
    for panel in shown:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert DATASOURCE == panel["datasource"]
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
    taken = [spot for panel in dashboard["panels"] for spot in _spots(panel["gridPos"])]
    assert len(taken) == len(set(taken))
    assert all(0 <= x < COLUMNS for x, _ in taken)


def test_provisioning_finds_dashboards_and_prometheus_when_grafana_starts() -> None:
    """The folder is where docker-compose.yml mounts it; the variable takes any Prometheus, and this is the first."""
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "roots.yml").read_text(encoding="utf-8"))["providers"][0]
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    assert "/var/lib/grafana/dashboards" == provider["options"]["path"]
    assert [("prometheus", True)] == [(one["type"], one["isDefault"]) for one in source["datasources"]]


def _spots(place: dict[str, Any]) -> list[tuple[int, int]]:
    return [(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])]
