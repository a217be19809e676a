"""SIGTERM: the service turns unready, answers what it has accepted, and exits 0."""

import json
import socket
from pathlib import Path

from tests.testkit.deadlines import stretched, wait_until

from roots_devstack.processes import ports

from .support import Nats, Service


def test_request_under_way_is_answered_when_the_service_stops(nats: Nats, tmp_path: Path, uid: str) -> None:
    """I8: a request whose body is still on its way at SIGTERM is granted and answered, and the process exits 0."""
    body = json.dumps(["tasks"]).encode()
    head = f"POST /tasks/connect/{uid} HTTP/1.1\r\nHost: roots\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with Service(nats, tmp_path) as service:
        wait_until(service.is_ready)
        with socket.create_connection(("127.0.0.1", service.port), timeout=stretched(10)) as connection:
            connection.sendall(head + body[:4])
            # Both are served by one loop, in order: an answer to a later request means that the head has been read.
            assert 404 == service.request("GET", "/").status
            service.terminate()
            # The process is unready first, and drains its servers a moment later.
            wait_until(lambda: ports.is_free(service.port))
            connection.sendall(body[4:])
            answer = connection.makefile("rb").read()
        assert 0 == service.wait()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert {"tasks"} == set(nats.stored(uid)["paths"])


def test_service_stops_at_once_when_nats_was_never_there(own_nats: Nats, tmp_path: Path) -> None:
    """A process that still waits for NATS does not wait at its end."""
    with Service(own_nats, tmp_path) as service:
        service.terminate()
        assert 0 == service.wait()
    assert '"drained": true' in service.log_file.read_text()
