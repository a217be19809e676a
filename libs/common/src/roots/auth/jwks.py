"""The keys that an issuer publishes at a URL (JWKS): fetched by a thread of their own, and kept.

A request never fetches. A kid that is not known asks the thread to fetch at once, at most every MIN_INTERVAL_SECONDS,
so that made-up kids do not hammer the issuer; the request waits WAIT_SECONDS for it, and no more than MAX_WAITING do.
While the issuer can't be reached, what it published last is good for MAX_AGE_SECONDS.
"""

import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import msgspec

from roots.auth.token_rules import Key, PublicKey, algorithm_of
from roots.runtime import logs

REFRESH_SECONDS = 300.0
MIN_INTERVAL_SECONDS = 10.0
MAX_AGE_SECONDS = 24 * 3600.0
WAIT_SECONDS = 1.0
MAX_WAITING = 4
FETCH_SECONDS = 5.0
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_KID_CHARACTERS = 255

log = logs.get(__name__)

Fetch = Callable[[str], bytes]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        """Follow none."""


class _Connection(http.client.HTTPConnection):
    """Ends FETCH_SECONDS after it was made: the timeout of a socket begins again with each byte that comes."""

    def connect(self) -> None:
        super().connect()
        # A duplicate, since TLS takes the socket itself away.
        timer = threading.Timer(FETCH_SECONDS, _shut_down, [self.sock.dup()])
        timer.daemon = True
        timer.start()


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The same, its handshake included."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req, context=ssl.create_default_context())


def _shut_down(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


# The scheme was checked where the policy was read.
_OPENER = urllib.request.build_opener(_NoRedirect, _Http, _Https)


class KeysUnavailableError(Exception):
    """It is unknown whether a key is good: the issuer's keys could not be fetched."""


class _Jwks(msgspec.Struct):
    keys: list[Any]


class JwksKeys:
    """The keys of one URL.

    Shape: `on_fetch` is called after each fetch, with whether it succeeded.
    """

    def __init__(self, url: str, on_fetch: Callable[[bool], None], fetch: Fetch | None = None) -> None:
        self.url = url
        self._on_fetch = on_fetch
        self._fetch = fetch_url if fetch is None else fetch
        self._changed = threading.Condition()
        self._keys: dict[str, Key] = {}
        self._fetched_at: float | None = None
        self._began_at: float | None = None
        self._times_fetched = 0
        self._has_failed = False
        self._is_wanted = False
        self._is_stopped = False
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name="jwks", daemon=True)

    def start(self) -> None:
        """Fetch now, and again and again until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a fetch that is under way ends by itself."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def find(self, kid: str) -> Key | None:
        """Return the key `kid`, None when the issuer has none. Errors: KeysUnavailableError."""
        with self._changed:
            key = self._known(kid)
            if key is not None or len(kid) > MAX_KID_CHARACTERS:
                return key
            if self._may_ask() and self._waiting < MAX_WAITING:
                self._wait_for_fetch()
                key = self._known(kid)
            if key is None and (self._has_failed or not self._is_fresh()):
                raise KeysUnavailableError
            return key

    def _known(self, kid: str) -> Key | None:
        return self._keys.get(kid) if self._is_fresh() else None

    def _is_fresh(self) -> bool:
        return self._fetched_at is not None and time.monotonic() - self._fetched_at < MAX_AGE_SECONDS

    def _may_ask(self) -> bool:
        """Return whether a fetch is under way or may begin now."""
        is_under_way = self._began_at is None or self._is_wanted
        return is_under_way or time.monotonic() - (self._began_at or 0) >= MIN_INTERVAL_SECONDS

    def _wait_for_fetch(self) -> None:
        before = self._times_fetched
        self._is_wanted = True
        self._changed.notify_all()
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: self._times_fetched > before, WAIT_SECONDS)
        finally:
            self._waiting -= 1

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_stopped:
                    return
                self._began_at = time.monotonic()
                self._is_wanted = True
            keys = self._try_fetch()
            with self._changed:
                self._has_failed = keys is None
                if keys is not None:
                    self._keys = keys
                    self._fetched_at = time.monotonic()
                self._times_fetched += 1
                self._is_wanted = False
                self._changed.notify_all()
                pause = MIN_INTERVAL_SECONDS if keys is None else REFRESH_SECONDS
                self._changed.wait_for(lambda: self._is_wanted or self._is_stopped, pause)

    def _try_fetch(self) -> dict[str, Key] | None:
        try:
            keys = parse_jwks(self._fetch(self.url))
        except Exception as error:  # noqa: BLE001  # the thread's supervising loop: the next fetch may do better
            # Its text may quote the URL, or a key.
            log.warning("jwks_not_fetched", error=type(error).__name__)
            self._on_fetch(False)
            return None
        log.info("jwks_fetched", keys=len(keys))
        self._on_fetch(True)
        return keys


def parse_jwks(raw: bytes) -> dict[str, Key]:
    """Return the keys of a JWKS by kid: public ones for signatures, of the algorithms that are accepted.

    Errors: ValueError when it is no JWKS.
    """
    try:
        document = msgspec.json.decode(raw, type=_Jwks)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError("it is no object with an array of keys") from error
    keys: dict[str, Key] = {}
    for jwk in document.keys[:MAX_KEYS]:
        key = _parse_key(jwk)
        if key is not None:
            keys[jwk["kid"]] = key
    return keys


def fetch_url(url: str) -> bytes:
    """Return what is at `url`; a redirect is not followed, since the policy names the place of the keys.

    Errors: OSError, ValueError, http.client.HTTPException.
    """
    with _OPENER.open(url, timeout=FETCH_SECONDS) as response:
        chunks: list[bytes] = []
        while chunk := response.read1(MAX_BYTES):
            chunks.append(chunk)
            if sum(map(len, chunks)) > MAX_BYTES:
                raise ValueError("it is too large")
    return b"".join(chunks)


def _parse_key(jwk: object) -> Key | None:
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig":
        return None
    try:
        parsed = jwt.PyJWK(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
        # Other keys may be good; this one is perhaps of a kind that is not known yet.
        return None
    # A private key has no place there, and a secret that is published is none.
    algorithm = algorithm_of(parsed.key) if isinstance(parsed.key, PublicKey) else None
    if algorithm is None or algorithm != parsed.algorithm_name:
        return None
    return Key(algorithm=algorithm, material=parsed.key)
