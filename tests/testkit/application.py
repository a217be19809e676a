"""The gateway in front of an application of one's own, beside the running system."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roots_devstack.processes import ports
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.gateway import Gateway
from roots_devstack.stack import Stack

from .background import LoopThread

READY_SECONDS = 30.0


@contextmanager
def gateway_to(application: str, stack: Stack, folder: Path, background: LoopThread) -> Iterator[str]:
    """Yield where a gateway is that passes polls to the system, and everything else to `application`, a host:port."""
    addresses = {name: str(process.url).partition("://")[2] for name, process in stack.processes.items()}
    gateway = Gateway(
        folder,
        port=ports.reserve(),
        tasks=addresses["tasks"],
        subscriptions=addresses["subscriptions"],
        longpolls=[address for name, address in addresses.items() if name.startswith("longpoll-")],
        extra_env={"ROOTS_APP_UPSTREAM": application},
    )
    background.run(gateway.start())
    try:
        background.run(until_ready(gateway, seconds=READY_SECONDS))
        yield gateway.url
    finally:
        background.run(gateway.process.crash())
