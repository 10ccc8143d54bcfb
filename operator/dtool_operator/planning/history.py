"""What an object's own status says of earlier looks; pure. The only memory that outlives the operator."""

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED


def was_frozen(dataset: DtoolDataset) -> bool:
    """Tell whether the operator has reported this dataset as frozen before."""
    frozen = find_condition(dataset.status.conditions, ConditionType.FROZEN)
    return frozen is not None and frozen.status is ConditionStatus.TRUE


def find_damage(dataset: DtoolDataset) -> Condition | None:
    """Return the condition that tells of damage to a frozen dataset, or None."""
    verified = find_condition(dataset.status.conditions, ConditionType.VERIFIED)
    return verified if verified is not None and verified.status is ConditionStatus.FALSE else None


def is_edited(dataset: DtoolDataset) -> bool:
    """Tell whether the spec was changed since the last report."""
    return dataset.status.observed_generation not in (None, dataset.meta.generation)


def is_look_requested(one: DtoolDataset | DtoolBucket) -> bool:
    """Tell whether the user asked for a look that was not answered yet (rule 21)."""
    asked = one.meta.get_request(ANNOTATION_RECONCILE_REQUESTED)
    return asked is not None and asked != one.status.last_handled_reconcile_at
