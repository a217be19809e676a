"""Every core kind is what the API takes, with no field that it does not know: of 1.31, and of the newest release."""

import json
from collections.abc import Iterator

import kubernetes_validate
import pytest

from .conftest import OVERLAYS, Build
from .manifests import Object

OLDEST = "1.31"
NEWEST = kubernetes_validate.latest_version()
# Kinds that are no part of Kubernetes; test_components.py looks at them.
CUSTOM_GROUPS = {"gateway.networking.k8s.io", "monitoring.coreos.com", "keda.sh", "cert-manager.io"}


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
def objects(build: Build) -> list[Object]:
    """Return every object of a core kind that any of the builds has, once."""
    built = [found for name in OVERLAYS for found in build(name).objects]
    distinct = {json.dumps(found, sort_keys=True): found for found in built}
    return [found for found in distinct.values() if found["apiVersion"].partition("/")[0] not in CUSTOM_GROUPS]


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
