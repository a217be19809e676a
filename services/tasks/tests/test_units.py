"""The pure parts of the service: ids, descriptions, configuration."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots.runtime.config import ConfigError, load
from roots_tasks.config import MigrateConfig, RelayConfig, ServeConfig
from roots_tasks.errors import InvalidFieldError
from roots_tasks.tasks import MAX_ID, parse_id, trim_description

VECTORS = Path(__file__).parents[3] / "tests" / "vectors"

SECRET = "hunter2"


@given(st.integers(min_value=1, max_value=MAX_ID))
def test_id_is_read_when_it_is_spelled_as_we_do(number: int) -> None:
    """Every id that Postgres can give is read back."""
    assert parse_id(str(number)) == number


@given(st.text())
def test_id_is_none_when_it_is_spelled_otherwise(text: str) -> None:
    """An id has one spelling."""
    number = parse_id(text)
    assert number is None or str(number) == text


@pytest.mark.parametrize("vector", json.loads((VECTORS / "empty_descriptions.json").read_text()), ids=ascii)
def test_description_is_empty_when_nothing_of_it_can_be_seen(vector: dict[str, Any]) -> None:
    """The vectors are shared with the page, so that both agree on what is empty."""
    if vector["empty"]:
        with pytest.raises(InvalidFieldError):
            trim_description(vector["text"])
    else:
        assert trim_description(vector["text"]) == vector["text"].strip()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://tasks:{SECRET}/x@127.0.0.1/tasks",
        f"postgresql://tasks:{SECRET}@127.0.0.1:{SECRET}/tasks",
        f"postgresql://tasks:{SECRET}%zz@127.0.0.1/tasks",
        f"host=127.0.0.1 password={SECRET}",
        f"http://tasks:{SECRET}@127.0.0.1/tasks",
        SECRET,
        "",
    ],
)
def test_configuration_is_refused_without_its_value_when_the_url_is_wrong(url: str) -> None:
    """I10: a wrong URL is named, and no part of it is shown, since it may be the password."""
    with pytest.raises(ConfigError, match="ROOTS_DATABASE_URL is wrong") as caught:
        load(MigrateConfig, {"ROOTS_DATABASE_URL": url})
    assert SECRET not in str(caught.value)


def test_configuration_names_every_variable_when_several_are_missing() -> None:
    """The relay reports all that it lacks at once."""
    with pytest.raises(ConfigError) as caught:
        load(RelayConfig, {"ROOTS_ADMIN_PORT": "x"})
    for name in ("ROOTS_DATABASE_URL", "ROOTS_NATS_PASSWORD", "ROOTS_ADMIN_PORT"):
        assert name in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_configuration_has_the_usual_ports_when_none_are_set(scheme: str) -> None:
    """The API is on 8000; each process has an admin port of its own."""
    environ = {
        "ROOTS_DATABASE_URL": f"{scheme}://tasks@127.0.0.1:5432,127.0.0.2:5433/tasks",
        "ROOTS_NATS_PASSWORD": "x",
    }
    serve, relay = load(ServeConfig, environ), load(RelayConfig, environ)
    assert (serve.http_port, serve.admin_port, relay.admin_port, relay.user) == (8000, 9000, 9001, "tasks")
