"""The environment of the processes that this stack starts."""

import os
from collections.abc import Mapping


def bare(settings: Mapping[str, str]) -> dict[str, str]:
    """Return `settings` and the search path: a store must not be changed by variables that the caller has for it."""
    return {"PATH": os.environ.get("PATH", os.defpath), **settings}


def inherited(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `settings` in it.

    A variable that is set here may not come from a file as well: `NAME_FILE` of the caller gives way.
    """
    hidden = {f"{name}_FILE" for name in settings}
    return {name: value for name, value in os.environ.items() if name not in hidden} | dict(settings)
