"""Logging as JSON lines on standard error: a constant event name, then key and value; nothing secret.

Owns the form of a line and what is hidden in it. Pure code does not log; its reasons are logged with the
outcome by whoever ran it.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from dtool_s3.settings import Secret

HIDDEN: Final = "***"
FIELDS: Final = "fields"
"""Key of `extra` whose mapping becomes part of the line: for names that records have already, as `name`."""

_TEXT_MAXIMUM: Final = 4000
_DEPTH_MAXIMUM: Final = 6
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_SECRET_KEY = re.compile(
    r"secret_?(access_?)?key$|secret$|token$|password$|authorization$|credential(s)?$", re.IGNORECASE
)
_SECRET_TEXT = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"),  # access key ids of AWS
    re.compile(r"(?<=Signature=)[0-9A-Za-z%/+=_-]+"),  # signed URLs and Authorization headers
    re.compile(r"(?<=X-Amz-Credential=)[^&\s\"]+", re.IGNORECASE),
    re.compile(r"(?<=X-Amz-Security-Token=)[^&\s\"]+", re.IGNORECASE),
    re.compile(r"(?<=Bearer )\S+", re.IGNORECASE),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),  # JSON web tokens: ServiceAccounts'
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)

_UNSAFE = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What JSON leaves as it is, and terminals, viewers or UTF-8 do not.

Ends of lines, directions, what is not seen at all, halves of characters.
"""

_KOPF_NOISE: Final = frozenset({"settings", "k8s_skip"})
"""What kopf hands to every one of its records: hundreds of settings, and a mark for its own handlers."""

_RECONCILES = logging.getLogger("dtool_operator.reconcile")


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, event, logger, then what `extra` gives."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line; values that JSON does not know appear as their text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": redact(record.getMessage()),
            "logger": record.name,
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.name.startswith("kopf"):
            extra = {key: value for key, value in extra.items() if key not in _KOPF_NOISE}
        extra |= extra.pop(FIELDS, {})
        line |= {key: value for key, value in redact(extra).items() if key not in line}
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        text = json.dumps(line, default=str, ensure_ascii=False)
        return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def redact(value: Any, *, depth: int = 0) -> Any:
    """Return the value fit for a log: plain, bounded, without what is or looks like a secret."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            for pattern in _SECRET_TEXT:
                value = pattern.sub(HIDDEN, value)
            return value[:_TEXT_MAXIMUM]
        case Secret():
            return HIDDEN
        case Mapping() if depth < _DEPTH_MAXIMUM:
            return {
                str(key): HIDDEN if _SECRET_KEY.search(str(key)) else redact(one, depth=depth + 1)
                for key, one in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _DEPTH_MAXIMUM:
            return [redact(one, depth=depth + 1) for one in value]
        case _:
            return redact(str(value))


def configure_logs(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Send the records of this process to `stream` (standard error), and quiet the libraries.

    kopf tells at INFO of every event it delivered: with thousands of objects that is the log.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in ("kopf.objects", "kopf.activities", "aiohttp.access", "botocore", "urllib3"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def log_reconcile(
    *,
    kind: str,
    namespace: str,
    name: str,
    generation: int,
    actions: Iterable[str],
    outcome: str,
    seconds: float,
) -> None:
    """Write the one line of a reconcile."""
    fields = {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "generation": generation,
        "actions": list(actions),
        "outcome": outcome,
        "seconds": round(seconds, 3),
    }
    _RECONCILES.info("reconciled", extra={FIELDS: fields})
