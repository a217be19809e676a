"""The scrape configuration, the rules with their own tests, and the runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.testkit.deadlines import stretched

from .expressions import PROMETHEUS, ROOT, RULES, dashboards, rules

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = ROOT / "docs" / "runbook.md"
SECONDS = 60.0


def run(promtool: str, *arguments: str | Path) -> None:
    """Let promtool say that all is well."""
    done = subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, timeout=stretched(SECONDS), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_right_when_promtool_checks_them(promtool: str) -> None:
    """As Prometheus would read them."""
    run(promtool, "check", "config", PROMETHEUS / "prometheus.yml")
    run(promtool, "check", "rules", *sorted(RULES.glob("*.yml")))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_rules_do_what_their_tests_say_when_promtool_runs_them(promtool: str, file: Path) -> None:
    """Each in a process of its own, since they say which one failed."""
    run(promtool, "test", "rules", file)


def test_every_rule_has_a_test_when_rules_are_added() -> None:
    """An alert one in which it fires and one in which it does not, with the same file's other alerts quiet."""
    fires: set[str] = set()
    is_quiet: set[str] = set()
    asked = ""
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            asked += "".join(one["expr"] + "\n" for one in test.get("promql_expr_test", []))
            for one in test.get("alert_rule_test", []):
                (fires if one["exp_alerts"] else is_quiet).add(one["alertname"])
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert (alerts, alerts) == (fires, is_quiet)
    assert [] == [rule["record"] for rule in rules() if "record" in rule and rule["record"] not in asked]


def test_every_alert_leads_to_its_entry_of_the_runbook_when_it_fires() -> None:
    """The entry says what it means for users, how to look and what to do; no entry is of an alert that is gone."""
    text = RUNBOOK.read_text(encoding="utf-8")
    entries = dict(re.findall(r"^## (Roots\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    alerts = [rule for rule in rules() if "alert" in rule]
    assert set(entries) == {alert["alert"] for alert in alerts}
    for alert in alerts:
        entry = entries[alert["alert"]]
        assert f"docs/runbook.md#{alert['alert'].lower()}" == alert["annotations"]["runbook"]
        assert alert["annotations"]["summary"]
        assert f"`{alert['labels']['severity']}`." in entry
        assert "**Look**" in entry
        assert "**Do**" in entry


def test_runbook_names_panels_when_it_says_where_to_look() -> None:
    """What stands in quotation marks is the title of a panel or of a row."""
    titles = {panel["title"] for dashboard in dashboards().values() for panel in dashboard["panels"]}
    named = set(re.findall(r'"([A-Z][^"]+)"', RUNBOOK.read_text(encoding="utf-8")))
    assert named
    assert set() == named - titles


def test_alertmanager_knows_every_alert_that_it_inhibits() -> None:
    """Its receivers and names are those of the rules, too."""
    content = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text(encoding="utf-8"))
    receivers = {receiver["name"] for receiver in content["receivers"]}
    routes = [content["route"], *content["route"]["routes"]]
    assert receivers == {route["receiver"] for route in routes}
    named = set(re.findall(r"Roots\w+", str(content["inhibit_rules"])))
    assert named <= {rule["alert"] for rule in rules() if "alert" in rule}
