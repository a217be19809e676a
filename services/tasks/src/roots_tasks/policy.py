"""Who may read tasks and who may change them: `[apps.tasks]` of the policy file, and whose tokens are accepted.

The same file is read by subscriptions, which checks the rest of it. Without a file anyone may do everything, as in the
tutorial. A file without `read` or `write` lets anyone when it has no `[tokens]`, and who is signed in when it has.
Source: docs/operations.md, The policy file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon

from roots_common.access import EVERYONE_ANONYMOUS, Access, parse_access
from roots_common.authentication import Authenticator, check_permission
from roots_common.identity import ANYONE, SIGNED_IN, Audience
from roots_common.policy_file import PolicyError, parse_permission, parse_toml, with_line

APP = "tasks"

_READING_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPolicy:
    """Whose requests are accepted, who may read tasks, and who may change them."""

    access: Access
    read: Audience
    write: Audience


OPEN_POLICY = TaskPolicy(access=EVERYONE_ANONYMOUS, read=ANYONE, write=ANYONE)


class Guard:
    """Falcon middleware: lets a request through when the policy allows who sends it."""

    def __init__(self, policy: Callable[[], TaskPolicy], authenticator: Authenticator) -> None:
        self._policy = policy
        self._authenticator = authenticator

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Let `req` through, and note who sends it as `req.context.identity`. Errors: Problem 401, 403, 503."""
        # A question about what may be asked, which a browser sends without a token.
        if req.method == "OPTIONS":
            return
        identity = req.context.identity = self._authenticator.authenticate(req)
        policy = self._policy()
        check_permission(policy.read if req.method in _READING_METHODS else policy.write, identity)


def parse_task_policy(text: str, folder: Path) -> TaskPolicy:
    """Return what the policy `text`, whose key files are in `folder`, says about tasks. Errors: PolicyError."""
    document = parse_toml(text)
    try:
        access = parse_access(document, folder)
        has_tokens = access.tokens is not None
        app = _app_of(document)
        read, write = (
            parse_permission(app[key], place=f"apps.{APP}.{key}", has_tokens=has_tokens)
            if key in app
            else (SIGNED_IN if has_tokens else ANYONE)
            for key in ("read", "write")
        )
    except PolicyError as error:
        raise with_line(error, text) from error
    return TaskPolicy(access=access, read=read, write=write)


def _app_of(document: dict[str, Any]) -> dict[str, Any]:
    apps = document.get("apps", {})
    app: dict[str, Any] = apps.get(APP, {}) if isinstance(apps, dict) else apps
    if not isinstance(app, dict):
        raise PolicyError("it is a table", "apps" if app is apps else f"apps.{APP}")
    return app
