"""A program with one service's NATS password, which tries to make the server send what the service may not send.

A message reaches a subject in four ways, whether or not its sender may publish there: as the answer to a request that
names it as the reply subject; as the trace of a message whose header names it; as the response to a request that the
sender has sent to itself; and directly. Each is tried from every subject that the user may publish to.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.testkit.deadlines import until

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_STREAM, JETSTREAM_API
from roots_devstack.servers.broker import User

CONSUMER: Final = "consumer"
"""A consumer of the event stream, which is there to be changed."""
STREAMS: Final = (EVENTS_STREAM, GRANTS_STREAM)

_OF_A_STREAM: Final = (
    "STREAM.UPDATE.{}",
    "STREAM.INFO.{}",
    "STREAM.DELETE.{}",
    "STREAM.PURGE.{}",
    "STREAM.SNAPSHOT.{}",
    "STREAM.RESTORE.{}",
    "STREAM.MSG.DELETE.{}",
    "STREAM.MSG.GET.{}",
    "STREAM.PEER.REMOVE.{}",
    "STREAM.LEADER.STEPDOWN.{}",
    "DIRECT.GET.{}",
    "DIRECT.GET.{}.roots.events.first",
    "CONSUMER.CREATE.{}",
    "CONSUMER.CREATE.{}.created",
    "CONSUMER.CREATE.{}.created.>",
    "CONSUMER.DURABLE.CREATE.{}.created",
    "CONSUMER.NAMES.{}",
    "CONSUMER.LIST.{}",
    f"CONSUMER.INFO.{{}}.{CONSUMER}",
    f"CONSUMER.DELETE.{{}}.{CONSUMER}",
    f"CONSUMER.PAUSE.{{}}.{CONSUMER}",
    f"CONSUMER.RESET.{{}}.{CONSUMER}",
    f"CONSUMER.UNPIN.{{}}.{CONSUMER}",
    f"CONSUMER.MSG.NEXT.{{}}.{CONSUMER}",
    f"CONSUMER.LEADER.STEPDOWN.{{}}.{CONSUMER}",
    "ACCOUNT.STREAM.MOVE.ROOTS.{}",
    "ACCOUNT.STREAM.CANCEL_MOVE.ROOTS.{}",
)
_OF_AN_ACCOUNT: Final = (
    "INFO",
    "STREAM.CREATE.CREATED",
    "STREAM.RESTORE.RESTORED",
    "STREAM.NAMES",
    "STREAM.LIST",
    "ACCOUNT.PURGE.ROOTS",
    "META.LEADER.STEPDOWN",
    "SERVER.REMOVE",
)
CALLS: Final = (*_OF_AN_ACCOUNT, *(call.format(stream) for call in _OF_A_STREAM for stream in STREAMS))
"""Every call of JetStream's API. Source: nats-server, server/jetstream_api.go."""

# By their own names, by that of the services' imports, and by those of a JetStream domain.
_PREFIXES: Final = ("$JS.API", JETSTREAM_API, "$JS.hub.API", "$JS.ROOTS.API")
_OTHERS: Final = (
    f"$JS.ACK.{EVENTS_STREAM}.{CONSUMER}.1.1.1.1.0",
    f"$JS.ACK._.ROOTS.{EVENTS_STREAM}.{CONSUMER}.1.1.1.1.0",
    f"$JS.FC.{EVENTS_STREAM}.{CONSUMER}.1",
    f"$JS.SNAPSHOT.ACK.{EVENTS_STREAM}.1",
    f"$JS.SNAPSHOT.RESTORE.{EVENTS_STREAM}.1",
    "$JS.EVENT.ADVISORY.API",
    "$SYS.REQ.ACCOUNT.ROOTS.CONNZ",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.RELOAD",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.ACCOUNT.ROOTS.CONNECT",
    "$KV.roots-grants.copied",
    "roots.events.copied",
    "roots.live.events.copied",
    "roots.live.grants.copied",
    "roots.grants.touch",
    "roots.clients.held",
    "roots.clients.refused",
    "_INBOX_provision.answer",
    "_INBOX_tasks.answer",
    "_INBOX_subscriptions.answer",
    "_INBOX_longpoll.answer",
    "_R_.answer.1",
)
TARGETS: Final = (*(f"{prefix}.{call}" for prefix in _PREFIXES for call in CALLS), *_OTHERS)

