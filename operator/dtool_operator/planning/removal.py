"""How what an object wrote is removed when it is deleted: begun, followed, reported, given up; pure.

Whether it is removed at all, `deletion` decides.
"""

from collections.abc import Sequence
from datetime import timedelta

from dtool_operator.api.reasons import Reason
from dtool_operator.names import LABEL_UUID
from dtool_operator.planning.conclusion import WORK_LOOK, DatasetPlan, find_job
from dtool_operator.planning.identity import dataset_uuid
from dtool_operator.planning.job_place import place_volume_job
from dtool_operator.planning.job_work import build_volume_removal
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    MarkObject,
    Plan,
    ReleaseJob,
    ReportLeftBehind,
    is_due,
)
from dtool_operator.planning.standing import (
    Standing,
    find_failure,
    find_pause,
    find_standing,
    find_trouble,
    is_running,
)
from dtool_operator.planning.status import build_dataset_status
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import read_job
from dtool_operator.planning.verdict import Refused
from dtool_operator.planning.work import build_start
from dtool_s3.uri import is_uuid

_LEFT_ON_VOLUME = "What lies on the volume could not be removed."


def is_timed_out(seen: ObservedDataset) -> bool:
    """Tell whether the deletion waited long enough for an endpoint that does not answer."""
    deleted_at = seen.dataset.meta.deletion_timestamp
    assert deleted_at is not None
    return is_due(deleted_at, _timeout(seen), seen.now)


def remove_from_volume(seen: ObservedDataset, *, only_proto: bool) -> DatasetPlan:
    """Have a Job remove what it left on a volume; one that goes with its namespace is left alone."""
    dataset = seen.dataset
    uuid = dataset_uuid(dataset) or dataset.meta.labels.get(LABEL_UUID, "")
    namespace, job = seen.cluster.namespaces.get(dataset.namespace), place_volume_job(seen, None)
    # before the status told a name no Job had begun
    if namespace is None or namespace.is_terminating or not is_uuid(uuid) or dataset.status.name is None:
        return release(seen)
    if isinstance(job, Refusal):
        return release(seen, job.message)
    task = build_volume_removal(seen, uuid, job, only_proto=only_proto)
    match find_standing(seen, task):
        case Standing.DONE:
            return release(seen)
        case Standing.RUNNING | Standing.OTHER_RUNS:
            return _follow_job(seen)
        case Standing.PAUSED | Standing.RETRY if is_timed_out(seen):
            return release(seen, _LEFT_ON_VOLUME)
        case Standing.PAUSED:
            return report_failure(seen)
        case Standing.ABSENT | Standing.RETRY:  # pragma: no branch
            return start_removal(seen, task)


def _follow_job(seen: ObservedDataset) -> DatasetPlan:
    """Record a removal's Job before it begins, as any other's; do not wait for ever for one that cannot."""
    record, known = seen.transfer, seen.dataset.status.job
    assert record is not None, "a worker runs"
    trouble = find_trouble(record)
    if trouble is not None and (trouble.reason is Reason.VOLUME_NOT_FOUND or is_timed_out(seen)):
        return release(seen, _LEFT_ON_VOLUME)
    if trouble is not None:
        return say(seen, trouble, look_again=WORK_LOOK)
    if record.job is None or record.is_released:
        return Plan((), None, WORK_LOOK)
    if known is not None and read_job(known) == record.job:
        return Plan((ReleaseJob(),), None, WORK_LOOK)
    status = seen.dataset.status.model_copy(update={"job": find_job(seen, ())})
    return Plan((), status, timedelta(0))


def start_removal(seen: ObservedDataset, task: Task, owner: Sequence[DatasetAction] = ()) -> DatasetPlan:
    """Start it, after the owner marker; a Job begins once its uid is recorded, which takes another look."""
    if not seen.slots.is_free:
        return Plan((), None, Backoff(), is_waiting=True)
    later = WORK_LOOK if task.job is None else timedelta(0)
    return Plan((*owner, build_start(task, None)), None, later)


def report_failure(seen: ObservedDataset) -> DatasetPlan:
    """Say why the last attempt failed, and when the next comes."""
    record = seen.transfer
    assert record is not None
    failure = find_failure(record)
    assert failure is not None
    pause = find_pause(seen, record, failure)
    return say(seen, failure, look_again=Backoff() if pause is None else pause)


def say(
    seen: ObservedDataset,
    refusal: Refusal,
    *,
    actions: Sequence[DatasetAction] = (),
    look_again: timedelta | Backoff,
) -> DatasetPlan:
    """Say what the deletion waits for, and how long it will."""
    end = f"What cannot be removed within {_timeout(seen)} of the deletion is left behind."
    verdict = Refused(Refusal(refusal.reason, f"{refusal.message} {end}"))
    status = build_dataset_status(seen.dataset, None, verdict, seen.now)
    job = find_job(seen, actions)
    return Plan(tuple(actions), status.model_copy(update={"job": job}), look_again)


def _timeout(seen: ObservedDataset) -> timedelta:
    namespace = seen.cluster.namespaces.get(seen.dataset.namespace)
    is_terminating = namespace is None or namespace.is_terminating
    return seen.policy.terminating_deletion_timeout if is_terminating else seen.policy.deletion_timeout


def release(seen: ObservedDataset, left_behind: str | None = None) -> DatasetPlan:
    """Let the object go; first end what still removes, and say what stays behind.

    A Job beside a volume goes with its object; to wait for its Pods is what took too long.
    """
    record = seen.transfer
    is_ended = record is not None and is_running(record) and record.job is None
    actions: list[DatasetAction] = [CancelTransfer()] if is_ended else []
    if left_behind is not None:
        actions.append(ReportLeftBehind(f"{left_behind} What this object wrote was left there."))
    return Plan((*actions, MarkObject(has_finalizer=False)), None, None)
