"""How far the work on a task is, from the record of what was started; pure. Decides when to try again."""

from datetime import timedelta
from enum import Enum, auto
from typing import Final

from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.dataset import CONTENT_INTERVAL_MINIMUM
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.planning.advice import advise
from dtool_operator.planning.history import is_edited, is_look_requested, was_frozen
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.plan import backoff_delay, spread_interval, time_left
from dtool_operator.planning.task import KINDS_WITHOUT_FACTS, Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_s3.transfer.verify import VerifyMethod

#: What a worker says of the dataset itself; any other failure tells nothing about it.
ABOUT_DATA: Final = frozenset(
    {
        Reason.CONTENT_DIFFERS,
        Reason.DATASET_MISSING,
        Reason.INVALID_ADMIN_METADATA,
        Reason.INVALID_MANIFEST,
        Reason.ITEM_MISSING,
        Reason.NOT_SUPPORTED,
        Reason.UNSAFE_PATH,
    }
)


#: What a publication finds wanting that only another upload can mend.
TO_UPLOAD_AGAIN: Final = frozenset({Reason.ITEM_MISSING, Reason.INVALID_MANIFEST, Reason.SOURCE_DAMAGED})


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
        reason = find_reason(record.error.reason, Reason.TRANSFER_FAILED)
        return Refusal(reason, advise(reason, record.error.message))
    if record.state is not TransferState.SUCCEEDED:
        return Refusal(Reason.TRANSFER_FAILED, "The worker ended without saying why.")
    if record.task.kind in KINDS_WITHOUT_FACTS or record.source is not None:
        return None
    if record.facts is None:
        return Refusal(Reason.TRANSFER_FAILED, "The worker ended without saying what it found.")
    if record.facts.mismatch_count:
        named = ", ".join(f"{m.relpath!r} ({m.found})" for m in record.facts.mismatches[:5])
        count = record.facts.mismatch_count
        detail = f"items that are not as the manifest says: {count}, such as {named}"
        return Refusal(Reason.ITEM_MISSING, advise(Reason.ITEM_MISSING, detail))
    return None


def find_trouble(record: TransferRecord) -> Refusal | None:
    """Say in the API's vocabulary why a Job that goes on does not get on; None: it does."""
    if record.trouble is None:
        return None
    reason = find_reason(record.trouble.reason, Reason.TRANSFER_FAILED)
    return Refusal(reason, advise(reason, record.trouble.message))


def find_pause(seen: ObservedDataset, record: TransferRecord, failure: Refusal) -> timedelta | None:
    """Return how long to wait before a failure is tried again; None: until the object is edited.

    The pause grows with every attempt in a row. Damage of a frozen dataset is looked for from time to time:
    no edit repairs it.
    """
    policy, key = seen.policy, seen.dataset.uid
    if was_frozen(seen.dataset) and failure.reason in ABOUT_DATA:
        pause = spread_interval(policy.resync, key=key)
        if record.task.method is VerifyMethod.CONTENT:
            pause = max(pause, CONTENT_INTERVAL_MINIMUM)
    elif is_stalled_reason(failure.reason):
        return None
    elif record.task.kind is TaskKind.PUBLISH and failure.reason in TO_UPLOAD_AGAIN:
        # upload and publication begin again in turns, and each counts its attempts anew
        pause = spread_interval(policy.backoff_cap, key=key)
    else:
        pause = backoff_delay(record.attempts, key=key, base=policy.backoff_base, cap=policy.backoff_cap)
    return time_left(record.finished_at or record.started_at, pause, seen.now)


def _is_retry_due(seen: ObservedDataset, task: Task, record: TransferRecord, failure: Refusal) -> bool:
    """An edit, a request, other keys or a slot that was waited for count at once; else time decides."""
    dataset = seen.dataset
    is_asked = is_look_requested(dataset) or is_edited(dataset)
    if is_asked or record.task.credentials_version != task.credentials_version:
        return True
    ready = find_condition(dataset.status.conditions, ConditionType.READY)
    if ready is not None and ready.reason == Reason.QUEUED:
        return True
    return find_pause(seen, record, failure) == timedelta(0)
