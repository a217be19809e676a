"""Ways to break what objects have to do with each other, and what a check has to say of each."""

from . import checks_network, checks_objects
from .breaking import (
    Broken,
    add_two_servers,
    container,
    data,
    drop,
    let_servers_meet,
    open_longpoll,
    pod,
    relabel,
    spec,
    store_at_most,
)

BROKEN: list[Broken] = [
    (
        "is in no namespace",
        checks_objects.namespaces,
        lambda one: one.get("Service", "backend-api")["metadata"].update(namespace="default"),
    ),
    (
        "tasks does not select its own pods",
        checks_objects.selectors,
        lambda one: relabel(one, "tasks", "app.kubernetes.io/name"),
    ),
    (
        "the service backend-api leads to 0 workloads",
        checks_objects.selectors,
        lambda one: spec(one, "Service", "backend-api")["selector"].update({"app.kubernetes.io/name": "backend-api"}),
    ),
    (
        "a port http that is not there",
        checks_objects.selectors,
        lambda one: container(one, "gateway")["ports"].clear(),
    ),
    ("no service for their names", checks_objects.selectors, lambda one: drop(one, "Service", "nats-peers")),
    (
        "lets no pod go",
        checks_objects.disruption,
        lambda one: spec(one, "PodDisruptionBudget", "nats").update(maxUnavailable=0),
    ),
    (
        "lets no pod go",
        checks_objects.disruption,
        lambda one: spec(one, "PodDisruptionBudget", "relay").update(minAvailable=2),
    ),
    (
        "longpoll has 0 disruption budgets",
        checks_objects.disruption,
        lambda one: drop(one, "PodDisruptionBudget", "longpoll"),
    ),
    (
        "has no target",
        checks_objects.scaling,
        lambda one: spec(one, "HorizontalPodAutoscaler", "tasks")["scaleTargetRef"].update(name="task"),
    ),
    ("has no target", checks_objects.scaling, lambda one: drop(one, "Deployment", "longpoll")),
    (
        "each apply would undo",
        checks_objects.scaling,
        lambda one: spec(one, "Deployment", "longpoll").update(replicas=3),
    ),
    (
        "goes from 1 to 8",
        checks_objects.scaling,
        lambda one: spec(one, "HorizontalPodAutoscaler", "tasks").update(minReplicas=1),
    ),
    (
        "measures what its target does not request",
        checks_objects.scaling,
        lambda one: container(one, "tasks")["resources"]["requests"].pop("cpu"),
    ),
    (
        "longpoll has more than one autoscaler",
        checks_objects.scaling,
        lambda one: spec(one, "HorizontalPodAutoscaler", "tasks")["scaleTargetRef"].update(name="longpoll"),
    ),
    (
        "has a secret: ROOTS_UID_KEY",
        checks_objects.secrecy,
        lambda one: data(one, "longpoll").update(ROOTS_UID_KEY="k" * 43),
    ),
    (
        "has a secret: ROOTS_NATS_URL",
        checks_objects.secrecy,
        lambda one: data(one, "broker").update(ROOTS_NATS_URL="nats://tasks:kSecret@nats:4222"),
    ),
    (
        "a secret in its manifest: ROOTS_NATS_PASSWORD",
        checks_objects.secrecy,
        lambda one: container(one, "relay")["env"].append({"name": "ROOTS_NATS_PASSWORD", "value": "kSecret"}),
    ),
    (
        "needs Secret/backend-keys todo",
        checks_objects.wired,
        lambda one: pod(one, "subscriptions")["volumes"][1]["projected"]["sources"][1]["secret"]["items"][0].update(
            key="todo"
        ),
    ),
    (
        "needs Secret/uid-keys key",
        checks_objects.wired,
        lambda one: pod(one, "longpoll")["volumes"][0]["projected"]["sources"][1]["secret"].update(name="uid-keys"),
    ),
    ("needs ConfigMap/policy", checks_objects.wired, lambda one: drop(one, "ConfigMap", "policy")),
    (
        "nobody reads ConfigMap/spare",
        checks_objects.wired,
        lambda one: one.objects.append({"kind": "ConfigMap", "metadata": {"name": "spare"}, "data": {}}),
    ),
    (
        "leads to subscriptions:backend-api",
        checks_objects.ways_in,
        lambda one: spec(one, "Ingress", "gateway")["rules"][0]["http"]["paths"][0]["backend"].update(
            service={"name": "subscriptions", "port": {"name": "backend-api"}}
        ),
    ),
    (
        "would end polls by a timeout",
        checks_objects.ways_in,
        lambda one: spec(one, "HTTPRoute", "gateway")["rules"][0].pop("timeouts"),
    ),
    (
        "leads to gateway:4021",
        checks_objects.ways_in,
        lambda one: spec(one, "HTTPRoute", "gateway")["rules"][0]["backendRefs"][0].update(port=4021),
    ),
    (
        "the gateway leads to the back-end API",
        checks_objects.ways_in,
        lambda one: data(one, "gateway").update(ROOTS_APP_UPSTREAM="backend-api:8004"),
    ),
    (
        "open to whoever reaches a node",
        checks_objects.ways_in,
        lambda one: spec(one, "Service", "backend-api").update(type="NodePort"),
    ),
    (
        "the service tasks leads to the back-end API",
        checks_objects.ways_in,
        lambda one: spec(one, "Service", "tasks")["ports"][0].update(targetPort="backend-api"),
    ),
    (
        "1 copies of each stream for 3 servers",
        checks_objects.jetstream,
        lambda one: data(one, "provision").update(ROOTS_NATS_REPLICAS="1"),
    ),
    (
        "the routes are",
        checks_objects.jetstream,
        add_two_servers,
    ),
    (
        "the log would fill 20Gi",
        checks_objects.jetstream,
        lambda one: data(one, "provision").update(ROOTS_EVENTS_MAX_BYTES=str(20 << 30)),
    ),
    (
        "does not fit into 20Gi",
        checks_objects.jetstream,
        lambda one: store_at_most(one, "19GB"),
    ),
    (
        "which is less than its log",
        checks_objects.jetstream,
        lambda one: store_at_most(one, "4GB"),
    ),
    (
        "certificate is not for the names",
        checks_objects.jetstream,
        lambda one: spec(one, "Certificate", "nats-server")["dnsNames"].pop(),
    ),
    ("nobody signs nats-server-tls", checks_objects.certified, lambda one: drop(one, "Issuer", "nats-authority")),
    (
        "the authority nats-authority has no certificate",
        checks_objects.certified,
        lambda one: drop(one, "Certificate", "nats-authority"),
    ),
    (
        "nobody shows nats-clients-tls",
        checks_objects.certified,
        lambda one: spec(one, "Certificate", "nats-client").update(secretName="nats-clients-tls"),
    ),
    ("nats's pods may all be on one node", checks_objects.spreading, let_servers_meet),
    (
        "may all be in one zone",
        checks_objects.spreading,
        lambda one: pod(one, "tasks").pop("topologySpreadConstraints"),
    ),
    (
        "gateway has no priority",
        checks_objects.spreading,
        lambda one: pod(one, "gateway").update(priorityClassName="root"),
    ),
    (
        "relay may have one pod only",
        checks_objects.spreading,
        lambda one: spec(one, "Deployment", "relay").pop("replicas"),
    ),
    ("does not find relay", checks_objects.watched, lambda one: container(one, "relay")["ports"].clear()),
    (
        "gives jobs other names",
        checks_objects.watched,
        lambda one: spec(one, "PodMonitor", "roots").pop("jobLabel"),
    ),
    (
        "would miss a last scrape",
        checks_objects.watched,
        lambda one: spec(one, "PodMonitor", "roots")["podMetricsEndpoints"][0].update(interval="30s"),
    ),
    (
        "does not find relay",
        checks_objects.watched,
        lambda one: relabel(one, "relay", "app.kubernetes.io/part-of"),
    ),
    (
        "the gateway can't resolve application",
        checks_network.names,
        lambda one: data(one, "gateway").update(ROOTS_APP_UPSTREAM="application:8000"),
    ),
    (
        "gateway needs longpoll:8008",
        checks_network.edges,
        lambda one: spec(one, "NetworkPolicy", "gateway")["egress"].pop(),
    ),
    (
        "gateway needs longpoll:8008",
        checks_network.edges,
        lambda one: spec(one, "NetworkPolicy", "gateway-upstreams")["podSelector"]["matchExpressions"][0][
            "values"
        ].remove("longpoll"),
    ),
    ("relay needs nats:4222", checks_network.edges, lambda one: relabel(one, "relay", "roots/nats")),
    ("relay needs elsewhere:5432", checks_network.edges, lambda one: relabel(one, "relay", "roots/postgres")),
    ("tasks needs elsewhere:53", checks_network.edges, lambda one: drop(one, "NetworkPolicy", "dns")),
    ("nats needs nats:6222", checks_network.edges, lambda one: drop(one, "NetworkPolicy", "nats-routes")),
    (
        "applications needs subscriptions:8004",
        checks_network.edges,
        lambda one: drop(one, "NetworkPolicy", "backend-api"),
    ),
    (
        "elsewhere may reach subscriptions:8004",
        checks_network.edges,
        lambda one: spec(one, "NetworkPolicy", "backend-api")["ingress"][0].pop("from"),
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
        lambda one: spec(one, "NetworkPolicy", "dns")["egress"][0]["ports"].append({"port": 443}),
    ),
    (
        "monitoring needs longpoll:9008",
        checks_network.edges,
        lambda one: drop(one, "NetworkPolicy", "metrics"),
    ),
    (
        "elsewhere may reach longpoll:8008",
        checks_network.edges,
        open_longpoll,
    ),
    (
        "is for no pod",
        checks_network.edges,
        lambda one: spec(one, "NetworkPolicy", "nats").update(podSelector={"matchLabels": {"a": "b"}}),
    ),
]
