"""The two scripts of the containers: one makes their secrets, the other gives NATS what came as files."""

import contextlib
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.testkit.deadlines import DEADLINE_SECONDS, stretched, within

from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots_devstack.processes import ports
from roots_devstack.processes.programs import venv_program
from roots_devstack.servers.broker import PASSWORDS

ROOT = Path(__file__).parents[2]
SECRETS = ROOT / "deploy/compose/secrets.sh"
START = ROOT / "deploy/nats/start.sh"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a folder of secrets, just made."""
    subprocess.run(["/bin/sh", SECRETS, tmp_path / "made"], check=True, timeout=stretched(30))
    return tmp_path / "made"


def test_secrets_are_their_owners_alone_when_they_are_made(secrets: Path) -> None:
    """Nobody else enters the folder; in it a container's own user can read what it is given."""
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o444}


def test_secrets_are_long_and_need_no_quotes_when_they_are_made(secrets: Path) -> None:
    """32 random bytes each, a letter first as nats.conf needs it; the URLs of Postgres have its passwords."""
    texts = {file.name: file.read_text(encoding="ascii").strip() for file in secrets.iterdir()}
    url, owner_url = texts.pop("postgres-url"), texts.pop("postgres-owner-url")

    assert url == f"postgresql://tasks:{texts['postgres-tasks']}@postgres:5432/tasks"
    assert owner_url == f"postgresql://tasks_owner:{texts['postgres-owner']}@postgres:5432/tasks"
    assert len(set(texts.values())) == len(texts)
    for text in texts.values():
        assert len(text) == 44
        assert text[0] == "k"
        assert text.replace("-", "").replace("_", "").isalnum()


def test_secrets_stay_when_they_are_made_again(secrets: Path) -> None:
    """One that was removed is made anew, the others keep their values."""
    before = {file.name: file.read_text(encoding="ascii") for file in secrets.iterdir()}
    (secrets / "uid-key").unlink()

    subprocess.run(["/bin/sh", SECRETS, secrets], check=True, timeout=stretched(30))

    after = {file.name: file.read_text(encoding="ascii") for file in secrets.iterdir()}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == ["uid-key"]


def test_nats_knows_its_users_when_their_passwords_are_files(secrets: Path) -> None:
    """`nats-server -t` reads the whole configuration, and refuses a variable that is not set."""
    programs = f"{venv_program('nats-server').parent}{os.pathsep}{os.environ['PATH']}"
    files = {f"ROOTS_NATS_{user.upper()}_PASSWORD_FILE": str(secrets / f"nats-{user}") for user in PASSWORDS}
    command = ["/bin/sh", str(START), "-c", str(ROOT / "deploy/nats/nats.conf"), "-t"]

    def check(settings: dict[str, str]) -> int:
        env = {"PATH": programs, "ROOTS_NATS_NAME": "nats", **settings}
        return subprocess.run(command, env=env, check=False, capture_output=True, timeout=stretched(30)).returncode

    assert check(files) == 0
    assert check({}) != 0


def test_nats_gets_the_name_when_the_value_is_a_files(tmp_path: Path) -> None:
    """I10: a certificate's key is read from its file by NATS itself, and is in no variable and no message."""
    key, password = tmp_path / "key.pem", tmp_path / "password"
    key.write_text("a private key")
    password.write_text("a password")
    fake = tmp_path / "nats-server"
    fake.write_text('#!/bin/sh\necho "$ROOTS_NATS_TLS_KEY, $ROOTS_NATS_TASKS_PASSWORD"\n')
    fake.chmod(0o755)
    files = {"ROOTS_NATS_TLS_KEY_FILE": str(key), "ROOTS_NATS_TASKS_PASSWORD_FILE": str(password)}
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **files}
    done = subprocess.run(
        ["/bin/sh", START], env=env, check=True, capture_output=True, text=True, timeout=stretched(30)
    )
    assert f'"{key}", "a password"\n' == done.stdout


@pytest.mark.parametrize(
    "password",
    [
        "0123456789",
        "1e5",
        "12MB",
        "true",
        "a b",
        "#a",
        "a#b",
        "//a",
        "$HOME",
        "it's",
        'a"b',
        "a\\b",
        "{a}",
        "[a]",
        "a;b,c",
        "é",
    ],
)
async def test_user_gets_in_when_its_password_would_mean_something_else_in_the_configuration(
    tmp_path: Path, password: str
) -> None:
    """A password that came as a file is taken as it is."""
    port = ports.reserve()
    file = tmp_path / "pass word"
    file.write_text(f"{password}\n", encoding="utf-8")
    env = {
        "PATH": f"{venv_program('nats-server').parent}{os.pathsep}{os.environ['PATH']}",
        "ROOTS_NATS_NAME": "nats",
        **{f"ROOTS_NATS_{user.upper()}_PASSWORD_FILE": str(file) for user in PASSWORDS},
    }
    settings = ["-a", ports.HOST, "-p", str(port), "-sd", str(tmp_path)]
    command = ["/bin/sh", str(START), "-c", str(ROOT / "deploy/nats/nats.conf"), *settings]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)  # noqa: ASYNC220  # returns at once
    try:
        async with within(DEADLINE_SECONDS):
            config = BrokerConfig(url=f"nats://{ports.HOST}:{port}", user="tasks", password=password)
            client = await broker.connect(config)
            assert client.is_connected
            await client.close()
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
