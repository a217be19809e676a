"""Which request a thread takes next while many wait."""

import socket
import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import falcon
from tests.testkit.deadlines import stretched, wait_until

from roots.http.queue import TurnQueue

from .http_support import Slow, connect, post, read_to_end, serving

READ = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
READS = 50
PLACES = 20
OTHER_ADDRESS = "127.0.0.2"


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


def test_write_is_answered_when_more_reads_than_threads_are_slow() -> None:
    """I7: reads never have all threads, so a change does not wait for any of them."""
    slow = Recording()
    with serving(slow, threads=8) as server, ExitStack() as open_:
        for _ in range(READS):
            open_.enter_context(connect(server, READ))
        assert slow.started.acquire(timeout=stretched(20))
        assert [200] * 5 == [post(server) for _ in range(5)]
        slow.released.set()


def test_reads_of_the_busiest_address_are_refused_when_places_are_needed() -> None:
    """I7: one host that fills all places with reads gets 503; a read of another address is answered, and a change."""
    slow = Recording()
    with serving(slow, threads=8, max_connections=PLACES) as server, ExitStack() as open_:
        other = open_.enter_context(connect(server, READ, source=OTHER_ADDRESS))
        assert slow.started.acquire(timeout=stretched(20))
        waits = open_.enter_context(connect(server, READ, source=OTHER_ADDRESS))
        asking = [open_.enter_context(connect(server, READ)) for _ in range(3 * PLACES)]
        assert [200] * 5 == [post(server) for _ in range(5)]
        refused = read_to_end(asking[0])
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        assert b"application/problem+json" in refused
        wait_until(lambda: server.full_seconds == 0)
        slow.released.set()
        for connection in (other, waits):
            assert b"HTTP/1.1 200" == connection.recv(12)


def test_read_is_answered_when_the_readers_before_it_have_gone() -> None:
    """I7: who comes from the same address after a flood of reads is not refused for those that nobody waits for."""
    slow = Recording()
    with serving(slow, threads=8, max_connections=PLACES) as server, ExitStack() as open_:
        gone = [open_.enter_context(connect(server, READ)) for _ in range(PLACES - 1)]
        wait_until(lambda: server.queue_depth == PLACES - 3)
        for connection in gone:
            connection.close()
        honest = [open_.enter_context(connect(server, READ)) for _ in range(PLACES // 2)]
        assert [200] * 5 == [post(server) for _ in range(5)]
        slow.released.set()
        assert [b"HTTP/1.1 200"] * len(honest) == [connection.recv(12) for connection in honest]


def test_read_is_answered_when_its_client_has_closed_its_own_direction() -> None:
    """Such a client still waits for the answer, and gets it while others read."""
    slow = Recording()
    with serving(slow, threads=8) as server, ExitStack() as open_:
        asking = [open_.enter_context(connect(server, READ)) for _ in range(READS)]
        wait_until(lambda: server.queue_depth == READS - 2)
        asking[-1].shutdown(socket.SHUT_WR)
        slow.released.set()
        assert read_to_end(asking[-1]).startswith(b"HTTP/1.1 200 ")


def waiting(method: str, number: int, address: str = "127.0.0.1", *, is_closed: bool = False) -> Any:
    """Return a channel that waits."""
    requests = [SimpleNamespace(command=method)]
    return SimpleNamespace(requests=requests, number=number, addr=(address, 1), has_client_closed=is_closed)


def test_reads_and_writes_come_in_turn_when_both_wait() -> None:
    """Neither kind can keep the other waiting, and each is in the order in which it came."""
    queue = TurnQueue(1)
    for number, method in enumerate(["GET", "HEAD", "GET", "POST", "DELETE", "GET"]):
        queue.append(waiting(method, number))
    assert len(queue) == 6
    taken = []
    while queue:
        taken.append(queue.popleft().number)
    assert taken == [3, 0, 4, 1, 2, 5]
    assert len(queue) == 0


def test_addresses_take_turns_when_one_has_many_reads() -> None:
    """A read of another address waits for one read of the busy one, not for all."""
    queue = TurnQueue(2)
    for number, address in enumerate(["a", "a", "a", "a", "b", "b"]):
        queue.append(waiting("GET", number, address))
    taken = []
    while queue:
        taken.append(queue.popleft().number)
    assert taken == [0, 4, 1, 5, 2, 3]


def test_reads_of_closed_clients_are_one_address_when_others_wait() -> None:
    """Those before a read that somebody waits for do not delay it, and still have a turn."""
    queue = TurnQueue(2)
    for number, is_closed in enumerate([True, True, False, True, False, False]):
        queue.append(waiting("GET", number, is_closed=is_closed))
    taken = []
    while queue:
        taken.append(queue.popleft().number)
    assert taken == [2, 0, 4, 1, 5, 3]


def test_read_of_a_closed_client_is_removed_first_when_places_are_needed() -> None:
    """Nobody may wait for it."""
    queue = TurnQueue(2)
    for number, is_closed in enumerate([True, True, False, False]):
        queue.append(waiting("GET", number, is_closed=is_closed))
    assert queue.popleft().number == 2
    assert queue.pop_excess(2).number == 0
    assert queue.pop_excess(2).number == 1
    assert queue.pop_excess(2) is None
    assert queue.pop_excess(0).number == 3


def test_oldest_read_of_the_busiest_address_is_removed_when_there_are_too_many() -> None:
    """Who comes last still has a chance; a request that changes something is never removed."""
    queue = TurnQueue(2)
    queue.append(waiting("POST", 9, "a"))
    assert queue.pop_excess(0) is None
    for number, address in enumerate(["b", "a", "a", "b", "a"]):
        queue.append(waiting("GET", number, address))
    assert queue.pop_excess(3) is None
    assert [queue.pop_excess(0).number for _ in range(5)] == [1, 0, 2, 3, 4]
    assert queue.pop_excess(0) is None
    assert queue.popleft().number == 9


def test_no_read_is_taken_when_enough_threads_read() -> None:
    """A thread that looks again has answered what it took."""
    queue = TurnQueue(1)
    for number in range(2):
        queue.append(waiting("GET", number))
    reader = threading.Thread(target=queue.popleft)
    reader.start()
    reader.join()
    assert not queue
    queue.append(waiting("PUT", 2))
    assert queue
    assert queue.popleft().number == 2


def test_refused_request_is_taken_when_it_has_no_method() -> None:
    """What can't be parsed gets its answer too."""
    queue = TurnQueue(1)
    queue.append(SimpleNamespace(requests=[SimpleNamespace()], addr=("127.0.0.1", 1)))
    assert queue.popleft().requests
