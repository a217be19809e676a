"""What has to be true between objects: what one names is there, and is what it is taken for."""

import re
from collections.abc import Iterator

from roots.http.health import LAST_SCRAPE_SECONDS

from . import programs
from .documented import documented_secrets
from .manifests import WORKLOADS, Manifests, Object, bytes_of, decoded, references, selects

_CLUSTER_KINDS = {"Namespace", "PriorityClass"}
_SECRET_TEXT = re.compile(r"-----BEGIN|://[^/\s:@]+:(?!\$\()[^/\s@]+@")
BACKEND_API_PORT = 8004


def namespaces(manifests: Manifests) -> Iterator[str]:
    """Find what is in another namespace than the one that comes with it."""
    names = {found["metadata"]["name"] for found in manifests.of("Namespace")}
    for found in manifests.objects:
        if found["kind"] not in _CLUSTER_KINDS and found["metadata"].get("namespace") not in names:
            yield f"{found['kind']}/{found['metadata']['name']} is in no namespace of these manifests"


def selectors(manifests: Manifests) -> Iterator[str]:
    """Find selectors that select no pod, or a workload's that do not select its own."""
    for found in manifests.of("Deployment", "StatefulSet"):
        if not selects(found["spec"]["selector"], found["spec"]["template"]["metadata"]["labels"]):
            yield f"{found['metadata']['name']} does not select its own pods"
    for found in manifests.of("Service"):
        name, spec = found["metadata"]["name"], found["spec"]
        workloads = manifests.selected_by({"matchLabels": spec["selector"]})
        if len(workloads) != 1:
            yield f"the service {name} leads to {len(workloads)} workloads"
        for port in spec["ports"]:
            if any(port["targetPort"] not in workload.ports for workload in workloads):
                yield f"the service {name} leads to a port {port['targetPort']} that is not there"
    for found in manifests.of("StatefulSet"):
        if manifests.find("Service", found["spec"]["serviceName"]) is None:
            yield f"{found['metadata']['name']}'s pods have no service for their names"


def disruption(manifests: Manifests) -> Iterator[str]:
    """Find workloads without a disruption budget, and budgets that are never met or allow too much."""
    budgets = manifests.of("PodDisruptionBudget")
    for found in budgets:
        name, spec = found["metadata"]["name"], found["spec"]
        if len(manifests.selected_by(spec["selector"])) != 1:
            yield f"the budget {name} is not for one workload"
        # A number of pods that must stay is never met by a workload of one.
        if spec.get("maxUnavailable") != 1 or "minAvailable" in spec:
            yield f"the budget {name} lets no pod go, or too many"
    for workload in manifests.workloads:
        mine = [found for found in budgets if selects(found["spec"]["selector"], workload.labels)]
        if workload.kind != "Job" and workload.name != "postgres" and len(mine) != 1:
            yield f"{workload.name} has {len(mine)} disruption budgets"


