"""Cornelius agrees with the services: their contracts, as test vectors (`python -m tests.vectors.contracts`)."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from cornelius import Listener, Update, messages, transport
from cornelius.backend_api import MAX_PATHS
from cornelius.listener import DISCONNECT_PATH

from .support import CONNECTED, REVOKED, Scripted, ScriptedServer, client_of, polled

VECTORS = json.loads((Path(__file__).parents[3] / "tests" / "vectors" / "contracts.json").read_text("ascii"))


@pytest.mark.parametrize("position", VECTORS["positions"], ids=lambda position: str(position["cursor"]))
def test_position_is_read_when_a_replica_answers_it(position: dict[str, Any]) -> None:
    """The listener knows its uid, and polls from the position as it is."""
    where = position["reconnectWith"]
    with (
        ScriptedServer([polled(where), Scripted(200, CONNECTED), polled(where, ("tasks", "1"))]) as server,
        Listener(server.url, ["tasks"]) as listener,
    ):
        assert [Update("tasks", "1")] == list(itertools.islice(listener, 1))
        assert position["uid"] == listener.uid
        assert f"/comet/{where}" == server.requests[-1].path


@pytest.mark.parametrize("position", VECTORS["positions"], ids=lambda position: str(position["cursor"]))
def test_uid_is_taken_when_it_has_the_form_of_the_services(position: dict[str, Any]) -> None:
    """A back end names its clients by uids that it gets from browsers."""
    with ScriptedServer([REVOKED]) as server:
        client_of(server).forget(position["uid"])
        assert [f"/v1/clients/{position['uid']}"] == [request.path for request in server.requests]


def test_limits_and_times_are_those_of_the_services() -> None:
    """A batch of the client fits into a request, and a poll is given up when the gateway gives it up."""
    limits, seconds = VECTORS["limits"], VECTORS["seconds"]
    assert (limits["paths_of_client"], limits["batch_messages"]) == (MAX_PATHS, messages.MAX_BATCH_MESSAGES)
    assert 6 * limits["message_bytes"] < messages.MAX_BATCH_BYTES <= limits["batch_bytes"]
    assert (seconds["answer"], seconds["longest_retry"]) == (
        transport.POLL_TIMEOUT_SECONDS,
        transport.MAX_RETRY_AFTER_SECONDS,
    )
    assert VECTORS["withdrawn_path"] == DISCONNECT_PATH
