"""Keeps what the task service serves under /todos equal to the checkout: a changed page is there at the next reload."""

import asyncio
import contextlib
from pathlib import Path

from roots_devstack.assets import AssetError, Assets
from roots_devstack.errors import DevstackError
from roots_devstack.home import absolute
from roots_devstack.processes.programs import checkout_path
from roots_devstack.processes.supervision import Sink, discard

INTERVAL_SECONDS = 0.5


class Web:
    """The folder that the task service serves, and the task that watches what it is made from."""

    def __init__(self, home: Path, *, sink: Sink = discard) -> None:
        self.folder = absolute(home) / "web"
        self._web = checkout_path("web")
        self._pomona = checkout_path("clients/pomona/src")
        self._sink = sink
        self._seen: dict[Path, tuple[int, int]] = {}
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write the folder, and again after each change. Errors: DevstackError when a page lacks what it refers to."""
        self._seen = self._look()
        try:
            self._write()
        except AssetError as error:
            raise DevstackError(str(error)) from error
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End the watch; the folder stays."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                if (found := self._look()) != self._seen:
                    self._seen = found
                    self._write()
            except (AssetError, OSError) as error:
                # Half of an edit: the next look has the rest.
                self._sink("web", str(error))

    def _write(self) -> None:
        Assets(self._web, self._pomona, self.folder).write()

    def _look(self) -> dict[Path, tuple[int, int]]:
        """Return when each source was changed, and its size."""
        sources = [path for folder in (self._web / "todos", self._pomona) for path in folder.iterdir()]
        return {path: ((stat := path.stat()).st_mtime_ns, stat.st_size) for path in sources if path.is_file()}
