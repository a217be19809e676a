"""docs/configuration.md has every environment variable that is read, and none besides."""

import re

import pytest

from .variables import ROOT, named_in_sources, variables

DOCUMENT = ROOT / "docs" / "configuration.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
READ = variables()


def test_table_has_each_variable_once_when_the_code_reads_it() -> None:
    """From the code to the table and back: what is read is documented, and what is documented is read."""
    documented = [name for cells in ROWS for name in re.findall(r"`([A-Z0-9_]+)`", cells[0])]
    read = {name for name, variable in READ.items()} | {
        f"{name}_FILE" for name, variable in READ.items() if variable.has_file
    }
    assert len(set(documented)) == len(documented)
    assert (read - set(documented), set(documented) - read) == (set(), set())


def test_names_in_the_sources_are_documented_when_they_are_read_otherwise() -> None:
    """A variable that is read past the configuration classes, or set for another process, is in the table too."""
    assert named_in_sources() - READ.keys() == set()


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0])
def test_row_says_who_reads_the_variable_and_its_default_when_the_code_does(cells: list[str]) -> None:
    """Readers and defaults are those of the code; the meaning is a sentence for a person."""
    names, readers, default, meaning = cells
    variable = READ[re.findall(r"`([A-Z0-9_]+)`", names)[0]]
    assert (variable.readers, variable.default) == (readers, default.strip("`"))
    assert meaning
