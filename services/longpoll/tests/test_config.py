"""What longpoll reads from the environment."""

import pytest

from roots_common.config import ConfigError, load
from roots_longpoll.config import Config

REQUIRED = {"ROOTS_NATS_PASSWORD": "secret", "ROOTS_UID_KEY": "k" * 32}
OPTIONAL = {
    "ROOTS_UID_MAX_AGE_SECONDS": "60",
    "ROOTS_HOLD_SECONDS": "2.5",
    "ROOTS_MAX_HELD_POLLS": "10",
    "ROOTS_MAX_CONNECTIONS": "20",
    "ROOTS_RING_BYTES": "65536",
    "ROOTS_MAX_CLIENTS_CACHED": "30",
    "ROOTS_REPLAY_SLOTS": "4",
    "ROOTS_TOUCH_SECONDS": "5",
    "ROOTS_CORS_ORIGINS": "https://a.example, https://b.example",
}


def test_config_is_read_when_every_setting_is_given() -> None:
    """Each setting that has a default can be set, too."""
    config = load(Config, REQUIRED | OPTIONAL)
    assert 60 == config.uid_max_age_seconds
    assert 2.5 == config.hold_seconds
    assert (10, 20, 65536) == (config.max_held, config.max_connections, config.ring_bytes)
    assert (30, 4, 5.0) == (config.max_clients_cached, config.replay_slots, config.touch_seconds)
    assert ["https://a.example", "https://b.example"] == config.origins


@pytest.mark.parametrize("seconds", ["0", "-1", "3601"])
def test_config_is_refused_when_touch_seconds_is_out_of_range(seconds: str) -> None:
    """A report of the uids each 0 s would be a tight loop."""
    with pytest.raises(ConfigError, match="ROOTS_TOUCH_SECONDS"):
        load(Config, REQUIRED | {"ROOTS_TOUCH_SECONDS": seconds})
