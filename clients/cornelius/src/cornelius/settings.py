"""Where the back-end API is, and which key opens it: from the caller, else from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cornelius.errors import ConfigurationError
from cornelius.transport import check_url

URL_VARIABLE = "ROOTS_BACKEND_API_URL"
KEY_VARIABLE = "ROOTS_BACKEND_API_KEY"
DEFAULT_URL = "http://localhost:8004"
# The back-end API itself takes up to 10 s, for a batch on a slow disk; then there is time for another try.
TIMEOUT_SECONDS = 15.0
TRY_SECONDS = 10.0


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
