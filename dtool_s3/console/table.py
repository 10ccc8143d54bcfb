"""How datasets are shown at a terminal of any width: state, name and UUID whole, and the rest as it fits.

Owns which column goes first where there is no room; pure, but for asking how wide a letter is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len

from dtool_s3.console.output import printable

_HEADINGS = ("state", "name", "uuid", "creator", "prefix")
#: The columns that are left out, one after the other, until a row fits.
_SETS = ((0, 1, 2, 3, 4), (0, 1, 2, 4), (0, 1, 2))
_GAP = "  "
_LEAST_DETAIL = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One dataset: `cells` are state, name, UUID, creator and prefix; `detail` has a line of its own."""

    cells: tuple[str, str, str, str, str]
    detail: str = ""


def lay_out(rows: Sequence[Row], width: int) -> list[str]:
    """Return the lines for a terminal that is `width` columns wide; a row's line begins with its state.

    Where not even state, name and UUID have room in one line, the UUID has an indented line of its own.
    """
    shown = [tuple(map(printable, row.cells)) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(_HEADINGS, *shown, strict=True)]
    for columns in _SETS:
        if sum(widths[c] for c in columns) + len(_GAP) * (len(columns) - 1) <= width:
            lines = [_line(_HEADINGS, columns, widths)]
            for row, cells in zip(rows, shown, strict=True):
                lines += [_line(cells, columns, widths), *_detail(row, width)]
            return lines
    lines = []
    for row, cells in zip(rows, shown, strict=True):
        lines += [f"{cells[0]}{_GAP}{cells[1]}".rstrip(), f"{_GAP}{cells[2]}", *_detail(row, width)]
    return lines


def _line(cells: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
    return _GAP.join(cells[c] + " " * (widths[c] - cell_len(cells[c])) for c in columns).rstrip()


def _detail(row: Row, width: int) -> list[str]:
    room = max(_LEAST_DETAIL, width - len(_GAP))
    lines = wrap(printable(row.detail), room, break_long_words=False, break_on_hyphens=False)
    return [f"{_GAP}{line}" for line in lines]
