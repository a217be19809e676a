"""The health check of a container."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import roots
from roots.http import health
from roots.http.health import Check, Health
from roots.runtime import probe


@pytest.fixture
def readiness() -> Health:
    """Return the checks of a process."""
    return Health()


@pytest.fixture
def port(readiness: Health) -> Iterator[int]:
    """Yield the admin port of a process that runs."""
    server = health.create_admin_server(readiness, health.create_registry(), host="127.0.0.1", port=0)
    server.start()
    yield server.port
    server.close()


def test_probe_finds_nothing_wrong_when_the_process_is_ready(port: int) -> None:
    """None is no reason."""
    assert probe.unready_reason(port) is None


def test_probe_tells_the_failed_check_when_the_process_is_unready(port: int, readiness: Health) -> None:
    """`docker inspect` shows the probe's output, so it has the check's own words."""
    readiness.add("broker", lambda: Check(is_ok=False, detail="waiting for NATS"))

    assert "waiting for NATS" in str(probe.unready_reason(port))


def test_probe_names_the_port_when_nobody_answers() -> None:
    """Port 0 is nobody's."""
    assert str(probe.unready_reason(0)).startswith("it does not answer on port 0")


def test_probe_ends_with_failure_when_its_own_port_is_set_by_the_environment(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose admin port was moved is asked there, whatever the image's command says."""
    monkeypatch.setattr(sys, "argv", ["probe", str(port)])
    monkeypatch.setenv("ROOTS_ADMIN_PORT", "0")

    with pytest.raises(SystemExit) as ended:
        probe.main()
    assert ended.value.code != 0


def test_probe_loads_little_when_it_starts() -> None:
    """A busy machine with a dozen containers starts it twice a second: libraries for HTTP cost most of its time."""
    sources = Path(str(roots.__file__)).parents[1]
    code = f"import sys; sys.path.insert(0, {str(sources)!r}); import roots.runtime.probe; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)

    assert {"re", "email", "http", "ssl", "urllib"} & {*loaded.stdout.split()} == set()
