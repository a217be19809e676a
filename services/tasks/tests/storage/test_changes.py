"""Changes, their events and their order: what the database promises when requests race."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from falcon.testing import Result, TestClient
from tests.testkit.deadlines import wait_until

from roots_tasks.errors import VersionMismatchError
from roots_tasks.storage.store import Store
from roots_tasks.tasks import Change, Draft

from ..support import Sql

MILK = Draft(description="buy milk", is_done=False)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Call all from a thread each, at the same time; return what they return, or the exceptions they raise."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except VersionMismatchError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_each_change_yields_one_event_when_committed(client: TestClient, shared_db: Sql) -> None:
    """I11: create, change and delete leave an event each: the task as answered; DELETE and a newer version last."""
    contents = [
        client.simulate_post("/tasks", json={"description": "buy milk"}).json["content"],
        client.simulate_put("/task/1", json={"description": "buy bread"}).json["content"],
        client.simulate_patch("/task/1", json={"isDone": True}).json["content"],
    ]
    client.simulate_delete("/task/1")
    *changes, deletion = shared_db.messages()
    assert changes == contents
    assert deletion.pop("updatedAt") >= contents[-1]["updatedAt"]
    assert deletion == {
        "guid": "/task/1",
        "description": "buy bread",
        "isDone": True,
        "version": 4,
        "createdAt": contents[0]["createdAt"],
        "DELETE": True,
    }


def test_event_is_the_content_as_text_when_committed(client: TestClient, shared_db: Sql) -> None:
    """The message is the very text of `content`, compact, on the path `tasks`, keyed by its task."""
    result = client.simulate_post("/tasks", json={"description": 'buy "milk" ü'})
    ((path, ordering_key, message, committed_at),) = shared_db.rows(
        b"SELECT path, ordering_key, message, committed_at FROM outbox"
    )
    assert (path, ordering_key, f'{{"content":{message}}}') == ("tasks", "1", result.text)
    assert message == json.dumps(json.loads(message), ensure_ascii=False, separators=(",", ":"))
    assert abs((datetime.now(UTC) - committed_at).total_seconds()) < 60


def test_hint_is_wanted_when_a_change_was_committed(client: TestClient, hints_wanted: list[str]) -> None:
    """The relay is told of each change that has an event, and of nothing else."""
    counts = []
    for method, url, body in [
        ("POST", "/tasks", {"description": "x"}),
        ("PATCH", "/task/1", {"isDone": True}),
        ("PATCH", "/task/1", {"isDone": True}),
        ("POST", "/tasks", {"description": ""}),
        ("DELETE", "/task/2", None),
        ("DELETE", "/task/1", None),
    ]:
        client.simulate_request(method, url, json=body)
        counts.append(len(hints_wanted))
    assert counts == [1, 2, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (TRACE, TRACE),
        (TRACE.upper(), None),
        (TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), None),
        (f"{TRACE}-more", None),
        ("ff" + TRACE[2:], None),
        ("x", None),
    ],
)
def test_event_carries_the_trace_when_it_is_valid(
    client: TestClient, shared_db: Sql, header: str, stored: str | None
) -> None:
    """Every kind of change keeps the request's trace context; a malformed one is left out."""
    trace = {"traceparent": header}
    client.simulate_post("/tasks", json={"description": "x"}, headers=trace)
    client.simulate_patch("/task/1", json={"isDone": True}, headers=trace)
    client.simulate_delete("/task/1", headers=trace)
    assert shared_db.rows(b"SELECT traceparent FROM outbox") == [(stored,)] * 3


def test_one_change_wins_when_two_have_the_same_version(store: Store, shared_db: Sql) -> None:
    """Of changes made for the same version at the same time one is committed, the others are told the new version."""
    tag = store.create(MILK).task.tag
    changes = [Change(description=f"change {n}", is_done=None) for n in range(8)]
    results = at_once([partial(store.update, 1, change, tags={tag}) for change in changes])
    losers = [result for result in results if isinstance(result, VersionMismatchError)]
    assert [loser.current for loser in losers] == [2] * 7
    assert [message["version"] for message in shared_db.messages()] == [1, 2]


