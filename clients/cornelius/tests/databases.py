"""The databases that the outbox is tested with: SQLite, a real MariaDB and a real PostgreSQL."""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pymysql
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, wait_until

from roots_devstack.processes import ports
from roots_devstack.servers.postgres import DATABASE, Postgres

# Django takes it for mysqlclient, which needs a compiler.
pymysql.install_as_MySQLdb()

KINDS = ("sqlite", "mariadb", "postgres")
Lacking = Callable[[str], NoReturn]


@contextmanager
def started(kind: str, folder: Path, background: LoopThread, lacking: Lacking) -> Iterator[dict[str, Any]]:
    """Start a server, and yield the settings by which Django connects to it."""
    if kind == "sqlite":
        yield {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(folder / "db.sqlite3"),
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    elif kind == "mariadb":
        with _mariadb(folder, lacking) as port:
            yield _options("mysql", "roots", "127.0.0.1", port, "root", "")
    else:
        with background.entered(Postgres(folder)) as server:
            url = urlsplit(server.owner_url)
            yield _options("postgresql", DATABASE, url.hostname, url.port, url.username, url.password)


def _options(engine: str, name: str, host: object, port: object, user: object, password: object) -> dict[str, Any]:
    engine = f"django.db.backends.{engine}"
    return {"ENGINE": engine, "NAME": name, "HOST": host, "PORT": port, "USER": user, "PASSWORD": password}


@contextmanager
def _mariadb(folder: Path, lacking: Lacking) -> Iterator[int]:
    """Run a MariaDB that listens on a loopback port only, with an empty database."""
    install = shutil.which("mariadb-install-db") or lacking(
        "there is no MariaDB; Debian's mariadb-server-core and mariadb-client-core have it"
    )
    program = shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/local/bin") or lacking("there is no mariadbd")
    port = ports.reserve()
    # Root may run it, but must say so.
    data = [f"--datadir={folder / 'data'}", "--user=root", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M"]
    subprocess.run(
        [install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", *data],
        check=True,
        capture_output=True,
        timeout=stretched(60),
    )
    # A Unix socket's path would have a short limit.
    listen = ["--bind-address=127.0.0.1", f"--port={port}", "--socket=", "--skip-name-resolve"]
    with (folder / "mariadb.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "--no-defaults", *data, *listen, f"--pid-file={folder / 'pid'}"], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _has_created_database(port), 60.0)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(stretched(30))


def _has_created_database(port: int) -> bool:
    try:
        connection = pymysql.connect(host="127.0.0.1", port=port, user="root")
    except pymysql.Error:
        return False
    with connection:
        connection.cursor().execute("CREATE DATABASE roots CHARACTER SET utf8mb4")
    return True
