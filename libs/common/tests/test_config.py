"""Configuration names every mistake at once, and never a value."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from tests.testkit.deadlines import stretched

from roots.runtime.config import EXIT_USAGE, ConfigError, Port, Seconds, load, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One setting of each kind."""

    key: Annotated[str, msgspec.Meta(min_length=4)] = setting("EXAMPLE_KEY")
    url: str = setting("EXAMPLE_URL")
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = setting("EXAMPLE_PORT", default=8000)
    nodes: Literal[1, 3] = setting("EXAMPLE_NODES", default=1)
    level: Literal["high", "low"] = setting("EXAMPLE_LEVEL", default="low")
    policy: str = setting("EXAMPLE_POLICY", default="", is_file_name=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """One setting of each kind of limit."""

    port: Port = setting("EXAMPLE_PORT", default=8000)
    hold: Seconds = setting("EXAMPLE_HOLD", default=25.0)
    retries: Annotated[int, msgspec.Meta(ge=1)] = setting("EXAMPLE_RETRIES", default=1)
    pause: Annotated[float, msgspec.Meta(gt=0)] = setting("EXAMPLE_PAUSE", default=1.0)
    age: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = setting("EXAMPLE_AGE", default=1.0)
    tls: bool = setting("EXAMPLE_TLS", default=True)


def test_load_fills_fields_when_variables_are_right() -> None:
    """Texts become numbers, and defaults stand for what is not set."""
    environ = {"EXAMPLE_KEY": "secret", "EXAMPLE_URL": "nats://x", "EXAMPLE_PORT": "12"}

    assert Example(key="secret", url="nats://x", port=12) == load(Example, environ)
    assert load(Example, {"EXAMPLE_KEY": "secret", "EXAMPLE_URL": "y"}).port == 8000


def test_load_names_every_mistake_when_several_are_wrong() -> None:
    """One start tells all that is missing or wrong, and shows no value, which may be a secret."""
    with pytest.raises(ConfigError) as error:
        load(Example, {"EXAMPLE_KEY": "abc", "EXAMPLE_PORT": "99999"})

    problems = error.value.problems
    assert ["EXAMPLE_KEY", "EXAMPLE_URL", "EXAMPLE_PORT"] == [problem.split()[0] for problem in problems]
    assert "abc" not in str(error.value)


def test_load_names_the_choices_when_a_value_is_none_of_them() -> None:
    """Whoever guessed wrong need not guess again."""
    with pytest.raises(ConfigError, match=r"^EXAMPLE_NODES is wrong: it must be one of 1, 3$"):
        load(Example, {"EXAMPLE_KEY": "secret", "EXAMPLE_URL": "y", "EXAMPLE_NODES": "2"})


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("EXAMPLE_PORT", "http", "a whole number from 0 to 65535"),
        ("EXAMPLE_PORT", "65536", "a whole number from 0 to 65535"),
        ("EXAMPLE_RETRIES", "some", "a whole number of at least 1"),
        ("EXAMPLE_HOLD", "long", "a number from 0 to 3600"),
        ("EXAMPLE_PAUSE", "0", "a number above 0"),
        ("EXAMPLE_AGE", "0", "a number above 0, of at most 1000000000"),
        ("EXAMPLE_TLS", "maybe", "true or false"),
    ],
)
def test_load_names_the_range_when_a_value_is_no_such_number(variable: str, value: str, problem: str) -> None:
    """Whoever sets a variable need not know Python's types."""
    with pytest.raises(ConfigError, match=f"^{variable} is wrong: it must be {problem}$"):
        load(Numbers, {variable: value})


def test_load_reads_file_when_variable_names_one(tmp_path: Path) -> None:
    """Container secrets arrive as files."""
    secret = tmp_path / "key"
    secret.write_text("from-file\n", encoding="utf-8")

    assert load(Example, {"EXAMPLE_KEY_FILE": str(secret), "EXAMPLE_URL": "x"}).key == "from-file"


