"""How a check's tests break the manifests of the production system: by taking hold of a piece, and changing it."""

from collections.abc import Callable
from typing import Any

from .manifests import Manifests, Object
from .test_manifests import Check

Break = Callable[[Manifests], object]
Broken = tuple[str, Check, Break]
"""What the check has to say, the check, and the change that it has to notice."""


def pod(manifests: Manifests, name: str, kind: str = "Deployment") -> Object:
    """Return the specification of the pods of a workload."""
    pod: Object = manifests.get(kind, name)["spec"]["template"]["spec"]
    return pod


def container(manifests: Manifests, name: str, kind: str = "Deployment") -> Object:
    """Return its first container."""
    container: Object = pod(manifests, name, kind)["containers"][0]
    return container


def spec(manifests: Manifests, kind: str, name: str) -> Object:
    """Return what an object is to be."""
    spec: Object = manifests.get(kind, name)["spec"]
    return spec


def data(manifests: Manifests, prefix: str) -> dict[str, Any]:
    """Return the data of the ConfigMap whose name begins so."""
    found = next(one for one in manifests.of("ConfigMap") if one["metadata"]["name"].startswith(f"{prefix}-"))
    data: dict[str, Any] = found["data"]
    return data


def store_at_most(manifests: Manifests, size: str) -> None:
    """Let NATS store another amount."""
    variables = container(manifests, "nats", "StatefulSet")["env"]
    next(one for one in variables if one["name"] == "ROOTS_NATS_MAX_FILE_STORE").update(value=size)


def drop(manifests: Manifests, kind: str, name: str) -> None:
    """Take an object away."""
    manifests.objects.remove(manifests.get(kind, name))


def relabel(manifests: Manifests, name: str, key: str) -> None:
    """Take a label of the pods away."""
    del manifests.get("Deployment", name)["spec"]["template"]["metadata"]["labels"][key]


def add_two_servers(manifests: Manifests) -> None:
    """Have more NATS servers than routes."""
    spec(manifests, "StatefulSet", "nats").update(replicas=5)
    data(manifests, "provision").update(ROOTS_NATS_REPLICAS="5")


def let_servers_meet(manifests: Manifests) -> None:
    """Let all NATS servers be on one node."""
    apart = pod(manifests, "nats", "StatefulSet")["affinity"]["podAntiAffinity"]
    del apart["requiredDuringSchedulingIgnoredDuringExecution"]


def open_longpoll(manifests: Manifests) -> None:
    """Let anyone reach longpoll."""
    for name in ("default-deny", "gateway-upstreams", "metrics"):
        drop(manifests, "NetworkPolicy", name)
