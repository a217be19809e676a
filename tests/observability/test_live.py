"""What dashboards and rules ask, asked of a running system under load."""

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, until, within

from roots_devstack.stack import Stack

from .expressions import TARGET_LABELS, Expression, asked_by_panels, asked_by_rules, rules
from .load import under_load
from .prometheus import Prometheus

DATA_SECONDS = 40.0
LOOK_BACK_SECONDS = 3.0


@pytest.fixture(scope="module")
def _loaded(background: LoopThread, stack: Stack, home: Path) -> Iterator[None]:
    """Keep the system busy."""
    with background.entered(under_load(stack, home)):
        yield


@pytest.fixture(scope="module")
def prometheus(
    _loaded: None,
    background: LoopThread,
    stack: Stack,
    prometheus_program: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """Yield a server that reads the busy system."""
    folder = tmp_path_factory.mktemp("prometheus") / "server"
    with background.entered(Prometheus(prometheus_program, folder, stack)) as server:
        yield server


def test_every_panel_has_data_when_the_system_is_busy(prometheus: Prometheus, background: LoopThread) -> None:
    """Each query of each, also those of faults that did not happen: a panel without a line could as well be broken."""

    async def empty(expression: Expression) -> bool:
        return not await prometheus.series(expression.text, seconds=LOOK_BACK_SECONDS)

    async def wait_for_data() -> None:
        left = asked_by_panels()
        async with within(DATA_SECONDS):
            while left := [expression for expression in left if await empty(expression)]:
                missing[:] = [expression.place for expression in left]
                await asyncio.sleep(0.5)
        missing.clear()

    missing: list[str] = []
    try:
        background.run(wait_for_data())
    except TimeoutError:
        assert [] == missing


def test_every_rule_is_worked_out_when_the_system_is_busy(prometheus: Prometheus, background: LoopThread) -> None:
    """Prometheus has no complaint of any, every target answers, and no alert fires, since nothing is wrong here."""

    async def evaluated() -> list[dict[str, str]]:
        async with within(DATA_SECONDS):
            while True:
                found = await prometheus.rules()
                if "unknown" not in {rule["health"] for rule in found}:
                    return found
                await asyncio.sleep(0.2)

    found = background.run(evaluated())
    assert {rule.get("alert") or rule["record"] for rule in rules()} == {rule["name"] for rule in found}
    assert [] == [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"]
    # But for those of the budget: how fast this machine is, is no matter of the rules.
    firing = {rule["name"] for rule in found if rule.get("state") == "firing"}
    assert set() == {name for name in firing if not name.startswith("RootsDeliveryBudget")}


def test_every_process_is_a_target_when_the_system_runs(prometheus: Prometheus, background: LoopThread) -> None:
    """By its job of the project's own configuration, each replica of longpoll by itself."""

    async def all_are_up() -> bool:
        return set((await prometheus.targets()).values()) == {"up"}

    background.run(until(all_are_up, DATA_SECONDS))
    expected = {"tasks", "relay", "subscriptions", "longpoll-1", "longpoll-2", "gateway"}
    assert expected == set(background.run(prometheus.targets()))


@pytest.mark.usefixtures("_loaded")
def test_expressions_name_what_services_export_when_they_are_scraped(stack: Stack) -> None:
    """Every metric and label that a panel or rule names is in some registry; a renamed one would show nothing."""
    exported = {"up": set(TARGET_LABELS)} | {rule["record"]: set(TARGET_LABELS) for rule in rules() if "record" in rule}
    for name, info in stack.processes.items():
        if info.admin_url is not None and not name.startswith("nats"):
            _add_exported(info.admin_url, exported)
    wrong = []
    for expression in [*asked_by_panels(), *asked_by_rules()]:
        known = set().union(*(exported.get(metric, set()) for metric in expression.selected)) | TARGET_LABELS
        wrong += [(expression.place, metric) for metric in expression.selected if metric not in exported]
        wrong += [
            (expression.place, f"{metric}{{{label}}}")
            for metric, labels in expression.selected.items()
            for label in labels - exported.get(metric, set()) - TARGET_LABELS
        ]
        wrong += [(expression.place, label) for label in expression.grouped - known]
        assert expression.selected, expression.place
    assert [] == wrong


def _add_exported(admin_url: str, exported: dict[str, set[str]]) -> None:
    """Note the labels of every sample of one process by the sample's name."""
    with urllib.request.urlopen(f"{admin_url}/metrics", timeout=stretched(5)) as answer:  # noqa: S310  # a loopback URL
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            exported.setdefault(sample.name, set()).update(sample.labels)
