"""Configuration from the environment: read once at start, every mistake named in one message.

A service declares a frozen dataclass whose fields are made by `setting`; `load` reads each variable, or the file that
`NAME_FILE` names (as container secrets arrive), converts it to the field's type, and checks its limits.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

import msgspec

EXIT_USAGE = 2
"""Exit status for a wrong configuration or command line, as argparse has it."""

_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}

T = TypeVar("T")


class ConfigError(Exception):
    """The environment can't be used as it is; `problems` has a sentence for each variable at fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@runtime_checkable
class Checked(Protocol):
    """A configuration whose values can be wrong together, though each is right by itself."""

    def problems(self) -> list[str]:
        """Return a sentence for each mistake, which names the variables and no secret."""


def setting(
    variable: str,
    *,
    default: Any = dataclasses.MISSING,
    is_secret: bool = False,
    is_file_name: bool = False,
    unless: Sequence[str] = (),
) -> Any:
    """Declare a dataclass field that is read from the environment variable `variable`.

    Without a `default` the variable is required; with `unless` it is so while none of those variables is set. Limits
    are written in the field's type, as `Annotated[int, msgspec.Meta(ge=1)]`. A secret stays out of the object's repr
    (I10). The value of a file's name is the name, whether it comes by `NAME` or by `NAME_FILE`.
    """
    metadata = {"variable": variable, "unless": unless, "is_file_name": is_file_name}
    return dataclasses.field(default=default, repr=not is_secret, metadata=metadata)


LogLevel = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


@dataclasses.dataclass(frozen=True, kw_only=True)  # without slots, so that a service can inherit BrokerConfig as well
class ServiceConfig:
    """The settings of every long-running process of Roots; a service adds its own ports and settings.

    Units: drain_seconds from SIGTERM to the exit at the latest, but for a last scrape after a drain that failed (see
        `health`); drain_linger_seconds of it the process still accepts connections, so that what balances in front of
        it can notice that it is unready.
    """

    http_host: str = setting("ROOTS_HTTP_HOST", default="127.0.0.1")
    drain_seconds: Seconds = setting("ROOTS_DRAIN_SECONDS", default=25.0)
    drain_linger_seconds: Seconds = setting("ROOTS_DRAIN_LINGER_SECONDS", default=0.5)
    log_level: LogLevel = setting("ROOTS_LOG_LEVEL", default="info")


def load(config_type: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Return a `config_type` filled from `environ` (the process environment by default).

    Errors: ConfigError with one sentence for each missing, unreadable or wrong variable.
    """
    environ = os.environ if environ is None else environ
    hints = get_type_hints(config_type, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in dataclasses.fields(config_type):  # type: ignore[arg-type]  # T is a dataclass by contract
        variable, is_file_name = field.metadata["variable"], field.metadata["is_file_name"]
        try:
            raw = _raw_value(variable, environ, is_file_name=is_file_name)
            if raw is None:
                others = field.metadata["unless"]
                is_replaced = any({other, f"{other}_FILE"} & environ.keys() for other in others)
                if field.default is dataclasses.MISSING or (others and not is_replaced):
                    problems.append(", nor ".join([f"{variable} is not set", *others]))
                continue
            values[field.name] = msgspec.convert(raw, hints[field.name], strict=False)
        except OSError as error:
            problems.append(f"{variable}_FILE can't be read: {error.strerror}")
        except (ValueError, msgspec.ValidationError) as error:
            problems.append(f"{variable} is wrong: {_problem_of(error, hints[field.name])}")
    if problems:
        raise ConfigError(problems)
    config = config_type(**values)
    if isinstance(config, Checked) and (problems := config.problems()):
        raise ConfigError(problems)
    return config


def load_or_exit(config_type: type[T]) -> T:
    """Return the configuration, or end the process with status 2 and one message that names every mistake."""
    try:
        return load(config_type)
    except ConfigError as error:
        exit_usage(str(error))


def take_no_arguments(module: str, description: str) -> None:
    """End `python -m module` with status 2 when it was given arguments, for it has none; `--help` says what it is."""
    argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog="Its settings are environment variables: docs/configuration.md.",
    ).parse_args()


def exit_usage(message: str) -> NoReturn:
    """End the process as for a wrong command line: one sentence on standard error, status 2."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(EXIT_USAGE)


def _problem_of(error: Exception, hint: Any) -> str:
    """Return what is wrong with a value, which itself stays out of the message: it may be a secret (I10)."""
    if get_origin(hint) is Literal:
        return f"it must be one of {', '.join(map(str, get_args(hint)))}"
    if isinstance(error, UnicodeDecodeError):
        return "its file is not UTF-8"
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    # msgspec's sentence names Python's types, and a variable is always text.
    if isinstance(error, msgspec.ValidationError) and kind in _KINDS:
        return f"it must be {_KINDS[kind]}{''.join(map(_range_of, limits))}"
    return str(error)


def _range_of(limit: Any) -> str:
    match limit:
        case msgspec.Meta(ge=int() as least, le=int() as most):
            return f" from {least} to {most}"
        case msgspec.Meta(ge=int() as least):
            return f" of at least {least}"
        case msgspec.Meta(gt=int() as above, le=int() | float() as most):
            return f" above {above}, of at most {most:.10g}"
        case msgspec.Meta(gt=int() as above):
            return f" above {above}"
    return ""


def _raw_value(variable: str, environ: Mapping[str, str], *, is_file_name: bool) -> str | None:
    file_variable = f"{variable}_FILE"
    if file_variable in environ:
        if variable in environ:
            raise ValueError(f"{file_variable} is set too; set one of them")
        if not is_file_name:
            return Path(environ[file_variable]).read_text(encoding="utf-8").strip()
    value = environ.get(file_variable, environ.get(variable))
    if is_file_name and value is not None and not value.isprintable():
        raise ValueError("it is the name of a file, and not what is in it")
    return value
