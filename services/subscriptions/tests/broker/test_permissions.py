"""The NATS user `subscriptions` may do what the service does, as every other test shows, and nothing else."""

import asyncio

import pytest
from tests.testkit.deadlines import DEADLINE_SECONDS, within

from roots.nats import broker

from ..support import Nats


def objection_to(nats: Nats, subject: str, *, is_subscription: bool = False) -> str:
    """Return what the server objects to when the user `subscriptions` uses `subject`."""

    async def use() -> str:
        objections: asyncio.Queue[Exception] = asyncio.Queue()
        client = await broker.connect(nats.config("subscriptions"))
        client._error_cb = objections.put
        try:
            if is_subscription:
                await client.subscribe(subject)
            else:
                await client.publish(subject, b"{}")
            async with within(DEADLINE_SECONDS):
                return str(await objections.get()).lower()
        finally:
            await client.close()

    return nats.loop.run(use())


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.STREAM.DELETE.ROOTS_EVENTS",
        "$JS.API.STREAM.DELETE.KV_roots-grants",
        "$JS.API.STREAM.PURGE.KV_roots-grants",
        "$JS.API.STREAM.UPDATE.KV_roots-grants",
        "$JS.API.STREAM.MSG.DELETE.KV_roots-grants",
        "$JS.API.STREAM.MSG.GET.ROOTS_EVENTS",
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.CREATE.KV_roots-grants",
        "$JS.API.DIRECT.GET.ROOTS_EVENTS",
        "$KV.other.key",
        "roots.live.events.tasks",
        "roots.live.grants.uid",
        "roots.grants.touch",
        "_INBOX_longpoll.x",
    ],
)
def test_publish_is_denied_when_the_service_has_no_use_for_it(nats: Nats, subject: str) -> None:
    """I5: a stolen password of subscriptions gives no other access."""
    assert "permissions violation for publish" in objection_to(nats, subject)


@pytest.mark.parametrize(
    "subject", [">", "roots.>", "roots.live.grants.>", "roots.events.>", "$KV.>", "_INBOX.>", "_INBOX_longpoll.>"]
)
def test_subscribe_is_denied_when_the_service_has_no_use_for_it(nats: Nats, subject: str) -> None:
    """I5: subscriptions receives renewal requests and its own replies, no event and no one else's replies."""
    assert "permissions violation for subscription" in objection_to(nats, subject, is_subscription=True)
