"""The README's first command in the home of a user who is not root, whose downloads are the user's own."""

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from tests.docs.commands import commands
from tests.testkit.deadlines import stretched

from roots_devstack.processes import ports

from .checkout import Newcomer
from .conftest import Copied
from .page import expect_shared, open_page, task

RUN = commands("README.md")[0]
NAME = f"roots-newcomer-{os.getpid()}"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a user; the tests of the README run as yours"),
    pytest.mark.timeout(420),
]


@pytest.fixture(scope="module")
def newcomer(copied: Copied) -> Iterator[Newcomer]:
    """Yield a user, made for these tests, with a checkout in ~/roots; both are removed."""
    subprocess.run(["useradd", "--create-home", "--no-log-init", NAME], check=True, timeout=stretched(30))  # noqa: S607
    account = pwd.getpwnam(NAME)
    home = Path(account.pw_dir)
    try:
        folder = copied(home / "roots")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        user = Newcomer(
            folder,
            port=ports.reserve(),
            path=SYSTEM_PATH,
            home=home,
            prefix=["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"],
        )
        try:
            yield user
        finally:
            user.close()
    finally:
        # A user without a mailbox is no failure, though userdel's status is then not 0.
        subprocess.run(["userdel", NAME], check=True, timeout=stretched(30))  # noqa: S607
        shutil.rmtree(home)


@pytest.mark.asyncio(loop_scope="session")
async def test_user_shares_tasks_when_roots_runs_in_the_home(newcomer: Newcomer, browser: Browser) -> None:
    """`make run` as the user, two windows, Ctrl-C, nothing left, and the same tasks after a second start."""
    address = await asyncio.to_thread(newcomer.run, RUN)
    await expect_shared(browser, address, "Water the plants")

    await asyncio.to_thread(newcomer.interrupt)

    assert {} == newcomer.processes()
    again = await asyncio.to_thread(newcomer.run, RUN)
    await expect(task(await open_page(browser, again), "Water the plants")).to_have_count(1)
