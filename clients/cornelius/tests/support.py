"""A scripted server that answers as Roots would, for tests of one client."""

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

UID_A, UID_B = "A" * 43, "B" * 43
CONNECTED = {"connected": ["tasks"], "refused": []}


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    body: Any


class Scripted(NamedTuple):
    """An answer to give. Shape: body is sent as JSON, bytes as they are; None cuts the connection instead."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed


def polled(position: str, *updates: tuple[str, str], **members: Any) -> Scripted:
    """Return the answer to a poll."""
    told = [{"path": path, "message": message} for path, message in updates]
    return Scripted(200, {"updates": told, "reconnectWith": position, **members})


CUT = Scripted(0)
"""The server hangs up."""

HELD = Scripted(-1)
"""The server holds the request until it is closed."""


class ScriptedServer:
    """Gives one answer of `script` after the other, and keeps the requests."""

    def __init__(self, script: Sequence[Scripted]) -> None:
        self.requests: list[Request] = []
        self._script = iter(script)
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script._answer(self)

            do_POST = do_GET  # noqa: N815  # http.server's name

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        self.requests.append(Request(handler.command, handler.path, json.loads(body) if body else None))
        scripted = next(self._script, HELD)
        if scripted is HELD:
            self._closing.wait()
        if scripted in (HELD, CUT):
            handler.close_connection = True
            return
        content = scripted.body if isinstance(scripted.body, bytes) else json.dumps(scripted.body).encode()
        handler.send_response(scripted.status)
        for name, value in {**scripted.headers, "Content-Length": str(len(content))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)
