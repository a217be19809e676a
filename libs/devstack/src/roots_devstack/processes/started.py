"""What runs for an `async with` block."""

from abc import ABC, abstractmethod
from typing import Self


class Started(ABC):
    """A part of the stack that is started and stopped; a start that fails leaves nothing of it running."""

    async def start(self) -> None:
        """Start it, and return once it is ready. Errors: DevstackError."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    @abstractmethod
    async def _start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None:
        """Stop it in order; what it has stored stays."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()
