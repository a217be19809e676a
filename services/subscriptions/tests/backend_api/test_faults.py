"""The back-end API while NATS is away, and while the service itself is killed."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from tests.testkit.deadlines import clock, wait_until
from tests.testkit.faults import crash

from roots_subscriptions.backend_api.publishing import BATCH_SECONDS

from ..support import Nats, Service

MESSAGE_BYTES = 8000


def batch_of(prefix: str) -> list[dict[str, str]]:
    """Return the largest batch: more than the buffers between two processes hold."""
    names = [f"{prefix}{n}" for n in range(1000)]
    return [{"path": "batch/1", "message": name.ljust(MESSAGE_BYTES), "id": name} for name in names]


def stored_ids(nats: Nats) -> list[str]:
    """Return what the events of `batch_of` are called, in the order of the log."""
    return [event.data.decode().rstrip() for event in nats.events_after(0)]


def unread_bytes(port: int) -> int:
    """Return how many bytes wait in the kernel for the process that listens on `port`."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}"))


@pytest.fixture
def lonely(own_nats: Nats, policy_file: Path, tmp_path: Path) -> Iterator[Service]:
    """Yield a ready service with a NATS of its own."""
    own_nats.loop.run(own_nats.server.start())
    own_nats.loop.run(own_nats.server.provision())
    with Service(own_nats, tmp_path, ROOTS_POLICY=str(policy_file)) as running:
        wait_until(running.is_ready)
        yield running


def test_publish_answers_503_and_stores_nothing_when_nats_is_away(lonely: Service, own_nats: Nats, uid: str) -> None:
    """I9: nothing is half-said; the same request succeeds when NATS is back, and what was refused is not stored."""
    message = {"path": "tasks", "message": "once", "id": "outage"}
    own_nats.loop.run(crash(own_nats.server))
    wait_until(lambda: not lonely.is_ready())

    answer = lonely.publish(message)
    assert (503, "1", "application/problem+json") == (
        answer.status,
        answer.headers["Retry-After"],
        answer.headers["Content-Type"],
    )
    assert not {"published", "failed"} & set(answer.json())
    for item in ({"path": "tutorial/1", "message": "x"}, {"path": "::connect", "message": f"{uid}->tutorial/1"}):
        old = lonely.backend_api("POST", "/", [item])
        assert (503, "1", b"{error:true}") == (old.status, old.headers["Retry-After"], old.data)

    own_nats.loop.run(own_nats.server.start())
    wait_until(lambda: lonely.publish(message).status == 200)
    assert [b"once"] == [event.data for event in own_nats.events_after(0)]


def test_retry_completes_the_batch_when_nats_is_killed_in_the_middle(lonely: Service, own_nats: Nats) -> None:
    """I9: what the answer calls stored is stored, and a retry of the whole with its ids adds just the rest."""
    batches: list[list[dict[str, str]]] = []
    told: list[urllib3.BaseHTTPResponse] = []

    def publish(thread: int) -> None:
        # One after the other until one fails, so that NATS dies in the middle of some, however slow the machine is.
        while not told or told[-1].status == 200:
            names = [f"{thread}-{len(batches)}-{n}" for n in range(1000)]
            batch = [{"path": "batch/1", "message": name, "id": name} for name in names]
            batches.append(batch)
            told.append(lonely.publish(*batch))

    threads = [threading.Thread(target=publish, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: own_nats.events_end() > 100)
    own_nats.loop.run(crash(own_nats.server))
    killed = clock()
    for thread in threads:
        thread.join()
    # Nobody waits for acknowledgements that can't come any more.
    assert clock() - killed < BATCH_SECONDS / 2
    own_nats.loop.run(own_nats.server.start())
    wait_until(lonely.is_ready)

    stored = set(stored_ids(own_nats))
    assert 503 in {answer.status for answer in told}
    for answer in told:
        items = answer.json().get("published", [])
        failed = answer.json().get("failed", [])
        assert {"unknown", "unavailable"} >= {item["reason"] for item in failed}
        assert all(item["retry"] for item in failed)
        assert not [item for item in failed if item["reason"] == "unavailable" and item["id"] in stored]
        assert answer.status == 503 or len(items) == 1000
    assert {200} == {lonely.publish(*batch).status for batch in batches}
    assert sorted(item["id"] for batch in batches for item in batch) == sorted(stored_ids(own_nats))


def test_each_event_is_stored_once_when_the_service_is_killed_in_the_middle(lonely: Service, own_nats: Nats) -> None:
    """I1: when the service dies amid a batch, a back end sends it again, with its ids, and each event is one."""
    batch = batch_of("")
    server = own_nats.server.servers[0]

    def publish() -> None:
        try:
            lonely.publish(*batch)
        except urllib3.exceptions.HTTPError:
            broken.set()

    broken = threading.Event()
    thread = threading.Thread(target=publish)
    # A server that does not read keeps the service in the middle of its sending.
    server.process.kill(signal.SIGSTOP)
    try:
        thread.start()
        wait_until(lambda: unread_bytes(server.port) > MESSAGE_BYTES)
        lonely.kill()
    finally:
        server.process.kill(signal.SIGCONT)
    thread.join()
    wait_until(lonely.is_ready)

    assert broken.is_set()
    assert 0 < own_nats.events_end() < len(batch)
    assert 200 == lonely.publish(*batch).status
    assert [item["id"] for item in batch] == stored_ids(own_nats)


def test_publish_answers_503_when_nobody_keeps_events(lonely: Service, own_nats: Nats) -> None:
    """I9: without the stream nothing is stored, and each message is told as not stored."""
    own_nats.request("provision", "$JS.API.STREAM.DELETE.ROOTS_EVENTS", {})
    answer = lonely.publish({"path": "tasks", "message": "1"}, {"path": "tasks", "message": "2"})
    assert (503, "1") == (answer.status, answer.headers["Retry-After"])
    assert [(0, "unavailable"), (1, "unavailable")] == [
        (item["index"], item["reason"]) for item in answer.json()["failed"]
    ]
    old = lonely.backend_api("POST", "/", [{"path": "tutorial/1", "message": "x"}])
    assert (503, "1", b"{error:true}") == (old.status, old.headers["Retry-After"], old.data)


def test_publish_answers_503_and_stores_nothing_when_the_log_is_full(lonely: Service, own_nats: Nats) -> None:
    """I9: a full log that refuses new events answers at once; each message may be sent again, and none is stored."""
    config = own_nats.request("provision", "$JS.API.STREAM.INFO.ROOTS_EVENTS", {})["config"]
    full = config | {"max_bytes": 64, "discard": "new"}
    own_nats.request("provision", "$JS.API.STREAM.UPDATE.ROOTS_EVENTS", full)
    messages = [{"path": "tasks", "message": str(number), "id": f"full-{number}"} for number in range(30)]
    began = clock()
    answer = lonely.publish(*messages)
    assert clock() - began < BATCH_SECONDS / 4
    assert (503, "1", []) == (answer.status, answer.headers["Retry-After"], answer.json()["published"])
    assert [(number, "unavailable", True) for number in range(30)] == [
        (item["index"], item["reason"], item["retry"]) for item in answer.json()["failed"]
    ]
    assert 0 == own_nats.events_end()
    own_nats.request("provision", "$JS.API.STREAM.UPDATE.ROOTS_EVENTS", config)
    assert 200 == lonely.publish(*messages).status
