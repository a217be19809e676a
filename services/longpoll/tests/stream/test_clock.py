"""A replica on a machine whose clock is wrong."""

import time

import pytest
from tests.testkit.deadlines import until

from roots_longpoll.stream import follower

from ..net_support import Around, running


@pytest.mark.parametrize(("shift", "side"), [(90.0, "ahead of"), (-90.0, "behind")])
async def test_replica_is_unready_until_its_clock_is_right_when_it_differs_from_the_brokers(
    around: Around, monkeypatch: pytest.MonkeyPatch, shift: float, side: str
) -> None:
    """Its uids would be refused elsewhere, or end at once; the check says by how much the clock is off."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.1)
    async with running(around.config()) as replica:
        check = replica._health.checks
        await until(lambda: check()["clock"].is_ok)
        monkeypatch.setattr("roots.nats.streams.wall_clock", lambda: time.time() + shift)
        await until(lambda: not check()["clock"].is_ok)
        words = check()["clock"].detail.split()
        assert ["this", "clock", "is"] == words[:3]
        assert abs(abs(shift) - float(words[3])) < 1.5
        assert f"s {side} the clock of NATS" == " ".join(words[4:])
        assert abs(replica._clock.skew_seconds - shift) < 1.5
        monkeypatch.setattr("roots.nats.streams.wall_clock", time.time)
        await until(lambda: check()["clock"].is_ok)
