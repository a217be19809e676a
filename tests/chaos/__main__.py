"""`python -m tests.chaos`: one run of faults against the real system; ends with status 1 when anything was wrong."""

import dataclasses
import random
import shutil
import sys
import tempfile
from pathlib import Path

from roots.runtime import logs
from roots.runtime.config import load_or_exit

from .run import run
from .settings import Settings


def main() -> None:
    """Run once, print the report, keep the folder of a run that failed."""
    settings = load_or_exit(Settings)
    if settings.seed == 0:
        settings = dataclasses.replace(settings, seed=random.randrange(1, 1_000_000))  # noqa: S311  # guards nothing
    logs.configure("chaos", "error")
    print(f"seed {settings.seed}, {settings.clients} clients, {settings.seconds:g} s", flush=True)
    home = Path(tempfile.mkdtemp(prefix="roots-chaos-"))
    result = run(settings, home)
    print(result.text)
    if not result.is_good:
        print(f"the stack's state and processes.log are in {home}")
        sys.exit(1)
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
