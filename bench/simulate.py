"""`python -m bench.simulate`: simulate many replicas from what one was measured to cost; see docs/scaling.md.

Prints the simulation beside what was measured, draws the pictures, and brings the document's tables up to date. It
measures nothing, and the same results make the same tables and pictures.
"""

import argparse
import sys
from pathlib import Path

from bench.errors import LoadError
from bench.results import Results
from bench.simulation import document, pictures
from bench.simulation.check import compare
from bench.simulation.projections import Projection

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "scaling.md"


def main() -> int:
    """Simulate; return 1 when something that is needed was not measured."""
    folder = _arguments().results
    try:
        results = Results.load(folder / "results.json")
        projection = Projection(results)
        sections = {
            "costs": document.costs(results),
            "checks": document.checks(list(compare(results))),
            "replicas": document.needed(projection),
        }
    except (OSError, LoadError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(sections.values()))
    DOCUMENT.write_text(document.updated(DOCUMENT.read_text(encoding="utf-8"), sections), encoding="utf-8")
    for path in (DOCUMENT, *pictures.draw(results, projection, folder)):
        print(path)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description="Simulate a million clients.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results.json and of the pictures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
