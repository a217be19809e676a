"""The flow of the 2009 tutorial, request by request, through the gateway."""

import json

from roots_devstack.stack import Stack

from .http_client import HttpConnection
from .listener import Listener


async def test_tutorial_works_when_followed_request_by_request(stack: Stack) -> None:
    """Begin, connect, confirm, create, change, delete, disconnect: each step answers as the tutorial says."""
    async with (
        Listener(stack.url, stack.url, prefix="/comet") as client,
        HttpConnection(stack.url) as api,
    ):
        first = await client.poll()
        assert first["updates"] == []

        answer = await api.request("POST", f"/tasks/connect/{client.uid}", ["tasks"])
        assert answer.json == {"connected": ["tasks"], "refused": []}
        assert (await client.poll())["updates"] == [{"path": "tasks", "message": ""}]

        created = await api.request("POST", "/tasks", {"description": "Buy milk"})
        assert created.status == 201
        task = created.json["content"]
        assert created.headers["location"] == task["guid"]
        (update,) = (await client.poll())["updates"]
        assert (update["path"], json.loads(update["message"])) == ("tasks", task)

        changed = await api.request("PUT", task["guid"], {**task, "isDone": True})
        assert changed.json["content"]["isDone"] is True
        (update,) = (await client.poll())["updates"]
        assert json.loads(update["message"]) == changed.json["content"]

        assert (await api.request("DELETE", task["guid"])).status == 204
        (update,) = (await client.poll())["updates"]
        deleted = json.loads(update["message"])
        assert (deleted["guid"], deleted["DELETE"]) == (task["guid"], True)
        assert deleted["version"] > changed.json["content"]["version"]

        assert (await api.request("POST", f"/tasks/disconnect/{client.uid}", ["tasks"])).status == 200
        assert (await client.poll())["updates"] == [{"path": "::+::disconnect", "message": "tasks"}]


async def test_client_of_2009_recovers_when_an_answer_had_no_position(stack: Stack) -> None:
    """The 2009 client asks for /comet/undefined after an error, and gets a new uid, as its server gave it."""
    async with HttpConnection(stack.url) as connection:
        answer = await connection.request("GET", "/comet/undefined")
    assert (answer.status, answer.json["updates"]) == (200, [])
    assert len(answer.json["reconnectWith"].split("/")) == 2
