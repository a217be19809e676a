"""The network policies allow what is used, and nothing else.

What is used is read from the manifests: the addresses in the workloads' environment and in the database's URL, and
what is known of the outside (browsers, applications, Prometheus, DNS).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .manifests import Labels, Manifests, Workload, decoded, selects

_ADDRESS = re.compile(r"(?<![\w.-])([a-z][a-z0-9.-]*):(\d+)")
_DNS = {53}
POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who sends or gets: a workload's pods, or pods of another namespace, or what is not in the cluster (no labels)."""

    name: str
    labels: Labels = field(default_factory=dict)
    namespace: Labels = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.name)


MONITORING = Party(name="monitoring", namespace={"kubernetes.io/metadata.name": "monitoring"})
APPLICATIONS = Party(name="applications", namespace={"roots/backend-api": "open"})
ELSEWHERE = Party(name="elsewhere", namespace={"kubernetes.io/metadata.name": "elsewhere"})
OUTSIDE = (MONITORING, APPLICATIONS, ELSEWHERE)

Edge = tuple[str, str, int]


def edges(manifests: Manifests) -> Iterator[str]:
    """Compare what is allowed with what is used; say nothing where there are no policies at all."""
    if not manifests.of("NetworkPolicy"):
        return
    used, allowed = set(used_edges(manifests)), set(allowed_edges(manifests))
    for source, target, port in sorted(used - allowed):
        yield f"{source} needs {target}:{port}, which no policy allows"
    for source, target, port in sorted(allowed - used):
        yield f"{source} may reach {target}:{port}, which nothing uses"
    for found in manifests.of("NetworkPolicy"):
        if not manifests.selected_by(found["spec"]["podSelector"]):
            yield f"the policy {found['metadata']['name']} is for no pod"


def used_edges(manifests: Manifests) -> Iterator[Edge]:
    """Yield who has to reach whom, and at which port."""
    for workload in manifests.workloads:
        yield workload.name, "elsewhere", 53
        for host, port in _addresses(manifests, workload):
            service = next((part for part in host.split(".")[:2] if manifests.find("Service", part)), None)
            if service is None:
                yield workload.name, "elsewhere", port
            else:
                yield from ((workload.name, target.name, at) for target, at in manifests.behind(service) if at == port)
        # Scraped whether or not there is a monitor: what is called `admin` or `metrics` is there for it.
        for name in {"admin", "metrics"} & workload.ports.keys():
            yield "monitoring", workload.name, workload.ports[name]
    yield "applications", "subscriptions", manifests.workload("subscriptions").ports["backend-api"]
    for party in OUTSIDE:
        yield party.name, "gateway", manifests.workload("gateway").ports["http"]


def names(manifests: Manifests) -> Iterator[str]:
    """Find names of the gateway that have no domain: HAProxy resolves them without the pod's search list."""
    for name, value in _expanded_env(manifests, manifests.workload("gateway")).items():
        host = value.partition(":")[0]
        if name.endswith(("_NAME", "_UPSTREAM")) and not host.endswith(".svc.cluster.local"):
            yield f"the gateway can't resolve {host}, which {name} names without its domain"


def _expanded_env(manifests: Manifests, workload: Workload) -> dict[str, str]:
    env = manifests.env(workload.main).items()
    return {name: value.replace("$(POD_NAMESPACE)", "roots") for name, value in env}


def _addresses(manifests: Manifests, workload: Workload) -> Iterator[tuple[str, int]]:
    env = _expanded_env(manifests, workload)
    for name, value in env.items():
        service = value.partition(".")[0]
        if name.endswith("_NAME") and manifests.find("Service", service):
            yield from ((service, port) for _, port in manifests.behind(service))
        yield from ((host, int(port)) for host, port in _ADDRESS.findall(re.sub(r"//[^/\s]*@", "//", value)))
    if "ROOTS_DATABASE_URL_FILE" in env:
        url = next((decoded(one)["url"] for one in manifests.of("Secret") if "url" in one["data"]), "")
        yield from ((host, int(port)) for host, port in _ADDRESS.findall(url.rpartition("@")[2]))
        if not url:
            yield "postgres.elsewhere.example", POSTGRES_PORT


def allowed_edges(manifests: Manifests) -> Iterator[Edge]:
    """Yield who may reach whom, and at which port: where both sides' policies say so."""
    policies = manifests.of("NetworkPolicy")
    inside = [Party(name=one.name, labels=one.labels, ports=one.ports) for one in manifests.workloads]
    for source in inside:
        for target in inside:
            for port in target.ports.values():
                if _may_send(policies, source, target, port) and _may_get(policies, source, target, port):
                    yield source.name, target.name, port
        for port in _opened(policies, source) - {port for one in inside for port in one.ports.values()}:
            yield source.name, "elsewhere", port
        # A database outside of the namespace has the port of one that could be inside.
        if not any(one.name == "postgres" for one in inside) and _may_send(policies, source, ELSEWHERE, POSTGRES_PORT):
            yield source.name, "elsewhere", POSTGRES_PORT
    for source in OUTSIDE:
        for target in inside:
            yield from (
                (source.name, target.name, port)
                for port in target.ports.values()
                if _may_get(policies, source, target, port)
            )


def _opened(policies: list[dict[str, Any]], source: Party) -> set[int]:
    """Return the ports that a pod may reach wherever they are."""
    return {
        port["port"]
        for policy in policies
        if selects(policy["spec"]["podSelector"], source.labels)
        for rule in policy["spec"].get("egress", [])
        if "to" not in rule
        for port in rule["ports"]
    }


def _may_send(policies: list[dict[str, Any]], source: Party, target: Party, port: int) -> bool:
    return _is_allowed(policies, "Egress", source, target, port, {})


def _may_get(policies: list[dict[str, Any]], source: Party, target: Party, port: int) -> bool:
    return _is_allowed(policies, "Ingress", target, source, port, target.ports)


def _is_allowed(
    policies: list[dict[str, Any]], direction: str, subject: Party, peer: Party, port: int, names: dict[str, int]
) -> bool:
    mine = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], subject.labels)
    ]
    key, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return not mine or any(
        (peers not in rule or any(_matches(one, peer) for one in rule[peers]))
        and any(names.get(str(one["port"]), one["port"]) == port for one in rule["ports"])
        for policy in mine
        for rule in policy.get(key, [])
    )


def _matches(selector: dict[str, Any], peer: Party) -> bool:
    # Without a selector of namespaces it is this one's pods, which have no namespace here.
    is_in_namespace = (
        selects(selector["namespaceSelector"], peer.namespace)
        if "namespaceSelector" in selector
        else not peer.namespace
    )
    return is_in_namespace and selects(selector.get("podSelector", {}), peer.labels)
