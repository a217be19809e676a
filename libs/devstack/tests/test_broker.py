"""A real nats-server with deploy/nats/accounts.conf: what each user may do, and what it keeps."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from tests.testkit import faults
from tests.testkit.deadlines import stretched, within

from roots.contracts.subjects import JETSTREAM_API
from roots.nats import broker as common_broker
from roots_devstack.processes import probes
from roots_devstack.servers.broker import Broker, User

DEADLINE_SECONDS = 5.0
NOBODY_MAY = "nobody.may"
ALLOWED: list[tuple[User, str]] = [
    ("tasks", "roots.events.tasks"),
    ("subscriptions", "roots.events.users.7"),
    ("subscriptions", "$KV.roots-grants.uid"),
    ("subscriptions", "roots.jetstream.STREAM.INFO.ROOTS_EVENTS"),
    ("subscriptions", "roots.jetstream.STREAM.MSG.GET.KV_roots-grants"),
    ("subscriptions", "roots.jetstream.DIRECT.GET.KV_roots-grants"),
    ("subscriptions", "roots.clients.held"),
    ("subscriptions", "roots.clients.refused"),
    ("longpoll", "roots.jetstream.STREAM.INFO.ROOTS_EVENTS"),
    ("longpoll", "roots.jetstream.STREAM.MSG.GET.ROOTS_EVENTS"),
    ("longpoll", "roots.jetstream.STREAM.MSG.GET.KV_roots-grants"),
    ("longpoll", "roots.jetstream.DIRECT.GET.ROOTS_EVENTS"),
    ("longpoll", "roots.jetstream.DIRECT.GET.KV_roots-grants"),
    ("longpoll", "roots.grants.touch"),
]
DENIED: list[tuple[User, str]] = [
    ("tasks", "$KV.roots-grants.uid"),
    ("tasks", "roots.live.events.tasks"),
    ("tasks", "$JS.API.STREAM.PURGE.ROOTS_EVENTS"),
    ("tasks", "roots.clients.held"),
    ("tasks", "roots.grants.touch"),
    ("subscriptions", "roots.live.grants.uid"),
    ("subscriptions", "$JS.API.STREAM.DELETE.KV_roots-grants"),
    ("subscriptions", "roots.elsewhere"),
    ("subscriptions", "roots.grants.touch"),
    ("longpoll", "roots.events.tasks"),
    ("longpoll", "roots.clients.held"),
    ("longpoll", "roots.clients.refused"),
    ("longpoll", "$KV.roots-grants.uid"),
    ("longpoll", "roots.live.events.tasks"),
    ("longpoll", "$JS.API.CONSUMER.CREATE.ROOTS_EVENTS"),
    ("longpoll", "$JS.API.STREAM.MSG.GET.ROOTS_EVENTS"),
    ("longpoll", "roots.jetstream.STREAM.PURGE.ROOTS_EVENTS"),
    ("subscriptions", "roots.jetstream.STREAM.MSG.GET.ROOTS_EVENTS"),
    ("subscriptions", "roots.jetstream.DIRECT.GET.ROOTS_EVENTS"),
    ("longpoll-live", "roots.live.events.tasks"),
    ("longpoll-live", "roots.grants.touch"),
    ("longpoll-live", "roots.jetstream.DIRECT.GET.ROOTS_EVENTS"),
    ("provision", "roots.events.tasks"),
    ("provision", "$KV.roots-grants.uid"),
]
HEARD_ALLOWED: list[tuple[User, str]] = [
    ("longpoll-live", "roots.live.events.>"),
    ("longpoll-live", "roots.live.grants.>"),
    ("longpoll", "roots.clients.held"),
    ("subscriptions", "roots.grants.touch"),
    ("subscriptions", "roots.clients.refused"),
]
HEARD_DENIED: list[tuple[User, str]] = [
    ("tasks", "roots.live.>"),
    ("tasks", "_INBOX_longpoll.>"),
    ("tasks", "roots.clients.>"),
    ("longpoll", "roots.live.>"),
    ("longpoll", "roots.grants.touch"),
    ("longpoll", "roots.clients.refused"),
    ("longpoll-live", "roots.live.>"),
    ("longpoll-live", "roots.clients.held"),
    ("longpoll-live", "_INBOX_longpoll.>"),
    ("longpoll", "$KV.roots-grants.>"),
    ("subscriptions", "roots.live.events.>"),
    ("subscriptions", "roots.clients.held"),
    ("subscriptions", "roots.clients.>"),
    ("provision", "roots.>"),
]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """Yield a server with the stream and the bucket."""
    async with Broker(tmp_path) as broker:
        await broker.provision()
        yield broker


async def connect(broker: Broker, user: User, refused: asyncio.Queue[str]) -> Client:
    """Return a client of `user`; what the server refuses goes to `refused`."""

    async def note(error: Exception) -> None:
        refused.put_nowait(str(error))

    config = common_broker.BrokerConfig(url=broker.url, user=user, password=broker.password(user))
    client = await common_broker.connect(config)
    client._error_cb = note
    return client


async def ask(client: Client, subject: str) -> bytes:
    """Return what is answered on `subject`, once somebody is there to answer."""
    async with within(DEADLINE_SECONDS):
        while True:
            with contextlib.suppress(NoRespondersError):
                return (await client.request(subject, b"[]", timeout=stretched(DEADLINE_SECONDS))).data
            await asyncio.sleep(0.01)


async def refusals(broker: Broker, user: User, *, publish: str | None = None, subscribe: str | None = None) -> int:
    """Return how often the server refused what `user` did."""
    refused: asyncio.Queue[str] = asyncio.Queue()
    client = await connect(broker, user, refused)
    try:
        if publish is not None:
            await client.publish(publish, b"{}")
        if subscribe is not None:
            await client.subscribe(subscribe)
        # Refusals come in order: what was not refused before this one was allowed.
        await client.publish(NOBODY_MAY, b"")
        count = 0
        async with within(DEADLINE_SECONDS):
            while NOBODY_MAY not in await refused.get():
                count += 1
        return count
    finally:
        await client.close()


async def test_users_may_do_what_they_need_when_they_publish_or_subscribe(broker: Broker) -> None:
    """accounts.conf lets every service do its part."""
    published = [(user, subject, await refusals(broker, user, publish=subject)) for user, subject in ALLOWED]
    heard = [(user, subject, await refusals(broker, user, subscribe=subject)) for user, subject in HEARD_ALLOWED]

    assert [(user, subject, 0) for user, subject in ALLOWED + HEARD_ALLOWED] == published + heard


async def test_users_are_refused_when_they_publish_or_subscribe_elsewhere(broker: Broker) -> None:
    """A service that was broken into can't forge events, grants or what is live (I5)."""
    published = [(user, subject, await refusals(broker, user, publish=subject)) for user, subject in DENIED]
    heard = [(user, subject, await refusals(broker, user, subscribe=subject)) for user, subject in HEARD_DENIED]

    assert [(user, subject, 1) for user, subject in DENIED + HEARD_DENIED] == published + heard


