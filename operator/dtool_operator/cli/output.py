"""How results are printed: owns tables, JSON and YAML, and that no name moves a terminal's cursor."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, TextIO

from dtool_s3.console.output import printable

_GAP = "   "


class Format(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def write_document(output: TextIO, document: Any, form: Format) -> None:
    """Print a document as JSON or YAML, in ASCII: every other character is escaped."""
    if form is Format.YAML:
        import yaml  # noqa: PLC0415 - 16 ms, for those who ask

        output.write(yaml.safe_dump(document, sort_keys=False))
        return
    output.write(json.dumps(document, indent=2) + "\n")


def write_line(output: TextIO, document: Any) -> None:
    """Print a document as one line of JSON."""
    output.write(json.dumps(document) + "\n")
    output.flush()


def write_table(output: TextIO, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns; the last one is as long as it is."""
    shown = [headings, *([printable(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*shown, strict=True)][:-1]
    for row in shown:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=False)]
        output.write(_GAP.join([*cells, row[-1]]).rstrip() + "\n")


def write_pairs(output: TextIO, pairs: Iterable[tuple[str, str]]) -> None:
    """Print `name  value` lines, those without a value left out."""
    known = [(name, printable(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in known), default=0)
    output.writelines(f"{name:<{width}}{_GAP}{value}\n" for name, value in known)


def _width(text: str) -> int:
    """Return how many columns a text takes; letters of some scripts take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - 10 ms, where it matters

    return cell_len(text)
