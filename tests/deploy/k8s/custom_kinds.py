"""The shapes of the custom kinds, as far as the components use them: a field that is not here is a mistake.

Their own schemas come with what defines them (the Gateway API, the Prometheus Operator, KEDA, cert-manager), not with
Kubernetes.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .manifests import Object

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
Duration = Annotated[str, msgspec.Meta(pattern=r"^(\d+(h|m|s|ms))+$")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    pass


class ParentReference(_Strict):
    """The Gateway that a route hangs itself on."""

    name: Name
    namespace: Name | None = None


class PathMatch(_Strict):
    """A path that a route takes."""

    type: Literal["PathPrefix", "Exact"]
    value: str


class Match(_Strict):
    """Requests that a route takes."""

    path: PathMatch


class Timeouts(_Strict):
    """How long a route waits."""

    request: Duration
    backend_request: Duration | None = None


class Backend(_Strict):
    """The service that a route leads to."""

    name: Name
    port: Port


class RouteRule(_Strict):
    """One rule of a route."""

    matches: list[Match]
    backend_refs: list[Backend]
    timeouts: Timeouts | None = None


class HttpRoute(_Strict):
    """gateway.networking.k8s.io/v1 HTTPRoute."""

    parent_refs: list[ParentReference]
    rules: list[RouteRule]
    hostnames: list[str] = []


class Selector(_Strict):
    """Which pods a monitor looks at."""

    match_labels: dict[str, str]


class Endpoint(_Strict):
    """Where a pod has its figures."""

    port: str
    interval: Duration
    scrape_timeout: Duration


class PodMonitor(_Strict):
    """monitoring.coreos.com/v1 PodMonitor."""

    job_label: str
    selector: Selector
    pod_metrics_endpoints: list[Endpoint]


class Rule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An alert or a recording rule, as Prometheus has them."""

    expr: str
    alert: str | None = None
    record: str | None = None
    for_: Duration | None = msgspec.field(default=None, name="for")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RuleGroup(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Rules that are worked out together."""

    name: str
    interval: Duration | None = None
    rules: list[Rule]


class PrometheusRule(_Strict):
    """monitoring.coreos.com/v1 PrometheusRule."""

    groups: list[RuleGroup]


class ScaleTarget(_Strict):
    """What is scaled: a Deployment, unless a kind is named."""

    name: Name


class Behavior(_Strict):
    """How an autoscaler goes about it, as a HorizontalPodAutoscaler has it."""

    scale_down: dict[str, object]


class AutoscalerConfig(_Strict):
    """What KEDA puts into its autoscaler."""

    behavior: Behavior


class Advanced(_Strict):
    """More of KEDA's."""

    horizontal_pod_autoscaler_config: AutoscalerConfig


class PrometheusTrigger(_Strict, tag_field="type", tag="prometheus"):
    """Scales by a query. KEDA takes texts only."""

    metadata: dict[Literal["serverAddress", "query", "threshold"], str]


class CpuTrigger(_Strict, tag_field="type", tag="cpu"):
    """Scales by the CPU."""

    metric_type: Literal["Utilization", "AverageValue"]
    metadata: dict[Literal["value"], str]


class ScaledObject(_Strict):
    """keda.sh/v1alpha1 ScaledObject. Not with `fallback`, which KEDA refuses beside a trigger by CPU."""

    scale_target_ref: ScaleTarget
    min_replica_count: Count
    max_replica_count: Count
    advanced: Advanced
    triggers: list[PrometheusTrigger | CpuTrigger]


class IssuerReference(_Strict):
    """Who signs."""

    name: Name
    kind: Literal["Issuer", "ClusterIssuer"]


class PrivateKey(_Strict):
    """The key of a certificate."""

    algorithm: Literal["ECDSA", "RSA", "Ed25519"]
    size: Count


class Certificate(_Strict):
    """cert-manager.io/v1 Certificate."""

    secret_name: Name
    duration: Duration
    private_key: PrivateKey
    issuer_ref: IssuerReference
    renew_before: Duration | None = None
    is_ca: bool = msgspec.field(default=False, name="isCA")
    common_name: str | None = None
    dns_names: list[str] = []
    usages: list[Literal["digital signature", "server auth", "client auth"]] = []


class CaIssuer(_Strict):
    """Signs with what a secret has."""

    secret_name: Name


class Issuer(_Strict):
    """cert-manager.io/v1 Issuer."""

    self_signed: dict[str, str] | None = None
    ca: CaIssuer | None = None


SHAPES: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): HttpRoute,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("cert-manager.io/v1", "Certificate"): Certificate,
    ("cert-manager.io/v1", "Issuer"): Issuer,
}


def misshapen(objects: list[Object]) -> Iterator[str]:
    """Yield which objects of custom kinds have not the shape of their kind."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        shape = SHAPES.get((found["apiVersion"], found["kind"]))
        if shape is None:
            yield f"{name} has a kind that is not known: {found['apiVersion']}"
            continue
        try:
            msgspec.convert(found["spec"], shape)
        except msgspec.ValidationError as error:
            yield f"{name}: {error}"
