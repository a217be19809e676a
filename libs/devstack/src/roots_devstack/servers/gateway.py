"""A real HAProxy on the port that browsers use, with the configuration that the containers use."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from roots_devstack.home import absolute
from roots_devstack.processes import ports, probes
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import inherited
from roots_devstack.processes.programs import checkout_path, haproxy_program
from roots_devstack.processes.supervision import UNWATCHED, Process, Watch

STOP_SECONDS = 3.0
"""Longer than the default of `ROOTS_GATEWAY_GRACE`."""


class Gateway:
    """One HAProxy in front of the services, whose addresses are given as `host:port`.

    It keeps nothing but the list of its replicas, in `home`.
    """

    name = "gateway"

    def __init__(
        self,
        home: Path,
        *,
        port: int,
        tasks: str,
        subscriptions: str,
        longpolls: Sequence[str],
        extra_env: Mapping[str, str],
        watch: Watch = UNWATCHED,
    ) -> None:
        self.port = port
        admin_port = ports.reserve()
        self.admin_url = f"http://{ports.HOST}:{admin_port}"
        settings = {
            "ROOTS_GATEWAY_ADDRESS": _on_loopback(port),
            "ROOTS_GATEWAY_METRICS_ADDRESS": _on_loopback(admin_port),
            "ROOTS_TASKS_UPSTREAM": tasks,
            "ROOTS_SUBSCRIPTIONS_UPSTREAM": subscriptions,
        }
        self._replicas = absolute(home) / "gateway" / "longpolls.cfg"
        self._longpolls = longpolls
        program = Program(
            name=self.name,
            command=(
                haproxy_program(),
                *("-db", "-f", checkout_path("deploy/haproxy/haproxy.cfg"), "-f", self._replicas),
            ),
            env=inherited(settings, extra_env),
            # Ends once the requests under way are answered; SIGTERM would cut them.
            stop_signal=signal.SIGUSR1,
        )
        self.process = Process(program, watch)

    @property
    def url(self) -> str:
        """Where browsers find everything."""
        return f"http://localhost:{self.port}"

    async def start(self) -> None:
        """Write the list of replicas, and start the process. Errors: DevstackError."""
        servers = (f"\tserver longpoll-{number} {address}" for number, address in enumerate(self._longpolls, 1))
        self._replicas.parent.mkdir(parents=True, exist_ok=True)
        self._replicas.write_text("\n".join(["backend longpolls from polls", *servers, ""]), encoding="ascii")
        await self.process.start()

    async def unready_reason(self) -> str | None:
        """Return None once the gateway takes requests, else what it lacks."""
        answer = await probes.get(f"{self.admin_url}/readyz")
        if answer is None:
            return "its admin port does not answer"
        return None if answer.status == probes.OK else f"its admin port answers {answer.status}"


def _on_loopback(port: int) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in ports.loopback_hosts())
