"""Each check complains when a manifest is broken: what a check has never been seen to refuse, it does not check."""

from copy import deepcopy

import pytest

from . import broken_objects, broken_pods
from .breaking import Break
from .conftest import Build
from .manifests import Manifests
from .test_manifests import Check

BROKEN = [*broken_pods.BROKEN, *broken_objects.BROKEN]


@pytest.mark.parametrize(
    ("complaint", "check", "break_it"), BROKEN, ids=[f"{check.__name__}: {words}" for words, check, _ in BROKEN]
)
def test_check_complains_when_a_manifest_is_broken(build: Build, complaint: str, check: Check, break_it: Break) -> None:
    """The whole production system, broken in one place, is refused with a sentence for it."""
    broken = Manifests(deepcopy(build("production-checked").objects))

    break_it(broken)

    assert any(complaint in sentence for sentence in check(broken)), list(check(broken))
