"""From actions and a verdict about a dataset to its plan; pure. Leaves out what is so already."""

from collections.abc import Sequence
from datetime import timedelta

from dtool_operator.api.choice import DeletionPolicy
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.names import FINALIZER, LABEL_UUID
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.metadata import MetadataPlan
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    MarkObject,
    Plan,
    spread_interval,
)
from dtool_operator.planning.standing import is_running
from dtool_operator.planning.status import build_dataset_status
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
) -> DatasetPlan:
    """Leave out what is so already, and build the status; README, tags and annotations come last."""
    if metadata is not None:
        actions = (*actions, *metadata.actions)
        look_again = look_again if metadata.look_again is None else metadata.look_again
    kept = tuple(action for action in actions if not _is_done(seen.dataset, action))
    return Plan(kept, build_dataset_status(seen.dataset, target, verdict, seen.now, metadata), look_again)


def mark_finished(seen: ObservedDataset, target: Target) -> MarkObject:
    """Label an object that nothing is unfinished for; the finalizer stands only for deletionPolicy Delete."""
    keeps_finalizer = seen.dataset.spec.deletion_policy is DeletionPolicy.DELETE
    return MarkObject(has_finalizer=keeps_finalizer, uuid=target.uuid)


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
