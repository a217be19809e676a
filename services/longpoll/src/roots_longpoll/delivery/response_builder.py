"""The bodies of all answers but those that a fan-out shares.

Reads the ring for the cursor of now, and keeps nothing.
"""

from collections.abc import Sequence

from roots.contracts.uids import Uids
from roots_longpoll.delivery import responses
from roots_longpoll.delivery.cursor import render
from roots_longpoll.delivery.grants import ClientGrants
from roots_longpoll.delivery.poll import Limits, Poll
from roots_longpoll.delivery.responses import GapReason
from roots_longpoll.delivery.ring import Event, Ring
from roots_longpoll.delivery.stats import Stats


class ResponseBuilder:
    """Makes the bodies of one replica's answers."""

    def __init__(self, *, ring: Ring, uids: Uids, stats: Stats, limits: Limits) -> None:
        self._ring = ring
        self._uids = uids
        self._stats = stats
        self._limits = limits

    def room(self, client: ClientGrants, acked: int) -> tuple[int, int]:
        """Return how many events, and bytes of them, an answer has room for beside the changes of the grants (I7)."""
        limits = self._limits
        if acked >= client.version:
            return limits.max_updates, limits.max_answer_bytes
        changes = client.changes_after(acked)
        return max(0, limits.max_updates - len(changes)), limits.max_answer_bytes - sum(map(len, changes))

    def news(
        self, poll: Poll, client: ClientGrants, events: Sequence[Event], gaps: Sequence[tuple[str, GapReason]] = ()
    ) -> bytes:
        """Return the changes of the client's grants, `events` and `gaps`, and the cursor after them."""
        return responses.full(
            updates=client.changes_after(poll.acked_grant_version) + [event.update for event in events],
            uid=poll.uid,
            position_text=responses.position(self._ring.epoch_text, poll.seq),
            grants_text=client.version_text,
            gaps=gaps,
        )

    def nothing(self, poll: Poll, retry_ms: int | None = None) -> bytes:
        """Return no updates, and the cursor of now."""
        client = poll.client
        return responses.full(
            updates=(),
            uid=poll.uid,
            position_text=responses.position(self._ring.epoch_text, self._ring.head),
            grants_text=b"0" if client is None else client.version_text,
            retry_ms=retry_ms,
        )

    def same(self, poll: Poll, retry_ms: int | None = None) -> bytes:
        """Return no updates, and the cursor that the client has."""
        own = b"%b/%b" % (poll.uid, render(poll.cursor))
        return responses.full(updates=(), uid=own, position_text=b"", grants_text=b"", retry_ms=retry_ms)

    def welcome(self) -> bytes:
        """Return a new uid, and the cursor of now."""
        self._stats.uids_minted += 1
        return responses.full(
            updates=(),
            uid=self._uids.mint().encode(),
            position_text=responses.position(self._ring.epoch_text, self._ring.head),
            grants_text=b"0",
        )