@pytest.mark.parametrize(
    "extra", [{"EXAMPLE_KEY_FILE": "/no/such/file"}, {"EXAMPLE_KEY": "a", "EXAMPLE_KEY_FILE": "b"}]
)
def test_load_refuses_file_when_it_is_missing_or_double(extra: dict[str, str]) -> None:
    """A secret that can't be read, or that is given twice, is named."""
    with pytest.raises(ConfigError, match="EXAMPLE_KEY"):
        load(Example, {"EXAMPLE_URL": "x", **extra})


@pytest.mark.parametrize("name", ["EXAMPLE_POLICY", "EXAMPLE_POLICY_FILE"])
def test_load_takes_the_name_when_the_setting_is_a_files(tmp_path: Path, name: str) -> None:
    """`NAME_FILE` of a setting that is a file's name is that name: what is in the file is nobody's name."""
    file = tmp_path / "policy.toml"
    file.write_text("[apps]\nhunter2 = 1")
    required = {"EXAMPLE_KEY": "secret", "EXAMPLE_URL": "x"}
    assert str(file) == load(Example, {**required, name: str(file)}).policy
    with pytest.raises(ConfigError, match="EXAMPLE_POLICY is wrong: it is the name of a file") as caught:
        load(Example, {**required, name: file.read_text()})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("variable", ["KEY", "PORT", "NODES", "LEVEL"])
@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\xff\xfe"])
def test_load_shows_nothing_of_a_file_when_its_content_is_wrong(tmp_path: Path, variable: str, content: bytes) -> None:
    """I10: a variable that names the wrong file, perhaps another secret, does not print it."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    required = {"EXAMPLE_KEY": "secret", "EXAMPLE_URL": "x"}
    required.pop(f"EXAMPLE_{variable}", None)
    try:
        shown = repr(load(Example, {**required, f"EXAMPLE_{variable}_FILE": str(file)}).port)
    except ConfigError as error:
        shown = str(error)
        assert f"EXAMPLE_{variable}" in shown
    assert "hunter2" not in shown
    assert "0xff" not in shown


@pytest.mark.parametrize("module", ["roots_longpoll", "roots_subscriptions", "roots.nats.provision"])
def test_process_exits_with_usage_status_when_configuration_is_missing(module: str) -> None:
    """Status 2, and one line on standard error that names the variables."""
    done = subprocess.run(
        [sys.executable, "-m", module], env={}, capture_output=True, text=True, check=False, timeout=stretched(30)
    )

    assert done.returncode == EXIT_USAGE
    assert "ROOTS_NATS_PASSWORD is not set" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two settings, one of which is enough, and both are too much."""

    left: str = setting("EXAMPLE_LEFT", default="", unless=("EXAMPLE_RIGHT",))
    right: str = setting("EXAMPLE_RIGHT", default="")

    def problems(self) -> list[str]:
        """Return what is wrong with both."""
        return ["EXAMPLE_LEFT and EXAMPLE_RIGHT are one too many"] if self.left and self.right else []


def test_load_takes_either_when_one_replaces_the_other(tmp_path: Path) -> None:
    """A variable may be left out for another one, not for none, and not be there beside it."""
    file = tmp_path / "right"
    file.write_text("r")
    assert Pair(left="l") == load(Pair, {"EXAMPLE_LEFT": "l"})
    assert Pair(right="r") == load(Pair, {"EXAMPLE_RIGHT_FILE": str(file)})
    for environ, problem in (
        ({}, "EXAMPLE_LEFT is not set, nor EXAMPLE_RIGHT"),
        ({"EXAMPLE_LEFT": "l", "EXAMPLE_RIGHT": "r"}, "EXAMPLE_LEFT and EXAMPLE_RIGHT are one too many"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(Pair, environ)
        assert [problem] == caught.value.problems
