"""What a stream's extent is taken from."""

import pytest

from roots_common.streams import StreamState, StreamUnavailableError, state_of

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
    with pytest.raises(StreamUnavailableError, match="ROOTS_EVENTS has no leader"):
        state_of("ROOTS_EVENTS", (ANSWER % "").encode())


def test_state_is_unavailable_when_the_stream_does_not_exist() -> None:
    """JetStream's error has none of the members of an extent."""
    with pytest.raises(StreamUnavailableError, match="ROOTS_EVENTS does not exist yet"):
        state_of("ROOTS_EVENTS", b'{"error":{"code":404,"err_code":10059,"description":"stream not found"}}')
