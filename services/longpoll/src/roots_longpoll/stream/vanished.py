"""Finds records of the view that the bucket no longer has (I5).

A record that is not among the bucket's keys is asked for at the bucket's leader: that answer counts, not the list.
"""

import asyncio

from roots.contracts.subjects import GRANTS_PREFIX
from roots.nats.presence import PresenceCheck, Present
from roots.nats.reader import JetStreamReader
from roots.nats.streams import NatsUnavailableError
from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_longpoll.delivery.grants import GrantsView
from roots_longpoll.stream.sinks import GrantSink

# So many records are compared in one turn of the loop: about 2 ms.
SLICE = 4096

log = logs.get(__name__)


class VanishedGrants:
    """Compares the view with the bucket, in rounds."""

    def __init__(self, reader: JetStreamReader, view: GrantsView, sink: GrantSink) -> None:
        self._check = PresenceCheck(lambda: reader, f"{GRANTS_PREFIX}>")
        self._view = view
        self._sink = sink

    async def run(self) -> None:
        """Compare until cancelled; an outage is waited for."""
        failures = Episode(log, "comparing_grants")
        while True:
            await asyncio.sleep(self._check.pause_seconds)
            try:
                present = await self._check.changed()
            except NatsUnavailableError as error:
                failures.failed(str(error))
            else:
                failures.ended()
                if present is not None:
                    await self._compare(present)

    async def _compare(self, present: Present) -> None:
        # A record that was read before the list was made would otherwise come into the view after this comparison.
        self._view.void_reads()
        held = self._view.revisions()
        for start in range(0, len(held), SLICE):
            gone = [
                uid
                for uid, revision in held[start : start + SLICE]
                if present.lacks(GRANTS_PREFIX + uid.decode(), revision)
            ]
            if gone:
                log.info("grants_gone", records=len(gone))
                self._sink.forget(gone)
            await asyncio.sleep(0)