def scaling(manifests: Manifests) -> Iterator[str]:
    """Find autoscalers without a target, or whose target says `replicas` or does not request what is measured."""
    targets = []
    for found in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        name, spec = found["metadata"]["name"], found["spec"]
        target = manifests.find("Deployment", spec["scaleTargetRef"]["name"])
        targets.append(spec["scaleTargetRef"]["name"])
        if target is None:
            yield f"the autoscaler {name} has no target"
            continue
        if "replicas" in target["spec"]:
            yield f"each apply would undo what the autoscaler {name} has done"
        low, high = (spec.get(f"{end}Replicas") or spec[f"{end}ReplicaCount"] for end in ("min", "max"))
        if not 2 <= low < high:  # one pod is none while it is replaced
            yield f"the autoscaler {name} goes from {low} to {high}"
        requests = target["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        for metric in spec.get("metrics", []):
            if metric["resource"]["name"] not in requests:
                yield f"the autoscaler {name} measures what its target does not request"
    yield from (f"{name} has more than one autoscaler" for name in {one for one in targets if targets.count(one) > 1})


def secrecy(manifests: Manifests) -> Iterator[str]:
    """Find secrets in ConfigMaps and in the texts of variables."""
    secret = programs.secret_variables()
    for found in manifests.of("ConfigMap"):
        for key, text in found.get("data", {}).items():
            if key in secret or _SECRET_TEXT.search(text):
                yield f"the ConfigMap {found['metadata']['name']} has a secret: {key}"
    for workload in manifests.workloads:
        for container in workload.containers:
            for variable in container.get("env", []):
                text = variable.get("value", "")
                if (variable["name"] in secret and text) or _SECRET_TEXT.search(text):
                    yield f"{workload.name} has a secret in its manifest: {variable['name']}"


def wired(manifests: Manifests) -> Iterator[str]:
    """Find references to what is not here with its key, and not documented as made elsewhere."""
    external = documented_secrets()
    for found in manifests.of(*WORKLOADS):
        for kind, name, key in references(found["spec"]["template"]):
            there = manifests.find(kind, name)
            keys = external.get(name) if there is None and kind == "Secret" else there and decoded(there).keys()
            if keys is None or (key is not None and key not in keys):
                yield f"{found['metadata']['name']} needs {kind}/{name} {key or ''}"
    used = {name for found in manifests.of(*WORKLOADS) for _, name, _ in references(found)}
    for found in manifests.of("ConfigMap", "Secret"):
        if found["metadata"]["name"] not in used and not found["metadata"].get("labels", {}).get("grafana_dashboard"):
            yield f"nobody reads {found['kind']}/{found['metadata']['name']}"


def ways_in(manifests: Manifests) -> Iterator[str]:
    """Find ways in that lead elsewhere than to the gateway, end polls early, or lead to the back-end API."""
    for found in manifests.of("Ingress", "HTTPRoute"):
        for name, port in _backends(found):
            ports = {
                key for one in manifests.get("Service", name)["spec"]["ports"] for key in (one["name"], one["port"])
            }
            if name != "gateway" or port not in ports:
                yield f"{found['kind']}/{found['metadata']['name']} leads to {name}:{port}"
    for found in manifests.of("HTTPRoute"):
        if any(rule.get("timeouts", {}).get("request") != "0s" for rule in found["spec"]["rules"]):
            yield f"HTTPRoute/{found['metadata']['name']} would end polls by a timeout of its controller"
    for found in manifests.of("Service"):
        name, spec = found["metadata"]["name"], found["spec"]
        if spec.get("type", "ClusterIP") != "ClusterIP":
            yield f"the service {name} is open to whoever reaches a node"
        if any(port["targetPort"] == "backend-api" for port in spec["ports"]) and name != "backend-api":
            yield f"the service {name} leads to the back-end API"
    if any(str(BACKEND_API_PORT) in value for value in manifests.env(manifests.workload("gateway").main).values()):
        yield "the gateway leads to the back-end API"


def _backends(found: Object) -> Iterator[tuple[str, str | int]]:
    for rule in found["spec"]["rules"]:
        for path in rule.get("http", {}).get("paths", []):
            service = path["backend"]["service"]
            yield service["name"], service["port"].get("name") or service["port"]["number"]
        for backend in rule.get("backendRefs", []):
            yield backend["name"], backend["port"]


def jetstream(manifests: Manifests) -> Iterator[str]:
    """Find numbers of copies, routes, names and volumes that do not fit the number of servers."""
    nats = next((workload for workload in manifests.workloads if workload.name == "nats"), None)
    if nats is None:
        return
    limits = manifests.env(manifests.workload("provision").main)
    servers = nats.spec.get("replicas", 1)
    if int(limits["ROOTS_NATS_REPLICAS"]) != servers:
        yield f"{limits['ROOTS_NATS_REPLICAS']} copies of each stream for {servers} servers"
    claim = nats.spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    if int(limits["ROOTS_EVENTS_MAX_BYTES"]) * 1.5 > bytes_of(claim):
        yield f"the log would fill {claim}, which the grants need, too"
    store = manifests.env(nats.main)["ROOTS_NATS_MAX_FILE_STORE"]
    if not int(limits["ROOTS_EVENTS_MAX_BYTES"]) < bytes_of(store.replace("GB", "Gi")) < 0.9 * bytes_of(claim):
        yield f"NATS may store {store}, which is less than its log or does not fit into {claim}"
    routes = manifests.env(nats.main).get("ROOTS_NATS_CLUSTER_ROUTES", "")
    wanted = [f"nats-{number}.{nats.spec['serviceName']}" for number in range(servers)] if servers > 1 else []
    if re.findall(r"@([^:]+):", routes) != wanted:
        yield f"the routes are {routes or 'none'}, for {servers} servers"
    for found in manifests.of("Certificate"):
        if found["spec"]["secretName"] == "nats-server-tls" and not {"nats", *wanted} <= set(found["spec"]["dnsNames"]):
            yield "NATS's certificate is not for the names by which its servers are reached"


def certified(manifests: Manifests) -> Iterator[str]:
    """Find certificates that nobody signs or nobody shows, and authorities without a certificate."""
    issuers = {found["metadata"]["name"] for found in manifests.of("Issuer")}
    made = {found["spec"]["secretName"]: found["spec"] for found in manifests.of("Certificate")}
    used = {name for found in manifests.of(*WORKLOADS) for _, name, _ in references(found)}
    for found in manifests.of("Issuer"):
        authority = found["spec"].get("ca", {}).get("secretName")
        if authority is not None and not made.get(authority, {}).get("isCA"):
            yield f"the authority {found['metadata']['name']} has no certificate"
        used.add(authority)
    for secret, certificate in made.items():
        if certificate["issuerRef"]["name"] not in issuers:
            yield f"nobody signs {secret}"
        # On an overlay that does not speak TLS there is nobody to show one.
        if used & made.keys() - {"nats-authority"} and secret not in used:
            yield f"nobody shows {secret}"


def spreading(manifests: Manifests) -> Iterator[str]:
    """Find workloads that one lost node or zone would take away, where there is a priority class, as in production."""
    classes = {found["metadata"]["name"] for found in manifests.of("PriorityClass")}
    least = {
        found["spec"]["scaleTargetRef"]["name"]: found["spec"].get("minReplicas") or found["spec"]["minReplicaCount"]
        for found in manifests.of("HorizontalPodAutoscaler", "ScaledObject")
    }
    for workload in manifests.workloads if classes else []:
        if workload.kind == "Job":
            continue
        apart = workload.pod.get("affinity", {}).get("podAntiAffinity", {})
        wanted = "required" if workload.name == "nats" else "preferred"
        if not apart.get(f"{wanted}DuringSchedulingIgnoredDuringExecution"):
            yield f"{workload.name}'s pods may all be on one node"
        if not workload.pod.get("topologySpreadConstraints"):
            yield f"{workload.name}'s pods may all be in one zone"
        if workload.pod.get("priorityClassName") not in classes:
            yield f"{workload.name} has no priority"
        if workload.spec.get("replicas", least.get(workload.name, 1)) < 2:
            yield f"{workload.name} may have one pod only"


def watched(manifests: Manifests) -> Iterator[str]:
    """Find pods whose figures a monitor misses, but for those of Postgres, which has none itself."""
    for found in manifests.of("PodMonitor"):
        spec = found["spec"]
        ports = {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]}
        for workload in manifests.workloads:
            is_found = selects(spec["selector"], workload.labels) and ports & workload.ports.keys()
            if workload.kind != "Job" and workload.name != "postgres" and not is_found:
                yield f"PodMonitor/{found['metadata']['name']} does not find {workload.name}"
        for endpoint in spec["podMetricsEndpoints"]:
            if float(endpoint["interval"].removesuffix("s")) >= LAST_SCRAPE_SECONDS:
                yield f"PodMonitor/{found['metadata']['name']} would miss a last scrape of a process that ends"
        if spec.get("jobLabel") != "app.kubernetes.io/name":
            yield f"PodMonitor/{found['metadata']['name']} gives jobs other names than rules and dashboards have"
