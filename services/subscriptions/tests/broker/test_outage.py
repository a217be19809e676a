"""The service while NATS is away, empty, killed, frozen, and back."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.testkit.deadlines import wait_until
from tests.testkit.faults import crash

from ..support import Nats, Service


@pytest.fixture
def lonely(own_nats: Nats, policy_file: Path, tmp_path: Path) -> Iterator[Service]:
    """Yield a service whose NATS has not been started."""
    with Service(own_nats, tmp_path, ROOTS_POLICY=str(policy_file)) as running:
        yield running


def start_provisioned(nats: Nats) -> None:
    """Start the server with its streams."""
    nats.loop.run(nats.server.start())
    nats.loop.run(nats.server.provision())


def test_service_waits_and_says_for_what_when_nats_comes_late(lonely: Service, own_nats: Nats, uid: str) -> None:
    """I9: without NATS, then without streams, it is live, unready, and answers 503; then it works, by itself."""
    answer = lonely.connect(uid, "tasks")
    assert (503, "1", "application/problem+json") == (
        answer.status,
        answer.headers["Retry-After"],
        answer.headers["Content-Type"],
    )
    assert ["broker", "bucket", "stream"] == [name for name, check in lonely.checks().items() if not check["ok"]]
    assert "waits for NATS" == lonely.checks()["broker"]["detail"]

    own_nats.loop.run(own_nats.server.start())
    wait_until(lambda: lonely.checks()["broker"]["ok"])
    assert (503, 503) == (lonely.connect(uid, "tasks").status, lonely.disconnect(uid, "tasks").status)
    assert ["bucket", "stream"] == [name for name, check in lonely.checks().items() if not check["ok"]]

    own_nats.loop.run(own_nats.server.provision())
    wait_until(lonely.is_ready)
    assert 200 == lonely.connect(uid, "tasks").status


def test_grants_are_kept_when_nats_is_killed_and_comes_back(lonely: Service, own_nats: Nats, uid: str) -> None:
    """I9: an acknowledged grant survives a power cut of NATS; meanwhile the answer is 503, and after it all is well."""
    start_provisioned(own_nats)
    wait_until(lonely.is_ready)
    assert 200 == lonely.connect(uid, "tasks").status

    own_nats.loop.run(crash(own_nats.server))
    wait_until(lambda: not lonely.is_ready())
    assert 503 == lonely.connect(uid, "many/1").status

    own_nats.loop.run(own_nats.server.start())
    wait_until(lonely.is_ready)
    wait_until(lambda: lonely.connect(uid, "many/1").status == 200)
    assert {"tasks", "many/1"} == set(own_nats.stored(uid)["paths"])


def failures_logged(service: Service) -> Counter[tuple[str, str]]:
    """Return how many lines tell of each failure, by event and operation."""
    lines = [json.loads(line) for line in service.log_file.read_text().splitlines()]
    return Counter((line["event"], line.get("operation", "")) for line in lines if line["event"].endswith("_failed"))


def test_failure_is_logged_once_when_it_is_repeated_while_nats_is_away(
    lonely: Service, own_nats: Nats, uid: str
) -> None:
    """An outage has one line for each kind of failure, whoever asks and however often, and one for its end."""
    start_provisioned(own_nats)
    wait_until(lonely.is_ready)
    before = failures_logged(lonely)
    own_nats.server.servers[0].process.kill(signal.SIGSTOP)
    try:
        statuses = {lonely.connect(uid, "tasks").status for _ in range(3)}
        wait_until(lambda: failures_logged(lonely) - before)
        logged = failures_logged(lonely) - before
        assert {503} == statuses
        assert ("broker_request_failed", "stream_info") in logged
        assert {1} == set(logged.values())
    finally:
        own_nats.server.servers[0].process.kill(signal.SIGCONT)
    wait_until(lambda: '"broker_request_recovered"' in lonely.log_file.read_text())


def test_connect_answers_503_in_time_when_nats_is_frozen(lonely: Service, own_nats: Nats, uid: str) -> None:
    """I9: a server that is connected and silent does not hold a request for longer than its deadline."""
    start_provisioned(own_nats)
    wait_until(lonely.is_ready)
    own_nats.server.servers[0].process.kill(signal.SIGSTOP)
    try:
        answer = lonely.connect(uid, "tasks")
        assert (503, "1") == (answer.status, answer.headers["Retry-After"])
        wait_until(lambda: not lonely.checks()["broker"]["ok"])
    finally:
        own_nats.server.servers[0].process.kill(signal.SIGCONT)
    wait_until(lambda: lonely.connect(uid, "tasks").status == 200)
