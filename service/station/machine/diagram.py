"""Draws the table of transitions as a Mermaid state diagram, and writes it into docs/station.md.

python -m service.station.machine.diagram docs/station.md
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from service.station.machine.states import (
    TRANSITIONS,
    Command,
    Effect,
    Guard,
    Occurrence,
    State,
    Transition,
)

BEGIN = "<!-- drawn from the code: begin -->\n"
END = "<!-- drawn from the code: end -->\n"


def draw(transitions: Iterable[Transition] = TRANSITIONS) -> str:
    """Return the diagram; the fault, which leads from each other state to Error, is left out."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_name(State.PREOPERATIONAL)}"]
    lines += [
        f"    {_name(row.source)} --> {_name(row.target)}: {_label(row)}"
        for row in transitions
        if row.cause is not Occurrence.FAULT
    ]
    note = f"    note right of {_name(State.ERROR)}: from every state, by a fault"
    return "\n".join([*lines, note, "```", ""])


def replace_diagram(document: str) -> str:
    """Return a document with the diagram of the present table between its marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the lines {BEGIN!r} and {END!r} in the document")
    return f"{before}{begin}{draw()}{end}{after}"


def _label(row: Transition) -> str:
    label = _name(row.cause) if isinstance(row.cause, Command) else row.cause.value
    if row.guard is not Guard.ALWAYS:
        label += f" [{row.guard.value}]"
    return label if row.effect is Effect.NOTHING else f"{label} / {row.effect.value}"


def _name(word: State | Command) -> str:
    return "".join(part.capitalize() for part in word.name.split("_"))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(replace_diagram(path.read_text("utf-8")), "utf-8")
