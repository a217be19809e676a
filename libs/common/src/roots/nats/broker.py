"""The only place that connects to NATS.

`connect` returns a client that reconnects for ever, notices a frozen server, refuses publishes while it is
disconnected instead of storing them late, and keeps to its own inbox prefix, as the server's permissions demand.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.uids import UID_CHARACTERS
from roots.nats.nkeys import NkeyError, read_credentials, read_nkey
from roots.nats.stored import headers_of
from roots.runtime import logs
from roots.runtime.config import setting

CONNECT_TIMEOUT_SECONDS = 2.0
RECONNECT_WAIT_SECONDS = 0.25
# The server is taken for dead after PING_SECONDS * MAX_PINGS; nats-py's own default is four minutes.
PING_SECONDS = 3
MAX_PINGS = 2
DRAIN_SECONDS = 5
TRIES_PER_LOG = 40

_CREDS = "ROOTS_NATS_CREDS"
_NKEY_SEED = "ROOTS_NATS_NKEY_SEED"

_UID = re.compile(rf"[A-Za-z0-9_-]{{{UID_CHARACTERS}}}")

log = logs.get(__name__)

_Result = TypeVar("_Result")
Listener = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """How to reach NATS. Each service has its own user there, with a password, a credentials file or an nkey.

    Shape: creds, nkey_seed, tls_ca, tls_cert and tls_key are files' names; user names the inbox prefix, too. TLS is
        used when a server's URL begins with `tls://`, or tls_ca says whose certificates to trust.
    """

    url: str = setting("ROOTS_NATS_URL", default="nats://127.0.0.1:4222")
    user: str = setting("ROOTS_NATS_USER")
    password: str = setting("ROOTS_NATS_PASSWORD", default="", is_secret=True, unless=(_CREDS, _NKEY_SEED))
    creds: str = setting(_CREDS, default="", is_file_name=True)
    nkey_seed: str = setting(_NKEY_SEED, default="", is_file_name=True)
    tls_ca: str = setting("ROOTS_NATS_TLS_CA", default="", is_file_name=True)
    tls_cert: str = setting("ROOTS_NATS_TLS_CERT", default="", is_file_name=True)
    tls_key: str = setting("ROOTS_NATS_TLS_KEY", default="", is_file_name=True)
    tls_first: bool = setting("ROOTS_NATS_TLS_FIRST", default=True)

    @property
    def servers(self) -> list[str]:
        """The servers' URLs."""
        return [url.strip() for url in self.url.split(",")]

    @property
    def is_secure(self) -> bool:
        """Whether TLS is used."""
        return bool(self.tls_ca) or any(url.startswith("tls://") for url in self.servers)

    def problems(self) -> list[str]:
        """Return what of it can't be used together, and which files can't be used at all."""
        problems = []
        if sum(map(bool, (self.password, self.creds, self.nkey_seed))) > 1:
            problems.append(f"ROOTS_NATS_PASSWORD, {_CREDS} and {_NKEY_SEED} are three ways to say the same; set one")
        if bool(self.tls_cert) != bool(self.tls_key):
            problems.append("ROOTS_NATS_TLS_CERT and ROOTS_NATS_TLS_KEY go together")
        elif self.tls_cert and not self.is_secure:
            problems.append("ROOTS_NATS_TLS_CERT is of use with TLS only: set ROOTS_NATS_TLS_CA, or a tls:// URL")
        problems += identity_problems({_CREDS: self.creds}, {_NKEY_SEED: self.nkey_seed})
        if not problems and self.is_secure:
            try:
                self.tls_context()
            except OSError as error:
                problems.append(f"ROOTS_NATS_TLS_CA, _CERT and _KEY can't be used: {error.strerror or error}")
        return problems

    def tls_context(self) -> ssl.SSLContext:
        """Return the certificates to trust, and to show. Errors: OSError when a file is none."""
        context = ssl.create_default_context(cafile=self.tls_ca or None)
        if self.tls_cert:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        return context


def identity_problems(creds: Mapping[str, str], nkey_seeds: Mapping[str, str]) -> list[str]:
    """Return a sentence for each file of a user that can't be used.

    Shape: both are files' names by the variables that name them, empty where a variable is not set.
    """
    readers: list[tuple[str, str, Callable[[str], object]]] = [
        *((variable, name, read_credentials) for variable, name in creds.items()),
        *((variable, name, read_nkey) for variable, name in nkey_seeds.items()),
    ]
    problems = []
    for variable, name, read in readers:
        if name:
            try:
                read(name)
            except OSError as error:
                problems.append(f"{variable} names a file that can't be read: {error.strerror}")
            except NkeyError as error:
                problems.append(f"{variable} names a file that can't be used: {error}")
    return problems


