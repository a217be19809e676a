"""Every core kind is what the API takes, with no field that it does not know: of 1.31, and of the newest release."""

import json
from collections.abc import Iterator
from copy import deepcopy

import kubernetes_validate
import pytest

from .conftest import OVERLAYS, Build
from .custom_kinds import SHAPES, misshapen
from .manifests import Object

OLDEST = "1.31"
NEWEST = kubernetes_validate.latest_version()
CUSTOM_GROUPS = {version.partition("/")[0] for version, _ in SHAPES}


def mistakes(objects: list[Object], version: str) -> Iterator[str]:
    """Yield what the API of `version` would not take."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{name} has a kind that {version} does not know"


@pytest.fixture(scope="module")
def everything(build: Build) -> list[Object]:
    """Return every object that any of the builds has, once."""
    built = [found for name in OVERLAYS for found in build(name).objects]
    return list({json.dumps(found, sort_keys=True): found for found in built}.values())


@pytest.fixture(scope="module")
def objects(everything: list[Object]) -> list[Object]:
    """Return those of core kinds."""
    return [found for found in everything if found["apiVersion"].partition("/")[0] not in CUSTOM_GROUPS]


@pytest.fixture(scope="module")
def custom(everything: list[Object]) -> list[Object]:
    """Return those of custom kinds."""
    return [found for found in everything if found["apiVersion"].partition("/")[0] in CUSTOM_GROUPS]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_objects_are_taken_when_validated_strictly(objects: list[Object], version: str) -> None:
    """The API of both releases takes every object as it is."""
    assert [] == list(mistakes(objects, version))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_field_is_refused_when_the_api_does_not_know_it(objects: list[Object], version: str) -> None:
    """A misspelt field, a wrong type and a kind of another version are each told."""
    job = next(found for found in objects if found["kind"] == "Job")
    misspelt = job | {"spec": job["spec"] | {"backOffLimit": 3}}
    mistyped = job | {"spec": job["spec"] | {"backoffLimit": "3"}}
    outdated = job | {"apiVersion": "batch/v1beta1"}

    told = [list(mistakes([wrong], version)) for wrong in (misspelt, mistyped, outdated)]

    assert [1, 1, 1] == [len(found) for found in told]


def test_custom_objects_have_their_shape_when_built(custom: list[Object]) -> None:
    """Every custom kind is used, in the version that is known here, with known fields of the right types only."""
    assert {(found["apiVersion"], found["kind"]) for found in custom} == set(SHAPES)
    assert [] == list(misshapen(custom))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("HTTPRoute", ("rules", 0, "timeouts", "requests"), "0s"),
        ("HTTPRoute", ("rules", 0, "backendRefs", 0, "port"), "http"),
        ("PodMonitor", ("podMetricsEndpoints", 0, "interval"), "5 seconds"),
        ("PrometheusRule", ("groups", 0, "rules", 0, "alerts"), "Down"),
        ("ScaledObject", ("triggers", 0, "metadata", "threshold"), 30000),
        ("ScaledObject", ("triggers", 1, "type"), "prometheus"),
        ("ScaledObject", ("fallback",), {"failureThreshold": 5, "replicas": 6}),
        ("Certificate", ("usages",), ["server authentication"]),
        ("Certificate", ("issuerRef", "kind"), "issuer"),
        ("Issuer", ("ca",), {"secret": "nats-authority"}),
    ],
)
def test_custom_object_is_refused_when_it_is_misshapen(
    custom: list[Object], kind: str, path: tuple[str | int, ...], value: object
) -> None:
    """A misspelt field, a wrong type and a value that the kind does not have are each told."""
    broken = deepcopy(next(found for found in custom if found["kind"] == kind))
    place = broken["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    assert 1 == len(list(misshapen([broken])))


def test_custom_object_is_refused_when_its_version_is_another(custom: list[Object]) -> None:
    """A version of a custom kind that nobody looked at is told."""
    outdated = custom[0] | {"apiVersion": custom[0]["apiVersion"].replace("/v1", "/v1beta1")}

    assert 1 == len(list(misshapen([outdated])))
