"""Floods from a process of their own, as a hostile host would be."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def attacked(kind: str, url: str, *, connections: int, seconds: float) -> AsyncIterator[None]:
    """Attack `url` until the block ends, or for `seconds`; all connections are open when the block begins."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks", kind, url),
        *("--connections", str(connections), "--seconds", str(seconds)),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert b"open\n" == await process.stdout.readline()
        yield
    finally:
        # It may have ended by itself, after `seconds`.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
