"""The secrets that deploy/k8s/README.md says are made elsewhere."""

import re
from functools import cache

from .programs import DEPLOY

README = DEPLOY / "k8s/README.md"


@cache
def documented_secrets() -> dict[str, set[str]]:
    """Return the keys of each secret in the table of the document."""
    table = README.read_text(encoding="utf-8").partition("| secret |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    return {
        name: set(re.findall(r"`([^`]+)`", keys)) for names, keys in rows for name in re.findall(r"`([^`]+)`", names)
    }
