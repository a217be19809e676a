"""What runs in each container, and what of its environment it reads: from the programs' own sources."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from cornelius import settings as cornelius
from roots.http.health import LAST_SCRAPE_SECONDS
from roots.nats.provision import ProvisionConfig
from roots.runtime.config import ServiceConfig, setting
from roots_longpoll.config import Config as LongpollConfig
from roots_outbox.application import commands
from roots_subscriptions.config import SubscriptionsConfig
from roots_tasks.config import MigrateConfig, RelayConfig, ServeConfig

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRelayConfig(commands.RelayConfig):
    """What `cornelius outbox relay` reads, of which Cornelius reads its own."""

    database_url: str = setting(commands.URL_VARIABLE, is_secret=True)
    backend_api_url: str = setting(cornelius.URL_VARIABLE)
    backend_api_key: str = setting(cornelius.KEY_VARIABLE, is_secret=True)


CONFIGS: dict[tuple[str, ...], type] = {
    ("python", "-m", "roots_tasks", "serve"): ServeConfig,
    ("python", "-m", "roots_tasks", "relay"): RelayConfig,
    ("python", "-m", "roots_tasks", "migrate"): MigrateConfig,
    ("python", "-m", "roots.nats.provision"): ProvisionConfig,
    ("python", "-m", "roots_subscriptions"): SubscriptionsConfig,
    ("python", "-m", "roots_longpoll"): LongpollConfig,
    ("python", "-m", "cornelius", "outbox", "install"): commands.DatabaseConfig,
    ("python", "-m", "cornelius", "outbox", "relay"): OutboxRelayConfig,
}
"""The configuration class of each command of ours."""

# Of Go's runtime, which NATS has.
_GO = {"GOMEMLIMIT"}
_POSTGRES = {"POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"}


def variables(config: type) -> set[str]:
    """Return the variables that a configuration class reads, by file too."""
    names = {field.metadata["variable"] for field in fields(config)}
    return names | {f"{name}_FILE" for name in names}


def secret_variables() -> set[str]:
    """Return the variables whose values are secret."""
    configs = CONFIGS.values()
    return {field.metadata["variable"] for config in configs for field in fields(config) if not field.repr}


def gateway_variables() -> set[str]:
    """Return the variables that HAProxy's configuration reads."""
    texts = [_uncommented(path.read_text(encoding="utf-8")) for path in (DEPLOY / "haproxy").glob("*.cfg")]
    return {name for text in texts for name in re.findall(r"\bROOTS_[A-Z_]+", text)}


def nats_variables() -> set[str]:
    """Return the variables that NATS's configuration reads; the image reads each from a file as well."""
    texts = [_uncommented(path.read_text(encoding="utf-8")) for path in (DEPLOY / "nats").glob("*.conf")]
    names = {name for text in texts for name in re.findall(r"\$(ROOTS_[A-Z_]+)", text)}
    return names | {f"{name}_FILE" for name in names} | _GO


def _uncommented(text: str) -> str:
    return re.sub(r"#.*", "", text)


OTHERS: dict[str, Callable[[], set[str]]] = {
    "roots-gateway": gateway_variables,
    "roots-nats": nats_variables,
    "postgres": lambda: _POSTGRES,
    "natsio/prometheus-nats-exporter": set,
}
"""What programs read that are not ours, by their images."""


def gateway_grace_seconds(env: dict[str, str]) -> float:
    """Return how long the gateway waits for requests under way when it stops."""
    return float(env.get("ROOTS_GATEWAY_GRACE", _gateway_defaults()["ROOTS_GATEWAY_GRACE"]).removesuffix("s"))


def gateway_ports() -> set[int]:
    """Return the ports on which HAProxy listens when it is told no other."""
    defaults = _gateway_defaults().items()
    return {int(value.rpartition(":")[2]) for name, value in defaults if name.endswith("_ADDRESS") and ":" in value}


def _gateway_defaults() -> dict[str, str]:
    text = (DEPLOY / "haproxy/haproxy.cfg").read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^\tpresetenv (\S+) (\S+)$", text))


def listening_ports(config: object) -> set[int]:
    """Return the ports on which a service listens with this configuration."""
    return {getattr(config, name) for name in ("http_port", "admin_port", "backend_api_port") if hasattr(config, name)}


def drain_seconds(config: object) -> float:
    """Return how long a service may take to stop: one whose drain failed also waits for a last scrape."""
    return config.drain_seconds + LAST_SCRAPE_SECONDS if isinstance(config, ServiceConfig) else 0.0
