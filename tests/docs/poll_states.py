"""The states of a poll as a diagram and a table: read from the service's own table, and written into the document.

`python -m tests.docs.poll_states` brings the document up to date; a test fails when it is not.
"""

from collections import defaultdict

from roots_longpoll.delivery.states import TABLE, State, Step

from .invariants import ROOT

DOCUMENT = ROOT / "docs" / "how-a-poll-works.md"
BEGIN = "<!-- states: written by python -m tests.docs.poll_states -->\n"
END = "<!-- end of states -->\n"


def section() -> str:
    """Return the part of the document that shows the table."""
    return "\n".join([BEGIN, *_diagram(), "", *_table(), "", END])


def updated(document: str) -> str:
    """Return `document` with its states as they should be."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + section() + after


def _diagram() -> list[str]:
    """Return the moves from one state to another; those that lead to the same state share an arrow."""
    moves: dict[tuple[State, State], list[Step]] = defaultdict(list)
    for state, steps in TABLE.items():
        for step, after in steps.items():
            if after is not state:
                moves[state, after].append(step)
    arrows = [
        f"    {'[*]' if state is State.NEW else state.name} --> {after.name}: {', '.join(step.name for step in steps)}"
        for (state, after), steps in moves.items()
    ]
    return ["```mermaid", "stateDiagram-v2", *arrows, f"    {State.DONE.name} --> [*]", "```"]


def _table() -> list[str]:
    states = [state for state in State if TABLE[state]]
    rows = [
        f"| {step.name}: {step.value} | {' | '.join(_cell(TABLE[state].get(step)) for state in states)} |"
        for step in Step
    ]
    head = f"| What happens | {' | '.join(state.name for state in states)} |"
    return [head, f"|{'---|' * (len(states) + 1)}", *rows]


def _cell(after: State | None) -> str:
    return "" if after is None else after.name


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
