"""The wire form of answers and records, read independently of the services' own code."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from roots.contracts.subjects import DISCONNECT_PATH

from .history import PathGrant, Position, Record, Update

__all__ = ["DISCONNECT_PATH", "Body", "parse_body", "parse_position", "parse_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of a poll's answer. Units: retry_seconds."""

    uid: str
    cursor: str
    position: Position
    updates: tuple[Update, ...]
    gaps: tuple[tuple[str, str], ...]
    retry_seconds: float


def parse_position(cursor: str) -> Position:
    """Return what the cursor says."""
    epoch, seq, grants = (int(part, 36) for part in cursor.split("."))
    return Position(epoch, seq, grants)


def parse_body(raw: bytes) -> Body:
    """Return the answer that `raw` spells; texts that many clients hear are kept once."""
    body: dict[str, Any] = json.loads(raw)
    uid, _, cursor = body["reconnectWith"].partition("/")
    return Body(
        uid=uid,
        cursor=cursor,
        position=parse_position(cursor),
        updates=tuple(Update(sys.intern(update["path"]), sys.intern(update["message"])) for update in body["updates"]),
        gaps=tuple((gap["path"], gap["reason"]) for gap in body.get("gaps", ())),
        retry_seconds=body.get("retry", 0) / 1000,
    )


def parse_record(uid: str, raw: bytes) -> Record:
    """Return the grant record that `raw` spells."""
    record: dict[str, Any] = json.loads(raw)
    paths = {
        path: PathGrant(start=grant["from"], since=grant["since"], n=grant["n"])
        for path, grant in record["paths"].items()
    }
    return Record(uid=uid, n=record["n"], paths=paths, gone=record["gone"])
