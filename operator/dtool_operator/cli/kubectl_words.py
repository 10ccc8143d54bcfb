"""What kubectl writes to standard error: owns which of it is an error, and how that becomes one line.

A login that kubectl starts may talk to a person there: whatever is no error passes on at once.
"""

import os
import re
import threading
from typing import BinaryIO, Final

from dtool_operator.cli.failure import CommandFailed
from dtool_s3.console.output import printable

_MESSAGE_MAXIMUM: Final = 600
_CHUNK_BYTES: Final = 65536

_ERRORS: Final = (
    b"Error",
    b"error:",
    b"The connection to the server",
    b"Unable to connect",
    b"The DtoolDataset ",
    b"The DtoolBucket ",
    b"Apply failed",
)
#: The client library's own log, `E1123 10:00:00.000000 …`: what it says comes again in kubectl's sentence.
_LOG_LINE: Final = re.compile(rb"[EWI]\d{4} ")
_SERVER: Final = re.compile(r"Error from server(?: \((\w+)\))?: ")

_HINTS: Final = {
    "NotFound": "`kubectl dtool ls --all-namespaces` and `kubectl get dtoolbuckets -A` show what there is",
    "Forbidden": "ask for the role view (to read) or edit (to write) in that namespace",
    "Unauthorized": "log in again; `kubectl auth whoami` shows whether it helped",
    "Conflict": "somebody else manages these fields: choose another --name, or edit the object instead",
    "Invalid": "correct it and call the same again",
}
_UNREACHABLE: Final = "is the cluster up, and is `kubectl config current-context` the one that is meant?"
_NO_KIND: Final = "dtool's CRDs are not in this cluster, or --context should name another"


class Relay(threading.Thread):
    """Reads kubectl's standard error: passes on what is for people, and keeps the error."""

    def __init__(self, read_end: int, output: BinaryIO | None) -> None:
        super().__init__(daemon=True)
        self._read_end, self._output = read_end, output
        self._tail, self._kept = b"", bytearray()

    def run(self) -> None:
        """Read until all writers are gone."""
        while chunk := os.read(self._read_end, _CHUNK_BYTES):
            *lines, self._tail = (self._tail + chunk).split(b"\n")
            for line in lines:
                self._take(line + b"\n")
            if self._tail and not self._kept and not _may_be_error(self._tail):
                self._pass_on(self._tail)
                self._tail = b""
        self._take(self._tail)
        os.close(self._read_end)

    @property
    def error(self) -> str:
        """What kubectl ended with; empty if it said nothing of an error."""
        return self._kept.decode(errors="replace")

    def _take(self, line: bytes) -> None:
        if _LOG_LINE.match(line):
            return
        if self._kept or line.startswith(_ERRORS):
            self._kept += line  # an error is the last that it says, and may have several lines
        else:
            self._pass_on(line)

    def _pass_on(self, text: bytes) -> None:
        if self._output is not None and text:
            self._output.write(text)
            self._output.flush()


def _may_be_error(begun: bytes) -> bool:
    """Tell whether a line that is not complete yet could be an error or a line of a log."""
    is_error = any(error.startswith(begun) or begun.startswith(error) for error in _ERRORS)
    return is_error or _LOG_LINE.match(begun) is not None or (len(begun) < 6 and begun[:1] in b"EWI")


def explain(what: str, said: str) -> CommandFailed:
    """Build the error for a call that failed: `what` was tried, and what kubectl said of it."""
    text = printable(" ".join(said.split()))
    found = _SERVER.match(text)
    reason = (found[1] or "") if found else ""
    text = text[found.end() :] if found else text.removeprefix("error: ").removeprefix("Error: ")
    hint = _HINTS.get(reason, "")
    if text.startswith("The Dtool") and " is invalid" in text:
        reason, hint = "Invalid", _HINTS["Invalid"]
    elif text.startswith("Apply failed"):
        reason, hint = "Conflict", _HINTS["Conflict"]
    elif "doesn't have a resource type" in text or "no matches for kind" in text:
        reason, hint = "NoKind", _NO_KIND
    elif text.startswith(("The connection to the server", "Unable to connect")):
        reason, hint = "Unreachable", _UNREACHABLE
    if len(text) > _MESSAGE_MAXIMUM:
        text = f"{text[:_MESSAGE_MAXIMUM]}…"
    return CommandFailed(f"{what}: {text or 'kubectl failed'}".rstrip(". "), hint, reason=reason)
