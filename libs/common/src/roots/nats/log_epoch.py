"""The epoch of the event log: when its stream was created, or when it was last found to be shorter than it had been.

A stream that is restored from a copy keeps its time of creation, and gives sequences again that clients have seen. So
whoever finds that has the record `LOG_KEY` of the grants' bucket name a newer epoch. Source: docs/adr/0015.
"""

from dataclasses import replace

import msgspec

from roots.contracts.grant_records import MAX_NUMBER
from roots.contracts.subjects import GRANTS_PREFIX
from roots.nats.streams import StreamState

LOG_KEY = "log"
"""The key of the record in the bucket `roots-grants`; no uid has this form."""
LOG_SUBJECT = GRANTS_PREFIX + LOG_KEY


class LogEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """The newest epoch of a log. Shape: created is the stream's own epoch, start its last sequence when this one began.

    Units: epoch and created are milliseconds since 1970.
    """

    epoch: int
    created: int
    start: int


def with_epoch(state: StreamState, raw: bytes) -> StreamState:
    """Return the extent of the event stream in the epoch that the record `raw` names; b"" when there is none.

    A record of another stream, or one that can't be read, names none.
    """
    try:
        record = msgspec.json.decode(raw, type=LogEpoch)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return state
    if record.created != state.epoch or not state.epoch < record.epoch <= MAX_NUMBER or not 0 <= record.start:
        return state
    return replace(state, epoch=record.epoch, epoch_start=record.start)
