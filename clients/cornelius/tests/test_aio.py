"""The asynchronous twin."""

import asyncio

import pytest
from tests.testkit.deadlines import clock

from cornelius import Dudley, Message, Published, Revoked, UnavailableError
from cornelius import dudley as synchronous_dudley
from cornelius.aio import AsyncDudley, dudley
from cornelius.transport import MAX_CONNECTIONS

from .support import GRANTED, READ_REVISION, REVOKED, SUCCESS, UID_A, Log, Scripted, ScriptedServer, Step, problem

# Within it all the threads have to start, also on a busy machine.
HANG_SECONDS = 2.0


async def test_twin_does_what_the_api_does_when_it_is_awaited() -> None:
    """Every name is there, with the same answers."""
    log = Log()
    decided: list[Step] = [READ_REVISION, problem(409, reason="revision"), READ_REVISION, GRANTED]

    async def decide() -> list[str]:
        return ["tasks"]

    told = Scripted(200, {"a": 1})
    script: list[Step] = [
        log.publish,
        log.publish,
        READ_REVISION,
        GRANTED,
        *decided,
        SUCCESS,
        told,
        Scripted(200, {"clients": [None]}),
        REVOKED,
        REVOKED,
    ]
    with ScriptedServer(script) as server:
        dudley = AsyncDudley(Dudley(url=server.url))
        assert Published("tasks", 1) == await dudley.update("tasks", "1", id="x")
        again = [Message("tasks", "1", "x"), Message("tasks", "2")]
        assert [Published("tasks", 1), Published("tasks", 2)] == await dudley.updates(again)
        revision = await dudley.revision("7")
        await dudley.connect(UID_A, ["tasks"], "7", if_revision=revision)
        assert ["tasks"] == await dudley.connect_decided(UID_A, decide, "7")
        await dudley.disconnect(UID_A, ["tasks"])
        assert {"a": 1} == await dudley.explain(UID_A)
        assert {UID_A: None} == await dudley.explain_all([UID_A])
        assert Revoked(clients=1, paths=2) == await dudley.forget(UID_A)
        assert Revoked(clients=1, paths=2) == await dudley.revoke(subject="7")


async def test_loop_goes_on_when_the_api_hangs() -> None:
    """I7: calls beyond the threads wait no longer than they may, and nothing else waits for them."""
    with ScriptedServer([]) as server:
        dudley = AsyncDudley(Dudley(url=server.url, timeout_seconds=HANG_SECONDS))
        started = clock()
        calls = [asyncio.create_task(dudley.update("tasks", "1")) for _ in range(2 * MAX_CONNECTIONS)]
        # All of them ask for a thread before something else does.
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: None)
        assert [] == [call for call in calls if call.done()]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        # The second half waited for threads, and had no time of its own after that.
        assert clock() - started < 2 * HANG_SECONDS
    assert {True} == {isinstance(outcome, UnavailableError) for outcome in outcomes}
    assert 2 * MAX_CONNECTIONS == sum(len(error.messages) for error in outcomes if isinstance(error, UnavailableError))


def test_twin_works_when_each_call_has_a_loop_of_its_own() -> None:
    """As under `async_to_sync`: no connection belongs to a loop."""
    log = Log()
    with ScriptedServer([log.publish] * 3) as server:
        dudley = AsyncDudley(Dudley(url=server.url))
        for number in range(3):
            asyncio.run(dudley.update("tasks", str(number)))
    assert ["0", "1", "2"] == log.messages


def test_twin_of_the_default_client_has_its_settings_when_that_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cornelius.aio.dudley` and `cornelius.dudley` are one client."""
    log = Log()
    synchronous_dudley.configure()
    with ScriptedServer([log.publish]) as server:
        monkeypatch.setenv("ROOTS_BACKEND_API_URL", server.url)
        asyncio.run(dudley.update("tasks", "1"))
    assert ["1"] == log.messages
