"""NATS over TLS, and users with nkeys and credentials files: what every service can be told to use."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.testkit.deadlines import within

from roots.nats.broker import BrokerConfig, connect
from roots.runtime.config import ConfigError, load
from roots_devstack.keys import Keys
from roots_devstack.processes import ports, probes
from roots_devstack.processes.programs import checkout_path, venv_program
from roots_devstack.servers.broker import PASSWORDS
from roots_longpoll.stream.live import LiveFeed

from .secure import Certificates, credentials_of, issue, new_nkey

# nats-py leaves a connection that was refused to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DEADLINE_SECONDS = 15.0
REFUSED_SECONDS = 1.0
"""How long a client that must not get in gets to try; it never stops by itself."""


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Return certificates."""
    return Certificates.make(tmp_path)


@contextlib.asynccontextmanager
async def running(config: Path, home: Path, **env: str) -> AsyncIterator[str]:
    """Run a nats-server with a configuration of the test's own; yield where it listens."""
    port = ports.reserve()
    process = await asyncio.create_subprocess_exec(
        venv_program("nats-server"),
        *("-c", str(config), "-a", ports.HOST, "-p", str(port), "-sd", str(home / "store")),
        env={"PATH": os.environ["PATH"], **env},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with within(DEADLINE_SECONDS):
            while ports.is_free(port):
                assert process.returncode is None, "the server does not take its configuration"
                await asyncio.sleep(0.02)
        yield f"{ports.HOST}:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def gets_in(config: BrokerConfig, seconds: float = DEADLINE_SECONDS) -> bool:
    """Tell whether a client gets in, and is answered there; fail when longpoll's live connection fares otherwise."""
    client, live = await asyncio.gather(client_gets_in(config, seconds), live_feed_gets_in(config, seconds))
    assert client == live
    return client


async def live_feed_gets_in(config: BrokerConfig, seconds: float) -> bool:
    """Tell whether longpoll's live connection gets in, and is answered there."""
    changed = asyncio.Event()
    feed = LiveFeed(config, [], lambda _is_live: changed.set())
    running = asyncio.create_task(feed.run())
    try:
        async with within(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    finally:
        running.cancel()
        await asyncio.wait([running])
    return True


async def client_gets_in(config: BrokerConfig, seconds: float) -> bool:
    """Tell whether nats-py gets in, and is answered there."""
    try:
        async with within(seconds):
            client = await connect(config)
    except TimeoutError:
        return False
    try:
        await client.flush()
    finally:
        await client.close()
    return True


@pytest.fixture
async def secure(tmp_path: Path, certificates: Certificates) -> AsyncIterator[BrokerConfig]:
    """Run a server with deploy/nats/tls.conf; yield how the user `tasks` gets in."""
    passwords = {f"ROOTS_NATS_{user.upper()}_PASSWORD": Keys(tmp_path).get(user) for user in PASSWORDS}
    env = {
        "ROOTS_NATS_NAME": "nats",
        "ROOTS_NATS_MAX_FILE_STORE": "6GB",
        "ROOTS_NATS_TLS_CA": str(certificates.ca),
        "ROOTS_NATS_TLS_CERT": str(certificates.server),
        "ROOTS_NATS_TLS_KEY": str(certificates.server),
    }
    async with running(checkout_path("deploy/nats/tls.conf"), tmp_path, **env, **passwords) as address:
        yield BrokerConfig(
            url=f"tls://{address}",
            user="tasks",
            password=Keys(tmp_path).get("tasks"),
            tls_ca=str(certificates.ca),
            tls_cert=str(certificates.client),
            tls_key=str(certificates.client),
        )


async def test_client_gets_in_when_both_sides_show_certificates(secure: BrokerConfig) -> None:
    """TLS works with the configuration that is shipped, whichever scheme the URL has."""
    assert await gets_in(secure)
    assert await gets_in(replace(secure, url=secure.url.replace("tls://", "nats://")))


async def test_client_stays_out_when_a_certificate_is_not_trusted(
    secure: BrokerConfig, certificates: Certificates
) -> None:
    """Neither side talks to a stranger, and none talks in the clear."""
    stranger = str(certificates.stranger)
    for config in (
        replace(secure, tls_ca=str(certificates.stranger_ca)),
        replace(secure, tls_cert=stranger, tls_key=stranger),
        replace(secure, tls_cert="", tls_key=""),
        replace(secure, url=secure.url.replace("tls://", "nats://"), tls_ca="", tls_cert="", tls_key=""),
    ):
        assert not await gets_in(config, REFUSED_SECONDS)


async def test_client_gets_in_when_the_handshake_comes_after_the_first_line(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A server that speaks first, as NATS does by default, is reached over TLS too; in the clear nobody is."""
    config_file = tmp_path / "late.conf"
    config_file.write_text(
        f"tls {{ cert_file: '{certificates.server}', key_file: '{certificates.server}', ca_file: '{certificates.ca}'\n"
        "verify: true }\nauthorization { user: tasks, password: secret-1 }"
    )
    async with running(config_file, tmp_path) as address:
        config = BrokerConfig(
            url=f"nats://{address}",
            user="tasks",
            password="secret-1",
            tls_ca=str(certificates.ca),
            tls_cert=str(certificates.client),
            tls_key=str(certificates.client),
            tls_first=False,
        )
        assert await gets_in(config)
        for other in (
            replace(config, password="secret-2"),
            replace(config, tls_ca=str(certificates.stranger_ca)),
            replace(config, tls_cert=str(certificates.stranger), tls_key=str(certificates.stranger)),
            replace(config, tls_ca="", tls_cert="", tls_key=""),
        ):
            assert not await gets_in(other, REFUSED_SECONDS)


@pytest.mark.parametrize("way", ["client", "live feed"])
async def test_password_is_not_told_when_somebody_between_offers_no_tls(certificates: Certificates, way: str) -> None:
    """I10: a server that claims to know no TLS hears a handshake, and nothing else."""
    heard = asyncio.get_running_loop().create_future()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1024,"auth_required":true}\r\n')
        data = await reader.read(4096)
        if not heard.done():
            heard.set_result(data)
        writer.close()

    server = await asyncio.start_server(pretend, ports.HOST, 0)
    port = server.sockets[0].getsockname()[1]
    config = BrokerConfig(
        url=f"nats://{ports.HOST}:{port}", user="tasks", password="very-secret", tls_ca=str(certificates.ca)
    )
    get_in = {"client": client_gets_in, "live feed": live_feed_gets_in}[way]
    connecting = asyncio.create_task(get_in(config, DEADLINE_SECONDS))
    try:
        async with within(DEADLINE_SECONDS):
            data = await heard
    finally:
        connecting.cancel()
        await asyncio.wait([connecting])
        server.close()
    assert b"\x16" == data[:1], "no TLS handshake"
    assert b"very-secret" not in data


async def test_client_gets_in_when_it_has_an_nkey(tmp_path: Path) -> None:
    """The server knows the public key alone; no password is anywhere."""
    user, stranger = new_nkey("user"), new_nkey("user")
    config_file = tmp_path / "nkeys.conf"
    config_file.write_text(f"authorization {{ users = [{{ nkey: {user.public} }}] }}")
    seeds = [tmp_path / "user.nk", tmp_path / "stranger.nk"]
    for file, key in zip(seeds, (user, stranger), strict=True):
        file.write_text(f"{key.seed}\n")
    async with running(config_file, tmp_path) as address:
        assert await gets_in(BrokerConfig(url=f"nats://{address}", user="tasks", nkey_seed=str(seeds[0])))
        stranger_config = BrokerConfig(url=f"nats://{address}", user="tasks", nkey_seed=str(seeds[1]))
        assert not await gets_in(stranger_config, REFUSED_SECONDS)


async def test_client_gets_in_when_it_has_a_credentials_file(tmp_path: Path) -> None:
    """An operator's account has signed the user, and what it may do."""
    operator, account, user = new_nkey("operator"), new_nkey("account"), new_nkey("user")
    unlimited = {"subs": -1, "data": -1, "payload": -1}
    limits = {**unlimited, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    account_jwt = issue(operator, "roots", account.public, {"type": "account", "limits": limits})
    rights = {"pub": {"allow": ["_INBOX_tasks.>"]}, "sub": {"allow": ["_INBOX_tasks.>"]}}
    user_jwt = issue(account, "tasks", user.public, {"type": "user", **unlimited, **rights})
    config_file = tmp_path / "operator.conf"
    config_file.write_text(
        f"operator: {issue(operator, 'operator', operator.public, {'type': 'operator'})}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {account.public}: {account_jwt} }}\n"
    )
    file = tmp_path / "tasks.creds"
    file.write_text(credentials_of(user_jwt, user))
    async with running(config_file, tmp_path) as address:
        assert await gets_in(BrokerConfig(url=f"nats://{address}", user="tasks", creds=str(file)))


@pytest.mark.parametrize(
    ("user", "arguments"),
    [
        ("subscriptions", ["roots_subscriptions"]),
        ("longpoll", ["roots_longpoll"]),
        ("tasks", ["roots_tasks", "relay"]),
    ],
)
async def test_service_is_connected_when_nats_is_secure(
    tmp_path: Path, secure: BrokerConfig, user: str, arguments: list[str]
) -> None:
    """Every service takes TLS and certificates from its environment."""
    admin_port = ports.reserve()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env={
            "PATH": os.environ["PATH"],
            "ROOTS_ADMIN_PORT": str(admin_port),
            "ROOTS_HTTP_PORT": str(ports.reserve()),
            "ROOTS_BACKEND_API_PORT": str(ports.reserve()),
            "ROOTS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "ROOTS_UID_KEY": "a key for tests, of 32 bytes or more",
            "ROOTS_DRAIN_SECONDS": "0.1",
            "ROOTS_NATS_URL": secure.url,
            "ROOTS_NATS_PASSWORD": Keys(tmp_path).get(user),
            "ROOTS_NATS_TLS_CA": secure.tls_ca,
            "ROOTS_NATS_TLS_CERT": secure.tls_cert,
            "ROOTS_NATS_TLS_KEY": secure.tls_key,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )

    async def is_connected() -> bool:
        answer = await probes.get(f"http://{ports.HOST}:{admin_port}/readyz")
        return answer is not None and bool(json.loads(answer.body)["checks"]["broker"]["ok"])

    try:
        async with within(DEADLINE_SECONDS):
            while not await is_connected():
                assert process.returncode is None
                await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()


def test_configuration_is_refused_when_its_parts_do_not_go_together(tmp_path: Path, certificates: Certificates) -> None:
    """Each mistake is one sentence at the start, instead of a service that never connects."""
    ca, cert = str(certificates.ca), str(certificates.client)
    empty = tmp_path / "empty"
    empty.touch()
    for environ, problem in (
        ({}, "ROOTS_NATS_PASSWORD is not set"),
        ({"ROOTS_NATS_PASSWORD": "secret", "ROOTS_NATS_CREDS": ca}, "three ways"),
        ({"ROOTS_NATS_CREDS": str(tmp_path / "absent")}, "ROOTS_NATS_CREDS names a file"),
        ({"ROOTS_NATS_NKEY_SEED": str(tmp_path / "absent")}, "ROOTS_NATS_NKEY_SEED names a file"),
        ({"ROOTS_NATS_CREDS": ca}, "NATS USER JWT"),
        ({"ROOTS_NATS_NKEY_SEED": ca}, "no seed"),
        ({"ROOTS_NATS_PASSWORD": "secret", "ROOTS_NATS_TLS_CERT": cert}, "go together"),
        ({"ROOTS_NATS_PASSWORD": "secret", "ROOTS_NATS_TLS_CERT": cert, "ROOTS_NATS_TLS_KEY": cert}, "of use with TLS"),
        ({"ROOTS_NATS_PASSWORD": "secret", "ROOTS_NATS_TLS_CA": str(tmp_path / "absent")}, "can't be used"),
        ({"ROOTS_NATS_PASSWORD": "secret", "ROOTS_NATS_TLS_CA": str(empty)}, "can't be used"),
        (
            {
                "ROOTS_NATS_PASSWORD": "secret",
                "ROOTS_NATS_TLS_CA": ca,
                "ROOTS_NATS_TLS_CERT": ca,
                "ROOTS_NATS_TLS_KEY": ca,
            },
            "can't be used",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            load(BrokerConfig, {"ROOTS_NATS_USER": "tasks", **environ})
        assert problem in str(caught.value)
        assert "secret" not in str(caught.value)