_ANY_STREAM = {"name": "CREATED", "subjects": ["created.>"], "storage": "memory"}
_EMPTIED = {"name": EVENTS_STREAM, "subjects": ["roots.events.>"], "max_msgs": 1, "num_replicas": 1}
_ANY_CONSUMER = {"ack_policy": "none", "durable_name": "created", "name": "created"}
BODIES: Final[Sequence[bytes]] = [
    b"",
    *(
        json.dumps(body).encode()
        for body in (
            {},
            {"seq": 1},
            _ANY_STREAM,
            _EMPTIED,
            {"stream_name": EVENTS_STREAM, "config": _ANY_CONSUMER, "action": ""},
            {"config": _ANY_STREAM, "state": {}},
            {"deliver_subject": "roots.events.snapshot", "batch": 1},
        )
    ),
]
"""What an API call could take for its request; a stored event may have any of it as its text."""
_LAST = b"the last request"
FIRST_ID: Final = "event-0"
FIRST_SUBJECT: Final = "roots.events.first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a service may ask. It stores nothing, so that whatever is stored came by its answer."""

    subject: str
    body: bytes = b""
    headers: dict[str, str] | None = None


def is_own(user: User, target: str) -> bool:
    """Tell whether `user` may store on `target` by itself, as its service does."""
    own: dict[User, tuple[str, ...]] = {
        "tasks": ("roots.events.",),
        "subscriptions": ("roots.events.", "$KV.roots-grants."),
    }
    return target.startswith(own.get(user, ()))


def reads_of(user: User, api: str) -> list[Request]:
    """Return what `user` may ask of JetStream; `api` is the name of its API in the account of `user`."""
    events, grants = (list(_reads(api, stream)) for stream in STREAMS)
    info = Request(subject=f"{api}.STREAM.INFO.{EVENTS_STREAM}")
    reads: dict[User, list[Request]] = {"longpoll": [*events, *grants], "subscriptions": [info, *grants]}
    return reads.get(user, [])


def writes_of(user: User) -> list[Request]:
    """Return what `user` may ask for by storing a message; none is stored, and each is answered."""
    headers: list[tuple[str, dict[str, str]]] = [
        # One that was stored already is acknowledged, one for another stream is refused.
        (FIRST_SUBJECT, {"Nats-Msg-Id": FIRST_ID}),
        ("roots.events.refused", {"Nats-Expected-Stream": "none"}),
        ("$KV.roots-grants.refused", {"Nats-Expected-Stream": "none"}),
    ]
    count = {"tasks": 2, "subscriptions": 3}.get(user, 0)
    return [Request(subject=subject, headers=header) for subject, header in headers[:count]]


def asks_of(user: User) -> list[Request]:
    """Return what `user` may ask of another service."""
    held, refused = Request(subject="roots.clients.held"), Request(subject="roots.clients.refused")
    asks: dict[User, list[Request]] = {
        "longpoll": [Request(subject="roots.grants.touch", body=b"[]")],
        "subscriptions": [held, refused],
    }
    return asks.get(user, [])


def _reads(api: str, stream: str) -> Iterator[Request]:
    yield Request(subject=f"{api}.STREAM.INFO.{stream}")
    subjects = "roots.events.>" if stream == EVENTS_STREAM else "$KV.roots-grants.>"
    queries: list[dict[str, object]] = [{"seq": seq} for seq in range(1, len(BODIES) + 1)]
    for query in [*queries, {"last_by_subj": subjects}]:
        for call in ("DIRECT.GET", "STREAM.MSG.GET"):
            yield Request(subject=f"{api}.{call}.{stream}", body=json.dumps(query).encode())
    batch = {"seq": 1, "batch": len(BODIES), "next_by_subj": subjects}
    yield Request(subject=f"{api}.DIRECT.GET.{stream}", body=json.dumps(batch).encode())


async def attack(client: Client, user: User, api: str, target: str) -> None:
    """Try to have each of the messages reach `target`, and return once the server has taken everything."""
    requests = [*reads_of(user, api), *writes_of(user), *asks_of(user)]
    for body in BODIES:
        await client.publish(target, body)
        await client.publish(target, body, reply=target)
    for request in requests:
        await client.publish(request.subject, request.body, reply=target, headers=request.headers)
    for request in requests or [Request(subject=target)]:
        for only in ({}, {"Nats-Trace-Only": "true"}):
            # A message that names where its trace goes; the server sends it, whatever the sender may publish.
            headers = {**(request.headers or {}), "Nats-Trace-Dest": target, **only}
            await client.publish(request.subject, request.body, reply=target, headers=headers)
    if user == "subscriptions":
        await _ask_oneself(client, "roots.clients.refused", target)
    await client.flush()


async def _ask_oneself(client: Client, subject: str, target: str) -> None:
    """Publish on `target` by the right to answer, which a request that names it as its reply subject gives."""
    last = asyncio.Event()

    async def answer(message: Msg) -> None:
        if message.reply:
            await client.publish(message.reply, message.data)
        elif message.data == _LAST:
            last.set()

    subscription = await client.subscribe(subject, cb=answer)
    for body in BODIES:
        await client.publish(subject, body, reply=target)
    await client.publish(subject, _LAST)
    await until(last.is_set)
    await subscription.unsubscribe()
