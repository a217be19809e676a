"""What the tests of tasks share: databases, the event stream, and the commands as processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import psycopg
import urllib3
from nats.aio.client import Client
from nats.js.api import DiscardPolicy
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import DEADLINE_SECONDS, stretched, wait_until
from tests.testkit.faults import crash, send_all

from roots.contracts.events import EVENT_ID_HEADER
from roots.contracts.subjects import EVENTS_STREAM, JETSTREAM_API, subject_of
from roots.nats import broker
from roots_devstack.processes import ports
from roots_devstack.servers.broker import Broker, User


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Let processes stand still meanwhile."""
    send_all(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send_all(pids, signal.SIGCONT)


class Sql:
    """A connection of the test's own to its database, in autocommit mode, as the database's owner.

    Shape: url is where the services find the database, with a role that may do less; by default it is the owner's.
    """

    def __init__(self, owner_url: str, url: str | None = None) -> None:
        self.owner_url = owner_url
        self.url = owner_url if url is None else url
        self.connection = psycopg.connect(owner_url, autocommit=True)

    def another(self) -> "Sql":
        """Open another connection of the same kind."""
        return Sql(self.owner_url, self.url)

    def rows(self, query: bytes, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, or none for a statement that has none."""
        cursor = self.connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, query: bytes, *values: object) -> Any:
        """Return the one value of a query."""
        return self.rows(query, *values)[0][0]

    def count_outbox(self) -> int:
        """Return how many events wait."""
        return int(self.value(b"SELECT count(*) FROM outbox"))

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages in the outbox, in order."""
        return [json.loads(message) for (message,) in self.rows(b"SELECT message FROM outbox ORDER BY id")]

    def is_waiting_for_lock(self) -> bool:
        """Tell whether a session of this database waits for a lock."""
        query = b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(self.value(query)) > 0

    def backends(self, application_name: str) -> list[int]:
        """Return the process ids of the sessions of one application."""
        query = b"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
        return [pid for (pid,) in self.rows(query, application_name)]

    def terminate_others(self, application_name: str) -> int:
        """End the sessions of one application, and see them gone; return how many there were."""
        query = b"""
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = %s
        """
        return len(self.rows(query, application_name))


class Nats:
    """A nats-server, and a client that may read its event stream; synchronous, the loop is a thread's."""

    def __init__(self, loop: LoopThread, server: Broker) -> None:
        self._loop = loop
        self.server = server
        self._client: Client | None = None

    def config(self, user: User) -> broker.BrokerConfig:
        """Return how `user` connects."""
        return broker.BrokerConfig(url=self.server.url, user=user, password=self.server.password(user))

    def start(self) -> None:
        """Start the server, on the same port as before."""
        self._loop.run(self.server.start())

    def provision(self) -> None:
        """Create the stream and the bucket."""
        self._loop.run(self.server.provision())

    def kill(self) -> None:
        """Kill the server as a power cut would."""
        self._loop.run(crash(self.server))

    def publish(self, path: str, message: bytes, event_id: str) -> None:
        """Store an event as the relay would."""
        self._loop.run(self._publish(subject_of(path), message, event_id))

    def forbid_batches(self) -> None:
        """Make the stream one that takes events one by one only."""
        self._loop.run(self._change_stream(allow_atomic=False))

    def refuse_events(self) -> None:
        """Make the stream one that has no room for any event, until it is provisioned again."""
        self._loop.run(self._change_stream(max_bytes=64, discard=DiscardPolicy.NEW))

    def freeze(self) -> None:
        """Let the server stand still, so that it takes what is sent and answers nothing."""
        for server in self.server.servers:
            server.process.kill(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the server go on."""
        for server in self.server.servers:
            server.process.kill(signal.SIGCONT)

    def last_sequence(self) -> int:
        """Return the sequence of the newest event, 0 when there is none."""
        info = self._loop.run(self._reader().jetstream(prefix=JETSTREAM_API).stream_info(EVENTS_STREAM))
        return int(info.state.last_seq)

    def events(self, after: int) -> list[Any]:
        """Return the stored events whose sequence is above `after`, with data and headers."""
        js = self._reader().jetstream(prefix=JETSTREAM_API)
        sequences = range(after + 1, self.last_sequence() + 1)
        return [self._loop.run(js.get_msg(EVENTS_STREAM, seq=seq, direct=True)) for seq in sequences]

    def messages(self, after: int) -> list[dict[str, Any]]:
        """Return the messages of `events`."""
        return [json.loads(event.data) for event in self.events(after)]

    def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            self._loop.run(self._client.close())

    async def _publish(self, subject: str, message: bytes, event_id: str) -> None:
        client = await broker.connect(self.config("tasks"))
        await client.jetstream().publish(subject, message, headers={EVENT_ID_HEADER: event_id})
        await client.close()

    async def _change_stream(self, **settings: Any) -> None:
        client = await broker.connect(self.config("provision"))
        js = client.jetstream()
        await js.update_stream((await js.stream_info(EVENTS_STREAM)).config.evolve(**settings))
        await client.close()

    def _reader(self) -> Client:
        """Return the client once it is connected: also again, after an outage."""
        if self._client is None:
            self._client = self._loop.run(broker.connect(self.config("longpoll")))
        client = self._client
        wait_until(lambda: client.is_connected)
        return client


class Command:
    """`python -m roots_tasks serve` or `relay` as a process; what it logs goes to `log_file`."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        self.port, self.admin_port = ports.reserve(), ports.reserve()
        self.log_file = folder / f"{name}-{self.port}.log"
        self.http = urllib3.PoolManager(retries=False, timeout=stretched(15), maxsize=32)
        self._name = name
        self._environment = {
            "PATH": os.environ["PATH"],
            "ROOTS_HTTP_PORT": str(self.port),
            "ROOTS_ADMIN_PORT": str(self.admin_port),
            "ROOTS_LOG_LEVEL": "debug",
            "ROOTS_DRAIN_LINGER_SECONDS": "0.1",
            **environment,
        }

    def __enter__(self) -> Self:
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "roots_tasks", self._name], env=self._environment, stdout=log, stderr=log
            )
        wait_until(self.is_live)
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.clear()
        if self.process.poll() is None:
            assert self.stop() == 0, self.log()

    def stop(self) -> int:
        """Ask it to stop, as a supervisor does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(stretched(DEADLINE_SECONDS))

    def kill(self) -> None:
        """End it without a chance to do anything more."""
        self.process.kill()
        self.process.wait(stretched(DEADLINE_SECONDS))

    def log(self) -> str:
        """Return all that it has logged."""
        return self.log_file.read_text()

    def is_live(self) -> bool:
        """Tell whether its admin port answers."""
        try:
            return self.admin("/livez").status == 200
        except urllib3.exceptions.HTTPError:
            assert self.process.poll() is None, self.log()
            return False

    def is_ready(self) -> bool:
        """Tell whether every check holds."""
        return self.admin("/readyz").status == 200

    def check(self, name: str) -> tuple[bool, str]:
        """Return one check of /readyz: whether it holds, and its sentence."""
        check = self.admin("/readyz").json()["checks"][name]
        return check["ok"], check["detail"]

    def admin(self, path: str) -> urllib3.BaseHTTPResponse:
        """GET `path` of the admin port."""
        return self.http.request("GET", f"http://127.0.0.1:{self.admin_port}{path}")

    def metric(self, line_start: str) -> float:
        """Return the value of the metric whose line starts so, 0 when it has none yet."""
        for line in self.admin("/metrics").data.decode().splitlines():
            if line.startswith(f"{line_start} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def request(self, method: str, path: str, body: object = None, **headers: str) -> urllib3.BaseHTTPResponse:
        """Send a request to the API, with `body` as JSON."""
        data = b"" if body is None else msgspec.json.encode(body)
        return self.http.request(method, f"http://127.0.0.1:{self.port}{path}", body=data, headers=headers)


def relay_environment(nats: Nats, database_url: str) -> dict[str, str]:
    """Return what `relay` is told."""
    return {
        "ROOTS_DATABASE_URL": database_url,
        "ROOTS_NATS_URL": nats.server.url,
        "ROOTS_NATS_PASSWORD": nats.server.password("tasks"),
    }
