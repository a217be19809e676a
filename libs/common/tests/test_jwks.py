"""The keys that an issuer publishes, from an HTTP server of the test's own that counts what it is asked."""

import http.client
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.testkit.deadlines import DEADLINE_SECONDS, clock, stretched, wait_until

from roots.auth import jwks
from roots.auth.jwks import JwksKeys, KeysUnavailableError, fetch_url, parse_jwks

from .token_support import private_key, public_jwk


class Issuer:
    """Publishes keys. Shape: it answers `status` and `body`, once `is_open` is set."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests = 0
        self.is_open = threading.Event()
        self.is_open.set()
        self.publish()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def publish(self, *keys: object) -> None:
        """Publish these keys and no others."""
        self.body = json.dumps({"keys": keys}).encode()

    def close(self) -> None:
        """Stop answering."""
        self.is_open.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                issuer.is_open.wait()
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(issuer.body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Yield an issuer without keys."""
    server = Issuer()
    yield server
    server.close()


@pytest.fixture
def keys(issuer: Issuer) -> Iterator[JwksKeys]:
    """Yield the keys of the issuer, not yet started."""
    kept = JwksKeys(issuer.url, lambda _: None)
    yield kept
    kept.stop()


@pytest.fixture
def interval(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets how often keys may be fetched for unknown kids."""

    def set_interval(seconds: float) -> None:
        monkeypatch.setattr(jwks, "MIN_INTERVAL_SECONDS", seconds)

    return set_interval


def test_key_is_found_when_the_issuer_publishes_it(issuer: Issuer, keys: JwksKeys) -> None:
    """The first token waits for the first fetch; after it, keys come from memory."""
    issuer.publish(*(public_jwk(algorithm, algorithm) for algorithm in ("RS256", "ES256", "EdDSA")))
    keys.start()
    for algorithm in ("RS256", "ES256", "EdDSA"):
        found = keys.find(algorithm)
        assert found is not None
        assert (algorithm, private_key(algorithm).public_key()) == (found.algorithm, found.material)
    assert 1 == issuer.requests


def test_new_key_is_found_when_the_issuer_has_rotated(
    issuer: Issuer, keys: JwksKeys, interval: Callable[[float], None]
) -> None:
    """An unknown kid makes the keys be fetched anew, within the request that asks; a withdrawn key is gone with it."""
    interval(0)
    issuer.publish(public_jwk("EdDSA", "old"))
    keys.start()
    assert keys.find("old") is not None
    issuer.publish(public_jwk("ES256", "new"))
    found = keys.find("new")
    assert found is not None
    assert "ES256" == found.algorithm
    assert keys.find("old") is None


def test_issuer_is_asked_once_when_kids_are_garbage(issuer: Issuer, keys: JwksKeys) -> None:
    """I7: made-up kids don't hammer the issuer, nor hold requests; known ones are answered meanwhile."""
    issuer.publish(public_jwk("EdDSA", "good"))
    keys.start()
    assert keys.find("good") is not None
    began = clock()
    with ThreadPoolExecutor(16) as threads:
        assert [None] * 2000 == list(threads.map(lambda number: keys.find(f"bad-{number}"), range(2000)))
    assert clock() - began < jwks.WAIT_SECONDS * 5
    assert keys.find("x" * 10_000) is None
    assert keys.find("good") is not None
    assert issuer.requests <= 2


def test_request_waits_little_when_the_issuer_is_silent(issuer: Issuer, keys: JwksKeys) -> None:
    """No request is held for long, and only some are held at all; whether the key is good can't be told."""
    issuer.is_open.clear()
    keys.start()
    wait_until(lambda: issuer.requests == 1)
    began = clock()

    def find(_: int) -> float:
        with pytest.raises(KeysUnavailableError):
            keys.find("any")
        return clock() - began

    with ThreadPoolExecutor(16) as threads:
        waited = sorted(threads.map(find, range(16)))
    assert waited[-1] < jwks.WAIT_SECONDS + 1
    assert waited[16 - jwks.MAX_WAITING - 1] < jwks.WAIT_SECONDS / 2


FAILURES = [(500, b""), (404, b"{}"), (200, b""), (200, b"{}"), (200, b"[]"), (200, b'{"keys": {}}'), (200, b"\xff")]


@pytest.mark.parametrize(("status", "body"), [*FAILURES, (200, b" " * (jwks.MAX_BYTES + 1))])
def test_keys_are_kept_when_the_issuer_fails(
    issuer: Issuer, keys: JwksKeys, interval: Callable[[float], None], status: int, body: bytes
) -> None:
    """An outage of the issuer signs nobody out; a kid that is not known then can't be told good or bad."""
    interval(0.01)
    issuer.publish(public_jwk("EdDSA", "good"))
    keys.start()
    assert keys.find("good") is not None
    issuer.status, issuer.body = status, body
    wait_until(lambda: outcome(keys, "other") == "unavailable")
    assert keys.find("good") is not None
    issuer.status = 200
    issuer.publish(public_jwk("EdDSA", "good"), public_jwk("ES256", "other"))
    wait_until(lambda: outcome(keys, "other") == "found")


def outcome(keys: JwksKeys, kid: str) -> str:
    """Return what asking for `kid` comes to."""
    try:
        return "unknown" if keys.find(kid) is None else "found"
    except KeysUnavailableError:
        return "unavailable"


def test_keys_end_when_the_issuer_was_away_for_too_long(
    issuer: Issuer, keys: JwksKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that could be withdrawn long ago is no longer believed."""
    issuer.publish(public_jwk("EdDSA", "good"))
    keys.start()
    assert keys.find("good") is not None
    monkeypatch.setattr(jwks, "MAX_AGE_SECONDS", 0.0)
    with pytest.raises(KeysUnavailableError):
        keys.find("good")


def test_redirect_is_not_followed_when_the_issuer_sends_one(issuer: Issuer) -> None:
    """The policy names the place of the keys, and nobody else does."""
    issuer.status, issuer.headers = 302, {"Location": issuer.url}
    with pytest.raises(OSError, match="302"):
        fetch_url(issuer.url)
    assert 1 == issuer.requests


ENDLESS = {
    "header": (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
    "one line": (b"HTTP/1.1 200 OK\r\nx-a: ", b"b"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_fetch_ends_when_the_issuer_drips(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: an answer that never ends is given up after a deadline, whichever part of it does not end."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.3)
    begin, drop = ENDLESS[kind]
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:
        drops = threads.submit(drip, listener, begin, drop)
        began = clock()
        with pytest.raises((OSError, http.client.HTTPException, ValueError)):
            parse_jwks(fetch_url(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        assert clock() - began < DEADLINE_SECONDS
        assert drops.result() > 1


def test_fetch_ends_when_the_tls_handshake_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: the deadline counts from the connection, so that a handshake is within it."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:
        # The header of a handshake record of 16 KiB, of which each byte comes by itself.
        drops = threads.submit(drip, listener, b"\x16\x03\x03\x40\x00", b"\x00")
        with pytest.raises(OSError, match=r"(?i)ssl|reset|eof|closed"):
            fetch_url(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        assert drops.result() > 1


def drip(listener: socket.socket, begin: bytes, drop: bytes) -> int:
    """Send `begin` to whoever connects, and `drop` until it is gone or DEADLINE_SECONDS are over; return how often."""
    listener.settimeout(stretched(DEADLINE_SECONDS))
    connection, _ = listener.accept()
    ends_at = clock() + DEADLINE_SECONDS
    count = 0
    with connection, suppress(OSError):
        connection.sendall(begin)
        while clock() < ends_at:
            connection.sendall(drop)
            count += 1
            # A client that has hung up is seen at once.
            readable, _, _ = select.select([connection], [], [], 0.01)
            if readable and connection.recv(4096) == b"":
                break
    return count


SECRET_JWK = {"kty": "oct", "kid": "a", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        "key",
        {},
        SECRET_JWK,
        {**SECRET_JWK, "alg": "HS256"},
        {**public_jwk("EdDSA", "a"), "kid": 1},
        {key: value for key, value in public_jwk("EdDSA", "a").items() if key != "kid"},
        public_jwk("EdDSA", "a", use="enc"),
        public_jwk("EdDSA", "a", alg="none"),
        public_jwk("EdDSA", "a", alg="HS256"),
        public_jwk("RS256", "a", alg="PS256"),
        public_jwk("RS256", "a", alg="RS512"),
        public_jwk("ES256", "a", crv="P-384"),
        public_jwk("RS256", "a", n="AQAB"),
        public_jwk("RS256", "a", kty="EC"),
        public_jwk("EdDSA", "a", x=1),
        public_jwk("EdDSA", "a", d="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ],
)
def test_jwk_is_passed_over_when_it_is_of_no_use(jwk: object) -> None:
    """A secret, a private key, a weak one or one for something else verifies nothing, and hides no other key."""
    parsed = parse_jwks(json.dumps({"keys": [jwk, public_jwk("ES256", "good")]}).encode())
    assert {"good": "ES256"} == {kid: key.algorithm for kid, key in parsed.items()}
