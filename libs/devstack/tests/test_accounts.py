"""The account of PostgreSQL's programs when root starts them."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched

from roots_devstack.servers.accounts import unprivileged


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")
def test_account_may_run_programs_when_only_root_can_enter_their_folder(open_folder: Path) -> None:
    """In a checkout under /root initdb finds `postgres`, about which it asks access(2)."""
    folder = open_folder / "closed"
    folder.mkdir(mode=0o700)
    (folder / "program").touch(mode=0o700)
    account = unprivileged(folder / "program")
    question = "import os, sys; sys.exit(not os.access(sys.argv[1], os.R_OK | os.X_OK))"
    python = shutil.which("python3", path=os.defpath)
    assert python is not None

    command = account.wrap([python, "-c", question, folder / "program"], signal.SIGKILL)

    assert 0 == subprocess.run(command, check=False, timeout=stretched(30)).returncode