async def test_touch_is_answered_when_longpoll_asks_subscriptions(broker: Broker) -> None:
    """Subscriptions may answer a request, although it may publish to nobody's inbox by itself."""
    refused: asyncio.Queue[str] = asyncio.Queue()
    asking, answering = await connect(broker, "longpoll", refused), await connect(broker, "subscriptions", refused)

    async def answer(message: Msg) -> None:
        await message.respond(b"extended")

    try:
        await answering.subscribe("roots.grants.touch", cb=answer)
        await answering.flush()

        assert (b"extended", 0) == (await ask(asking, "roots.grants.touch"), refused.qsize())
    finally:
        await asking.close()
        await answering.close()


async def test_event_is_kept_when_the_server_is_killed_after_its_acknowledgement(broker: Broker) -> None:
    """What JetStream has acknowledged is on disk (I9): `sync_interval: always` holds."""
    client = await connect(broker, "tasks", asyncio.Queue())
    ack = await client.jetstream().publish("roots.events.tasks", b"{}")
    await client.close()

    await faults.crash(broker)
    await broker.start()

    client = await connect(broker, "subscriptions", asyncio.Queue())
    try:
        info = await client.jetstream(prefix=JETSTREAM_API).stream_info("ROOTS_EVENTS")
        assert ack.seq == info.state.last_seq
    finally:
        await client.close()


async def test_server_syncs_every_write_when_it_runs_with_the_configuration(broker: Broker) -> None:
    """The setting against nats-server#7564 is in effect, not only written down."""
    answer = await probes.get(f"{broker.servers[0].admin_url}/jsz?config=true")
    assert answer is not None

    assert True is json.loads(answer.body)["config"]["sync_always"]


async def test_server_is_at_the_same_address_when_started_again(broker: Broker) -> None:
    """A client that reconnects finds the server where it was."""
    url = broker.url

    await broker.stop()
    await broker.start()

    assert (url, None) == (broker.url, await broker.servers[0].unready_reason())
