"""What has to be true of every pod. Each check returns a sentence for each mistake, and none when all is well."""

import re
from collections.abc import Iterator
from pathlib import Path

from roots.auth.policy import parse_policy
from roots.auth.policy_file import PolicyError
from roots.runtime.config import ConfigError, load
from roots_tasks.api.policy import parse_task_policy

from . import programs
from .laid_out import laid_out_env
from .manifests import RUNNING, Manifests, Object, Workload, bytes_of

RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# What a full node adds to a stop.
GRACE_RESERVE_SECONDS = 3


def probes(manifests: Manifests) -> Iterator[str]:
    """Find containers that are not asked whether they have started, live and are ready, or not on a port of theirs."""
    for workload in _running(manifests):
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = workload.main.get(kind)
            if probe is None:
                yield f"{workload.name} has no {kind}"
                continue
            port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
            if port is not None and port not in workload.ports:
                yield f"{workload.name}'s {kind} asks port {port}, which it has not"
        yield from _admin_probes(workload)


def _admin_probes(workload: Workload) -> Iterator[str]:
    if "admin" not in workload.ports:
        return
    wanted = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for kind, path in wanted.items():
        found = workload.main.get(kind, {}).get("httpGet")
        # A probe of dependencies would restart every pod when one store is away.
        if found != {"path": path, "port": "admin"}:
            yield f"{workload.name}'s {kind} does not ask {path} on the admin port"


