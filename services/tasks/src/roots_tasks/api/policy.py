"""Who may read tasks and who may change them: `read` and `write` of `[apps.tasks]` of the policy file.

Without a file anyone may do everything, as in the tutorial. Each answer names the requester, and a request that names
somebody else is refused: a page keeps unsent changes, and another user may be signed in when they are sent.
Source: docs/operations.md, The policy file; docs/protocol.md, Tasks.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon

from roots.auth.authentication import Authenticator, check_permission
from roots.auth.cors import Cors
from roots.auth.policy import Policy, parse_policy
from roots.contracts.identity import Identity
from roots.http.web import Problem

APP = "tasks"
OPEN_POLICY = Policy(apps={})

IDENTITY_HEADER = "Roots-Identity"
NOBODY = "none"

_READING_METHODS = frozenset({"GET", "HEAD"})


class AuthMiddleware:
    """Falcon middleware: lets a request through when the policy allows its sender.

    `cors` is the middleware for pages of other origins, by the same policy.
    """

    def __init__(self, policy: Callable[[], Policy], authenticator: Authenticator) -> None:
        self._policy = policy
        self._authenticator = authenticator
        self.cors = Cors(lambda: policy().access)

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Let `req` through, and note its sender as `req.context.identity`. Errors: Problem 401, 403, 503."""
        # A browser sends a preflight request without a token.
        if req.method == "OPTIONS":
            return
        identity = req.context.identity = self._authenticator.authenticate(req)
        name = name_of(identity)
        resp.set_header(IDENTITY_HEADER, name)
        if req.get_header(IDENTITY_HEADER, default=name) != name:
            raise Problem(403, "Somebody else is signed in than this request is from.", reason="identity")
        app = self._policy().app(APP)
        check_permission(app.read if req.method in _READING_METHODS else app.write, identity)


def name_of(identity: Identity) -> str:
    """Return a name that identifies `identity` without showing its subject; NOBODY without a token."""
    if identity.subject is None:
        return NOBODY
    return hashlib.sha256(identity.subject.encode()).hexdigest()[:32]


def parse_task_policy(text: str, folder: Path) -> Policy:
    """Return the policy `text`, whose key files are in `folder`, without the keys of back ends. Errors: PolicyError."""
    return parse_policy(text, folder, needs_backend_keys=False)
