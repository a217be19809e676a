"""What longpoll and subscriptions ask each other about clients: who still polls, and where a poll is held.

Source: docs/protocol.md, NATS.
"""

import json
import time
from collections.abc import Collection

import nats.errors
from nats.aio.client import Client

from roots.contracts.requests import MAX_RENEWALS, RENEWAL_SECONDS, HeldPoll
from roots.contracts.subjects import CLIENTS_HELD, GRANT_RENEWAL
from roots.nats.replies import answer_requests
from roots.runtime import logs
from roots_longpoll.delivery.held import HeldPolls

log = logs.get(__name__)


async def renew_grants(client: Client, uids: Collection[bytes]) -> None:
    """Report `uids` as polling; one that is not reported is renewed by a later report, since it polls on."""
    names = [uid.decode() for uid in uids]
    for start in range(0, len(names), MAX_RENEWALS):
        batch = json.dumps(names[start : start + MAX_RENEWALS]).encode()
        try:
            await client.request(GRANT_RENEWAL, batch, timeout=RENEWAL_SECONDS)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            # A record lives for an hour; the next report comes in a minute.
            log.warning("renewal_failed", error=type(error).__name__)


async def answer_held_poll_queries(client: Client, polls: HeldPolls, replica: str) -> None:
    """Answer from now on whether the client of a uid has a poll in `polls`. Errors: nats.errors.Error."""

    async def reply_to(uid: bytes) -> HeldPoll:
        poll = polls.by_uid.get(uid)
        return HeldPoll(replica=replica, held=None if poll is None else round(time.monotonic() - poll.began, 3))

    await answer_requests(client, CLIENTS_HELD, reply_to)
