"""A scripted server that answers as Roots would, for tests of one client."""

import json
import ssl
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from cornelius import Dudley

UID_A, UID_B = "A" * 43, "B" * 43
CONNECTED = {"connected": ["tasks"], "refused": []}
REVISION = "1795000000000-7"


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


SUCCESS, ERROR = Scripted(200, b"{success:true}"), Scripted(200, b"{error:true}")
"""What the back-end API answers to commands, as in 2009."""


GRANTED, READ_REVISION = Scripted(200, CONNECTED), Scripted(200, {"revision": REVISION})
"""What the back-end API answers to `POST /v1/connect` and `GET /v1/revision`."""


REVOKED = Scripted(200, {"revoked": {"clients": 1, "paths": 2}})


def problem(status: int, detail: str = "because", headers: dict[str, str] | None = None, **members: Any) -> Scripted:
    """Return an error as Roots answers it."""
    body = {"type": "about:blank", "status": status, "detail": detail, **members}
    return Scripted(status, body, headers or {})


class Log:
    """What a back-end API stores: each id once, in the order in which it came."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[str, str]] = {}
        self.batch_sizes: list[int] = []

    @property
    def messages(self) -> list[str]:
        """The stored messages."""
        return [message for _, message in self.stored.values()]

    def publish(self, request: Request) -> Scripted:
        """Store, and answer as the back-end API does."""
        self.batch_sizes.append(len(request.body))
        for item in request.body:
            self.stored.setdefault(item["id"], (item["path"], item["message"]))
        seqs = list(self.stored)
        return Scripted(
            200, {"published": [{"path": item["path"], "seq": seqs.index(item["id"]) + 1} for item in request.body]}
        )

    def store_and_die(self, request: Request) -> Scripted:
        """Store, and give no answer."""
        self.publish(request)
        return CUT


Step = Scripted | Callable[[Request], Scripted]


class _Server(ThreadingHTTPServer):
    """Says nothing when a client hangs up, as clients do in these tests."""

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Do nothing."""


class ScriptedServer:
    """Gives one answer of `script` after the other, and keeps the requests; then it holds them."""

    def __init__(self, script: Iterable[Step], *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[tuple[str, int]] = set()
        self._script = iter(script)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls is not None:
            # The handshake is done by the thread that reads, so that a client that fails it stops no other.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

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
            protocol_version = "HTTP/1.1"
            # An answer is written in two parts; the second one must not wait for the first one's acknowledgement.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                script._answer(self)

            do_POST = do_DELETE = do_GET  # noqa: N815  # http.server's names

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        with self._lock:
            self.requests.append(Request(handler.command, handler.path, json.loads(body) if body else None))
            self.headers.append(dict(handler.headers))
            self.connections.add(handler.client_address)
            step = next(self._script, HELD)
            scripted = step if isinstance(step, Scripted) else step(self.requests[-1])
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


KEY = "k-of-todos"


def client_of(server: ScriptedServer, timeout_seconds: float = 20.0) -> Dudley:
    """Return a client of the scripted server."""
    return Dudley(url=server.url, key=KEY, timeout_seconds=timeout_seconds)
