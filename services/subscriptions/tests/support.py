"""What the tests of subscriptions share: a real nats-server with clients, and the service as a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import urllib3
from nats.aio.client import Client
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import DEADLINE_SECONDS, stretched, wait_until

from roots.contracts.grant_records import GrantRecord
from roots.contracts.subjects import EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM, JETSTREAM_API
from roots.nats import broker
from roots_devstack.processes import ports
from roots_devstack.servers.broker import Broker, User

UID_KEY = "a key for tests, of 32 bytes or more"
KEY = "key-of-the-back-end-todos"
OTHER_KEY = "key-of-the-back-end-news"


async def serve_nothing(_client: Client) -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of the log."""

    seq: int
    subject: str
    data: bytes
    headers: dict[str, str]


@dataclass
class Nats:
    """A nats-server, and clients of it as any of its users; synchronous, the loop is a thread's."""

    loop: LoopThread
    server: Broker
    clients: dict[str, Client] = field(default_factory=dict)

    def config(self, user: User) -> broker.BrokerConfig:
        """Return how `user` connects."""
        return broker.BrokerConfig(url=self.server.url, user=user, password=self.server.password(user))

    def client(self, user: User) -> Client:
        """Return a client of `user`, always the same, once it is connected: also again, after an outage."""
        if user not in self.clients:
            self.clients[user] = self.loop.run(broker.connect(self.config(user)))
        client = self.clients[user]
        wait_until(lambda: client.is_connected)
        return client

    def publish_event(self, path: str = "tasks") -> int:
        """Store an event and return its sequence."""
        js = self.client("tasks").jetstream()
        return self.loop.run(js.publish(f"roots.events.{path}", b"{}", stream="ROOTS_EVENTS")).seq

    def events_end(self) -> int:
        """Return the sequence of the last event."""
        info = self.request("longpoll", f"{JETSTREAM_API}.STREAM.INFO.{EVENTS_STREAM}", {})
        return int(info["state"]["last_seq"])

    def events_after(self, seq: int) -> list[Event]:
        """Return every event behind `seq`, as they are stored."""
        js = self.client("longpoll").jetstream(prefix=JETSTREAM_API)
        stored = (self.loop.run(js.get_msg(EVENTS_STREAM, n)) for n in range(seq + 1, self.events_end() + 1))
        return [
            Event(seq=found.seq or 0, subject=found.subject or "", data=found.data or b"", headers=found.headers or {})
            for found in stored
        ]

    def events_epoch(self) -> int:
        """Return when the event stream was created, in milliseconds since 1970."""
        info = self.request("longpoll", f"{JETSTREAM_API}.STREAM.INFO.{EVENTS_STREAM}", {})
        return round(msgspec.convert(info["created"], datetime).timestamp() * 1000)

    def request(self, user: User, subject: str, body: object) -> Any:
        """Return the JSON answer to a JSON request."""
        message = self.loop.run(self.client(user).request(subject, json.dumps(body).encode(), timeout=stretched(10)))
        return json.loads(message.data)

    def put_raw(self, uid: str, data: bytes, headers: dict[str, Any] | None = None) -> int:
        """Store bytes as the record of `uid` and return their sequence."""
        js = self.client("subscriptions").jetstream()
        ack = self.loop.run(js.publish(f"{GRANTS_PREFIX}{uid}", data, stream=GRANTS_STREAM, headers=headers))
        return ack.seq

    def put(self, uid: str, record: GrantRecord) -> int:
        """Store a record and return its sequence."""
        return self.put_raw(uid, msgspec.json.encode(record))

    def stored(self, uid: str) -> dict[str, Any]:
        """Return the stored record of `uid` as longpoll would read it."""
        value: dict[str, Any] = json.loads(self.message(uid).data or b"null")
        return value

    def message(self, uid: str) -> Any:
        """Return the last message of the key `uid`. Errors: nats.js.errors.NotFoundError."""
        js = self.client("subscriptions").jetstream(prefix=JETSTREAM_API)
        return self.loop.run(js.get_msg(GRANTS_STREAM, subject=f"{GRANTS_PREFIX}{uid}", direct=False))

    def close(self) -> None:
        """Close every client."""
        for client in self.clients.values():
            self.loop.run(client.close())


