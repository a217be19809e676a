"""A real Caddy on the port that browsers use, with the Caddyfile that the containers use."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from roots_devstack import ports, probes
from roots_devstack.child import Program
from roots_devstack.environment import inherited
from roots_devstack.home import absolute
from roots_devstack.processes import UNWATCHED, Process, Watch
from roots_devstack.programs import checkout_path, venv_program

STOP_SECONDS = 2.0


class Gateway:
    """One Caddy in front of the services, whose addresses are given as `host:port`. It keeps nothing but its caches.

    Shape: `web` is the folder that `roots_devstack.web` writes.
    """

    name = "gateway"

    def __init__(
        self,
        home: Path,
        *,
        port: int,
        web: Path,
        tasks: str,
        subscriptions: str,
        longpolls: Sequence[str],
        extra_env: Mapping[str, str],
        watch: Watch = UNWATCHED,
    ) -> None:
        self.port = port
        self._page = web / "todos" / "index.html"
        admin_port = ports.reserve()
        self.admin_url = f"http://{ports.HOST}:{admin_port}"
        settings = {
            "ROOTS_GATEWAY_ADDRESS": f":{port}",
            "ROOTS_GATEWAY_METRICS_ADDRESS": f":{admin_port}",
            "ROOTS_GATEWAY_BIND": " ".join(ports.loopback_hosts()),
            "ROOTS_TASKS_UPSTREAM": tasks,
            "ROOTS_SUBSCRIPTIONS_UPSTREAM": subscriptions,
            "ROOTS_LONGPOLL_FOUND_BY": "list",
            "ROOTS_LONGPOLL_UPSTREAMS": " ".join(longpolls),
            "ROOTS_WEB": str(web),
        }
        folder = str(absolute(home) / "gateway")
        folders = {"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
        program = Program(
            name=self.name,
            command=(
                venv_program("caddy"),
                *("run", "--adapter", "caddyfile", "--config", checkout_path("deploy/caddy/Caddyfile")),
            ),
            env=inherited(folders | settings, extra_env),
        )
        self.process = Process(program, watch)

    @property
    def url(self) -> str:
        """Where browsers find everything."""
        return f"http://localhost:{self.port}"

    async def unready_reason(self) -> str | None:
        """Return None once the gateway answers with the page itself, else what it lacks."""
        answer = await probes.get(f"http://{ports.HOST}:{self.port}/todos")
        if answer is None:
            return "it does not answer"
        if answer.status != probes.OK:
            return f"it answers {answer.status} when /todos is asked"
        return (
            None if answer.body == self._page.read_bytes() else "what it answers when /todos is asked is not the page"
        )
