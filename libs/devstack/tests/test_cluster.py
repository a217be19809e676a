"""Three clustered nats-servers: what they share, what they keep when one dies, and how they are provisioned."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import nats.errors
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats.js.api import DEFAULT_PREFIX
from tests.testkit.deadlines import clock, within
from tests.testkit.faults import leader_of

from roots.contracts.subjects import EVENTS_STREAM, JETSTREAM_API
from roots.nats import broker as common_broker
from roots.nats.provision import ProvisionError, provision
from roots_devstack.processes import ports, probes
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.broker import Broker, User
from roots_devstack.servers.nats_server import NatsServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE_SECONDS = 20.0
SUBJECT = "roots.events.tasks"


FIRST = [f"first-{number}" for number in range(5)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """Yield a cluster whose stream had one replica and some events when it got two more; each test leaves all of it."""
    async with Broker(tmp_path_factory.mktemp("home"), nodes=3) as cluster:
        await cluster.provision(replace(cluster.provision_config(), replicas=1))
        async with jetstream(cluster, "tasks") as js:
            for event_id in FIRST:
                await publish(js, event_id)
        await cluster.provision()
        yield cluster


@asynccontextmanager
async def jetstream(broker: Broker, user: User) -> AsyncIterator[JetStreamContext]:
    """Connect as `user`."""
    config = common_broker.BrokerConfig(url=broker.url, user=user, password=broker.password(user))
    client = await common_broker.connect(config)
    try:
        yield client.jetstream(prefix=DEFAULT_PREFIX if user == "provision" else JETSTREAM_API, timeout=1)
    finally:
        await client.close()


@asynccontextmanager
async def dead(server: NatsServer) -> AsyncIterator[None]:
    """Kill a server, and bring it back at the end."""
    await server.process.crash()
    try:
        yield
    finally:
        await server.process.start()
        await until_ready(server, seconds=DEADLINE_SECONDS)


async def publish(js: JetStreamContext, event_id: str) -> int:
    """Publish an event as the relay does, again until it is acknowledged; return its sequence."""
    async with within(DEADLINE_SECONDS):
        while True:
            try:
                return (await js.publish(SUBJECT, b"{}", headers={"Nats-Msg-Id": event_id})).seq
            except (TimeoutError, nats.errors.Error):
                await asyncio.sleep(0.05)


async def replicas_of(broker: Broker, stream: str = EVENTS_STREAM) -> int:
    """Return how many servers hold the stream."""
    async with jetstream(broker, "provision") as js:
        cluster = (await js.stream_info(stream)).cluster
        assert cluster is not None
        return 1 + len(cluster.replicas or [])


async def stored_ids(broker: Broker) -> list[str]:
    """Return the ids of the events that the stream has, in its order."""
    async with jetstream(broker, "longpoll") as js:
        state = (await js.stream_info(EVENTS_STREAM)).state
        messages = [await js.get_msg(EVENTS_STREAM, seq) for seq in range(max(state.first_seq, 1), state.last_seq + 1)]
        return [(message.headers or {})["Nats-Msg-Id"] for message in messages]


async def test_stream_is_on_every_server_when_provisioned_with_more_replicas(cluster: Broker) -> None:
    """Three servers hold what one held before, with all that was in it (I9)."""
    assert [3, 3] == [await replicas_of(cluster), await replicas_of(cluster, "KV_roots-grants")]
    assert FIRST == await stored_ids(cluster)


async def test_routes_are_closed_when_the_secret_is_wrong(cluster: Broker) -> None:
    """Whoever reaches a cluster port can't become a server of it; and only this machine reaches it (I5)."""
    answer = await probes.get(f"{cluster.servers[0].admin_url}/varz")
    assert answer is not None
    place = json.loads(answer.body)["cluster"]
    reader, writer = await asyncio.open_connection(ports.HOST, place["cluster_port"])
    try:
        writer.write(b'CONNECT {"user":"route","pass":"guessed","name":"stranger","cluster":"roots"}\r\n')
        async with within(DEADLINE_SECONDS):
            said = await reader.read()
    finally:
        writer.close()

    assert ports.HOST == place["addr"]
    assert said.endswith(b"-ERR 'Authorization Violation'\r\n")


async def test_nothing_acknowledged_is_lost_when_the_leader_is_killed(cluster: Broker) -> None:
    """Another server takes over within seconds, has every acknowledged event in order, and takes new ones (I2, I9).

    Meanwhile the same limits can be provisioned again: a deployment does not have to wait for the third server.
    """
    before = await stored_ids(cluster)
    written = [f"event-{number}" for number in range(60)]
    leader = await leader_of(cluster)
    async with jetstream(cluster, "tasks") as js:
        for event_id in written[:30]:
            await publish(js, event_id)
        async with dead(cluster.server(leader)):
            started = clock()
            for event_id in written[30:]:
                await publish(js, event_id)
            seconds = clock() - started
            await cluster.provision()

            assert leader != await leader_of(cluster)
            assert (3, before + written) == (await replicas_of(cluster), await stored_ids(cluster))

    assert seconds < DEADLINE_SECONDS


async def test_provision_says_what_it_waits_for_when_there_is_no_majority(tmp_path: Path) -> None:
    """One server of three can decide nothing: a sentence with the reason, not an endless wait."""
    cluster = Broker(tmp_path, nodes=3)
    alone = cluster.servers[0]
    await alone.process.start()
    try:
        with pytest.raises(ProvisionError, match="not done after 3 s: "):
            await provision(cluster.provision_config(), deadline_seconds=3)

        assert "meta" in str(await alone.unready_reason())
    finally:
        await cluster.stop()
