"""The tutorial's pages under /todos, and what they load: files of the folder that roots_devstack.assets makes.

Owns nothing: each request reads its file, so a changed page is there at the next reload. Files are few and small.
Promises: only names of a fixed form are served, so no path leads out of the folder or to a hidden file.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import falcon

from roots.http.web import Problem

PREFIX = re.compile(r"/todos(?=/|\Z)")

_METHODS = ["GET", "HEAD"]
_PAGES = {"/todos": "/todos/index.html", "/todos/inspect": "/todos/inspect.html"}
_FILE = re.compile(r"/(?P<name>todos/(?:assets/|pomona/)?[A-Za-z0-9_-][A-Za-z0-9_.-]*)")
_HASHED = re.compile(r"/todos/assets/[^/]+\.[0-9a-f]{12}\.[a-z]+")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Pages:
    """Falcon sink for the paths of `PREFIX`, by the files of `folder`. Everyone may read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, req: falcon.Request, resp: falcon.Response, **_groups: Any) -> None:
        """Answer with a file, or that the client has it already. Errors: Problem 404 and 405."""
        resp.set_headers(_HEADERS)
        resp.cache_control = ["no-store"]
        if req.method not in _METHODS:
            raise falcon.HTTPMethodNotAllowed(_METHODS)
        path = _PAGES.get(req.path, req.path)
        content = self._read(path)
        # A hashed name identifies the content, so it is cached for good; other files are requested each time.
        resp.cache_control = ["public, max-age=31536000, immutable"] if _HASHED.fullmatch(path) else ["no-cache"]
        resp.etag = etag = hashlib.sha256(content).hexdigest()[:16]
        if any(known in {"*", etag} for known in req.if_none_match or []):
            resp.status = falcon.HTTP_304
            return
        resp.content_type = _TYPES.get(Path(path).suffix, "application/octet-stream")
        resp.data = content

    def _read(self, path: str) -> bytes:
        if (found := _FILE.fullmatch(path)) is not None:
            try:
                return (self._folder / found["name"]).read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                pass
        raise Problem(404, "There is no such page.")
