"""What the longpoll service reads from the environment."""

from dataclasses import dataclass, fields
from typing import Annotated

import msgspec

from roots.contracts.requests import RENEWAL_INTERVAL_SECONDS
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS
from roots.contracts.timing import ANSWER_SECONDS, DEFAULT_HOLD_SECONDS, MAX_HOLD_SECONDS
from roots.contracts.uids import UidConfig
from roots.nats.broker import BrokerConfig, identity_problems
from roots.runtime.config import Port, ServiceConfig, setting

_LIVE_CREDS = "ROOTS_NATS_LIVE_CREDS"
_LIVE_NKEY_SEED = "ROOTS_NATS_LIVE_NKEY_SEED"

# A record is extended in the second half of its life: so a report that is lost ends no client.
MAX_RENEWAL_SECONDS = GRANT_LIFETIME_SECONDS / 4

Count = Annotated[int, msgspec.Meta(ge=1)]
Hold = Annotated[float, msgspec.Meta(gt=0)]
RenewalInterval = Annotated[float, msgspec.Meta(gt=0, le=MAX_RENEWAL_SECONDS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(ServiceConfig, UidConfig, BrokerConfig):
    """Ports, and the bounds of one replica (I7).

    Units: seconds and bytes in the names. Shape: cors_origins is a list separated by commas, empty for none.
        The live connection has the same password, another user, and its own credentials file or nkey where it has one.
    """

    user: str = setting("ROOTS_NATS_USER", default="longpoll")
    live_user: str = setting("ROOTS_NATS_LIVE_USER", default="longpoll-live")
    live_creds: str = setting(_LIVE_CREDS, default="", is_file_name=True)
    live_nkey_seed: str = setting(_LIVE_NKEY_SEED, default="", is_file_name=True)
    http_port: Port = setting("ROOTS_HTTP_PORT", default=8008)
    admin_port: Port = setting("ROOTS_ADMIN_PORT", default=9008)
    hold_seconds: Hold = setting("ROOTS_HOLD_SECONDS", default=DEFAULT_HOLD_SECONDS)
    max_held: Count = setting("ROOTS_MAX_HELD_POLLS", default=50_000)
    max_connections: Count = setting("ROOTS_MAX_CONNECTIONS", default=60_000)
    ring_bytes: Annotated[int, msgspec.Meta(ge=64 * 1024)] = setting("ROOTS_RING_BYTES", default=64 << 20)
    max_clients_cached: Count = setting("ROOTS_MAX_CLIENTS_CACHED", default=200_000)
    replay_slots: Count = setting("ROOTS_MAX_CONCURRENT_REPLAYS", default=16)
    renewal_seconds: RenewalInterval = setting("ROOTS_GRANT_RENEWAL_SECONDS", default=RENEWAL_INTERVAL_SECONDS)
    cors_origins: str = setting("ROOTS_CORS_ORIGINS", default="")

    @property
    def live(self) -> BrokerConfig:
        """How the live connection reaches NATS."""
        shared = {field.name: getattr(self, field.name) for field in fields(BrokerConfig)}
        if self.live_creds or self.live_nkey_seed:
            shared |= {"password": "", "creds": self.live_creds, "nkey_seed": self.live_nkey_seed}
        return BrokerConfig(**shared | {"user": self.live_user})

    def problems(self) -> list[str]:
        """Return what of it can't be used together, and which files can't be used at all."""
        problems = BrokerConfig.problems(self)
        if self.live_creds and self.live_nkey_seed:
            problems.append(f"{_LIVE_CREDS} and {_LIVE_NKEY_SEED} are two ways to say the same; set one")
        if self.hold_seconds > MAX_HOLD_SECONDS:
            reason = f"clients and the gateway give it up after {ANSWER_SECONDS:.0f} s"
            text = f"a poll is held for {MAX_HOLD_SECONDS:.0f} s at most, since {reason}"
            problems.append(f"ROOTS_HOLD_SECONDS is wrong: {text}")
        return problems + identity_problems({_LIVE_CREDS: self.live_creds}, {_LIVE_NKEY_SEED: self.live_nkey_seed})

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may poll from elsewhere."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
