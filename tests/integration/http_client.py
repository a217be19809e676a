"""A small asynchronous HTTP/1.1 client of the tests' own: keep-alive, one request at a time, thousands at once."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from tests.testkit.deadlines import within

ANSWER_SECONDS = 60.0
# Whatever length they name is that of another answer.
WITHOUT_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, its headers' names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class HttpConnection:
    """A connection to the origin of `url`; opened by the first request, and again when the server has ended it.

    Shape: source is the address of this host that it comes from; by default the system's choice.
    """

    def __init__(self, url: str, *, source: str | None = None) -> None:
        parts = urlsplit(url)
        self._source = None if source is None else (source, 0)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def request(
        self, method: str, target: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Return the answer; a body that is no bytes goes as JSON. Errors: ConnectionError, TimeoutError."""
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        if body is not None:
            lines.append(f"Content-Length: {len(payload)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        async with within(ANSWER_SECONDS):
            if self._streams is not None and self._streams[0].at_eof():
                # The server has ended it since the last answer, as it does after a while.
                self.close()
            if self._streams is None:
                self._streams = await asyncio.open_connection(
                    self._host, self._port, limit=1 << 20, local_addr=self._source
                )
            reader, writer = self._streams
            try:
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
                return await self._read(reader)
            except BaseException:
                self.close()
                raise

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
            status = int(head[0].split(" ")[1])
            length = 0 if status in WITHOUT_BODY else int(headers.get("content-length", "0"))
            body = await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the server ended the connection") from error
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status=status, headers=headers, body=body)
