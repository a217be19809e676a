"""The audit log of the back-end API: one line for each request: the back end, the action, the path, the outcome.

The lines are in the service's log with the event `backend_api_called`, at any log level. They have no message, key or
uid: a client is named by a fingerprint, the same in each of its lines, that does not reveal the uid (I10).
"""

import hmac
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from roots.runtime import logs

LOGGER = "roots.audit"
FINGERPRINT_CHARACTERS = 12

log = logs.get(LOGGER)


@dataclass(slots=True, kw_only=True)
class About:
    """What a request names; a None is left out of its line. Shape: path is a valid path, and never raw input."""

    path: str | None = None
    subject: str | None = None
    uid: str | None = None
    count: int | None = None


class Audit:
    """Writes the lines. Shape: `key` is a secret of the service, from which fingerprints are made."""

    def __init__(self, key: bytes) -> None:
        # The key of the uids signs nothing but uids.
        self._key = hmac.digest(key, b"roots audit fingerprint", "sha256")
        logging.getLogger(LOGGER).setLevel(logging.INFO)

    def note(self, backend: str, action: str, outcome: str, about: About) -> None:
        """Write one line."""
        fields: dict[str, Any] = {"path": about.path, "subject": about.subject, "count": about.count}
        if about.uid is not None:
            fields["client"] = self._fingerprint(about.uid)
        known = {name: value for name, value in fields.items() if value is not None}
        log.info("backend_api_called", backend=backend, action=action, outcome=outcome, **known)

    def note_each(self, backend: str, action: str, results: Iterable[tuple[str, str]]) -> None:
        """Write a line for each different pair of a path and an outcome, with how many there were."""
        for (path, outcome), count in Counter(results).items():
            self.note(backend, action, outcome, About(path=path, count=count))

    def _fingerprint(self, uid: str) -> str:
        return hmac.new(self._key, uid.encode(), "sha256").hexdigest()[:FINGERPRINT_CHARACTERS]
