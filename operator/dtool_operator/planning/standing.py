"""How far the work on a task is, from the record of what was started; pure. Decides when to try again."""

from datetime import timedelta
from enum import Enum, auto

from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.planning.history import is_edited, is_look_requested
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.plan import backoff_delay
from dtool_operator.planning.task import Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState


class Standing(Enum):
    """Where a task is."""

    ABSENT = auto()
    """Nothing is known of it: never started, or the operator was."""
    OTHER_RUNS = auto()
    """A worker of this object does something else; it must end first."""
    RUNNING = auto()
    DONE = auto()
    PAUSED = auto()
    """It failed and is not to be tried yet."""
    RETRY = auto()
    """It failed and is to be tried again now."""


def find_standing(seen: ObservedDataset, task: Task) -> Standing:
    """Say how far the work on `task` is."""
    record = seen.transfer
    if record is None:
        return Standing.ABSENT
    is_same = record.task.fingerprint == task.fingerprint
    if record.state is TransferState.RUNNING:
        return Standing.RUNNING if is_same else Standing.OTHER_RUNS
    if not is_same:
        return Standing.ABSENT
    failure = find_failure(record)
    if failure is None:
        return Standing.DONE
    return Standing.RETRY if _is_retry_due(seen, task, record, failure) else Standing.PAUSED


def is_running(record: TransferRecord | None) -> bool:
    """Tell whether a worker runs."""
    return record is not None and record.state is TransferState.RUNNING


def find_failure(record: TransferRecord) -> Refusal | None:
    """Say in the API's vocabulary why work that has ended is no success; None if it is one."""
    if record.error is not None:
        return Refusal(find_reason(record.error.reason, Reason.TRANSFER_FAILED), record.error.message)
    if record.state is not TransferState.SUCCEEDED:
        return Refusal(Reason.TRANSFER_FAILED, "The worker ended without saying why.")
    if record.task.kind is TaskKind.REMOVE:
        return None
    if record.facts is None:
        return Refusal(Reason.TRANSFER_FAILED, "The worker ended without saying what it found.")
    if record.facts.mismatch_count:
        named = ", ".join(f"{m.relpath!r} ({m.found})" for m in record.facts.mismatches[:5])
        count = record.facts.mismatch_count
        return Refusal(Reason.ITEM_MISSING, f"{count} items differ from the manifest: {named}")
    return None


def retry_in(seen: ObservedDataset, record: TransferRecord) -> timedelta:
    """Return how long to wait before a failure is tried again; growing with every attempt in a row."""
    policy = seen.policy
    pause = backoff_delay(
        record.attempts, key=seen.dataset.uid, base=policy.backoff_base, cap=policy.backoff_cap
    )
    return max(timedelta(0), pause - (seen.now - (record.finished_at or record.started_at)))


def _is_retry_due(seen: ObservedDataset, task: Task, record: TransferRecord, failure: Refusal) -> bool:
    """An edit, a request, other keys or a slot that was waited for count at once; else time decides."""
    is_asked = is_look_requested(seen.dataset) or is_edited(seen.dataset)
    if is_asked or record.task.credentials_version != task.credentials_version:
        return True
    ready = find_condition(seen.dataset.status.conditions, ConditionType.READY)
    if ready is not None and ready.reason == Reason.QUEUED:
        return True
    if is_stalled_reason(failure.reason):
        return False
    return retry_in(seen, record) == timedelta(0)
