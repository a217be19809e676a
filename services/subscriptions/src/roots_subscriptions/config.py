"""Configuration of subscriptions: the environment's variables and the policy file that one of them names."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec

from roots_common.broker import BrokerConfig
from roots_common.config import Port, ServiceConfig, setting
from roots_common.uids import MIN_KEY_BYTES
from roots_subscriptions.errors import PolicyError
from roots_subscriptions.policy import Policy, parse_policy

_DEFAULT_POLICY = "default_policy.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionsConfig(ServiceConfig, BrokerConfig):
    """What subscriptions is told at its start.

    Shape: uid_key is shared with longpoll, which mints; policy is a file's path, empty for the packaged default.
    """

    http_port: Port = setting("ROOTS_HTTP_PORT", default=8002)
    admin_port: Port = setting("ROOTS_ADMIN_PORT", default=9002)
    user: str = setting("ROOTS_NATS_USER", default="subscriptions")
    uid_key: Annotated[str, msgspec.Meta(min_length=MIN_KEY_BYTES)] = setting("ROOTS_UID_KEY", is_secret=True)
    policy: str = setting("ROOTS_POLICY", default="")


def load_policy(file: str) -> Policy:
    """Return the policy of `file`, or the packaged default when it is empty.

    Errors: PolicyError when the file can't be read or is no policy.
    """
    source = Path(file) if file else resources.files("roots_subscriptions") / _DEFAULT_POLICY
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"it can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError("it is not UTF-8") from error
    return parse_policy(text)
