"""From actions and a verdict about a dataset to its plan; pure. Leaves out what is so already."""

from collections.abc import Sequence
from datetime import timedelta

from dtool_operator.api.choice import DeletionPolicy
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.api.work_status import JobReference
from dtool_operator.names import FINALIZER, LABEL_UUID
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.metadata import MetadataPlan
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import (
    AdoptJob,
    Backoff,
    CancelTransfer,
    DatasetAction,
    MarkObject,
    Plan,
    ReleaseJob,
    RemoveJob,
    spread_interval,
)
from dtool_operator.planning.standing import is_running
from dtool_operator.planning.status import build_dataset_status
from dtool_operator.planning.transfer import read_job
from dtool_operator.planning.verdict import Verdict

DatasetPlan = Plan[DatasetAction, DtoolDatasetStatus]

#: While a worker runs, its keys and its right to run are looked at so often.
WORK_LOOK = timedelta(seconds=30)


def conclude(
    seen: ObservedDataset,
    verdict: Verdict,
    *,
    target: Target | None,
    actions: Sequence[DatasetAction] = (),
    look_again: timedelta | Backoff | None,
    metadata: MetadataPlan | None = None,
    sees_to_job: bool = True,
) -> DatasetPlan:
    """Leave out what is so already, and build the status; README, tags and annotations come last.

    Jobs are seen to here, whatever else goes on: one whose uid is in the status begins, and one that an
    earlier operator left and that nothing follows any more is ended. Not `sees_to_job`: it waits, too.
    """
    if sees_to_job:
        actions, look_again = _see_to_job(seen, actions, look_again)
    if metadata is not None:
        actions = (*actions, *metadata.actions)
        look_again = look_again if metadata.look_again is None else metadata.look_again
    kept = tuple(action for action in actions if not _is_done(seen.dataset, action))
    status = build_dataset_status(seen.dataset, target, verdict, seen.now, metadata)
    return Plan(kept, status.model_copy(update={"job": find_job(seen, kept)}), look_again)


def _see_to_job(
    seen: ObservedDataset, actions: Sequence[DatasetAction], look_again: timedelta | Backoff | None
) -> tuple[Sequence[DatasetAction], timedelta | Backoff | None]:
    record, known = seen.transfer, seen.dataset.status.job
    if record is None:
        is_left = known is not None and not any(isinstance(one, AdoptJob) for one in actions)
        return ([RemoveJob(read_job(known)), *actions] if known and is_left else actions), look_again
    is_ended = not is_running(record) or any(isinstance(one, CancelTransfer) for one in actions)
    if record.job is None or record.is_released or is_ended:
        return actions, look_again
    if known is not None and read_job(known) == record.job:
        return [*actions, ReleaseJob()], look_again
    return actions, timedelta(0)  # its uid is recorded with this plan


def find_job(seen: ObservedDataset, actions: Sequence[DatasetAction]) -> JobReference | None:
    """Return the Job that the status names afterwards: the one that runs, or that may be adopted."""
    record = seen.transfer
    if record is None:
        is_removed = any(isinstance(one, RemoveJob) for one in actions)
        return None if is_removed else seen.dataset.status.job
    if (
        record.job is None
        or not is_running(record)
        or any(isinstance(one, CancelTransfer) for one in actions)
    ):
        return None
    return JobReference(namespace=record.job.namespace, name=record.job.name, uid=record.job.uid)


def mark_finished(seen: ObservedDataset, uuid: str | None) -> MarkObject:
    """Label an object that nothing is unfinished for; the finalizer stands only for deletionPolicy Delete."""
    keeps_finalizer = seen.dataset.spec.deletion_policy is DeletionPolicy.DELETE
    return MarkObject(has_finalizer=keeps_finalizer, uuid=uuid or None)


def mark_deletable(dataset: DtoolDataset) -> list[DatasetAction]:
    """Put the finalizer on where data that are there shall go with their object, whatever else is in the way.

    Else the object would go, and leave them without a word.
    """
    is_there = was_frozen(dataset) or dataset.status.created_at is not None
    is_asked = dataset.spec.deletion_policy is DeletionPolicy.DELETE
    return [MarkObject(has_finalizer=True)] if is_there and is_asked else []


def give_up(seen: ObservedDataset, refusal: Refusal) -> list[DatasetAction]:
    """End what runs, unless what is in the way passes by itself."""
    is_ended = is_running(seen.transfer) and not refusal.is_passing
    actions: list[DatasetAction] = [CancelTransfer()] if is_ended else []
    is_ours = refusal.reason is not Reason.CLAIMED_BY_ANOTHER
    return [*actions, *mark_deletable(seen.dataset)] if is_ours else actions


def resync(seen: ObservedDataset) -> timedelta:
    """Return when a dataset is looked at again that nothing is expected of."""
    return spread_interval(seen.policy.resync, key=seen.dataset.uid)


def _is_done(dataset: DtoolDataset, action: DatasetAction) -> bool:
    if not isinstance(action, MarkObject):
        return False
    has_finalizer = FINALIZER in dataset.meta.finalizers
    return has_finalizer == action.has_finalizer and (
        action.uuid is None or dataset.meta.labels.get(LABEL_UUID) == action.uuid
    )
