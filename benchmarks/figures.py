"""A figure of the operator's benchmarks and the sections of RESULTS.md made of them; pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

OPERATOR, SCALE = "The operator at scale", "One dataset in shards"
_COMMANDS = {OPERATOR: "operator", SCALE: "scale"}
_SECTIONS = re.compile(r"^(?=# )", re.MULTILINE)

_HEAD = """# {heading}

Made by `python -m benchmarks {command}`; do not edit. {scale}

{machine}

| what | measured | goal | |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured once; `goal` is the most that is wanted (`is_least`: the least), None: no goal."""

    what: str
    measured: float
    unit: str
    goal: float | None = None
    is_least: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether there is no goal, or it is reached."""
        if self.goal is None:
            return True
        return self.measured >= self.goal if self.is_least else self.measured <= self.goal

    def row(self) -> str:
        """Compose its line of the table."""
        goal = ""
        if self.goal is not None:
            goal = f"{'≥' if self.is_least else '≤'} {_number(self.goal)} {self.unit}".rstrip()
        verdict = "" if self.goal is None else ("" if self.is_met else "missed")
        return f"| {self.what} | {_number(self.measured)} {self.unit}".rstrip() + f" | {goal} | {verdict} |"


def render(heading: str, figures: Sequence[Figure], *, scale: str, machine: str, remarks: str) -> str:
    """Render a section: one of OPERATOR and SCALE."""
    head = _HEAD.format(heading=heading, command=_COMMANDS[heading], scale=scale, machine=machine)
    text = head + "\n".join(each.row() for each in figures) + "\n"
    notes = [f"- **{each.what}**: {each.note}" for each in figures if each.note]
    if notes:
        text += f"\n## Notes on {heading[0].lower()}{heading[1:]}\n" + "\n".join(notes) + "\n"
    return text + (f"\n{remarks.strip()}\n" if remarks.strip() else "")


def replace_section(text: str, section: str) -> str:
    """Put a section (its heading first, one `#`) in the place of that of the same heading, or at the end."""
    heading = section.partition("\n")[0]
    parts = [part for part in _SECTIONS.split(text) if part.strip()]
    found = [number for number, part in enumerate(parts) if part.partition("\n")[0] == heading]
    if found:
        parts[found[0]] = section
    else:
        parts.append(section)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _number(value: float) -> str:
    return f"{value:,.2f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}"
