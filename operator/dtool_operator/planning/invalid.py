"""The status of an object whose spec means nothing to this operator; pure, for both kinds."""

from datetime import datetime

from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.choice import DatasetState
from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType, merge_conditions
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.parsing import ObjectMeta
from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED


def build_invalid_bucket_status(
    meta: ObjectMeta, status: DtoolBucketStatus, message: str, now: datetime
) -> DtoolBucketStatus:
    """Say Stalled, InvalidSpec; keep what was seen before."""
    return DtoolBucketStatus.model_validate(
        {**dict(status), **_changes(meta, status.conditions, message, now)}
    )


def build_invalid_dataset_status(
    meta: ObjectMeta, status: DtoolDatasetStatus, message: str, now: datetime
) -> DtoolDatasetStatus:
    """Say Stalled, InvalidSpec; keep what was seen before, without what is said of work, which has ended."""
    changes = _changes(meta, status.conditions, message, now)
    return DtoolDatasetStatus.model_validate(
        {**dict(status), **changes, "state": DatasetState.FAILED, "progress": None, "job": None}
    )


def _changes(meta: ObjectMeta, old: tuple[Condition, ...], message: str, now: datetime) -> dict[str, object]:
    said = {ConditionType.READY: ConditionStatus.FALSE, ConditionType.STALLED: ConditionStatus.TRUE}
    kept = [c for c in old if c.type not in said and c.type is not ConditionType.RECONCILING]
    new = [
        Condition(
            type=type_,
            status=status,
            reason=Reason.INVALID_SPEC,
            message=message,
            observed_generation=meta.generation,
        )
        for type_, status in said.items()
    ]
    return {
        "observed_generation": meta.generation,
        "conditions": merge_conditions(old, [*new, *kept], now),
        "last_handled_reconcile_at": meta.get_request(ANNOTATION_RECONCILE_REQUESTED),
    }
