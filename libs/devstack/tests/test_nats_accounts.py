"""What a service's NATS password is good for in other hands: the attacks of `reply_subjects` against real servers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.api import AckPolicy, ConsumerConfig
from tests.testkit.deadlines import stretched, until

from roots.contracts.subjects import (
    EVENTS_PREFIX,
    EVENTS_STREAM,
    GRANTS_PREFIX,
    JETSTREAM_API,
    LIVE_EVENTS_PREFIX,
    LIVE_GRANTS_PREFIX,
)
from roots.nats.stored import Stored
from roots_devstack.servers.broker import Broker, Nodes, User
from roots_longpoll.stream.live import LiveFeed
from roots_longpoll.stream.nats_protocol import Subscription

from .places import Place, shared_account
from .reply_subjects import BODIES, CONSUMER, FIRST_SUBJECT, TARGETS, attack, is_own, reads_of

ATTACKERS: list[User] = ["longpoll", "longpoll-live", "subscriptions", "tasks"]


async def fill(place: Place) -> None:
    """Create the streams, a consumer, grants, and events whose texts an API call could take for its request."""
    await place.provision()
    async with place.connected("provision") as client:
        consumer = ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT)
        await client.jetstream().add_consumer(EVENTS_STREAM, consumer)
    async with place.connected("tasks") as client:
        for number, body in enumerate(BODIES):
            await client.jetstream().publish(FIRST_SUBJECT, body, headers={"Nats-Msg-Id": f"event-{number}"})
    async with place.connected("subscriptions") as client:
        for name in ("first", "second"):
            await client.jetstream().publish(f"{GRANTS_PREFIX}{name}", b'{"n":1}')


async def state_of(place: Place) -> dict[str, Any]:
    """Return all that JetStream has: the streams of every account, configurations, messages, and consumers."""
    told = await place.jetstream("?accounts=true&streams=true")
    state: dict[str, Any] = {
        f"account {account['name']}": sorted(stream["name"] for stream in account.get("stream_detail", []))
        for account in told["account_details"]
    }
    async with place.connected("provision") as client:
        for name in (await _call(client, "STREAM.NAMES")).get("streams") or []:
            info = await _call(client, f"STREAM.INFO.{name}", {"subjects_filter": ">", "deleted_details": True})
            state[name] = {part: info[part] for part in ("config", "created", "state")}
            consumers = (await _call(client, f"CONSUMER.LIST.{name}"))["consumers"]
            state[f"{name}, consumers"] = [
                {part: one.get(part) for part in ("name", "config", "delivered", "ack_floor", "num_pending", "paused")}
                for one in consumers
            ]
            sequences = range(1, info["state"]["last_seq"] + 1)
            messages = [await _call(client, f"STREAM.MSG.GET.{name}", {"seq": seq}) for seq in sequences]
            state[f"{name}, messages"] = [message.get("message") for message in messages]
    return state


async def _call(client: Client, call: str, body: object = None) -> dict[str, Any]:
    request = b"" if body is None else json.dumps(body).encode()
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{call}", request, timeout=stretched(5))).data)
    return answer


async def changed(place: Place, user: User, targets: Iterable[str]) -> set[str]:
    """Return what of `state_of` is another after `user` has attacked `targets`."""
    before = await state_of(place)
    async with place.intruder(user) as client:
        for target in targets:
            await attack(client, user, place.api, target)
        # What is asked last is answered last, unless its stream was deleted.
        for request in reads_of(user, place.api):
            with contextlib.suppress(NoRespondersError):
                await client.request(request.subject, request.body, timeout=stretched(5))
        assert 0 == client.stats["reconnects"]
    await until(lambda: _is_idle(place))
    after = await state_of(place)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


async def _is_idle(place: Place) -> bool:
    api = (await place.jetstream())["api"]
    return not (api.get("inflight") or api.get("pending"))


@asynccontextmanager
async def listening(place: Place) -> AsyncIterator[list[Any]]:
    """Yield what others get meanwhile: a replica from its live connection, and other accounts for answers."""
    heard: list[Any] = []

    async def note(message: Msg) -> None:
        heard.append((message.subject, message.data))

    is_live = asyncio.Event()
    feed = LiveFeed(
        place.config("longpoll-live"),
        [
            Subscription(live_prefix=LIVE_EVENTS_PREFIX, prefix=EVENTS_PREFIX, headers=(), take=heard.append),
            Subscription(live_prefix=LIVE_GRANTS_PREFIX, prefix=GRANTS_PREFIX, headers=(), take=heard.append),
        ],
        lambda _is_live: is_live.set(),
    )
    running = asyncio.create_task(feed.run())
    async with place.connected("provision") as provision, place.connected("tasks") as tasks:
        try:
            await provision.subscribe("_INBOX_provision.answer", cb=note)
            await tasks.subscribe("_INBOX_tasks.answer", cb=note)
            await asyncio.gather(provision.flush(), tasks.flush())
            await until(is_live.is_set)
            yield heard
            await asyncio.gather(provision.flush(), tasks.flush())
            # A connection that was made again would have missed what came between.
            assert 1 == feed.connections
        finally:
            running.cancel()
            await asyncio.wait([running])


@pytest.fixture(params=[1, 3], ids=["one server", "three servers"])
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Yield one server, or three, with the accounts that are shipped."""
    nodes: Nodes = request.param
    async with Broker(tmp_path, nodes=nodes) as broker:
        place = Place.of(broker, tmp_path, JETSTREAM_API)
        await fill(place)
        yield place


