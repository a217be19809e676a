"""Which request a thread takes next while many wait."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import falcon
from tests.testkit.deadlines import stretched, wait_until

from roots.http.queue import TurnQueue

from .http_support import Slow, connect, post, serving

READ = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
READS = 50


class Recording(Slow):
    """A slow resource that keeps the methods in the order in which threads took them."""

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[str] = []

    def on_get(self, _req: falcon.Request, resp: falcon.Response, **params: str) -> None:
        """Answer when released."""
        self.methods.append("GET")
        super().on_get(_req, resp, **params)

    def on_post(self, req: falcon.Request, resp: falcon.Response, **params: str) -> None:
        """Answer at once."""
        self.methods.append("POST")
        super().on_post(req, resp, **params)


def test_write_is_answered_next_when_many_reads_wait() -> None:
    """I7: a host that asks for a list a thousand times at once delays a change by one answer, not by all of them."""
    slow = Recording()
    with serving(slow, threads=1) as server, ExitStack() as open_:
        for _ in range(READS):
            open_.enter_context(connect(server, READ))
        assert slow.started.acquire(timeout=stretched(20))
        wait_until(lambda: server.queue_depth == READS - 1)
        writing = threading.Thread(target=post, args=[server])
        writing.start()
        wait_until(lambda: server.queue_depth == READS)
        slow.released.set()
        writing.join(stretched(20))
        assert not writing.is_alive()
    assert slow.methods.index("POST") <= 2


def waiting(method: str, number: int) -> Any:
    """Return a channel that waits."""
    return SimpleNamespace(requests=[SimpleNamespace(command=method)], number=number)


def test_reads_and_writes_come_in_turn_when_both_wait() -> None:
    """Neither kind can keep the other waiting, and each is in the order in which it came."""
    queue = TurnQueue()
    for number, method in enumerate(["GET", "HEAD", "GET", "POST", "DELETE", "GET"]):
        queue.append(waiting(method, number))
    assert len(queue) == 6
    assert [queue.popleft().number for _ in range(6)] == [3, 0, 4, 1, 2, 5]
    assert not queue


def test_refused_request_is_taken_when_it_has_no_method() -> None:
    """What can't be parsed gets its answer too."""
    queue = TurnQueue()
    queue.append(SimpleNamespace(requests=[SimpleNamespace()]))
    assert queue.popleft().requests
