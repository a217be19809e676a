"""Lets pages of the policy's `origins` read answers and ask for changes; pages of other origins get no such header.

The headers are on every answer, refusals included, so that a page can distinguish a refusal from a network error. What
longpoll answers is governed by ROOTS_CORS_ORIGINS. Source: docs/protocol.md, Pages of other origins.
"""

from collections.abc import Callable

import falcon

from roots.auth.access import Access

# A preflight is asked again after two hours, as for polls.
MAX_AGE_SECONDS = 7200
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Traceparent, Tracestate"
# What a page can't read otherwise: the Fetch standard exposes a few harmless headers only.
EXPOSED_HEADERS = "ETag, Link, Location, Retry-After, WWW-Authenticate"


class Cors:
    """Falcon middleware. Shape: `access` returns the origins and the tokens of the policy in force."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        _resource: object,
        _ok: bool,  # noqa: FBT001  # Falcon calls it so
    ) -> None:
        """Add the headers that the request's origin is due."""
        access = self._access()
        if not access.origins:
            return
        # Also without an Origin: a cache must not give that answer to a page.
        resp.append_header("Vary", "Origin")
        origin = req.get_header("Origin")
        if origin not in access.origins:
            return
        resp.set_header("Access-Control-Allow-Origin", origin)
        if access.tokens is not None and access.tokens.cookie is not None:
            resp.set_header("Access-Control-Allow-Credentials", "true")
        if req.method != "OPTIONS":
            resp.set_header("Access-Control-Expose-Headers", EXPOSED_HEADERS)
        elif req.get_header("Access-Control-Request-Method") is not None:
            resp.set_header("Access-Control-Allow-Methods", resp.get_header("Allow", default=""))
            resp.set_header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
            resp.set_header("Access-Control-Max-Age", str(MAX_AGE_SECONDS))