def test_change_is_compared_with_the_newest_when_it_waited_for_a_lock(store: Store, shared_db: Sql) -> None:
    """A change that equalled the task when it was sent, but no longer when it got the lock, is not lost."""
    store.create(MILK)
    other = shared_db.another()
    with other.connection, ThreadPoolExecutor(1) as pool:
        with other.connection.transaction():
            other.rows(b"UPDATE task SET is_done = true, version = 2 WHERE id = 1")
            waiting = pool.submit(store.update, 1, Change(description=None, is_done=False))
            wait_until(shared_db.is_waiting_for_lock)
        written = waiting.result()
    assert (written.is_changed, written.task.version) == (True, 3)
    assert json.loads(written.task.content)["isDone"] is False


def test_delete_is_newer_when_it_waited_for_a_change(store: Store, shared_db: Sql) -> None:
    """I2: a deletion that waited for another change has a version above that change's."""
    store.create(MILK)
    other = shared_db.another()
    with other.connection, ThreadPoolExecutor(1) as pool:
        with other.connection.transaction():
            other.rows(b"UPDATE task SET version = 7 WHERE id = 1")
            waiting = pool.submit(store.delete, 1)
            wait_until(shared_db.is_waiting_for_lock)
        waiting.result()
    assert [message["version"] for message in shared_db.messages()] == [1, 8]


def test_events_of_a_task_are_in_commit_order_when_writers_race(store: Store, shared_db: Sql) -> None:
    """I2: the ids of one task's events ascend with its versions, however many write at once."""
    for _ in range(2):
        store.create(MILK)

    def change(writer: int) -> None:
        for step in range(20):
            store.update(1 + step % 2, Change(description=f"{writer}.{step}", is_done=None))

    at_once([partial(change, writer) for writer in range(8)])
    for guid in ("/task/1", "/task/2"):
        versions = [message["version"] for message in shared_db.messages() if message["guid"] == guid]
        assert versions == list(range(1, 82))


def post(client: TestClient, key: str, description: str = "buy milk") -> Result:
    """Create a task under an idempotency key."""
    return client.simulate_post("/tasks", json={"description": description}, headers={"Idempotency-Key": key})


def test_retry_gets_the_first_answer_when_it_has_the_same_key(client: TestClient, shared_db: Sql) -> None:
    """A retry is answered as the first request was, to the byte, even after the task has changed or gone."""
    first = post(client, "key-1")
    client.simulate_patch("/task/1", json={"isDone": True})
    second = post(client, "key-1", "  buy milk ")
    client.simulate_delete("/task/1")
    third = post(client, "key-1")
    for retry in (second, third):
        assert (retry.status_code, retry.headers["location"], retry.text) == (201, "/task/1", first.text)
    assert [message["version"] for message in shared_db.messages()] == [1, 2, 3]


def test_key_is_refused_when_the_request_is_another(client: TestClient, shared_db: Sql) -> None:
    """A key stands for one request."""
    post(client, "key-1")
    result = post(client, "key-1", "buy bread")
    assert (result.status_code, result.json["field"]) == (422, "Idempotency-Key")
    assert shared_db.count_outbox() == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü"])
def test_key_is_refused_when_it_is_malformed(client: TestClient, key: str) -> None:
    """A key that could not be told apart, or that could fill the database, is named."""
    result = post(client, key)
    assert (result.status_code, result.json["field"]) == (422, "Idempotency-Key")


def test_one_task_is_created_when_requests_with_one_key_race(client: TestClient, shared_db: Sql) -> None:
    """Of requests with the same key at the same time one creates the task, and all get its answer."""
    results = at_once([lambda: post(client, "key-1")] * 8)
    assert {result.status_code for result in results} == {201}
    assert len({result.text for result in results}) == 1
    assert shared_db.count_outbox() == 1
    assert len(client.simulate_get("/tasks").json["content"]) == 1
