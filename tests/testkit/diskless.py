"""Programs as they are in a container that is read-only and has no folder for temporary files."""

from pathlib import Path

_SITE = """
import tempfile
tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
"""


def diskless(folder: Path) -> dict[str, str]:
    """Return the environment in which Python programs find no temporary folder; it is made in `folder`."""
    # A folder without permission to write would stop nobody who is root.
    (folder / "sitecustomize.py").write_text(_SITE, encoding="ascii")
    return {"PYTHONPATH": str(folder)}
