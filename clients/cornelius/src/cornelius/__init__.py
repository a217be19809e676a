"""Lets a Python back end publish to Roots, decide what its clients receive, and listen itself.

`dudley` uses the back-end API at `ROOTS_BACKEND_API_URL` with the key `ROOTS_BACKEND_API_KEY`, unless it is configured.
`cornelius.aio` has its asynchronous twin, `cornelius.django` what Django needs.
"""

from cornelius.backend_api import Dudley, Revoked
from cornelius.errors import (
    AnswerError,
    BreakerOpenError,
    ChangeError,
    ConfigurationError,
    CorneliusError,
    DeadlineError,
    Failure,
    ForbiddenError,
    InvalidError,
    KeyRefusedError,
    OtherSubjectError,
    PublishError,
    RefusedError,
    RevisionError,
    TooManyPathsError,
    UnavailableError,
    UnknownUidError,
)
from cornelius.listener import Gap, Listener, Update
from cornelius.messages import Message, Published

__all__ = [
    "AnswerError",
    "BreakerOpenError",
    "ChangeError",
    "ConfigurationError",
    "CorneliusError",
    "DeadlineError",
    "Dudley",
    "Failure",
    "ForbiddenError",
    "Gap",
    "InvalidError",
    "KeyRefusedError",
    "Listener",
    "Message",
    "OtherSubjectError",
    "PublishError",
    "Published",
    "RefusedError",
    "RevisionError",
    "Revoked",
    "TooManyPathsError",
    "UnavailableError",
    "UnknownUidError",
    "Update",
    "dudley",
]

dudley = Dudley()
