"""The whole system on this machine: starts every part, keeps it running, reports its addresses, stops it in order.

Owns the folder `home`: one stack at a time runs in it, and `home/stack.json` names its processes while it runs.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace

import msgspec

from roots_devstack.home import Home, ProcessInfo, StackInfo, absolute
from roots_devstack.parts import Parts, StackConfig
from roots_devstack.processes.started import Started
from roots_devstack.processes.supervision import Watch, run_once
from roots_devstack.processes.waiting import Part, until_ready
from roots_devstack.servers import broker, gateway, postgres

__all__ = ["Stack", "StackConfig"]

READY_SECONDS = 60.0
# Longer than a one-shot takes to say itself what it waited for in vain.
ONE_SHOT_SECONDS = 75.0


class Stack(Started):
    """`async with Stack(config) as stack` runs the whole system; it is ready when the block begins."""

    def __init__(self, config: StackConfig) -> None:
        self._config = replace(config, home=absolute(config.home))
        self._home = Home(self._config.home)
        self._running: Parts | None = None

    @property
    def url(self) -> str:
        """Where browsers find everything."""
        return self._parts.gateway.url

    @property
    def processes(self) -> dict[str, ProcessInfo]:
        """Every process by its name, as it is now."""
        return {part.name: self._info(part) for part in self._parts.all()}

    def part(self, name: str) -> Part:
        """Return one part by its name; stopping and starting its process is how tests make a longer outage."""
        return next(part for part in self._parts.all() if part.name == name)

    async def _start(self) -> None:
        self._home.lock()
        watch = Watch(sink=self._config.sink, on_change=self._publish)
        self._running = Parts.create(self._config, watch)
        if names := self._running.unused_settings():
            self._config.sink("devstack", f"not used, since the stack chooses them itself: {', '.join(names)}")
        self._running.web.start()
        await _all_of([self._start_tasks(), self._start_delivery(), self._parts.gateway.start()])
        await self.wait_ready()

    async def stop(self) -> None:
        """Stop everything: first the services, which answer what is under way, at last the stores."""
        if self._running is not None:
            parts = self._running
            await parts.healing.stop()
            await parts.web.stop()
            await _stop([parts.tasks, parts.subscriptions, *parts.longpolls], parts.wiring.stop_seconds)
            await asyncio.gather(
                _stop([parts.gateway], gateway.STOP_SECONDS), _stop([parts.relay], parts.wiring.stop_seconds)
            )
            await _stop([*parts.broker.servers, parts.postgres], max(broker.STOP_SECONDS, postgres.STOP_SECONDS))
            self._running = None
        self._home.unlock()

    def abort(self) -> None:
        """Kill every process at once; a `stop` that is under way then has nothing to wait for."""
        if self._running is not None:
            for part in self._running.all():
                part.process.abort()

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once every part is ready. Errors: DevstackError, naming the part that is not."""
        await _all_of(until_ready(part, seconds=seconds) for part in self._parts.all())

    @property
    def _parts(self) -> Parts:
        if self._running is None:
            raise RuntimeError("the stack does not run")
        return self._running

    async def _start_tasks(self) -> None:
        parts = self._parts
        await parts.postgres.start()
        await run_once(parts.wiring.migrate(), seconds=ONE_SHOT_SECONDS, sink=self._config.sink)
        await _all_of([parts.tasks.process.start(), parts.relay.process.start()])

    async def _start_delivery(self) -> None:
        parts = self._parts
        await parts.broker.start()
        parts.healing.start()
        await run_once(parts.wiring.provision(), seconds=ONE_SHOT_SECONDS, sink=self._config.sink)
        await _all_of(part.process.start() for part in [parts.subscriptions, *parts.longpolls])

    def _publish(self) -> None:
        if self._running is not None:
            self._home.publish(StackInfo(url=self.url, processes=list(self.processes.values())))

    def _info(self, part: Part) -> ProcessInfo:
        backend_api_url = self._parts.backend_api_url if part is self._parts.subscriptions else msgspec.UNSET
        return ProcessInfo(
            name=part.name,
            pid=part.process.pid,
            url=part.url,
            admin_url=part.admin_url,
            backend_api_url=backend_api_url,
        )


async def _stop(parts: Sequence[Part], seconds: float) -> None:
    await asyncio.gather(*(part.process.stop(seconds) for part in parts))


async def _all_of(steps: Iterable[Coroutine[None, None, None]]) -> None:
    """Run the steps at once; when one fails, cancel the others and raise its error alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