async def test_nothing_changes_when_a_service_names_any_reply_subject(place: Place) -> None:
    """I5: each password of a service, tried on every call of the API and all that a reply or a trace could reach."""
    for user in ATTACKERS:
        async with listening(place) as heard:
            assert set() == await changed(place, user, [target for target in TARGETS if not is_own(user, target)])
        if user == "tasks":
            heard = [message for message in heard if "_INBOX_tasks.answer" not in message]
        assert [] == heard, user
    # An event that is stored now reaches the replica that has listened meanwhile: nothing was only late.
    async with listening(place) as heard, place.connected("tasks") as client:
        await client.jetstream().publish(FIRST_SUBJECT, b"{}")
        await until(lambda: heard)
    assert [Stored(len(BODIES) + 1, FIRST_SUBJECT, {}, b"{}")] == heard


@pytest.mark.parametrize(
    ("user", "target", "what"),
    [
        ("longpoll", "$JS.API.STREAM.PURGE.ROOTS_EVENTS", "ROOTS_EVENTS, messages"),
        ("longpoll", "$JS.API.STREAM.DELETE.KV_roots-grants", "KV_roots-grants, messages"),
        ("longpoll", "$JS.API.STREAM.CREATE.CREATED", "CREATED"),
        ("longpoll", "$JS.API.STREAM.UPDATE.ROOTS_EVENTS", "ROOTS_EVENTS"),
        ("longpoll", "$JS.API.STREAM.MSG.DELETE.ROOTS_EVENTS", "ROOTS_EVENTS, messages"),
        ("longpoll", "$JS.API.CONSUMER.DELETE.ROOTS_EVENTS.consumer", "ROOTS_EVENTS, consumers"),
        ("longpoll", "$JS.API.CONSUMER.DURABLE.CREATE.ROOTS_EVENTS.created", "ROOTS_EVENTS, consumers"),
        ("longpoll", "$KV.roots-grants.copied", "KV_roots-grants, messages"),
        ("longpoll", "roots.events.copied", "ROOTS_EVENTS, messages"),
        ("subscriptions", "$JS.API.STREAM.DELETE.ROOTS_EVENTS", "ROOTS_EVENTS, messages"),
        ("tasks", "$KV.roots-grants.copied", "KV_roots-grants, messages"),
    ],
)
async def test_attack_succeeds_when_all_users_share_an_account(
    tmp_path: Path, user: User, target: str, what: str
) -> None:
    """The attacks are real: without accounts they do what they try to, whatever the permissions are."""
    async with shared_account(tmp_path) as place:
        await fill(place)
        assert what in await changed(place, user, [target])
