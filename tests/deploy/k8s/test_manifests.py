"""What kustomize builds from deploy/k8s is sound: each check, on the overlays and on each component."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from . import checks_network, checks_objects, checks_pods
from .conftest import OVERLAYS, Build
from .documented import README, documented_secrets
from .manifests import WORKLOADS, Manifests, references, render
from .programs import DEPLOY, ROOT

Check = Callable[[Manifests], Iterator[str]]

CHECKS: list[Check] = [
    checks_pods.probes,
    checks_pods.security,
    checks_pods.stops,
    checks_pods.resources,
    checks_pods.images,
    checks_pods.environment,
    checks_pods.ports,
    checks_pods.policies,
    checks_pods.jobs,
    checks_objects.namespaces,
    checks_objects.selectors,
    checks_objects.disruption,
    checks_objects.scaling,
    checks_objects.secrecy,
    checks_objects.wired,
    checks_objects.ways_in,
    checks_objects.jetstream,
    checks_objects.certified,
    checks_objects.spreading,
    checks_objects.watched,
    checks_network.names,
]
# Edges can be compared where both of their ends are.
FOR_PRODUCTION = ["overlay-application", "overlay-production"]
WHOLE = [name for name in OVERLAYS if not name.startswith("component-")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_are_sound_when_built(build: Build, overlay: str, check: Check) -> None:
    """No check finds a mistake in what kustomize builds."""
    assert [] == list(check(build(overlay)))


@pytest.mark.parametrize("overlay", WHOLE)
def test_network_policies_allow_what_is_used_when_built(build: Build, overlay: str) -> None:
    """Every edge that the manifests use is allowed, and every edge that is allowed is used."""
    assert [] == list(checks_network.edges(build(overlay)))


def test_secrets_are_documented_when_production_needs_them(build: Build) -> None:
    """The table of secrets that are made elsewhere has what production and the outbox need, and nothing else."""
    workloads = [one for name in FOR_PRODUCTION for one in build(name).of(*WORKLOADS)]
    needed: dict[str, set[str]] = {}
    for found in [*workloads, build("component-outbox").get("Deployment", "outbox")]:
        for kind, name, key in references(found):
            if kind == "Secret":
                # A secret that is mounted whole is a certificate of cert-manager's form.
                needed.setdefault(name, set()).update({"ca.crt", "tls.crt", "tls.key"} if key is None else {key})

    assert documented_secrets() == needed


@pytest.mark.parametrize("overlay", FOR_PRODUCTION)
def test_no_secret_is_written_down_when_production_is_built(build: Build, overlay: str) -> None:
    """An overlay for production brings no Secret: it names those that are made elsewhere."""
    assert [] == build(overlay).of("Secret")


def test_todo_list_is_left_out_when_an_application_takes_its_place(build: Build) -> None:
    """The gateway leads to the application, and `migrate` and `relay` are those of the outbox."""
    built = build("overlay-application")
    commands = {workload.name: workload.main.get("command", [])[2:] for workload in built.workloads}

    assert [] == [found for found in built.objects if found["metadata"]["name"].startswith("tasks")]
    assert ["cornelius", "outbox", "install"] == commands["migrate"]
    assert ["cornelius", "outbox", "relay"] == commands["relay"]
    assert built.env(built.workload("gateway").main)["ROOTS_APP_UPSTREAM"].startswith("application.")


def test_overlay_of_the_document_builds_when_it_is_copied(kustomize: Sequence[str], tmp_path: Path) -> None:
    """The example of a production overlay in the document is one: with its registry, its policy and its gateway."""
    example = README.read_text(encoding="utf-8").partition("```yaml\n# kustomization.yaml\n")[2].partition("```")[0]
    shutil.copytree(DEPLOY, tmp_path / "roots/deploy")
    (tmp_path / "policy.toml").write_text('[apps.tasks]\nallow = [{ paths = ["news"], who = "anyone" }]\n')
    (tmp_path / "kustomization.yaml").write_text(example, encoding="utf-8")

    built = render(kustomize, tmp_path)

    assert "registry.example/roots-tasks:0.1.0" == built.workload("tasks").main["image"]
    assert "news" in built.get("ConfigMap", "policy")["data"]["policy.toml"]
    assert "public" == built.get("HTTPRoute", "gateway")["spec"]["parentRefs"][0]["name"]
    assert [] == [sentence for check in CHECKS for sentence in check(built)]


def test_images_are_those_of_compose_when_both_have_them(build: Build) -> None:
    """Both ways to run Roots in containers have the same images, of the same versions where others make them."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"].values()
    theirs = dict(service["image"].split(":", 1) for service in compose)
    workloads = build("dev-everything").workloads
    ours = dict(container["image"].split(":", 1) for workload in workloads for container in workload.containers)

    assert set() == {name for name in ours if name.startswith("roots-")} - theirs.keys()
    assert {} == {name: tag for name, tag in ours.items() if theirs.get(name, tag) not in (tag, "${ROOTS_TAG:-dev}")}


def test_core_kinds_are_all_there_is_when_no_component_is_used(build: Build) -> None:
    """A cluster without custom kinds takes each overlay."""
    groups = {
        found["apiVersion"].rpartition("/")[0]
        for name in ("overlay-dev", *FOR_PRODUCTION)
        for found in build(name).objects
    }

    assert groups <= {"", "apps", "batch", "policy", "autoscaling", "networking.k8s.io", "scheduling.k8s.io"}
