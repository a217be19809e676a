"""Two replicas without sockets that get the same bytes: one knows polls again, the other parses each."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from roots.contracts.uids import UID_CHARACTERS, Uids
from roots_longpoll.http.connection import Connection
from roots_longpoll.http.requests import KnownBytes, ParsedTail
from roots_longpoll.http.server_state import ServerState

from .dispatcher_support import UID_KEY, DispatcherBench, event, grant, record

ORIGIN = "https://app.example"
CLIENTS = 3
CONNECTIONS = 3
PATH = "tasks"


class FakeTransport(asyncio.Transport):
    """Keeps what a client would receive; it is as strict about its end as a transport of uvloop."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ends: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep `data`; after the end of the writing it is a mistake, after the connection's it goes nowhere."""
        assert "eof" not in self.ends
        if not self.ends:
            self.written += data

    def can_write_eof(self) -> bool:
        """Tell that one direction can end before the other."""
        return True

    def write_eof(self) -> None:
        """End the writing."""
        self.ends.append("eof")

    def close(self) -> None:
        """End the connection."""
        self.ends.append("close")

    def abort(self) -> None:
        """End the connection now."""
        self.ends.append("abort")

    def is_closing(self) -> bool:
        """Tell whether the connection ends."""
        return bool({"close", "abort"} & set(self.ends))

    def pause_reading(self) -> None:
        """Do nothing: the test reads when it wants."""

    def resume_reading(self) -> None:
        """Do nothing: the test reads when it wants."""


class NumberedUids(Uids):
    """Mints the same uids in the same order each time."""

    def __init__(self) -> None:
        super().__init__(UID_KEY)
        self._count = 0

    def mint(self, now: float | None = None) -> str:
        """Return the next uid; no time is in it."""
        del now
        self._count += 1
        return f"{self._count:0{UID_CHARACTERS}d}"

    def is_valid(self, uid: str, now: float | None = None) -> bool:
        """Tell whether it was minted; it never ends."""
        del now
        return len(uid) == UID_CHARACTERS and uid.isdecimal() and 0 < int(uid) <= self._count


class Forgetful(KnownBytes):
    """Knows nothing again."""

    def __init__(self) -> None:
        super().__init__()
        never: dict[bytes, ParsedTail] = {}
        self.find = never.get

    def parse(self, data: bytes) -> tuple[bytes, ParsedTail] | None:
        """Return that `data` is not known."""
        del data
        return None  # mypy wants it


class Side:
    """One replica and its connections. Shape: uids are clients with a record, the first of them; one has none."""

    def __init__(self, known: KnownBytes, *, origins: Iterable[str] = ()) -> None:
        self.bench = DispatcherBench(uids=NumberedUids())
        self.server = ServerState(self.bench.stats, max_connections=100, origins=origins)
        self.server.known = known
        self.server.heads.date = b"Thu, 01 Jan 1970 00:00:00 GMT"
        self.server.heads.ok = b"HTTP/1.1 200 OK\r\nContent-Length: "
        self.server.heads.ok_close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
        self.server.now = 0.0
        self.server.note_view_age(0.0)
        self.uids = [self.bench.mint() for _ in range(CLIENTS)]
        for uid in self.uids[:-1]:
            self.bench.connect(PATH, uid=uid)
        self.connections: list[tuple[Connection, FakeTransport]] = []

    def open(self) -> int:
        """Connect; return the connection's number."""
        connection, transport = Connection(self.bench.dispatcher, self.server), FakeTransport()
        connection.connection_made(transport)
        self.connections.append((connection, transport))
        return len(self.connections) - 1

    def feed(self, number: int, data: bytes) -> None:
        """Let bytes come on a connection, unless it has ended."""
        connection, transport = self.connections[number]
        if not transport.is_closing():
            connection.data_received(data)

    def publish(self, message: str) -> None:
        """Let an event come, and all that wait for it receive it."""
        self.bench.dispatcher.deliver(event(self.bench.ring.head + 1, PATH, message))
        self.bench.run_slices()

    def withdraw(self, client: int) -> None:
        """Let what a client may receive be taken from it."""
        self.bench.put(record(2, {}, gone={PATH: 2}), self.uids[client])

    def grant_again(self, client: int) -> None:
        """Let a client receive again."""
        self.bench.put(record(3, {PATH: grant(self.bench.ring.head, 3)}), self.uids[client])

    def drain(self) -> None:
        """Begin to drain, or stop."""
        self.server.is_draining = not self.server.is_draining

    def pause(self, number: int) -> None:
        """Let a connection's client no longer read its answers, or read them again."""
        connection, transport = self.connections[number]
        if connection._paused:
            connection.resume_writing()
        elif not transport.is_closing():
            connection.pause_writing()

    @property
    def seen(self) -> list[tuple[bytes, tuple[str, ...], float, bool]]:
        """What each client has got, how its connection ended, when it ends otherwise, and whether it is idle."""
        return [(to.written, tuple(to.ends), one.deadline, one.is_idle) for one, to in self.connections]

    @property
    def counts(self) -> tuple[object, ...]:
        """What is counted, and who waits."""
        stats = self.bench.stats
        answers = {**stats.answers, "shared": stats.shared_answers}
        held = {poll.uid: poll.cursor for poll in self.bench.dispatcher.held.polls}
        return answers, dict(stats.requests), held, len(self.bench.needs.lookups)


# What happens: its kind, the number of the connection or client that it happens to, and the bytes that come.
Happening = tuple[str, int, bytes]

_KINDS: dict[str, Callable[[Side, int, bytes], None]] = {
    "send": Side.feed,
    "publish": lambda side, _, data: side.publish(data.decode()),
    "withdraw": lambda side, number, _: side.withdraw(number % (CLIENTS - 1)),
    "grant": lambda side, number, _: side.grant_again(number % (CLIENTS - 1)),
    "refuse": lambda side, *_: side.server.note_view_age(1e9),
    "serve": lambda side, *_: side.server.note_view_age(0.0),
    "drain": lambda side, *_: side.drain(),
    "pause": lambda side, number, _: side.pause(number),
}
OTHER_KINDS = sorted(_KINDS.keys() - {"send"})


async def _play(side: Side, done: Sequence[Happening]) -> list[object]:
    for _ in range(CONNECTIONS):
        side.open()
    seen: list[object] = []
    for kind, number, data in done:
        _KINDS[kind](side, number, data)
        # A connection that is read again goes on in the loop's next turn.
        await asyncio.sleep(0)
        seen.append((side.seen, side.counts))
    return seen


def play_twice(done: Sequence[Happening], *, origins: Iterable[str] = ()) -> Side:
    """Let the same happen to a side that knows polls again and one that does not; fail where they part."""
    quick, slow = Side(KnownBytes(), origins=origins), Side(Forgetful(), origins=origins)
    with asyncio.Runner() as runner:
        for step, (expected, actual) in enumerate(
            zip(runner.run(_play(slow, done)), runner.run(_play(quick, done)), strict=True)
        ):
            assert expected == actual, done[: step + 1]
    return quick
