"""Configuration of subscriptions: the environment's variables and the policy file that one of them names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from roots.contracts.subjects import MAX_PATH_BYTES, PATH_PATTERN
from roots.contracts.uids import UidConfig
from roots.nats.broker import BrokerConfig
from roots.runtime.config import Port, ServiceConfig, setting
from roots_subscriptions.grants.grants import DEFAULT_MAX_ANONYMOUS

DEFAULT_POLICY = Path(__file__).with_name("default_policy.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionsConfig(ServiceConfig, UidConfig, BrokerConfig):
    """The settings of subscriptions.

    Shape: policy is a file's path, empty for the packaged default;
        ended_path is where the uids of clients that have ended are published, empty for nowhere;
        backend_api_host is where back ends reach the back-end API, and never where browsers come from.
    """

    http_port: Port = setting("ROOTS_HTTP_PORT", default=8002)
    admin_port: Port = setting("ROOTS_ADMIN_PORT", default=9002)
    backend_api_host: str = setting("ROOTS_BACKEND_API_HOST", default="127.0.0.1")
    backend_api_port: Port = setting("ROOTS_BACKEND_API_PORT", default=8004)
    user: str = setting("ROOTS_NATS_USER", default="subscriptions")
    policy: str = setting("ROOTS_POLICY", default="", is_file_name=True)

    max_anonymous_clients: Annotated[int, msgspec.Meta(ge=1)] = setting(
        "ROOTS_MAX_ANONYMOUS_CLIENTS", default=DEFAULT_MAX_ANONYMOUS
    )

    ended_path: Annotated[str, msgspec.Meta(pattern=rf"^({PATH_PATTERN})?\Z", max_length=MAX_PATH_BYTES)] = setting(
        "ROOTS_ENDED_PATH", default=""
    )

    @property
    def policy_file(self) -> Path:
        """The policy's file."""
        return Path(self.policy) if self.policy else DEFAULT_POLICY

    @property
    def policy_name(self) -> str:
        """What a person calls the policy."""
        return self.policy or "the packaged default"
