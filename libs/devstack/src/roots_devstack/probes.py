"""The stack's own questions over HTTP: is it there, is it ready."""

import asyncio
import http.client
from urllib.parse import urlsplit

OK = 200
_TIMEOUT_SECONDS = 2.0


async def status(url: str) -> int | None:
    """Return the status of `GET url`, following no redirect, or None when there is no answer within 2 s."""
    return await asyncio.to_thread(_status, url)


def _status(url: str) -> int | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
