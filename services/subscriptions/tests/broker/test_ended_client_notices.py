"""Notices of clients that have ended, from two replicas of the service."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.testkit.deadlines import wait_until

from roots.contracts.uids import Uids

from ..support import KEY, Nats, Service

PATH = "ops/ended"


@pytest.fixture
def replicas(nats: Nats, policy_file: Path, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Yield two replicas that publish notices."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    environment = {"ROOTS_POLICY": str(policy_file), "ROOTS_ENDED_PATH": PATH}
    with Service(nats, folders[0], **environment) as one, Service(nats, folders[1], **environment) as two:
        wait_until(lambda: one.is_ready() and two.is_ready())
        yield one, two


def test_end_of_a_client_is_published_once_when_replicas_run(
    replicas: tuple[Service, Service], nats: Nats, uids: Uids
) -> None:
    """A back end that listens to the path learns which uid it may forget; of one that lives on it learns nothing."""
    begin = nats.events_end()
    living, first, second = uids.mint(), uids.mint(), uids.mint()
    for uid in (living, first, second):
        assert 200 == replicas[0].connect(uid, "tasks").status

    def notices() -> list[str]:
        return [
            json.loads(event.data)["uid"]
            for event in nats.events_after(begin)
            if event.subject == "roots.events.ops.ended"
        ]

    # It finds the clients, so each replica has read of them.
    for replica in replicas:
        replica.backend_api("POST", "/v1/revoke", {"path": "many/none"}, Authorization=f"Bearer {KEY}")
    nats.put_raw(first, b"", {"KV-Operation": "DEL"})
    wait_until(lambda: first in notices())
    nats.put_raw(second, b"", {"KV-Operation": "DEL"})
    wait_until(lambda: second in notices())
    assert [first, second] == notices()
