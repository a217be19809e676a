"""Ways to break the production system's manifests, and what a check has to say of each."""

from collections.abc import Callable
from typing import Any

from . import checks_network, checks_objects, checks_pods
from .manifests import Manifests, Object
from .test_manifests import Check

Break = Callable[[Manifests], object]


def _pod(manifests: Manifests, name: str, kind: str = "Deployment") -> Object:
    pod: Object = manifests.get(kind, name)["spec"]["template"]["spec"]
    return pod


def _container(manifests: Manifests, name: str, kind: str = "Deployment") -> Object:
    container: Object = _pod(manifests, name, kind)["containers"][0]
    return container


def _spec(manifests: Manifests, kind: str, name: str) -> Object:
    spec: Object = manifests.get(kind, name)["spec"]
    return spec


def _data(manifests: Manifests, prefix: str) -> dict[str, Any]:
    found = next(one for one in manifests.of("ConfigMap") if one["metadata"]["name"].startswith(f"{prefix}-"))
    data: dict[str, Any] = found["data"]
    return data


def _drop(manifests: Manifests, kind: str, name: str) -> None:
    manifests.objects.remove(manifests.get(kind, name))


def _relabel(manifests: Manifests, name: str, key: str) -> None:
    del manifests.get("Deployment", name)["spec"]["template"]["metadata"]["labels"][key]


def _add_two_servers(manifests: Manifests) -> None:
    _spec(manifests, "StatefulSet", "nats").update(replicas=5)
    _data(manifests, "provision").update(ROOTS_NATS_REPLICAS="5")


def _open_longpoll(manifests: Manifests) -> None:
    for name in ("default-deny", "gateway-upstreams", "metrics"):
        _drop(manifests, "NetworkPolicy", name)


