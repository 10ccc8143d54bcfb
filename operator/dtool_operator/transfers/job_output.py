"""What the log of a worker's Pod claims; pure. It is bounded and sanitized here, and nowhere evidence.

Whoever may write to a Pod's log of a tenant's namespace may claim anything.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from dtool_operator.api.schema import sanitize
from dtool_operator.planning.task import (
    DatasetFacts,
    ErrorLine,
    ProgressLine,
    RequestsLine,
    ResultLine,
    SourceFacts,
    WorkerLine,
)
from dtool_s3.errors import SettingsError
from dtool_s3.naming import check_name
from dtool_s3.uri import is_uuid

#: As much of a log as is looked at: its last lines while the worker runs, and more at its end.
PROGRESS_LINES: Final = 5
PROGRESS_BYTES: Final = 64 * 1024
END_LINES: Final = 200
END_BYTES: Final = 1024 * 1024

_MAX_NUMBER: Final = 2**53
_MESSAGE_MAXIMUM: Final = 2000
_MISMATCHES: Final = 20
_MAX_USERNAME: Final = 256
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_line: TypeAdapter[WorkerLine] = TypeAdapter(WorkerLine)


@dataclass(frozen=True, slots=True)
class Claims:
    """The last of each kind of line that a log had."""

    progress: ProgressLine | None = None
    outcome: ResultLine | ErrorLine | None = None
    requests: tuple[RequestsLine, ...] = ()


def read_claims(log: str) -> Claims:
    """Read the lines of a log that are a worker's; whatever else is there is passed over."""
    claims = Claims()
    for text in log.splitlines():
        try:
            line = _line.validate_json(text)
        except (ValidationError, ValueError):
            continue
        if not _is_sane(line):
            continue
        match line:
            case ProgressLine():
                phase = sanitize(line.phase, 40)
                claims = replace(claims, progress=line.model_copy(update={"phase": phase}))
            case RequestsLine():
                claims = replace(claims, requests=(*claims.requests, line))
            case ResultLine() | ErrorLine():
                claims = replace(claims, outcome=_clean(line))
    return claims


def add_progress(lines: Iterable[ProgressLine]) -> ProgressLine | None:
    """Add up how far the shards of a task are; the phase is the first one's. None: none has said."""
    found = list(lines)
    if not found:
        return None
    return ProgressLine(
        phase=found[0].phase,
        items=sum(one.items for one in found),
        items_total=sum(one.items_total for one in found),
        bytes=sum(one.bytes for one in found),
        bytes_total=sum(one.bytes_total for one in found),
    )


def _clean(line: ResultLine | ErrorLine) -> ResultLine | ErrorLine:
    updates: dict[str, object] = {}
    if line.facts is not None:
        updates["facts"] = _cut(line.facts)
    if isinstance(line, ErrorLine):
        updates["reason"] = sanitize(line.reason, 60)
        updates["message"] = sanitize(line.message, _MESSAGE_MAXIMUM)
    return line.model_copy(update=updates)


def _cut(facts: DatasetFacts) -> DatasetFacts:
    return facts.model_copy(update={"mismatches": facts.mismatches[:_MISMATCHES]})


def _is_sane(value: object) -> bool:
    """Tell whether all numbers fit a status (not negative, exact as JSON), and what is found is a dataset."""
    match value:
        case BaseModel():
            is_known = not isinstance(value, SourceFacts) or _is_dataset(value)
            return is_known and all(_is_sane(getattr(value, name)) for name in type(value).model_fields)
        case tuple():
            return all(map(_is_sane, value))
        case int() | float():
            return 0 <= value <= _MAX_NUMBER
        case _:
            return True


def _is_dataset(found: SourceFacts) -> bool:
    """Tell whether uuid, hash and names are such as a proto dataset can be made of: they lead to keys."""
    try:
        check_name(found.name, of="a dataset")
    except SettingsError:
        return False
    is_named = found.creator_username.isprintable() and len(found.creator_username) <= _MAX_USERNAME
    digests = (found.manifest_sha256, found.content_sha256)
    return is_named and is_uuid(found.uuid) and all(map(_SHA256.fullmatch, digests))
