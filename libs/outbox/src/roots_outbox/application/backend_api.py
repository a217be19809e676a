"""The sink that publishes over HTTP, to the back-end API of Roots.

Promises: a revocation takes effect after the messages before it in a batch, and before those after it. What Roots can
not be asked for now is unavailable, and what follows is not sent. May import: sink, cornelius.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from itertools import groupby

import msgspec

from cornelius import (
    CorneliusError,
    Dudley,
    ForbiddenError,
    InvalidError,
    Message,
    PublishError,
    UnknownUidError,
)
from cornelius.messages import RENDERINGS, REVOCATIONS
from roots.contracts.events import Event, Outcome, Published
from roots.http.health import Check
from roots.runtime import logs

_OWN_PATHS = frozenset({REVOCATIONS, RENDERINGS})

log = logs.get(__name__)


class _Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a row with the path REVOCATIONS has as its message."""

    subject: str | None = None
    path: str | None = None
    uid: str | None = None


class BackEndApiSink:
    """One back end of Roots, by its URL and key. It is a Sink."""

    def __init__(self, dudley: Dudley) -> None:
        # The relay tries again, and pauses. A client that did so too would go on long after Roots is back.
        self._dudley = dudley.trying_once()
        self._is_answering = True
        self.changed = asyncio.Event()
        # Only publishing shows whether the back-end API answers, and a relay that stands by publishes nothing.
        self.checks: Mapping[str, Callable[[], Check]] = {}

    async def run(self) -> None:
        """Close the connections when cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            self._dudley.close()

    async def publish(self, events: Sequence[Event]) -> list[Published]:
        """Publish and revoke in the order of `events`, and return what became of each."""
        return await asyncio.to_thread(self._publish, events)

    def _publish(self, events: Sequence[Event]) -> list[Published]:
        results: list[Published] = []
        reason = ""
        for path, group in groupby(events, lambda event: event.path if event.path in _OWN_PATHS else None):
            batch = list(group)
            if path == RENDERINGS:
                reason = "only Django can make these messages; run: manage.py roots_relay"
                break
            try:
                results += [self._revoke(event) for event in batch] if path == REVOCATIONS else self._send(batch)
            except CorneliusError as error:
                # Not the address, the key and the messages, which errors never show.
                reason = str(error)
                break
        self._log_change(reason)
        return results + [Published(Outcome.UNAVAILABLE, detail=reason)] * (len(events) - len(results))

    def _log_change(self, reason: str) -> None:
        is_answering = reason == ""
        if is_answering != self._is_answering:
            log.info("backend_api_changed", is_ok=is_answering, detail=reason or "the back-end API answers")
        self._is_answering = is_answering

    def _send(self, events: Sequence[Event]) -> list[Published]:
        """Publish `events`. Errors: CorneliusError when another try may succeed."""
        messages = [Message(path=event.path, message=event.message.decode(), id=event.event_id) for event in events]
        refused: dict[str | None, str] = {}
        try:
            self._dudley.updates(messages)
        except PublishError as error:
            refused = {failure.message.id: failure.detail for failure in error.failures}
        return [
            Published(Outcome.REFUSED, detail=refused[event.event_id])
            if event.event_id in refused
            else Published(Outcome.STORED)
            for event in events
        ]

    def _revoke(self, event: Event) -> Published:
        """Withdraw what `event` names. Errors: CorneliusError when another try may succeed."""
        try:
            named = msgspec.json.decode(event.message, type=_Revocation)
            self._dudley.revoke(subject=named.subject, path=named.path, uid=named.uid)
        except (msgspec.DecodeError, TypeError, ForbiddenError, InvalidError, UnknownUidError) as error:
            # Something else than the back-end API answered: the right must still be withdrawn.
            if isinstance(error, InvalidError) and error.status == HTTPStatus.NOT_FOUND:
                raise
            return Published(Outcome.REFUSED, detail=str(error))
        return Published(Outcome.STORED)
