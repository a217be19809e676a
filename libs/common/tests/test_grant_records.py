"""What is a grant record, and what is none."""

import json
from typing import Any

import pytest

from roots.contracts.grant_records import MAX_NUMBER, UnreadableRecordError, read_record

GRANT = {"from": 1, "epoch": 1, "since": 1, "n": 1}


def text(**others: Any) -> bytes:
    """Return a record with `others` in it."""
    return json.dumps({"n": 1, "paths": {"tasks": GRANT}, "expires": 2} | others).encode()


def granted(**others: Any) -> bytes:
    """Return a record whose only grant has `others` in it."""
    return text(paths={"tasks": GRANT | others})


UNREADABLE = {
    "blank": b" ",
    "no JSON": b"{",
    "cut": text()[:-3],
    "no UTF-8": b"\xff\xfe",
    "no UTF-8 in a path": text().replace(b"tasks", b"t\xff"),
    "no UTF-8 in the subject": text(subject="x").replace(b'"x"', b'"\xff"'),
    "half of a surrogate": text(gone={"\ud800": 1}),
    "an array": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "deep in a member": text()[:-1] + b',"z":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
    "no members": b"{}",
    "no paths that are an object": text(paths=[]),
    "no end": json.dumps({"n": 1, "paths": {}}).encode(),
    "a text for a number": text(n="1"),
    "a fraction for a number": text(n=1.5),
    "a negative number": text(n=-1),
    "2^53": text(n=MAX_NUMBER + 1),
    "2^63": text(n=1 << 63),
    "2^64": granted(n=1 << 64),
    "5,000 digits": text().replace(b'"n": 1', b'"n": ' + b"9" * 5000),
    "an end of 1e300": text(expires=1e300),
    "an end of 1e400": text().replace(b'"expires": 2', b'"expires": 1e400'),
    "an end of -1": text(expires=-1),
    "a start of 2^63": granted(**{"from": 1 << 63}),
    "a start that is missing": text(paths={"tasks": {"epoch": 1, "since": 1, "n": 1}}),
    "an epoch of -1": granted(epoch=-1),
    "an end of a path of 1e300": granted(until=1e300),
    "a time of a grant of 2^60": granted(at=1 << 60),
    "a number for what granted it": granted(by=7),
    "a number for a subject": text(subject=7),
    "claims that are none": text(said={"claims": []}),
    "a path of another grammar": text(paths={"a b": GRANT}),
    "an empty path": text(paths={"": GRANT}),
    "a reserved path": text(paths={"::+::disconnect": GRANT}),
    "a long path": text(paths={"a" * 300: GRANT}),
    "a withdrawn path of another grammar": text(gone={"/": 1}),
    "a withdrawal of 2^63": text(gone={"a": 1 << 63}),
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_record_is_unreadable_when_its_bytes_are_none(raw: bytes) -> None:
    """One error for all of them, whichever the decoder has."""
    with pytest.raises(UnreadableRecordError):
        read_record(raw)


def test_record_is_read_when_it_has_more_than_is_known() -> None:
    """A newer version may add members; the highest number is one."""
    record = read_record(text(n=MAX_NUMBER, more={"a": [1]}, paths={"tasks": {**GRANT, "colour": 7}}))
    assert (MAX_NUMBER, ["tasks"]) == (record.version, list(record.paths))
