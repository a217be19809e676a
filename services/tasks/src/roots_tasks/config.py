"""The settings of the three commands, from the environment."""

from dataclasses import dataclass

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from roots.nats.broker import BrokerConfig
from roots.runtime.config import ConfigError, LogLevel, Port, ServiceConfig, setting

_SCHEMES = ("postgresql://", "postgres://")


@dataclass(frozen=True, kw_only=True)  # without slots, so that it can be inherited beside ServiceConfig
class DatabaseConfig:
    """How to reach Postgres.

    Shape: database_url is postgresql://user:password@host:port/name, the password percent-encoded.
    Errors: ConfigError for what is no such URL; libpq's own message would quote a part of it, perhaps the password.
    """

    database_url: str = setting("ROOTS_DATABASE_URL", is_secret=True)

    def __post_init__(self) -> None:
        if not _is_database_url(self.database_url):
            raise ConfigError(
                ["ROOTS_DATABASE_URL is wrong: it must be postgresql://user:password@host:port/name, percent-encoded"]
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig(ServiceConfig, DatabaseConfig):
    """Settings of `serve`.

    Shape: policy is a file's path, empty for none: then anyone may do everything. web is the folder of the tutorial's
        pages, empty for none: then there are no pages.
    """

    http_port: Port = setting("ROOTS_HTTP_PORT", default=8000)
    admin_port: Port = setting("ROOTS_ADMIN_PORT", default=9000)
    policy: str = setting("ROOTS_POLICY", default="", is_file_name=True)
    web: str = setting("ROOTS_WEB", default="", is_file_name=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig(ServiceConfig, DatabaseConfig, BrokerConfig):
    """Settings of `relay`, which has an admin port only."""

    admin_port: Port = setting("ROOTS_ADMIN_PORT", default=9001)
    user: str = setting("ROOTS_NATS_USER", default="tasks")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateConfig(DatabaseConfig):
    """Settings of `migrate`.

    Shape: database_url is that of the role that owns the tables; role is the services' role, empty to grant nothing.
    """

    role: str = setting("ROOTS_DATABASE_ROLE", default="")

    log_level: LogLevel = setting("ROOTS_LOG_LEVEL", default="info")


def _is_database_url(text: str) -> bool:
    try:
        ports = str(conninfo_to_dict(text).get("port") or "5432")
    except ProgrammingError:
        return False
    # libpq looks at the ports only when it connects; an unencoded `/` in a password ends up there.
    return text.startswith(_SCHEMES) and all(port.isascii() and port.isdigit() for port in ports.split(","))
