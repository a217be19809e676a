"""The stack's own questions over HTTP: is it there, is it ready."""

import asyncio
import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

OK = 200
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes


async def get(url: str) -> Answer | None:
    """Return the answer to `GET url`, following no redirect, or None when there is none within 2 s."""
    return await asyncio.to_thread(_get, url)


async def unready_reason(admin_url: str) -> str | None:
    """Return None when a service's `/readyz` holds, else the checks that fail, in words."""
    answer = await get(f"{admin_url}/readyz")
    if answer is None:
        return "its admin port does not answer"
    if answer.status == OK:
        return None
    try:
        checks = msgspec.json.decode(answer.body)["checks"]
        return ", ".join(f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"])
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError):
        return f"its admin port answers {answer.status}"


def _get(url: str) -> Answer | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}".rstrip("?"))
        response = connection.getresponse()
        return Answer(status=response.status, body=response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
