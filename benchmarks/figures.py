"""A figure of the operator's benchmark and the section of RESULTS.md made of them; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

HEADING = "# The operator at scale"

_HEAD = f"""{HEADING}

Made by `python -m benchmarks operator`; do not edit. {{scale}}

{{machine}}

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


def render(figures: Sequence[Figure], *, scale: str, machine: str, remarks: str) -> str:
    """Render the section."""
    text = _HEAD.format(scale=scale, machine=machine) + "\n".join(each.row() for each in figures) + "\n"
    notes = [f"- **{each.what}**: {each.note}" for each in figures if each.note]
    if notes:
        text += "\n## Notes on the operator\n" + "\n".join(notes) + "\n"
    return text + (f"\n{remarks.strip()}\n" if remarks.strip() else "")


def split(text: str) -> tuple[str, str]:
    """Split RESULTS.md into the library's part and the operator's, either possibly empty."""
    library, heading, operator = text.partition(HEADING)
    return library, heading + operator


def _number(value: float) -> str:
    return f"{value:,.2f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}"
