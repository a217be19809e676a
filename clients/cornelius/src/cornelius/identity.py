"""Who a listener is to the application: what its requests to connect and disconnect carry. Polls carry none of it."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from cornelius.errors import ConfigurationError

GetToken = Callable[[], str | None]
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")


class Identity:
    """Headers, cookies and a token that a function returns. Errors: ConfigurationError for what can't be sent."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        token: GetToken | None = None,
    ) -> None:
        self._headers = dict(headers or {})
        if cookies:
            self._headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
            # Who checks where a request with a cookie comes from asks for it.
            parts = urlsplit(url)
            self._headers.setdefault("Origin", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        self._get_token = token
        self._token: str | None = None
        for name, value in (cookies or {}).items():
            if not (_NAME.fullmatch(name) and _COOKIE_VALUE.fullmatch(value)):
                raise ConfigurationError(f"the cookie {name!r} can't be sent")
        for name, value in self._headers.items():
            check_header(name, value)

    def headers(self) -> dict[str, str]:
        """Return the headers of a request. Errors: whatever the token function raises."""
        if self._token is None and self._get_token is not None:
            self.renew()
        return self._headers if self._token is None else {**self._headers, "Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """Ask for the token again, and return whether it is another one."""
        before = self._token
        if self._get_token is not None:
            self._token = self._get_token()
            check_header("Authorization", self._token or "")
        return self._token != before


def check_header(name: str, value: str) -> None:
    """Return when this can be a header. Errors: ConfigurationError, which does not show the value."""
    if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
        raise ConfigurationError(f"the header {name!r} can't be sent")
