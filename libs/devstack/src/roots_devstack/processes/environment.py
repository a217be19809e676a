"""The environment of the processes that this stack starts: what the user has set, and what the stack has chosen."""

import os
from collections.abc import Collection, Iterable, Mapping

_PREFIX = "ROOTS_"


def bare(settings: Mapping[str, str]) -> dict[str, str]:
    """Return `settings` and the search path: a store must not be changed by variables that the caller has for it."""
    return {"PATH": os.environ.get("PATH", os.defpath), **settings}


def of_user(extra_env: Mapping[str, str]) -> dict[str, str]:
    """Return what the user has set: this process's environment, with `extra_env` as if the user had set that too."""
    return over(os.environ, extra_env)


def inherited(
    chosen: Mapping[str, str], extra_env: Mapping[str, str] | None = None, *, without: Collection[str] = ()
) -> dict[str, str]:
    """Return what the user has set, with what the stack has `chosen` in it, and nothing else of `without`."""
    kept = {
        name: value for name, value in of_user(extra_env or {}).items() if name.removesuffix("_FILE") not in without
    }
    return over(kept, chosen)


def unused(extra_env: Mapping[str, str], environments: Iterable[Mapping[str, str]]) -> list[str]:
    """Return which settings of the user do not reach a process, because the stack has chosen that itself."""
    found = list(environments)
    return sorted(
        name
        for name, value in of_user(extra_env).items()
        if name.startswith(_PREFIX) and any(env.get(name) != value for env in found)
    )


def over(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """Return both. A variable that is set `above` may not come from a file as well: `NAME_FILE` of below gives way."""
    hidden = {f"{name}_FILE" for name in above} | {name.removesuffix("_FILE") for name in above}
    return {name: value for name, value in below.items() if name not in hidden} | dict(above)
