"""`roots.clients.held`, as subscriptions asks and every replica answers."""

import json
from typing import Any

from tests.testkit.deadlines import stretched

from roots.contracts.subjects import CLIENTS_HELD
from roots_longpoll.replica import Replica

from ..net_support import DEADLINE_SECONDS, Around, Page, running


async def ask(around: Around, uid: bytes, answers: int) -> list[dict[str, Any]]:
    """Return the first answers that come, a holder's before the others'."""
    client = await around.client("subscriptions")
    inbox = client.new_inbox()
    replies = await client.subscribe(inbox)
    try:
        await client.publish(CLIENTS_HELD, uid, reply=inbox)
        told = [json.loads((await replies.next_msg(timeout=stretched(DEADLINE_SECONDS))).data) for _ in range(answers)]
    finally:
        await replies.unsubscribe()
    return sorted(told, key=lambda answer: "held" not in answer)


async def test_every_replica_tells_whether_it_holds_a_client_when_asked(replica: Replica, around: Around) -> None:
    """I6: a client is on any replica, or on none; who asks learns of all."""
    async with running(around.config()) as other:
        page = await Page.begin(replica)
        await page.hold()
        # A second client's poll is read after the first one's, on the same loop.
        await (await Page.begin(replica)).hold()
        await Page.begin(other)
        holder, stranger = await ask(around, page.uid, 2)
        assert holder["replica"].endswith(f":{replica.port}")
        assert 0 <= holder["held"] < DEADLINE_SECONDS
        assert stranger["replica"].endswith(f":{other.port}")
        assert {"replica"} == set(stranger)


async def test_no_replica_holds_it_when_the_uid_is_rubbish(replica: Replica, around: Around) -> None:
    """What is no uid is an answer like any other."""
    for rubbish in (b"", b">", b"\xff\0", b"x" * 1000):
        assert [["replica"]] == [list(answer) for answer in await ask(around, rubbish, 1)]
