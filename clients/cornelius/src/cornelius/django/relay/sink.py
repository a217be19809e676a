"""The sink that makes the messages about saved objects, and gives them to another sink. May import: markers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from django.db import Error

from cornelius import Message
from cornelius.django import markers
from cornelius.django.relay.models_database import ConnectionThread
from cornelius.messages import RENDERINGS
from roots.contracts.events import Event, Outcome, Published
from roots.http.health import Check
from roots_outbox.sink import Sink


class RenderingSink:
    """Renders markers by the database `using`, and publishes to `sink`. It is a Sink."""

    def __init__(self, sink: Sink, using: str) -> None:
        self._sink = sink
        self._using = using
        # The functions of the project may take their time.
        self._thread = ConnectionThread(max_seconds=None)
        self.changed: asyncio.Event = sink.changed
        self.checks: Mapping[str, Callable[[], Check]] = sink.checks

    async def run(self) -> None:
        """Keep the other sink connected until cancelled."""
        try:
            await self._sink.run()
        finally:
            await self._thread.close()

    async def publish(self, events: Sequence[Event]) -> list[Published]:
        """Publish `events`; an object that is gone has no message, and what can't be made is refused."""
        texts = [event.message.decode() for event in events if event.path == RENDERINGS]
        try:
            rendered = iter(await self._thread.run(markers.render, texts, self._using) if texts else [])
        except (Error, TimeoutError) as error:
            reason = f"objects can't be read: {type(error).__name__}: {error}"
            return [Published(Outcome.UNAVAILABLE, detail=reason)] * len(events)
        made = [_made(event, next(rendered)) if event.path == RENDERINGS else event for event in events]
        results = iter(await self._sink.publish([item for item in made if isinstance(item, Event)]))
        return [next(results) if isinstance(item, Event) else item for item in made]


def _made(event: Event, rendered: markers.Rendered) -> Event | Published:
    if isinstance(rendered, Message):
        return replace(event, path=rendered.path, message=rendered.message.encode())
    return Published(Outcome.STORED) if rendered is None else Published(Outcome.REFUSED, detail=str(rendered))
