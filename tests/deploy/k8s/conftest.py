"""The manifests as kustomize builds them: the overlays, and each component on an overlay that has little else."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn, Protocol

import pytest
import yaml
from tests.testkit.deadlines import stretched

from .manifests import Manifests, render
from .programs import DEPLOY

COMPONENTS = sorted(path.parent.name for path in (DEPLOY / "k8s/components").glob("*/kustomization.yaml"))
# An overlay's patches do not reach a component.
_PRIORITY = {
    "target": {"kind": "Deployment", "name": "outbox"},
    "patch": "- { op: add, path: /spec/template/spec/priorityClassName, value: roots }",
}
OVERLAYS: dict[str, dict[str, list[str | dict[str, Any]]]] = {
    **{f"overlay-{name}": {"resources": [f"k8s/overlays/{name}"]} for name in ("application", "dev", "production")},
    **{
        f"component-{name}": {"resources": ["k8s/base", "k8s/nats"], "components": [f"k8s/components/{name}"]}
        for name in COMPONENTS
    },
    "dev-everything": {
        "resources": ["k8s/overlays/dev"],
        "components": [f"k8s/components/{name}" for name in COMPONENTS if name not in ("cert-manager", "autoscaling")],
    },
    # With each thing once: networkpolicy is in it already, and KEDA takes the place of an autoscaler that checks break.
    "production-checked": {
        "resources": ["k8s/overlays/production"],
        "components": [f"k8s/components/{name}" for name in COMPONENTS if name not in ("networkpolicy", "autoscaling")],
        "patches": [_PRIORITY],
    },
    "production-everything": {
        "resources": ["k8s/overlays/production"],
        "components": [f"k8s/components/{name}" for name in COMPONENTS if name != "networkpolicy"],
        "patches": [_PRIORITY],
    },
}


class Build(Protocol):
    """Builds one of OVERLAYS, once."""

    def __call__(self, name: str) -> Manifests:
        """Return what it comes to."""


@pytest.fixture(scope="session")
def kustomize(lacking: Callable[[str], NoReturn]) -> Sequence[str]:
    """Return the command line that builds, of kustomize or kubectl."""
    for program, arguments in (("kustomize", ["build"]), ("kubectl", ["kustomize"])):
        path = shutil.which(program)
        if path is not None:
            return [path, *arguments]
    return lacking("there is neither kustomize nor kubectl; install one of them")


@pytest.fixture(scope="session")
def build(kustomize: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that builds in a copy of deploy/, with secrets made by the script that makes them."""
    deploy = tmp_path_factory.mktemp("checkout") / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("secrets"))
    secrets = deploy / "k8s/overlays/dev/secrets"
    subprocess.run(["/bin/sh", deploy / "compose/secrets.sh", secrets], check=True, timeout=stretched(30))

    @cache
    def built(name: str) -> Manifests:
        folder = deploy / "of-the-test" / name
        folder.mkdir(parents=True)
        lists = {
            kind: [f"../../{item}" if isinstance(item, str) else item for item in items]
            for kind, items in OVERLAYS[name].items()
        }
        head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "roots"}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(head | lists), encoding="utf-8")
        return render(kustomize, folder)

    return built
