"""What a worker told, as fields of a dataset's status; pure."""

from datetime import UTC, datetime

from dtool_operator.api.choice import VerifyMethod
from dtool_operator.api.dataset_status import Evidence, Mismatch, Progress, Verification
from dtool_operator.api.quantities import format_size
from dtool_operator.api.work_status import InspectedSource
from dtool_operator.planning.task import DatasetFacts, ProgressLine
from dtool_operator.planning.transfer import TransferRecord


def build_progress(record: TransferRecord, line: ProgressLine) -> Progress:
    """Say how far a worker is, and how fast it has been."""
    updated = record.progress_at or record.started_at
    seconds = (updated - record.started_at).total_seconds()
    return Progress(
        items=line.items,
        items_total=line.items_total,
        bytes=line.bytes,
        bytes_total=line.bytes_total,
        percent=format_percent(line),
        bytes_per_second=round(line.bytes / seconds) if seconds > 0 else None,
        started_at=record.started_at,
        updated_at=updated,
    )


def format_percent(line: ProgressLine) -> str:
    """Write the share of the bytes, or of the items where all are empty; never 100% too early."""
    done, total = (line.bytes, line.bytes_total) if line.bytes_total else (line.items, line.items_total)
    return f"{100 * done // total}%" if total else "0%"


def describe_facts(facts: DatasetFacts) -> dict[str, object]:
    """Say which dataset it is, and how large."""
    return {
        "name": facts.name,
        "creator_username": facts.creator_username,
        "created_at": read_time(facts.created_at),
        "frozen_at": read_time(facts.frozen_at),
        "items": facts.items,
        "size_bytes": facts.size_bytes,
        "size": format_size(facts.size_bytes),
    }


def build_source(record: TransferRecord) -> InspectedSource:
    """Say what an inspection found."""
    found = record.source
    assert found is not None, "an inspection that is done has told what it found"
    return InspectedSource(
        uuid=found.uuid,
        name=found.name,
        creator_username=found.creator_username,
        created_at=read_time(found.created_at),
        frozen_at=read_time(found.frozen_at),
        items=found.items,
        size_bytes=found.size_bytes,
        manifest_sha256=found.manifest_sha256,
        content_sha256=found.content_sha256,
    )


def build_verification(record: TransferRecord) -> dict[str, object]:
    """Return the verification that a worker's facts are, and which request it answers."""
    facts, at = record.facts, record.finished_at or record.started_at
    if facts is None:
        return {}
    verified = Verification(
        time=at,
        method=VerifyMethod(record.task.method),
        items=facts.items,
        evidence=Evidence(etag_md5=facts.etag_md5, read=facts.read, same_as_source=facts.same_as_source),
        mismatches=tuple(
            Mismatch(relpath=m.relpath, expected=m.expected, found=m.found) for m in facts.mismatches
        ),
        mismatch_count=facts.mismatch_count,
    )
    request = record.task.request
    return {"verified": verified} | ({} if request is None else {"last_handled_verify_at": request})


def read_time(seconds: float | None) -> datetime | None:
    """Read a time out of somebody's bucket; None for what is no moment of this calendar."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