class Service:
    """`python -m roots_subscriptions` as a process; what it logs goes to `log_file`."""

    def __init__(self, nats: Nats, folder: Path, **environment: str) -> None:
        self.port, self.admin_port, self.backend_api_port = ports.reserve(), ports.reserve(), ports.reserve()
        self.log_file = folder / "subscriptions.log"
        self.http = urllib3.PoolManager(retries=False, timeout=stretched(10), maxsize=32)
        self._is_terminated = False
        self._environment = {
            "PATH": os.environ["PATH"],
            "ROOTS_HTTP_PORT": str(self.port),
            "ROOTS_ADMIN_PORT": str(self.admin_port),
            "ROOTS_BACKEND_API_PORT": str(self.backend_api_port),
            "ROOTS_NATS_URL": nats.server.url,
            "ROOTS_NATS_PASSWORD": nats.server.password("subscriptions"),
            "ROOTS_UID_KEY": UID_KEY,
            "ROOTS_LOG_LEVEL": "debug",
            "ROOTS_DRAIN_LINGER_SECONDS": "0.1",
            **environment,
        }

    def __enter__(self) -> Self:
        with self.log_file.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "roots_subscriptions"], env=self._environment, stdout=log, stderr=log
            )
        wait_until(self.is_live)
        return self

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def __exit__(self, *_error: object) -> None:
        # Once: Python no longer handles a signal that comes while it ends.
        if not self._is_terminated:
            self.terminate()
        self.http.clear()
        assert self.wait() == 0, self.log_file.read_text()

    def terminate(self) -> None:
        """Ask it to stop, as a supervisor does."""
        self._is_terminated = True
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return its exit status."""
        return self._process.wait(stretched(DEADLINE_SECONDS))

    def kill(self) -> None:
        """End it as a power cut would, and start it again."""
        self._process.kill()
        self._process.wait(stretched(DEADLINE_SECONDS))
        self.http.clear()
        self.__enter__()

    def is_live(self) -> bool:
        """Tell whether its admin port answers."""
        try:
            return self.admin("/livez").status == 200
        except urllib3.exceptions.HTTPError:
            assert self._process.poll() is None, self.log_file.read_text()
            return False

    def is_ready(self) -> bool:
        """Tell whether every check holds."""
        return self.admin("/readyz").status == 200

    def admin(self, path: str) -> urllib3.BaseHTTPResponse:
        """GET `path` of the admin port."""
        return self.http.request("GET", f"http://127.0.0.1:{self.admin_port}{path}")

    def checks(self) -> dict[str, Any]:
        """Return the checks of /readyz."""
        checks: dict[str, Any] = self.admin("/readyz").json()["checks"]
        return checks

    def metric(self, line_start: str) -> float:
        """Return the value of the metric whose line starts so, 0 when it has none yet."""
        for line in self.admin("/metrics").data.decode().splitlines():
            if line.startswith(f"{line_start} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> urllib3.BaseHTTPResponse:
        """Send a request to the service's own port."""
        return self.http.request(method, f"http://127.0.0.1:{self.port}{path}", body=body, headers=headers)

    def connect(self, uid: str, *paths: str) -> urllib3.BaseHTTPResponse:
        """POST /tasks/connect/{uid}."""
        return self.request("POST", f"/tasks/connect/{uid}", json.dumps(paths).encode())

    def disconnect(self, uid: str, *paths: str) -> urllib3.BaseHTTPResponse:
        """POST /tasks/disconnect/{uid}."""
        return self.request("POST", f"/tasks/disconnect/{uid}", json.dumps(paths).encode())

    def backend_api(self, method: str, path: str, body: object = None, **headers: str) -> urllib3.BaseHTTPResponse:
        """Send a request to the back-end API; a body that is no bytes goes as JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.http.request(method, f"http://127.0.0.1:{self.backend_api_port}{path}", body=data, headers=headers)

    def publish(self, *messages: object, key: str = KEY, **headers: str) -> urllib3.BaseHTTPResponse:
        """POST /v1/publish with the key of the back end `todos`, or another."""
        return self.backend_api("POST", "/v1/publish", messages, Authorization=f"Bearer {key}", **headers)

    def audit_lines(self) -> list[dict[str, Any]]:
        """Return what the audit log has so far."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines()]
        return [line for line in lines if line["event"] == "backend_api_called"]
