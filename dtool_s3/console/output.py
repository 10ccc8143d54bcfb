"""What `dtool-s3` prints: owns that stdout holds results only; notes and errors go to stderr.

Neither secrets nor control characters of remote names reach a terminal.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from dtool_s3.console.exit_code import exit_code
from dtool_s3.errors import DtoolS3Error

_SIGNED_QUERY = re.compile(r"\?[^\s'\"]*(?:Signature|X-Amz-|AWSAccessKeyId)[^\s'\"]*", re.IGNORECASE)
_USER_INFO = re.compile(r"//[^/@\s'\"]+@")
_UNITS = ("kB", "MB", "GB", "TB", "PB")


def printable(text: str) -> str:
    """Replace what would move a terminal's cursor or break a line; spaces stay."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def redact(text: str) -> str:
    """Take signatures and passwords out of URLs within a message, and put it on one line."""
    shown = _USER_INFO.sub("//***@", _SIGNED_QUERY.sub("?***", text))
    return printable(" ".join(shown.split()))


def format_size(size_bytes: int) -> str:
    """Show a size for people: `17.3 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size, units = size_bytes / 1000, iter(_UNITS)
    unit = next(units)
    while size >= 999.95 and unit != _UNITS[-1]:
        size, unit = size / 1000, next(units)
    return f"{size:.1f} {unit}"


def format_count(count: int, noun: str) -> str:
    """Show how many there are of something with a regular plural: `1 key`, `2 keys`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_items(items: int, size_bytes: int) -> str:
    """Show a number of items and their size."""
    return f"{format_count(items, 'item')}, {format_size(size_bytes)}"


def _nothing() -> None:
    """Do nothing before a line."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where results, notes and errors go; `is_json`: documents instead of lines, and no notes.

    `before_printing` is called before every line: what is drawn in a terminal goes then.
    """

    stdout: TextIO
    stderr: TextIO
    is_json: bool = False
    is_quiet: bool = False
    before_printing: Callable[[], None] = _nothing

    @property
    def shows_progress(self) -> bool:
        """Whether somebody watches."""
        return self.stderr.isatty() and not self.is_quiet and not self.is_json

    def result(self, document: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print a result: the document as one line of JSON, or the lines."""
        self.before_printing()
        if self.is_json:
            print(json.dumps(document, ensure_ascii=False), file=self.stdout)
            return
        for line in lines:
            print(printable(line), file=self.stdout)

    def row(self, cells: Iterable[str]) -> None:
        """Print the cells of one line of a table, with tabs between them, for the programs of a pipe."""
        self.before_printing()
        print("\t".join(map(printable, cells)), file=self.stdout)

    def note(self, text: str) -> None:
        """Tell people something beside the result."""
        if not self.is_quiet and not self.is_json:
            self.before_printing()
            print(redact(text), file=self.stderr)

    def error(self, error: BaseException, next_step: str = "") -> None:
        """Print one line about a failure and what to do next."""
        self.before_printing()
        reason = type(error).__name__  # not the API's `reason`, in which several errors share one
        message = redact(str(error)) or "no further information"
        if self.is_json:
            document = {
                "reason": reason,
                "message": message,
                "hint": next_step,
                "exit_code": int(exit_code(error)),
                "retryable": isinstance(error, DtoolS3Error) and error.retryable,
            }
            print(json.dumps({"error": document}, ensure_ascii=False), file=self.stdout)
            return
        shown = f"dtool-s3: {reason}: {message}" + (f" ({next_step})" if next_step else "")
        print(shown, file=self.stderr)
