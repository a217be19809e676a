"""The environment variables that are read: by whom, and with which default, from the sources themselves."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from cornelius import settings as cornelius
from roots.contracts import subjects
from roots.nats.provision import ProvisionConfig
from roots.tracing.tracing import TracingConfig
from roots_devstack.__main__ import RunConfig
from roots_longpoll.config import Config as LongpollConfig
from roots_outbox.application import commands
from roots_subscriptions.config import SubscriptionsConfig
from roots_tasks.config import MigrateConfig, RelayConfig, ServeConfig

ROOT = Path(__file__).parents[2]

NONE, REQUIRED = "none", "required"

_CONFIGS: dict[str, tuple[type[Any], ...]] = {
    "tasks": (ServeConfig, TracingConfig),
    "relay": (RelayConfig, TracingConfig),
    "migrate": (MigrateConfig,),
    "outbox relay": (commands.RelayConfig, commands.DatabaseConfig, TracingConfig),
    "subscriptions": (SubscriptionsConfig, TracingConfig),
    "longpoll": (LongpollConfig, TracingConfig),
    "provision": (ProvisionConfig,),
    "`make run`": (RunConfig,),
}
_SOURCES = ("services/*/src/**/*.py", "libs/*/src/**/*.py", "clients/cornelius/src/**/*.py")
_NAME = re.compile(r"(?:ROOTS|OTEL)_[A-Z0-9_]*[A-Z0-9]")
# Looks like a variable, and is the name of a stream.
_OTHER_NAMES = frozenset({subjects.EVENTS_STREAM})


@dataclasses.dataclass(slots=True)
class Variable:
    """One variable. Shape: defaults are by reader, in the order of the readers; has_file tells of `NAME_FILE`."""

    has_file: bool = False
    defaults: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def readers(self) -> str:
        """Who reads it, as the table says it."""
        return ", ".join(self.defaults)

    @property
    def default(self) -> str:
        """What stands for it when it is not set, as the table says it."""
        by_default: dict[str, list[str]] = {}
        for reader, default in self.defaults.items():
            by_default.setdefault(default, []).append(reader)
        if len(by_default) == 1:
            return next(iter(by_default))
        return "; ".join(f"{default} ({', '.join(readers)})" for default, readers in by_default.items())


def variables() -> dict[str, Variable]:
    """Return every variable by its name."""
    found: dict[str, Variable] = {}
    for name, reader, default, has_file in (*_of_configs(), *_of_cornelius(), *_of_deployment()):
        variable = found.setdefault(name, Variable())
        variable.has_file |= has_file
        variable.defaults[reader] = default
    return found


def named_in_sources() -> set[str]:
    """Return the names of variables that the sources have as texts, however they read them."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for pattern in _SOURCES for file in ROOT.glob(pattern))
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and _NAME.fullmatch(text)} - _OTHER_NAMES


def _of_configs() -> Iterator[tuple[str, str, str, bool]]:
    for reader, configs in _CONFIGS.items():
        for config in configs:
            hints = get_type_hints(config)
            for field in dataclasses.fields(config):
                default = REQUIRED if field.default is dataclasses.MISSING else _text(field.default)
                if field.metadata["unless"] or hints[field.name] is bool:
                    default = _text(field.default)
                yield field.metadata["variable"], reader, default, True


def _of_cornelius() -> Iterator[tuple[str, str, str, bool]]:
    yield cornelius.URL_VARIABLE, "cornelius", cornelius.DEFAULT_URL, False
    yield cornelius.KEY_VARIABLE, "cornelius", NONE, True


def _of_deployment() -> Iterator[tuple[str, str, str, bool]]:
    for file in sorted(ROOT.glob("deploy/haproxy/*.cfg")):
        text = _uncommented(str(file.relative_to(ROOT)))
        defaults = dict(re.findall(r"(?m)^\tpresetenv (\S+) (\S+)$", text))
        for name in dict.fromkeys(re.findall(r"\bROOTS_[A-Z0-9_]+", text)):
            yield name, "gateway", defaults.get(name, NONE), False
    for file in sorted(ROOT.glob("deploy/nats/*.conf")):
        for name in re.findall(r"\$(ROOTS_[A-Z0-9_]+)", _uncommented(str(file.relative_to(ROOT)))):
            # The image's start.sh reads each from a file as well.
            yield name, "NATS", REQUIRED, True
    settings = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", _uncommented("docker-compose.yml")))
    for name, default in settings.items():
        yield name, "Compose", _text(default), False
    added = re.findall(r"\$\{([A-Z0-9_]+):([-?])([^}]*)\}", _uncommented("deploy/compose/application.yml"))
    for name, kind, default in added:
        if settings.get(name) != default:
            yield name, "application.yml", REQUIRED if kind == "?" else _text(default), False
    for name in re.findall(r"^export (ROOTS_[A-Z0-9_]+)", _uncommented("Makefile"), flags=re.MULTILINE):
        yield name, "`make`", "the last commit", False


def _uncommented(name: str) -> str:
    return re.sub(r"(?m)(?:^|\s)#.*$", "", (ROOT / name).read_text(encoding="utf-8"))


def _text(default: object) -> str:
    text = str(default).strip('"')
    if isinstance(default, bool):
        return text.lower()
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return text or NONE
