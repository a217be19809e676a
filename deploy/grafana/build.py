"""The dashboards' files, as the definitions beside them say."""

import json
from collections.abc import Iterator
from pathlib import Path

from deploy.grafana.clients import CLIENTS
from deploy.grafana.panels import Dashboard
from deploy.grafana.poll_latency import POLL_LATENCY
from deploy.grafana.system import SYSTEM

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (POLL_LATENCY, SYSTEM, CLIENTS)


def file_of(dashboard: Dashboard) -> Path:
    """Return the file that `dashboard` is provisioned from."""
    return FOLDER / f"{dashboard.uid}.json"


def text_of(dashboard: Dashboard) -> str:
    """Return what the file of `dashboard` has to hold."""
    return json.dumps(dashboard.build(), indent=2) + "\n"


def written() -> Iterator[Path]:
    """Write every file, and yield its name."""
    for dashboard in DASHBOARDS:
        file_of(dashboard).write_text(text_of(dashboard), encoding="utf-8")
        yield file_of(dashboard)
