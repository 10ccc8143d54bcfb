"""How a dataset begins that is new, or comes from a volume; pure."""

from datetime import timedelta

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.conclusion import DatasetPlan, conclude
from dtool_operator.planning.following import find_ending, refuse
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import CreateProto, DatasetAction, MarkObject
from dtool_operator.planning.quota import check_quota
from dtool_operator.planning.verdict import Working
from dtool_operator.planning.work import plan_owner


def begin_dataset(
    seen: ObservedDataset, target: Target, storage: StorageView, create: CreateProto
) -> DatasetPlan:
    """Finalizer first, then the owner marker, then the proto dataset."""
    refusal = find_ending(seen) or check_quota(target, seen.usage, seen.dataset.namespace)
    if refusal is not None:
        return refuse(seen, refusal, target)
    actions: list[DatasetAction] = [
        MarkObject(has_finalizer=True, uuid=target.uuid),
        *plan_owner(seen, target, storage),
        create,
    ]
    return conclude(seen, Working(None, None), target=target, actions=actions, look_again=timedelta(0))


def create_empty(seen: ObservedDataset, target: Target, storage: StorageView) -> DatasetPlan:
    """Create an empty proto dataset for others to fill, unless there was one."""
    dataset = seen.dataset
    refusal = _find_loss(seen, target)
    if refusal is not None:
        return refuse(seen, refusal, target)
    create = CreateProto(
        uuid=target.uuid,
        name=dataset.dataset_name,
        creator_username=dataset.namespace,
        readme=dataset.spec.readme or "",
    )
    return begin_dataset(seen, target, storage, create)


def _find_loss(seen: ObservedDataset, target: Target) -> Refusal | None:
    """Refuse to create again what was there: whoever filled it shall learn that it is gone."""
    if seen.dataset.status.created_at is None:
        return None
    return Refusal(
        Reason.DATASET_MISSING,
        f"Proto dataset {target.uuid} was under {target.prefix!r} and is not there any more. Restore it, "
        "or delete this object and create it again for an empty one.",
    )
