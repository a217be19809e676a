"""Ways to break pods, and what a check has to say of each."""

from . import checks_pods
from .breaking import Broken, container, data, pod, spec

BROKEN: list[Broken] = [
    ("tasks has no startupProbe", checks_pods.probes, lambda one: container(one, "tasks").pop("startupProbe")),
    (
        "livenessProbe does not ask /livez",
        checks_pods.probes,
        lambda one: container(one, "relay")["livenessProbe"]["httpGet"].update(path="/readyz"),
    ),
    (
        "asks port adm, which it has not",
        checks_pods.probes,
        lambda one: container(one, "longpoll")["readinessProbe"]["httpGet"].update(port="adm"),
    ),
    (
        "pod may be root",
        checks_pods.security,
        lambda one: pod(one, "gateway")["securityContext"].update(runAsNonRoot=False),
    ),
    (
        "may do more than it needs",
        checks_pods.security,
        lambda one: container(one, "migrate", "Job")["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    (
        "does not set automountServiceAccountToken",
        checks_pods.security,
        lambda one: pod(one, "nats", "StatefulSet").pop("automountServiceAccountToken"),
    ),
    ("uses the node's hostNetwork", checks_pods.security, lambda one: pod(one, "tasks").update(hostNetwork=True)),
    (
        "mounts the node's files",
        checks_pods.security,
        lambda one: pod(one, "tasks")["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
    ),
    (
        "does not enforce the level restricted",
        checks_pods.security,
        lambda one: one.get("Namespace", "roots")["metadata"]["labels"].clear(),
    ),
    (
        "longpoll is killed after 60 s, but may need 69 s",
        checks_pods.stops,
        lambda one: pod(one, "longpoll").update(terminationGracePeriodSeconds=60),
    ),
    (
        "longpoll is killed after 75 s, but may need 104 s",
        checks_pods.stops,
        lambda one: data(one, "service").update(ROOTS_DRAIN_SECONDS="60"),
    ),
    ("longpoll stops at once", checks_pods.stops, lambda one: container(one, "longpoll").pop("lifecycle")),
    (
        "a rollout of longpoll takes a pod away",
        checks_pods.stops,
        lambda one: spec(one, "Deployment", "longpoll")["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    (
        "no limit of its memory",
        checks_pods.resources,
        lambda one: container(one, "relay")["resources"]["limits"].pop("memory"),
    ),
    (
        "requests more memory than its limit",
        checks_pods.resources,
        lambda one: container(one, "relay")["resources"]["requests"].update(memory="2Gi"),
    ),
    (
        "has a limit of its CPU",
        checks_pods.resources,
        lambda one: container(one, "relay")["resources"]["limits"].update(cpu="1"),
    ),
    (
        "ended by the kernel before Go collects",
        checks_pods.resources,
        lambda one: container(one, "nats", "StatefulSet")["resources"]["limits"].update(memory="256Mi"),
    ),
    ("not pinned", checks_pods.images, lambda one: container(one, "tasks").update(image="roots-tasks")),
    ("not pinned", checks_pods.images, lambda one: container(one, "tasks").update(image="roots-tasks:latest")),
    (
        "longpoll does not read ROOTS_HOLD_SECOND",
        checks_pods.environment,
        lambda one: data(one, "longpoll").update(ROOTS_HOLD_SECOND="9"),
    ),
    (
        "gateway does not read ROOTS_TASK_UPSTREAM",
        checks_pods.environment,
        lambda one: data(one, "gateway").update(ROOTS_TASK_UPSTREAM="tasks:8000"),
    ),
    (
        "longpoll would not start: ROOTS_HOLD_SECONDS is wrong",
        checks_pods.environment,
        lambda one: data(one, "longpoll").update(ROOTS_HOLD_SECONDS="600"),
    ),
    (
        "subscriptions would not start: ROOTS_UID_KEY_FILE can't be read",
        checks_pods.environment,
        lambda one: pod(one, "subscriptions")["volumes"][0]["projected"]["sources"][1]["secret"]["items"].clear(),
    ),
    (
        "longpoll listens on [8008, 9008], not on [8008, 9009]",
        checks_pods.ports,
        lambda one: container(one, "longpoll")["ports"][1].update(containerPort=9009),
    ),
    (
        "gateway listens on [4020, 5020], not on [5020]",
        checks_pods.ports,
        lambda one: container(one, "gateway")["ports"].pop(0),
    ),
    (
        "where nobody reaches it",
        checks_pods.ports,
        lambda one: data(one, "subscriptions").pop("ROOTS_BACKEND_API_HOST"),
    ),
    (
        "tasks would not start: line 3",
        checks_pods.policies,
        lambda one: one.get("ConfigMap", "policy")["data"].update(
            {"policy.toml": "[apps.tasks]\nallow = []\nread = 1\n"}
        ),
    ),
    (
        "subscriptions would not start",
        checks_pods.policies,
        lambda one: pod(one, "subscriptions")["volumes"][1]["projected"]["sources"].pop(1),
    ),
    (
        "tries again with a wrong configuration",
        checks_pods.jobs,
        lambda one: spec(one, "Job", "migrate").pop("podFailurePolicy"),
    ),
    ("stays, or tries", checks_pods.jobs, lambda one: spec(one, "Job", "provision").pop("ttlSecondsAfterFinished")),
    (
        "is not found by the upgrade",
        checks_pods.jobs,
        lambda one: one.get("Job", "migrate")["metadata"]["labels"].clear(),
    ),
]
