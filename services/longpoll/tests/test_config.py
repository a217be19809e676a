"""What longpoll reads from the environment."""

from pathlib import Path

import pytest

from roots.nats.broker import BrokerConfig
from roots.runtime.config import ConfigError, load
from roots_longpoll.config import Config

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
REQUIRED = {"ROOTS_NATS_PASSWORD": "secret", "ROOTS_UID_KEY": "k" * 32}
OPTIONAL = {
    "ROOTS_UID_MAX_AGE_SECONDS": "60",
    "ROOTS_HOLD_SECONDS": "2.5",
    "ROOTS_MAX_HELD_POLLS": "10",
    "ROOTS_MAX_CONNECTIONS": "20",
    "ROOTS_RING_BYTES": "65536",
    "ROOTS_MAX_CLIENTS_CACHED": "30",
    "ROOTS_MAX_CONCURRENT_REPLAYS": "4",
    "ROOTS_GRANT_RENEWAL_SECONDS": "5",
    "ROOTS_CORS_ORIGINS": "https://a.example, https://b.example",
}


def test_live_connection_has_a_user_of_its_own_when_there_is_a_password() -> None:
    """Two users of NATS in two accounts, one password."""
    config = load(Config, REQUIRED | {"ROOTS_NATS_URL": "nats://a:4222"})
    assert ("longpoll", "secret") == (config.user, config.password)
    assert BrokerConfig(url="nats://a:4222", user="longpoll-live", password="secret") == config.live

    assert "listener" == load(Config, REQUIRED | {"ROOTS_NATS_LIVE_USER": "listener"}).live.user


def test_live_connection_has_an_identity_of_its_own_when_a_file_has_it(tmp_path: Path) -> None:
    """An nkey is one user in one account; a file that is wrong is named at the start."""
    seeds = [tmp_path / "requests.nk", tmp_path / "live.nk"]
    for seed in seeds:
        seed.write_text(SEED)
    environ = {"ROOTS_UID_KEY": "k" * 32, "ROOTS_NATS_NKEY_SEED": str(seeds[0])}

    assert str(seeds[0]) == load(Config, environ).live.nkey_seed
    live = load(Config, environ | {"ROOTS_NATS_LIVE_NKEY_SEED": str(seeds[1])}).live
    assert ("", "", str(seeds[1])) == (live.password, live.creds, live.nkey_seed)
    for wrong, problem in (
        ({"ROOTS_NATS_LIVE_CREDS": str(tmp_path / "absent")}, "ROOTS_NATS_LIVE_CREDS names a file that can't be read"),
        ({"ROOTS_NATS_LIVE_CREDS": str(seeds[1]), "ROOTS_NATS_LIVE_NKEY_SEED": str(seeds[1])}, "set one"),
    ):
        with pytest.raises(ConfigError, match=problem):
            load(Config, environ | wrong)


def test_config_is_read_when_every_setting_is_given() -> None:
    """Each setting that has a default can be set, too."""
    config = load(Config, REQUIRED | OPTIONAL)
    assert 60 == config.uid_max_age_seconds
    assert 2.5 == config.hold_seconds
    assert (10, 20, 65536) == (config.max_held, config.max_connections, config.ring_bytes)
    assert (30, 4, 5.0) == (config.max_clients_cached, config.replay_slots, config.renewal_seconds)
    assert ["https://a.example", "https://b.example"] == config.origins


@pytest.mark.parametrize("seconds", ["0", "-1", "3601"])
def test_config_is_refused_when_the_renewal_interval_is_out_of_range(seconds: str) -> None:
    """A report of the uids each 0 s would be a tight loop."""
    with pytest.raises(ConfigError, match="ROOTS_GRANT_RENEWAL_SECONDS"):
        load(Config, REQUIRED | {"ROOTS_GRANT_RENEWAL_SECONDS": seconds})
