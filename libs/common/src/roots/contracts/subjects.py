"""Paths, and the NATS subjects that carry them.

A path is 1-8 segments joined by `/`, each 1-64 of `A-Z a-z 0-9 _ - . ~ @ + =`, at most 255 bytes in all; a path that
starts with `::` is reserved. On NATS the segments are joined by `.`, and a `.` inside a segment is written `%2E`: `%`
is no character of a path, so the mapping is one to one. Source: docs/protocol.md, Paths.
"""

import re

EVENTS_STREAM = "ROOTS_EVENTS"
EVENTS_PREFIX = "roots.events."
LIVE_EVENTS_PREFIX = "roots.live.events."

GRANTS_BUCKET = "roots-grants"
GRANTS_STREAM = f"KV_{GRANTS_BUCKET}"
GRANTS_PREFIX = f"$KV.{GRANTS_BUCKET}."
LIVE_GRANTS_PREFIX = "roots.live.grants."
JETSTREAM_API = "roots.jetstream"
"""What `$JS.API` is to a service: NATS imports the calls that the service may make under this name."""
GRANT_RENEWAL = "roots.grants.touch"
LOG_RENEW = "roots.log.renew"
"""Asked for a new epoch by a replica of longpoll that found the log shorter than it was."""
GRANT_LIFETIME_SECONDS = 3600
"""A grant record ends so long after the last connect or renewal."""
CLIENTS_HELD = "roots.clients.held"
"""Asked with a uid: every replica of longpoll answers whether it holds a poll of it."""
CLIENTS_REFUSED = "roots.clients.refused"
"""Asked with a uid: every replica of subscriptions answers what it has refused it lately."""

MAX_PATH_BYTES = 255
PATH_RULE = "a path is 1-8 segments joined by '/', each 1-64 of A-Z a-z 0-9 _ - . ~ @ + =, 255 at most"
"""The grammar as a sentence, for error texts."""
DISCONNECT_PATH = "::+::disconnect"
"""Reserved path on which a client receives the withdrawal of a path; the message is the path."""

PATH_PATTERN = r"[A-Za-z0-9_\-.~@+=]{1,64}(?:/[A-Za-z0-9_\-.~@+=]{1,64}){0,7}"
"""The grammar as a regular expression, without the limit of bytes."""
_PATH = re.compile(PATH_PATTERN)


class InvalidPathError(ValueError):
    """A path breaks the rules of docs/protocol.md; `path` is what was given."""

    def __init__(self, path: object) -> None:
        super().__init__(PATH_RULE)
        self.path = path


def is_path(value: object) -> bool:
    """Return whether `value` is a path that an application may use (a reserved one is not)."""
    return isinstance(value, str) and len(value) <= MAX_PATH_BYTES and _PATH.fullmatch(value) is not None


def check_path(value: str) -> str:
    """Return `value` when it is a path. Errors: InvalidPathError."""
    if not is_path(value):
        raise InvalidPathError(value)
    return value


def subject_of(path: str, prefix: str = EVENTS_PREFIX) -> str:
    """Return the subject that carries `path`. Errors: InvalidPathError."""
    return prefix + check_path(path).replace(".", "%2E").replace("/", ".")


def path_of(subject: str, prefix: str = EVENTS_PREFIX) -> str:
    """Return the path that `subject` carries. Errors: InvalidPathError, also for a subject outside `prefix`."""
    if not subject.startswith(prefix):
        raise InvalidPathError(subject)
    return check_path(subject[len(prefix) :].replace(".", "/").replace("%2E", "."))
