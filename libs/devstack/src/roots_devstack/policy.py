"""The policy of a stack whose caller names none: the tutorial's application, and a back end with a key of its own."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from roots_devstack.keys import Keys

VARIABLE = "ROOTS_POLICY"
KEY_NAME = "backend-todos"
"""The key of the back end `todos`, among the stack's secrets."""

_NAME = "policy.toml"


def settings(home: Path, extra_env: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that names the policy of `home`, which is made when it is not there.

    It is empty when the caller names a policy, in `extra_env` or in this process's environment.
    """
    if {VARIABLE, f"{VARIABLE}_FILE"} & (extra_env.keys() | os.environ.keys()):
        return {}
    Keys(home / "secrets").get(KEY_NAME)
    path = home / _NAME
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.write_text((resources.files("roots_devstack") / _NAME).read_text(encoding="utf-8"), encoding="utf-8")
        unfinished.replace(path)
    return {VARIABLE: str(path)}
