"""Reads the metrics of a process as a scrape does."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from tests.testkit.deadlines import stretched


def scrape(admin_url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return each sample's value by its name and its sorted labels."""
    with urllib.request.urlopen(f"{admin_url}/metrics", timeout=stretched(5)) as answer:  # noqa: S310  # a loopback URL
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(admin_url: str, name: str, **labels: str) -> float:
    """Return one sample's value, 0 when there is none."""
    return scrape(admin_url).get((name, tuple(sorted(labels.items()))), 0.0)
