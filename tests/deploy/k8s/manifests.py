"""What kustomize makes of deploy/k8s, as objects that can be asked: workloads, their environment, their files.

`render` runs the real kustomize; everything else only reads.
"""

import base64
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.testkit.deadlines import stretched

Object = dict[str, Any]
Labels = Mapping[str, str]

# How pods are made: where their template is.
RUNNING = ("Deployment", "StatefulSet")
WORKLOADS = (*RUNNING, "Job")


def render(kustomize: Sequence[str], folder: Path) -> "Manifests":
    """Return what kustomize builds from `folder`. Errors: CalledProcessError, with kustomize's own words."""
    built = subprocess.run([*kustomize, str(folder)], check=True, capture_output=True, text=True, timeout=stretched(60))
    return Manifests([found for found in yaml.load_all(built.stdout, Loader=yaml.CSafeLoader) if found])


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Tell whether a label selector of the API selects what has `labels`; an empty one selects everything."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions", [])
    )


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    if expression["operator"] != "In":
        raise NotImplementedError(f"{expression['operator']} in a selector")
    return labels.get(expression["key"]) in expression["values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something that makes pods, and the pod that it makes."""

    kind: str
    name: str
    spec: Object

    @property
    def labels(self) -> Labels:
        """The labels of its pods."""
        labels: Labels = self.spec["template"]["metadata"].get("labels", {})
        return labels

    @property
    def pod(self) -> Object:
        """The specification of its pods."""
        pod: Object = self.spec["template"]["spec"]
        return pod

    @property
    def containers(self) -> list[Object]:
        """Every container of its pods."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def main(self) -> Object:
        """The container that the workload is named after."""
        return next(container for container in self.containers if container["name"] == self.name)

    @property
    def ports(self) -> dict[str, int]:
        """The ports of its pods, by name."""
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}


class Manifests:
    """The objects of one build."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, *kinds: str) -> list[Object]:
        """Return the objects of these kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    def find(self, kind: str, name: str) -> Object | None:
        """Return one object, if there is one."""
        return next((found for found in self.of(kind) if found["metadata"]["name"] == name), None)

    def get(self, kind: str, name: str) -> Object:
        """Return one object. Errors: KeyError."""
        found = self.find(kind, name)
        if found is None:
            raise KeyError(f"{kind}/{name}")
        return found

    @property
    def workloads(self) -> list[Workload]:
        """Everything that makes pods."""
        return [
            Workload(kind=found["kind"], name=found["metadata"]["name"], spec=found["spec"])
            for found in self.of(*WORKLOADS)
        ]

    def workload(self, name: str) -> Workload:
        """Return one of them."""
        return next(workload for workload in self.workloads if workload.name == name)

    def selected_by(self, selector: Mapping[str, Any]) -> list[Workload]:
        """Return the workloads whose pods a selector selects."""
        return [workload for workload in self.workloads if selects(selector, workload.labels)]

    def behind(self, service: str) -> list[tuple[Workload, int]]:
        """Return the workloads that a service leads to, and the port of their pods, for each of its ports."""
        spec = self.get("Service", service)["spec"]
        return [
            (workload, workload.ports[port["targetPort"]])
            for workload in self.selected_by({"matchLabels": spec["selector"]})
            for port in spec["ports"]
        ]

    def env(self, container: Object) -> dict[str, str]:
        """Return a container's environment; what comes from a secret or the pod itself is its name in angle brackets.

        References to other variables, `$(NAME)`, are left as they are.
        """
        env: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found = self.find("ConfigMap", source["configMapRef"]["name"])
            env |= {} if found is None else found["data"]
        for variable in container.get("env", []):
            origin = variable.get("valueFrom")
            env[variable["name"]] = variable["value"] if origin is None else f"<{next(iter(origin))}>"
        return env

    def files(self, workload: Workload, container: Object) -> dict[str, str]:
        """Return the texts of the files that a container finds; of a secret that is made elsewhere, its key's name."""
        volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
        return {
            f"{mount['mountPath']}/{path}": text
            for mount in container.get("volumeMounts", [])
            for path, text in self._files_of(volumes.get(mount["name"], {}))
        }

    def _files_of(self, volume: Object) -> Iterator[tuple[str, str]]:
        for source in [*volume.get("projected", {}).get("sources", []), volume]:
            for kind, key in (("ConfigMap", "configMap"), ("Secret", "secret")):
                if key in source:
                    yield from self._texts(kind, source[key])

    def _texts(self, kind: str, source: Object) -> Iterator[tuple[str, str]]:
        found = self.find(kind, source.get("secretName") or source["name"])
        data = {} if found is None else decoded(found)
        items = source.get("items") or [{"key": key, "path": key} for key in data or ("ca.crt", "tls.crt", "tls.key")]
        for item in items:
            yield item["path"], data.get(item["key"], item["key"])


def decoded(found: Object) -> dict[str, str]:
    """Return the data of a ConfigMap or a Secret as texts."""
    data = found.get("data", {})
    if found["kind"] == "Secret":
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return dict(data)


def references(found: Any) -> Iterator[tuple[str, str, str | None]]:
    """Yield what an object refers to, anywhere in it: ConfigMap or Secret, its name, and the key if it names one."""
    if isinstance(found, list):
        for one in found:
            yield from references(one)
    if not isinstance(found, dict):
        return
    for key, value in found.items():
        kind = {"configMap": "ConfigMap", "configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap"}.get(key)
        if key in ("secret", "secretRef", "secretKeyRef"):
            kind = "Secret"
        if kind is None:
            yield from references(value)
            continue
        name = value.get("secretName") or value["name"]
        keys = [value.get("key"), *(item["key"] for item in value.get("items", []))]
        yield from ((kind, name, one) for one in keys if one is not None or len(keys) == 1)


def bytes_of(quantity: str) -> int:
    """Return a quantity of memory or storage as a number of bytes."""
    units = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    found = re.fullmatch(r"(\d+)([KMG]iB?)?", quantity)
    if found is None:
        raise ValueError(f"{quantity} is no quantity that is known here")
    return int(found[1]) * units[found[2] or ""]