async def connect(config: BrokerConfig, *, on_reconnect: Listener | None = None) -> Client:
    """Return a connected client; try until there is one.

    Errors: none but cancellation. Failed tries are logged; nats-py's own first connect would never return.
    """
    tries = 0
    while True:
        client = _Client()
        if config.nkey_seed:
            # nats-py sets it by itself only with the package nkeys.
            client._public_nkey = read_nkey(config.nkey_seed).public  # noqa: SLF001
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * 2):
                await _cancellable(client.connect(**_options(config), **_callbacks(client, on_reconnect)))
        except BaseException as error:
            # Also when this is cancelled: nobody else has the client, whose socket may be open.
            await client.close()
            if not isinstance(error, (OSError, TimeoutError, nats.errors.Error)):
                raise
            if tries % TRIES_PER_LOG == 0:
                log.warning("broker_unreachable", error=type(error).__name__, tries=tries + 1)
            tries += 1
            await asyncio.sleep(RECONNECT_WAIT_SECONDS)
        else:
            return client


class _Client(Client):
    async def request(self, *args: Any, **options: Any) -> Msg:
        return await _cancellable(super().request(*args, **options))

    async def flush(self, *args: Any, **options: Any) -> None:
        await _cancellable(super().flush(*args, **options))

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        # nats-py's own leaves out all headers of a message when it can't read one of them.
        return headers_of(headers) if headers else None

    async def _connect_to_server(self, s: Any) -> None:
        # A try that was accepted and then failed leaves its socket behind: nats-py 2.16 just puts another in its place.
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)


async def _cancellable(work: Awaitable[_Result]) -> _Result:
    """Return the result of `work`, unless the task was cancelled meanwhile.

    nats-py waits by asyncio.wait_for, which before Python 3.12 forgets a cancellation that comes together with the
    answer: a loop of ours then went on for ever, and the process with it.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    result = await work
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


def inbox_prefix(user: str) -> bytes:
    """Return the inbox prefix that the permissions of `user` allow."""
    return f"_INBOX_{user}".encode()


def _options(config: BrokerConfig) -> dict[str, Any]:
    return {
        "servers": config.servers,
        "name": f"roots-{config.user}",
        "inbox_prefix": inbox_prefix(config.user),
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "reconnect_time_wait": RECONNECT_WAIT_SECONDS,
        "max_reconnect_attempts": -1,
        "ping_interval": PING_SECONDS,
        "max_outstanding_pings": MAX_PINGS,
        # A publish made while disconnected fails at once, instead of being stored behind our back later.
        "pending_size": 0,
        "drain_timeout": DRAIN_SECONDS,
        **_identity(config),
        **_security(config),
    }


def _identity(config: BrokerConfig) -> dict[str, Any]:
    # The files are read again at each reconnect, so that they can be renewed.
    def sign(nonce: str) -> bytes:
        nkey = read_credentials(config.creds).nkey if config.creds else read_nkey(config.nkey_seed)
        return nkey.sign(nonce)

    def show_jwt() -> bytes:
        return read_credentials(config.creds).jwt.encode()

    if config.creds:
        return {"signature_cb": sign, "user_jwt_cb": show_jwt}
    if config.nkey_seed:
        return {"signature_cb": sign}
    return {"user": config.user, "password": config.password}


def _security(config: BrokerConfig) -> dict[str, Any]:
    if not config.is_secure:
        return {}
    # A server that speaks first could say that it has no TLS, and nats-py would go on without: whoever stands between
    # would get the password. So the handshake comes first.
    return {"tls": config.tls_context(), "tls_handshake_first": config.tls_first}


def _callbacks(client: Client, on_reconnect: Listener | None) -> dict[str, Any]:
    async def disconnected() -> None:
        if not client.is_closed:
            log.warning("broker_disconnected")

    async def reconnected() -> None:
        log.info("broker_reconnected")
        if on_reconnect is not None:
            await on_reconnect()

    async def failed(error: Exception) -> None:
        # A refused subject may end in a uid, which belongs in no log (I10).
        log.warning("broker_error", error=type(error).__name__, detail=_UID.sub("<uid>", str(error)))

    return {"disconnected_cb": disconnected, "reconnected_cb": reconnected, "error_cb": failed}