def security(manifests: Manifests) -> Iterator[str]:
    """Find pods that may do more than Pod Security's level "restricted", and a little more, lets them."""
    for found in manifests.of("Namespace"):
        if found["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"the namespace {found['metadata']['name']} does not enforce the level restricted"
    for workload in manifests.workloads:
        pod = workload.pod
        context = pod.get("securityContext", {})
        if not context.items() >= RESTRICTED_POD.items() or not context.get("runAsUser") or not context.get("fsGroup"):
            yield f"{workload.name}'s pod may be root, or has no seccomp profile: {context}"
        for key in ("automountServiceAccountToken", "enableServiceLinks"):
            if pod.get(key) is not False:
                yield f"{workload.name} does not set {key} to false"
        yield from (f"{workload.name} uses the node's {key}" for key in pod if key.startswith("host"))
        yield from (f"{workload.name} mounts the node's files" for one in pod.get("volumes", []) if "hostPath" in one)
        for container in workload.containers:
            if container.get("securityContext") != RESTRICTED_CONTAINER:
                yield f"{workload.name}'s container {container['name']} may do more than it needs"


def stops(manifests: Manifests) -> Iterator[str]:
    """Find pods that are killed before they have drained, and rollouts that take one away too early."""
    for workload in _running(manifests):
        pause = workload.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = pause + _drain_seconds(manifests, workload) + GRACE_RESERVE_SECONDS
        grace = workload.pod.get("terminationGracePeriodSeconds", 30)
        if grace < needed:
            yield f"{workload.name} is killed after {grace} s, but may need {needed:.0f} s to stop"
        if "http" in workload.ports and not pause:
            yield f"{workload.name} stops at once, while others still send it requests"
        rolling = workload.spec.get("strategy", {}).get("rollingUpdate", {})
        if workload.kind == "Deployment" and rolling != {"maxSurge": 1, "maxUnavailable": 0}:
            yield f"a rollout of {workload.name} takes a pod away before the next one is ready"


def _drain_seconds(manifests: Manifests, workload: Workload) -> float:
    env = manifests.env(workload.main)
    config = programs.CONFIGS.get(tuple(workload.main.get("command", [])))
    if config is not None:
        with laid_out_env(manifests, workload) as laid_out:
            return programs.drain_seconds(load(config, laid_out))
    return programs.gateway_grace_seconds(env) if workload.name == "gateway" else 0.0


def resources(manifests: Manifests) -> Iterator[str]:
    """Find containers that do not say what they need and how much memory they may have, or not in a sound way."""
    for workload in manifests.workloads:
        for container in workload.containers:
            name = f"{workload.name}'s container {container['name']}"
            wanted, limits = (container.get("resources", {}).get(key, {}) for key in ("requests", "limits"))
            if not wanted.keys() >= {"cpu", "memory"} or "memory" not in limits:
                yield f"{name} has no requests, or no limit of its memory"
                continue
            limit = bytes_of(limits["memory"])
            if bytes_of(wanted["memory"]) > limit:
                yield f"{name} requests more memory than its limit"
            if "cpu" in limits:
                yield f"{name} has a limit of its CPU, which makes polls late while the node is idle"
            if bytes_of(manifests.env(container).get("GOMEMLIMIT", "0")) >= limit:
                yield f"{name} is ended by the kernel before Go collects harder"


def images(manifests: Manifests) -> Iterator[str]:
    """Find images without a version."""
    for workload in manifests.workloads:
        for container in workload.containers:
            if not re.fullmatch(r"[^:@]+(:\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})", container["image"]):
                yield f"{workload.name}'s image {container['image']} is not pinned to a version"


def environment(manifests: Manifests) -> Iterator[str]:
    """Find variables that the program does not read, and configurations that it does not take."""
    for workload in manifests.workloads:
        for container in workload.containers:
            env = manifests.env(container)
            config = programs.CONFIGS.get(tuple(container.get("command", [])))
            known = _known(container) if config is None else programs.variables(config)
            # What another variable is made of.
            parts = {name for value in env.values() for name in re.findall(r"\$\((\w+)\)", value)}
            yield from (f"{workload.name} does not read {name}" for name in sorted(env.keys() - known - parts))
            if config is None:
                continue
            try:
                with laid_out_env(manifests, workload) as laid_out:
                    load(config, laid_out)
            except ConfigError as error:
                yield f"{workload.name} would not start: {error}"


def ports(manifests: Manifests) -> Iterator[str]:
    """Find pods whose ports are not those on which the program listens, for others than itself."""
    for workload in manifests.workloads:
        config = programs.CONFIGS.get(tuple(workload.main.get("command", [])))
        listening = programs.gateway_ports() if workload.name == "gateway" else None
        if config is not None:
            with laid_out_env(manifests, workload) as laid_out:
                loaded: object = load(config, laid_out)
            listening = programs.listening_ports(loaded)
            hosts = {getattr(loaded, name, "0.0.0.0") for name in ("http_host", "backend_api_host")}  # noqa: S104  # in a pod
            if hosts != {"0.0.0.0"}:  # noqa: S104
                yield f"{workload.name} listens on {sorted(hosts)}, where nobody reaches it"
        if listening is not None and set(workload.ports.values()) != listening:
            yield f"{workload.name} listens on {sorted(listening)}, not on {sorted(workload.ports.values())}"


def _known(container: Object) -> set[str]:
    image = container["image"].partition(":")[0]
    return programs.OTHERS[image]() if image in programs.OTHERS else set()


def policies(manifests: Manifests) -> Iterator[str]:
    """Find policy files that the services would refuse, with the key files beside them."""
    parsers = {"subscriptions": parse_policy, "tasks": parse_task_policy}
    for workload in manifests.workloads:
        if workload.name not in parsers:
            continue
        with laid_out_env(manifests, workload) as env:
            file = Path(env["ROOTS_POLICY"])
            try:
                parsers[workload.name](file.read_text(encoding="utf-8"), file.parent)
            except PolicyError as error:
                yield f"{workload.name} would not start: {error}"


def jobs(manifests: Manifests) -> Iterator[str]:
    """Find jobs that stay, try for ever, or try again with a wrong configuration."""
    for found in manifests.of("Job"):
        name, spec = found["metadata"]["name"], found["spec"]
        if not spec.keys() >= {"ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"}:
            yield f"{name} stays, or tries for ever"
        rules = spec.get("podFailurePolicy", {}).get("rules", [])
        if not any(rule.get("onExitCodes", {}).get("values") == [2] for rule in rules):
            yield f"{name} tries again with a wrong configuration"
        if found["metadata"]["labels"].get("roots/one-shot") != "true":
            yield f"{name} is not found by the upgrade, which deletes jobs by their label"


def _running(manifests: Manifests) -> list[Workload]:
    return [workload for workload in manifests.workloads if workload.kind in RUNNING]