BROKEN: list[tuple[str, Check, Break]] = [
    ("tasks has no startupProbe", checks_pods.probes, lambda one: _container(one, "tasks").pop("startupProbe")),
    (
        "livenessProbe does not ask /livez",
        checks_pods.probes,
        lambda one: _container(one, "relay")["livenessProbe"]["httpGet"].update(path="/readyz"),
    ),
    (
        "asks port adm, which it has not",
        checks_pods.probes,
        lambda one: _container(one, "longpoll")["readinessProbe"]["httpGet"].update(port="adm"),
    ),
    (
        "pod may be root",
        checks_pods.security,
        lambda one: _pod(one, "gateway")["securityContext"].update(runAsNonRoot=False),
    ),
    (
        "may do more than it needs",
        checks_pods.security,
        lambda one: _container(one, "migrate", "Job")["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    (
        "does not set automountServiceAccountToken",
        checks_pods.security,
        lambda one: _pod(one, "nats", "StatefulSet").pop("automountServiceAccountToken"),
    ),
    ("uses the node's hostNetwork", checks_pods.security, lambda one: _pod(one, "tasks").update(hostNetwork=True)),
    (
        "mounts the node's files",
        checks_pods.security,
        lambda one: _pod(one, "tasks")["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
    ),
    (
        "does not enforce the level restricted",
        checks_pods.security,
        lambda one: one.get("Namespace", "roots")["metadata"]["labels"].clear(),
    ),
    (
        "longpoll is killed after 60 s, but may need 69 s",
        checks_pods.stops,
        lambda one: _pod(one, "longpoll").update(terminationGracePeriodSeconds=60),
    ),
    (
        "longpoll is killed after 75 s, but may need 104 s",
        checks_pods.stops,
        lambda one: _data(one, "service").update(ROOTS_DRAIN_SECONDS="60"),
    ),
    ("longpoll stops at once", checks_pods.stops, lambda one: _container(one, "longpoll").pop("lifecycle")),
    (
        "a rollout of longpoll takes a pod away",
        checks_pods.stops,
        lambda one: _spec(one, "Deployment", "longpoll")["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    (
        "no limit of its memory",
        checks_pods.resources,
        lambda one: _container(one, "relay")["resources"]["limits"].pop("memory"),
    ),
    (
        "requests more memory than its limit",
        checks_pods.resources,
        lambda one: _container(one, "relay")["resources"]["requests"].update(memory="2Gi"),
    ),
    (
        "has a limit of its CPU",
        checks_pods.resources,
        lambda one: _container(one, "relay")["resources"]["limits"].update(cpu="1"),
    ),
    (
        "ended by the kernel before Go collects",
        checks_pods.resources,
        lambda one: _container(one, "gateway")["resources"]["limits"].update(memory="768Mi"),
    ),
    ("not pinned", checks_pods.images, lambda one: _container(one, "tasks").update(image="roots-tasks")),
    ("not pinned", checks_pods.images, lambda one: _container(one, "tasks").update(image="roots-tasks:latest")),
    (
        "longpoll does not read ROOTS_HOLD_SECOND",
        checks_pods.environment,
        lambda one: _data(one, "longpoll").update(ROOTS_HOLD_SECOND="9"),
    ),
    (
        "gateway does not read ROOTS_TASK_UPSTREAM",
        checks_pods.environment,
        lambda one: _data(one, "gateway").update(ROOTS_TASK_UPSTREAM="tasks:8000"),
    ),
    (
        "longpoll would not start: ROOTS_HOLD_SECONDS is wrong",
        checks_pods.environment,
        lambda one: _data(one, "longpoll").update(ROOTS_HOLD_SECONDS="600"),
    ),
    (
        "subscriptions would not start: ROOTS_UID_KEY_FILE can't be read",
        checks_pods.environment,
        lambda one: _pod(one, "subscriptions")["volumes"][0]["projected"]["sources"][1]["secret"]["items"].clear(),
    ),
    (
        "longpoll listens on [8008, 9008], not on [8008, 9009]",
        checks_pods.ports,
        lambda one: _container(one, "longpoll")["ports"][1].update(containerPort=9009),
    ),
    (
        "gateway listens on [4020, 5020], not on [5020]",
        checks_pods.ports,
        lambda one: _container(one, "gateway")["ports"].pop(0),
    ),
    (
        "where nobody reaches it",
        checks_pods.ports,
        lambda one: _data(one, "subscriptions").pop("ROOTS_DOOR_HOST"),
    ),
    (
        "tasks would not start: line 2",
        checks_pods.policies,
        lambda one: one.get("ConfigMap", "policy")["data"].update({"policy.toml": "[apps.tasks]\nread = 1\n"}),
    ),
    (
        "subscriptions would not start",
        checks_pods.policies,
        lambda one: _pod(one, "subscriptions")["volumes"][1]["projected"]["sources"].pop(1),
    ),
    (
        "tries again with a wrong configuration",
        checks_pods.jobs,
        lambda one: _spec(one, "Job", "migrate").pop("podFailurePolicy"),
    ),
    ("stays, or tries", checks_pods.jobs, lambda one: _spec(one, "Job", "provision").pop("ttlSecondsAfterFinished")),
    (
        "is not found by the upgrade",
        checks_pods.jobs,
        lambda one: one.get("Job", "migrate")["metadata"]["labels"].clear(),
    ),
    (
        "is in no namespace",
        checks_objects.namespaces,
        lambda one: one.get("Service", "door")["metadata"].update(namespace="default"),
    ),
    (
        "tasks does not select its own pods",
        checks_objects.selectors,
        lambda one: _relabel(one, "tasks", "app.kubernetes.io/name"),
    ),
    (
        "the service door leads to 0 workloads",
        checks_objects.selectors,
        lambda one: _spec(one, "Service", "door")["selector"].update({"app.kubernetes.io/name": "door"}),
    ),
    (
        "a port http that is not there",
        checks_objects.selectors,
        lambda one: _container(one, "gateway")["ports"].clear(),
    ),
    ("no service for their names", checks_objects.selectors, lambda one: _drop(one, "Service", "nats-peers")),
    (
        "lets no pod go",
        checks_objects.disruption,
        lambda one: _spec(one, "PodDisruptionBudget", "nats").update(maxUnavailable=0),
    ),
    (
        "lets no pod go",
        checks_objects.disruption,
        lambda one: _spec(one, "PodDisruptionBudget", "relay").update(minAvailable=2),
    ),
    (
        "longpoll has 0 disruption budgets",
        checks_objects.disruption,
        lambda one: _drop(one, "PodDisruptionBudget", "longpoll"),
    ),
    (
        "has no target",
        checks_objects.scaling,
        lambda one: _spec(one, "HorizontalPodAutoscaler", "tasks")["scaleTargetRef"].update(name="task"),
    ),
    ("has no target", checks_objects.scaling, lambda one: _drop(one, "Deployment", "longpoll")),
    (
        "each apply would undo",
        checks_objects.scaling,
        lambda one: _spec(one, "Deployment", "longpoll").update(replicas=3),
    ),
    (
        "goes from 1 to 8",
        checks_objects.scaling,
        lambda one: _spec(one, "HorizontalPodAutoscaler", "tasks").update(minReplicas=1),
    ),
    (
        "measures what its target does not request",
        checks_objects.scaling,
        lambda one: _container(one, "tasks")["resources"]["requests"].pop("cpu"),
    ),
    (
        "longpoll has more than one autoscaler",
        checks_objects.scaling,
        lambda one: _spec(one, "HorizontalPodAutoscaler", "tasks")["scaleTargetRef"].update(name="longpoll"),
    ),
    (
        "has a secret: ROOTS_UID_KEY",
        checks_objects.secrecy,
        lambda one: _data(one, "longpoll").update(ROOTS_UID_KEY="k" * 43),
    ),
    (
        "has a secret: ROOTS_NATS_URL",
        checks_objects.secrecy,
        lambda one: _data(one, "broker").update(ROOTS_NATS_URL="nats://tasks:kSecret@nats:4222"),
    ),
    (
        "a secret in its manifest: ROOTS_NATS_PASSWORD",
        checks_objects.secrecy,
        lambda one: _container(one, "relay")["env"].append({"name": "ROOTS_NATS_PASSWORD", "value": "kSecret"}),
    ),
    (
        "needs Secret/door-keys todo",
        checks_objects.wired,
        lambda one: _pod(one, "subscriptions")["volumes"][1]["projected"]["sources"][1]["secret"]["items"][0].update(
            key="todo"
        ),
    ),
    (
        "needs Secret/uid-keys key",
        checks_objects.wired,
        lambda one: _pod(one, "longpoll")["volumes"][0]["projected"]["sources"][1]["secret"].update(name="uid-keys"),
    ),
    ("needs ConfigMap/policy", checks_objects.wired, lambda one: _drop(one, "ConfigMap", "policy")),
    (
        "nobody reads ConfigMap/spare",
        checks_objects.wired,
        lambda one: one.objects.append({"kind": "ConfigMap", "metadata": {"name": "spare"}, "data": {}}),
    ),
    (
        "leads to subscriptions:door",
        checks_objects.ways_in,
        lambda one: _spec(one, "Ingress", "gateway")["rules"][0]["http"]["paths"][0]["backend"].update(
            service={"name": "subscriptions", "port": {"name": "door"}}
        ),
    ),
    (
        "would end polls by a timeout",
        checks_objects.ways_in,
        lambda one: _spec(one, "HTTPRoute", "gateway")["rules"][0].pop("timeouts"),
    ),
    (
        "leads to gateway:4021",
        checks_objects.ways_in,
        lambda one: _spec(one, "HTTPRoute", "gateway")["rules"][0]["backendRefs"][0].update(port=4021),
    ),
    (
        "the gateway leads to the door",
        checks_objects.ways_in,
        lambda one: _data(one, "gateway").update(ROOTS_TASKS_UPSTREAM="door:8004"),
    ),
    (
        "open to whoever reaches a node",
        checks_objects.ways_in,
        lambda one: _spec(one, "Service", "door").update(type="NodePort"),
    ),
    (
        "the service tasks leads to the door",
        checks_objects.ways_in,
        lambda one: _spec(one, "Service", "tasks")["ports"][0].update(targetPort="door"),
    ),
    (
        "1 copies of each stream for 3 servers",
        checks_objects.jetstream,
        lambda one: _data(one, "provision").update(ROOTS_NATS_REPLICAS="1"),
    ),
    (
        "the routes are",
        checks_objects.jetstream,
        _add_two_servers,
    ),
    (
        "the log would fill 20Gi",
        checks_objects.jetstream,
        lambda one: _data(one, "provision").update(ROOTS_EVENTS_MAX_BYTES=str(20 << 30)),
    ),
    (
        "certificate is not for the names",
        checks_objects.jetstream,
        lambda one: _spec(one, "Certificate", "nats-server")["dnsNames"].pop(),
    ),
    ("does not find relay", checks_objects.watched, lambda one: _container(one, "relay")["ports"].clear()),
    (
        "gives jobs other names",
        checks_objects.watched,
        lambda one: _spec(one, "PodMonitor", "roots").pop("jobLabel"),
    ),
    (
        "would miss a last scrape",
        checks_objects.watched,
        lambda one: _spec(one, "PodMonitor", "roots")["podMetricsEndpoints"][0].update(interval="30s"),
    ),
    (
        "does not find relay",
        checks_objects.watched,
        lambda one: _relabel(one, "relay", "app.kubernetes.io/part-of"),
    ),
    (
        "gateway needs longpoll:8008",
        checks_network.edges,
        lambda one: _spec(one, "NetworkPolicy", "gateway")["egress"].pop(),
    ),
    (
        "gateway needs longpoll:8008",
        checks_network.edges,
        lambda one: _spec(one, "NetworkPolicy", "gateway-upstreams")["podSelector"]["matchExpressions"][0][
            "values"
        ].remove("longpoll"),
    ),
    ("relay needs nats:4222", checks_network.edges, lambda one: _relabel(one, "relay", "roots/nats")),
    ("relay needs elsewhere:5432", checks_network.edges, lambda one: _relabel(one, "relay", "roots/postgres")),
    ("tasks needs elsewhere:53", checks_network.edges, lambda one: _drop(one, "NetworkPolicy", "dns")),
    ("nats needs nats:6222", checks_network.edges, lambda one: _drop(one, "NetworkPolicy", "nats-routes")),
    (
        "applications needs subscriptions:8004",
        checks_network.edges,
        lambda one: _drop(one, "NetworkPolicy", "door"),
    ),
    (
        "elsewhere may reach subscriptions:8004",
        checks_network.edges,
        lambda one: _spec(one, "NetworkPolicy", "door")["ingress"][0].pop("from"),
    ),
    (
        "gateway may reach nats:4222",
        checks_network.edges,
        lambda one: one.get("Deployment", "gateway")["spec"]["template"]["metadata"]["labels"].update(
            {"roots/nats": "client"}
        ),
    ),
    (
        "may reach elsewhere:443, which nothing uses",
        checks_network.edges,
        lambda one: _spec(one, "NetworkPolicy", "dns")["egress"][0]["ports"].append({"port": 443}),
    ),
    (
        "monitoring needs longpoll:9008",
        checks_network.edges,
        lambda one: _drop(one, "NetworkPolicy", "metrics"),
    ),
    (
        "elsewhere may reach longpoll:8008",
        checks_network.edges,
        _open_longpoll,
    ),
    (
        "is for no pod",
        checks_network.edges,
        lambda one: _spec(one, "NetworkPolicy", "nats").update(podSelector={"matchLabels": {"a": "b"}}),
    ),
]
