"""Where Roots is, and what a program says to be: the key of a back end, or the headers and token of a listener."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cornelius.errors import ConfigurationError
from cornelius.transport import check_url

URL_VARIABLE = "ROOTS_BACKEND_API_URL"
KEY_VARIABLE = "ROOTS_BACKEND_API_KEY"
DEFAULT_URL = "http://localhost:8004"
# The back-end API itself takes up to 10 s, for a batch on a slow disk; then there is time for another try.
TIMEOUT_SECONDS = 15.0
TRY_SECONDS = 10.0

GetToken = Callable[[], str | None]
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one back-end API is reached. The key stays out of the object's repr (I10).

    Units: timeout_seconds is how long a call may take with all its tries.
    Errors: ConfigurationError when a value can't be used.
    """

    url: str = DEFAULT_URL
    key: str | None = field(default=None, repr=False)
    timeout_seconds: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        check_url(self.url)
        # Anything else would not get through an HTTP header, or would end it.
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ConfigurationError(f"the key is not printable ASCII without spaces; look at {KEY_VARIABLE}")
        if not self.timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds is more than 0, not {self.timeout_seconds}")

    @classmethod
    def read(
        cls,
        url: str | None = None,
        key: str | None = None,
        timeout_seconds: float | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> "Settings":
        """Return the settings that are given, and the environment's or the defaults where they are None.

        ROOTS_BACKEND_API_KEY_FILE names a file that has the key, as container secrets arrive.
        """
        environ = os.environ if environ is None else environ
        return cls(
            url=url or environ.get(URL_VARIABLE) or DEFAULT_URL,
            key=key or _key(environ),
            timeout_seconds=TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds,
        )

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}


def read_key_file(file: str) -> str:
    """Return the key that `file` has, without a byte order mark and the space around it. Errors: ConfigurationError."""
    try:
        key = Path(file).read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the key's file {file!r} is not in UTF-8") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the key's file {file!r} can't be read") from error
    if not key:
        raise ConfigurationError(f"the key's file {file!r} is empty")
    return key


def _key(environ: Mapping[str, str]) -> str | None:
    file_variable = f"{KEY_VARIABLE}_FILE"
    if environ.get(file_variable):
        if environ.get(KEY_VARIABLE):
            raise ConfigurationError(f"{KEY_VARIABLE} and {file_variable} are both set; set one of them")
        return read_key_file(environ[file_variable])
    return environ.get(KEY_VARIABLE) or None


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
