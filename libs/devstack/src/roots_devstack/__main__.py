"""`python -m roots_devstack`: the whole system until Ctrl-C or SIGTERM."""

import asyncio
import os
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec

from roots.runtime import lifecycle
from roots.runtime.config import Port, load_or_exit, setting, take_no_arguments
from roots_devstack.errors import DevstackError
from roots_devstack.processes.console import Console
from roots_devstack.processes.supervision import Sink
from roots_devstack.servers.broker import Nodes
from roots_devstack.services import DrainConfig
from roots_devstack.stack import Stack, StackConfig

EXIT_FAILURE = 1
_APP_UPSTREAM = "ROOTS_APP_UPSTREAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(DrainConfig):
    """The environment of `make run`. A port that is 0 is any free one."""

    home: Annotated[str, msgspec.Meta(min_length=1)] = setting("ROOTS_HOME", default=".roots")
    port: Port = setting("ROOTS_PORT", default=4020)
    longpoll_replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] = setting("ROOTS_LONGPOLL_REPLICAS", default=1)
    nats_nodes: Nodes = setting("ROOTS_NATS_NODES", default=1)
    postgres_port: Port = setting("ROOTS_POSTGRES_PORT", default=0)
    nats_port: Port = setting("ROOTS_NATS_PORT", default=0)
    tasks_port: Port = setting("ROOTS_TASKS_PORT", default=0)
    subscriptions_port: Port = setting("ROOTS_SUBSCRIPTIONS_PORT", default=0)
    backend_api_port: Port = setting("ROOTS_BACKEND_API_PORT", default=0)
    longpoll_port: Port = setting("ROOTS_LONGPOLL_PORT", default=0)
    app_upstream: str = setting(_APP_UPSTREAM, default="")
    """Where the user's application is. The gateway reads it too, and then serves no todo page."""

    def problems(self) -> list[str]:
        """Return what the gateway could not use."""
        if not self.app_upstream or re.fullmatch(r"[^/\s]+:\d{1,5}", self.app_upstream):
            return []
        return [f"{_APP_UPSTREAM} is a host and a port, as 127.0.0.1:8000"]

    @property
    def folder(self) -> Path:
        """The state folder; `~` is the home, also where no shell has replaced it."""
        home = Path(self.home)
        return home.expanduser() if home.parts[:1] == ("~",) else home

    def stack(self, sink: Sink) -> StackConfig:
        """Return the stack that is asked for, whose lines go to `sink`."""
        names = {field.name for field in fields(self)} & {field.name for field in fields(StackConfig)}
        chosen = {name: getattr(self, name) for name in names}
        return StackConfig(**chosen | {"home": self.folder, "sink": sink})


async def run(config: RunConfig) -> None:
    """Run the stack until a stop signal. Errors: DevstackError when it can't be started."""
    asked_to_stop = lifecycle.stop_event()
    console = Console()
    stack = Stack(config.stack(console))
    page = "" if config.app_upstream else "/todos"
    running = asyncio.create_task(_run_until_cancelled(stack, console, page))
    await _either(running, asked_to_stop)
    if asked_to_stop.is_set():
        console("devstack", "stopping; ask again to kill what has not stopped")
    asked_to_stop.clear()
    running.cancel()
    await _either(running, asked_to_stop)
    # Asked a second time: whoever waits wants it over.
    stack.abort()
    try:
        await running
    except asyncio.CancelledError:
        console("devstack", "stopped")


async def _run_until_cancelled(stack: Stack, console: Console, page: str) -> None:
    async with stack:
        # Apart from the log around it: who starts Roots looks for the address.
        console.write(f"\nRoots is ready at {stack.url}{page}\nCtrl-C stops it.\n")
        await asyncio.Event().wait()


async def _either(task: asyncio.Task[None], event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def main() -> None:
    """Run the stack that the environment asks for."""
    take_no_arguments("roots_devstack", "Run the whole system until Ctrl-C, as `make run` does.")
    config = load_or_exit(RunConfig)
    # Postgres's clients would take them for what the address of ours leaves open.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    try:
        asyncio.run(run(config))
    except DevstackError as error:
        _fail(str(error))
    except OSError as error:
        # The folder or the disk: what the message needs is in the error.
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(EXIT_FAILURE)


if __name__ == "__main__":
    main()
