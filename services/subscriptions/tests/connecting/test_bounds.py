"""What connecting costs is bounded: the bytes of one client's paths, the clients without a token, the bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.testkit.deadlines import wait_until

from roots.contracts.grant_records import MAX_PATHS, MAX_PATHS_BYTES
from roots.contracts.uids import Uids

from ..support import Nats, Service

LONG = [f"many/{number:03}{'/' + 'x' * 60}{'/' + 'y' * 60}{'/' + 'z' * 60}" for number in range(MAX_PATHS)]


def test_connect_refuses_by_limit_when_the_paths_of_one_client_are_too_long(
    service: Service, nats: Nats, uid: str
) -> None:
    """I7: paths are granted in their order while their bytes fit; each of the others is refused by itself."""
    fitting = MAX_PATHS_BYTES // len(LONG[0])
    answer = service.connect(uid, *LONG)
    assert (200, LONG[:fitting]) == (answer.status, answer.json()["connected"])
    assert [{"path": path, "reason": "limit"} for path in LONG[fitting:]] == answer.json()["refused"]
    assert sum(map(len, nats.stored(uid)["paths"])) <= MAX_PATHS_BYTES
    assert ["tasks"] == service.connect(uid, LONG[-1], "tasks").json()["connected"]
    again = service.connect(uid, LONG[-1])
    assert (422, [{"path": LONG[-1], "reason": "limit"}]) == (again.status, again.json()["refused"])


def test_withdrawn_paths_are_bounded_when_one_client_connects_others_again_and_again(
    service: Service, nats: Nats, uid: str
) -> None:
    """I7: a record remembers the newest withdrawn paths, of so many bytes together."""
    fitting = MAX_PATHS_BYTES // len(LONG[0])
    batches = [LONG[start : start + fitting] for start in range(0, MAX_PATHS, fitting)]
    for paths in batches:
        assert 200 == service.connect(uid, *paths).status
        assert 200 == service.disconnect(uid, *paths).status
    gone = nats.stored(uid)["gone"]
    assert MAX_PATHS_BYTES - len(LONG[0]) < sum(map(len, gone)) <= MAX_PATHS_BYTES
    assert batches[-1][-1] in gone


@contextmanager
def own_service(nats: Nats, policy_file: Path, folder: Path, **environment: str) -> Iterator[Service]:
    """Run a service on a nats-server of its own whose bucket has at most 1 MiB."""
    nats.loop.run(nats.server.start())
    nats.loop.run(nats.server.provision(replace(nats.server.provision_config(), grant_bytes=1 << 20)))
    with Service(nats, folder, ROOTS_POLICY=str(policy_file), **environment) as service:
        wait_until(service.is_ready)
        yield service


def test_connect_answers_503_when_there_are_too_many_clients_without_a_token(
    own_nats: Nats, policy_file: Path, tmp_path: Path, uids: Uids
) -> None:
    """I7: a new client is refused with a time to come back; those that are connected go on."""
    with own_service(own_nats, policy_file, tmp_path, ROOTS_MAX_ANONYMOUS_CLIENTS="3") as service:
        known = [uids.mint() for _ in range(3)]
        assert [200] * 3 == [service.connect(uid, "tasks").status for uid in known]
        refused = service.connect(uids.mint(), "tasks")
        assert (503, "anonymous") == (refused.status, refused.json()["reason"])
        assert int(refused.headers["Retry-After"]) >= 1
        assert ["many/1"] == service.connect(known[0], "many/1").json()["connected"]
        assert service.is_ready()
        own_nats.put_raw(known[1], b"", {"KV-Operation": "DEL"})
        wait_until(lambda: service.connect(uids.mint(), "tasks").status == 200)


def test_connect_answers_503_when_the_bucket_is_full(
    own_nats: Nats, policy_file: Path, tmp_path: Path, uids: Uids
) -> None:
    """I7: nobody's grants make room for a new client's; what is there can be changed, and the service stays ready."""
    with own_service(own_nats, policy_file, tmp_path) as service:
        first = uids.mint()
        assert 200 == service.connect(first, "tasks").status
        answers = (service.connect(uids.mint(), *LONG) for _ in range(500))
        count, refused = next((count, answer) for count, answer in enumerate(answers) if answer.status != 200)
        assert (503, "full") == (refused.status, refused.json()["reason"])
        assert count > 40
        assert int(refused.headers["Retry-After"]) >= 1
        assert ["tasks"] == list(own_nats.stored(first)["paths"])
        assert 200 == service.disconnect(first, "tasks").status
        assert {} == own_nats.stored(first)["paths"]
        assert service.is_ready()


@pytest.mark.parametrize("variable", ["0", "-1", "many"])
def test_service_refuses_to_start_when_the_limit_is_no_number(variable: str, tmp_path: Path, nats: Nats) -> None:
    """One sentence on standard error names the variable."""
    service = Service(nats, tmp_path, ROOTS_MAX_ANONYMOUS_CLIENTS=variable)
    with pytest.raises(AssertionError, match="ROOTS_MAX_ANONYMOUS_CLIENTS"):
        service.__enter__()
