"""Requests as clients send them, as nobody should, and what happens between them."""

from hypothesis import strategies as st

from roots.contracts.uids import UID_CHARACTERS
from roots_longpoll.delivery.cursor import Cursor, render

from .dispatcher_support import EPOCH
from .twin_support import CLIENTS, CONNECTIONS, ORIGIN, OTHER_KINDS, Happening

PLAIN = b"Host: x\r\nAccept: */*\r\n\r\n"

HEADERS = [
    b"Host: x", b"Accept: */*", b"Content-Length: 0", b"Connection: keep-alive", b"Connection: close", b"X:",
    b"Connection: Upgrade\r\nUpgrade: h2c", b"Connection: Upgrade\r\nUpgrade: websocket", b"Upgrade: h2c",
    b"Origin: %b" % ORIGIN.encode(), b"Origin: https://evil.example", b"origin:%b" % ORIGIN.encode(), b"Origin:",
    b"Origin: %b\r\n .evil" % ORIGIN.encode(), b"X: a\r\n b", b"X: a\r\n\tb", b" X: a", b"X : a", b"X: \x00",
    b"X: \xff", b"X: a\nY: b", b"X: a\rY: b", b"Content-Length: 3", b"Content-Length: 00", b"Content-Length: 0, 0",
    b"Content-Length: -1", b"Content-Length: 0\r\nContent-Length: 0", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: chunked\r\nContent-Length: 0", b"Content-Length: 0\r\nTransfer-Encoding: chunked",
    b"Keep-Alive: timeout=1", b"Proxy-Connection: close", b"Expect: 100-continue", b"X: " + b"a" * 1100,
]  # fmt: skip
BODIES = [
    b"", b"", b"", b"", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nOrigin: %b\r\n\r\n" % ORIGIN.encode(), b"\r\n",
    b"\n", b"abc", b"\x00", b"G",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b""]
METHODS = [b"GET"] * 8 + [b"OPTIONS", b"HEAD", b"POST", b"get", b"\r\nGET", b" GET"]
UID_FILLS = [b"\r", b"\n", b"/", b" ", b"a", b"0", b"\x00", b"\xff", b"\r\n", b" HTTP/1.1\r\n", b"?", b"%"]


def filled(fill: bytes) -> bytes:
    """Return `fill` over and over, as long as a uid."""
    return (fill * UID_CHARACTERS)[:UID_CHARACTERS]


def uid_of(client: int) -> bytes:
    """Return the uid of a client of every side: the first ones that are minted, after the bench's own."""
    return b"%043d" % (client + 2)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Return what follows a request line: headers, and what a body has."""
    if draw(st.booleans()):
        return b"Host: x\r\n%b\r\n\r\n" % draw(st.sampled_from(HEADERS))
    lines = draw(st.lists(st.sampled_from(HEADERS), max_size=4))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    return end.join([*lines, b"", b""]) + draw(st.sampled_from(BODIES))


POLLS = st.builds(
    lambda client, epoch, seq, acked: b"/%b/%b" % (uid_of(client), render(Cursor(epoch, seq, acked))),
    st.integers(0, CLIENTS - 1), st.sampled_from([EPOCH, EPOCH, EPOCH, 7]), st.integers(0, 3),
    st.sampled_from([1, 0, 2, 3]),
)  # fmt: skip


@st.composite
def odd_targets(draw: st.DrawFn) -> bytes:
    """Return a target that is no poll, or only looks like one."""
    uid = draw(st.sampled_from([uid_of(0), *map(filled, UID_FILLS)]))
    return draw(st.sampled_from(
        [b"/", b"/undefined", b"/%b/1.2" % uid, b"/%b//1.2.3" % uid, b"/%b/1.0.1/" % uid, b"*", b"//",
         b"/%b/0.0.0" % uid, b"/%b/1.0.1?t=1" % uid, b"http://x/%b/1.0.1" % uid, b"/%b/zzzzzzzzzzzzz.1.1" % uid,
         b"/%b/A.1.1" % uid]
    ))  # fmt: skip


@st.composite
def odd_requests(draw: st.DrawFn, headers: list[bytes]) -> bytes:
    """Return what is unlike nearly all polls, in one way or in many."""
    method, version = draw(st.sampled_from(METHODS)), draw(st.sampled_from(VERSIONS))
    target, block = draw(POLLS | odd_targets()), draw(st.sampled_from(headers))
    cut = draw(st.integers(0, 12))
    block = draw(st.sampled_from([block, block[cut:], block[: len(block) - cut]]))
    return b"%b %b %b\r\n%b" % (method, target, version, block)


@st.composite
def actions(draw: st.DrawFn) -> list[Happening]:
    """Return what happens to both sides: bytes on their connections, and what the world tells meanwhile."""
    headers = [PLAIN, *draw(st.lists(blocks(), min_size=1, max_size=2))]
    # What can be learned is.
    found: list[Happening] = [("send", number, b"GET / HTTP/1.1\r\n" + one) for number, one in enumerate(headers)]
    plain = st.builds(lambda target, block: b"GET %b HTTP/1.1\r\n%b" % (target, block), POLLS, st.sampled_from(headers))
    others = st.sampled_from([*OTHER_KINDS, "publish", "serve"])
    for _ in range(draw(st.integers(1, 12))):
        number, kind = draw(st.integers(0, CONNECTIONS - 1)), draw(st.integers(0, 9))
        if kind == 0:
            found.append((draw(others), number, b"x"))
        elif kind < 6:
            found.append(("send", number, draw(plain)))
        else:
            sent = b"".join(draw(st.lists(plain | odd_requests(headers), min_size=1, max_size=3)))
            places = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=2)))
            pieces = [sent[start:stop] for start, stop in zip([0, *places], [*places, len(sent)], strict=True)]
            found += [("send", number, piece) for piece in pieces if piece]
    return found


def poll_of(uid: bytes, block: bytes = PLAIN, *, seq: int = 0) -> bytes:
    """Return the request that nearly all are."""
    return b"GET /%b/%b HTTP/1.1\r\n%b" % (uid, render(Cursor(EPOCH, seq, 1)), block)
