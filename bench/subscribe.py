"""Connect requests: how many clients a second the subscriptions service connects to a path, each stored and synced."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

from bench.crowd import Latency
from bench.errors import LoadError
from bench.scenarios import Figures
from bench.targets import READY_SECONDS, Roots, Target
from bench.usage import cpu_seconds
from roots.contracts.uids import Uids
from roots_devstack.processes import ports
from roots_devstack.processes.environment import inherited
from roots_devstack.processes.waiting import until_ready
from roots_devstack.services import Service

_BODY = b'["tasks"]'
_WARM_UP_SECONDS = 1.0


class Subscriptions(Roots):
    """A replica of longpoll, and the service that is measured."""

    name = "subscriptions"

    def __init__(self) -> None:
        super().__init__()
        self.backend_api_port = ports.reserve()
        self._service = Service(
            "subscriptions", "roots_subscriptions", http_port=ports.reserve(), env=inherited(self.settings())
        )

    def settings(self) -> dict[str, str]:
        """Return the settings of the service."""
        return {
            "ROOTS_HTTP_HOST": ports.HOST,
            "ROOTS_BACKEND_API_PORT": str(self.backend_api_port),
            "ROOTS_NATS_URL": self.broker.url,
            "ROOTS_NATS_USER": "subscriptions",
            "ROOTS_NATS_PASSWORD": self.broker.password("subscriptions"),
            "ROOTS_UID_KEY": self.keys.get("uid-key"),
        }

    @property
    def port(self) -> int:
        """Where connects are asked for."""
        return int(str(self._service.address).rpartition(":")[2])

    @property
    def pids(self) -> list[int]:
        """The service."""
        pid = self._service.process.pid
        return [] if pid is None else [pid]

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """NATS, and the replica that receives every grant."""
        return {**super().beside, "longpoll": super().pids}

    async def start(self) -> None:
        """Start everything."""
        await super().start()
        await self._service.process.start()
        await until_ready(self._service, seconds=READY_SECONDS)

    async def stop(self) -> None:
        """Stop everything."""
        await self._service.process.stop()
        await super().stop()

    def uids(self) -> Iterator[str]:
        """Yield new uids without an end."""
        uids = Uids(self.keys.get("uid-key").encode())
        while True:
            yield uids.mint()


class _Asker(asyncio.Protocol):
    """One connection that asks for one connect after the other."""

    def __init__(self, uids: Iterator[str], took: list[float], ends: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused = 0
        self._uids = uids
        self._took = took
        self._ends = ends
        self._asked_at = 0.0
        self._answer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Note a whole answer, and ask again."""
        self._answer += data
        # The service writes the head and the body, one JSON object without another in it, apart.
        if not self._answer.endswith(b"}"):
            return
        now = time.perf_counter()
        self._took.append(now - self._asked_at)
        self.refused += not self._answer.startswith(b"HTTP/1.1 200")
        self._answer = b""
        if now < self._ends:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop."""
        if not self.done.done():
            self.done.set_exception(LoadError("the service hung up"))

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(
            b"POST /tasks/connect/%b HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (next(self._uids).encode(), len(_BODY), _BODY)
        )


async def subscribe(target: Target, *, connections: int, seconds: float) -> Figures:
    """Ask for connects of new clients on several connections, one after the other on each."""
    if not isinstance(target, Subscriptions):
        raise LoadError("the scenario subscribe needs the target subscriptions")
    uids = target.uids()
    await _ask_for(target, uids, connections, _WARM_UP_SECONDS)
    cpu = {"service": cpu_seconds(target.pids)} | {name: cpu_seconds(pids) for name, pids in target.beside.items()}
    began = time.perf_counter()
    took = await _ask_for(target, uids, connections, seconds)
    passed = time.perf_counter() - began
    used = {"service": cpu_seconds(target.pids)} | {name: cpu_seconds(pids) for name, pids in target.beside.items()}
    latency = Latency.of(took)
    return {
        "connects_per_second": len(took) / passed,
        "p50_ms": latency.p50_ms,
        "p99_ms": latency.p99_ms,
        **{f"{name}_us_per_connect": (used[name] - cpu[name]) / len(took) * 1e6 for name in used},
    }


async def _ask_for(target: Subscriptions, uids: Iterator[str], connections: int, seconds: float) -> list[float]:
    took: list[float] = []
    ends = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    askers = [_Asker(uids, took, ends) for _ in range(connections)]
    await asyncio.gather(*(loop.create_connection(partial(_same, asker), ports.HOST, target.port) for asker in askers))
    await asyncio.gather(*(asker.done for asker in askers))
    if any(asker.refused for asker in askers):
        raise LoadError("the service refused a connect")
    return took


def _same(asker: _Asker) -> _Asker:
    return asker
