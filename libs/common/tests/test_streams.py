"""What a stream's extent is taken from."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from nats.aio.client import Client

from roots.nats import reader
from roots.nats.reader import JetStreamReader
from roots.nats.streams import NatsUnavailableError, StreamState, state_of

ANSWER = (
    '{"created":"2026-11-23T09:11:28.750165608Z","state":{"first_seq":3,"last_seq":12,"messages":10,"bytes":800},'
    '"config":{"max_bytes":4096},"cluster":{"name":"roots"%s}}'
)


def test_state_is_the_leaders_when_there_is_one() -> None:
    """The epoch is the time of creation in milliseconds."""
    state = state_of("ROOTS_EVENTS", (ANSWER % ',"leader":"nats-2"').encode())

    expected = StreamState(epoch=1795425088750, first=3, last=12, messages=10, bytes=800, limit_bytes=4096)
    assert expected == state


def test_state_is_unavailable_when_the_server_has_no_majority() -> None:
    """A server that was cut off answers with what it had; nobody may take that for all there is (I5)."""
    with pytest.raises(NatsUnavailableError, match="ROOTS_EVENTS has no leader"):
        state_of("ROOTS_EVENTS", (ANSWER % "").encode())


def test_state_is_unavailable_when_the_stream_does_not_exist() -> None:
    """JetStream's error has none of the members of an extent."""
    with pytest.raises(NatsUnavailableError, match="ROOTS_EVENTS does not exist yet"):
        state_of("ROOTS_EVENTS", b'{"error":{"code":404,"err_code":10059,"description":"stream not found"}}')


class PagedStream:
    """Answers STREAM.INFO in pages of 10 subjects, as NATS does in pages of 100,000. `between` runs after each page."""

    def __init__(self, subjects: set[str], between: "Callable[[PagedStream], None]") -> None:
        self.subjects = subjects
        self.offsets: list[int] = []
        self._between = between

    async def request(self, _subject: str, query: bytes, timeout: float) -> SimpleNamespace:  # noqa: ASYNC109  # nats-py's
        """Return one page."""
        assert timeout
        offset = msgspec.json.decode(query)["offset"]
        self.offsets.append(offset)
        page = sorted(self.subjects)[offset : offset + 10]
        answer = {
            "created": "2026-11-23T09:11:28Z",
            "state": {"first_seq": 1, "last_seq": 9, "subjects": dict.fromkeys(page, 1) or None},
            "config": {},
            "total": len(self.subjects),
        }
        self._between(self)
        return SimpleNamespace(data=msgspec.json.encode(answer))


async def listed(stream: PagedStream) -> set[str]:
    """Return what is found in the stream."""
    return await JetStreamReader(cast("Client", stream), "S").subjects("a.>")


def keep_all(_stream: PagedStream) -> None:
    """Change nothing."""


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 17, 18, 40])
async def test_every_subject_is_found_when_they_fill_pages(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Pages overlap, and the last one may be full."""
    monkeypatch.setattr(reader, "_PAGE_OVERLAP", 2)
    subjects = {f"a.{number:02}" for number in range(count)}
    assert subjects == await listed(PagedStream(set(subjects), keep_all))


@pytest.mark.parametrize("removed", [1, 2, 5])
async def test_subject_that_stays_is_found_when_others_go_between_pages(
    monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """A removal moves the rest forward, past the next page's beginning; a page without its neighbour begins again."""
    monkeypatch.setattr(reader, "_PAGE_OVERLAP", 2)
    subjects = {f"a.{number:02}" for number in range(30)}

    def remove_first(stream: PagedStream) -> None:
        if len(stream.offsets) == 1:
            stream.subjects -= set(sorted(stream.subjects)[:removed])

    stream = PagedStream(set(subjects), remove_first)
    found = await listed(stream)
    assert stream.subjects <= found <= subjects
    assert (0 in stream.offsets[1:]) == (removed >= 2)
