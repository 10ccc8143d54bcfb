"""From actions and a verdict about a dataset to its plan; pure. Leaves out what is so already."""

from collections.abc import Sequence
from datetime import timedelta

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.names import FINALIZER, LABEL_UUID
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import Backoff, DatasetAction, MarkObject, Plan, spread_interval
from dtool_operator.planning.status import Verdict, build_dataset_status

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
) -> DatasetPlan:
    """Leave out what is so already, and build the status."""
    kept = tuple(action for action in actions if not _is_done(seen.dataset, action))
    return Plan(kept, build_dataset_status(seen.dataset, target, verdict, seen.now), look_again)


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
