"""The table that is written to RESULTS.md; pure text."""

from collections.abc import Sequence

from benchmarks.measurement import OURS, Result

_HEAD = """# Measured against the field

Made by `make bench`; do not edit. Medians; `dtool_s3` and upstream are timed inside one process from call to
return, the command line tools from start to end. The ratio is ours over theirs: below 1 we are faster.
A figure of another machine or day cannot be compared with these, a ratio can.

{machine}

| work | peer | seconds | runs | ratio | goal |
|---|---|---|---|---|---|
"""


def render(results: Sequence[Result], *, machine: str, remarks: str) -> str:
    """Render all results as Markdown."""
    lines = [_row(result) for result in results]
    notes = [f"- **{r.row.name}**: {_notes(r)}" for r in results if _notes(r)]
    text = _HEAD.format(machine=machine) + "\n".join(lines) + "\n"
    if notes:
        text += "\n## Notes\n" + "\n".join(notes) + "\n"
    return text + (f"\n{remarks.strip()}\n" if remarks.strip() else "")


def _row(result: Result) -> str:
    rows = []
    for peer, runs in result.runs.items():
        is_ours = peer == OURS
        ratio = "" if is_ours else f"{result.ratio(peer):.2f}"
        name, goal = (result.row.name, result.row.goal) if is_ours else ("", "")
        rows.append(f"| {name} | {peer} | {result.seconds(peer):.2f} | {len(runs)} | {ratio} | {goal} |")
    return "\n".join(rows)


def _notes(result: Result) -> str:
    facts = ", ".join(f"{_figure(value)} {name}" for name, value in result.facts().items())
    return "; ".join(part for part in (result.row.note, facts) if part)


def _figure(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"
