"""An HttpServer to attack, and what speaks to it in raw bytes."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import falcon
from tests.testkit.deadlines import stretched

from roots.http import web
from roots.http.server import HttpServer


class Slow:
    """A resource whose answer waits until the test lets it go."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.released = threading.Event()

    def on_get(self, _req: falcon.Request, resp: falcon.Response, **_params: str) -> None:
        """Answer when released."""
        self.started.release()
        self.released.wait(stretched(10))
        resp.media = {"answer": "x" * 100_000}

    def on_post(self, req: falcon.Request, resp: falcon.Response, **_params: str) -> None:
        """Answer with the body's length."""
        resp.media = {"items": len(web.read_json(req, list[int]))}


class Large:
    """A resource whose answer is larger than what the kernel keeps for a client that reads nothing."""

    BYTES = 8 << 20

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at once."""
        resp.data = bytes(self.BYTES)


@contextmanager
def serving(slow: Slow | None = None, **bounds: int) -> Iterator[HttpServer]:
    """Yield a running server with the resources `/echo`, which is `slow`, and `/large`."""
    app = web.create_app()
    app.add_route("/echo", slow or Slow())
    app.add_route("/large", Large())
    server = HttpServer(app, host="127.0.0.1", port=0, **{"threads": 4, **bounds})
    server.start()
    try:
        yield server
    finally:
        server.close()


def connect(server: HttpServer, begin: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection from the address `source` on which `begin` was sent."""
    address = ("127.0.0.1", server.port)
    connection = socket.create_connection(address, timeout=stretched(20), source_address=(source, 0))
    connection.sendall(begin)
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection, however it does that."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def post(server: HttpServer) -> int:
    """Return the status of one honest request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=stretched(20))
    try:
        connection.request("POST", "/echo", b"[1]")
        return connection.getresponse().status
    finally:
        connection.close()
