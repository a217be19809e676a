"""The fault of a kick while Roots is stopped: the application takes a room from a client by its own database."""

import asyncio
import random

from .application import Application
from .client import Client
from .faults import DOWN_SECONDS, Kind
from .processes import Processes

COMMITTED_SECONDS = 0.5


def kick_kinds(
    application: Application, processes: Processes, clients: list[Client], chance: random.Random
) -> list[Kind]:
    """Return the kind of fault that stops the back-end API, or NATS behind it, and kicks a client meanwhile."""

    async def kick(name: str) -> None:
        async with processes.stopped(name):
            member = next((client for client in chance.sample(clients, len(clients)) if client.rooms), None)
            kicking = None if member is None else asyncio.create_task(member.be_kicked(application.kick))
            await asyncio.sleep(COMMITTED_SECONDS + chance.uniform(*DOWN_SECONDS))
        if kicking is not None:
            await kicking

    return [Kind(name="kick", targets=("subscriptions", *processes.broker_names), act=kick)]
