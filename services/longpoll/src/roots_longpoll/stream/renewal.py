"""Reports to subscriptions which clients still poll, so that their grant records are renewed."""

import json
from collections.abc import Collection

import nats.errors
from nats.aio.client import Client

from roots.contracts.requests import MAX_RENEWALS, RENEWAL_SECONDS
from roots.contracts.subjects import GRANT_RENEWAL
from roots.runtime import logs

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
