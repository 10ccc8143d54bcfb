"""What to do with a dataset that was reported frozen before: compare it with what S3 says; pure.

No item of it is ever written (rule 16). Damage is reported, not repaired; one that looks whole again is
verified, not copied. README, tags and annotations follow the spec.
"""

from dataclasses import replace
from datetime import timedelta

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.conclusion import (
    WORK_LOOK,
    DatasetPlan,
    conclude,
    mark_deletable,
    mark_finished,
    resync,
)
from dtool_operator.planning.history import find_damage
from dtool_operator.planning.metadata import MetadataPlan, build_unsynced, plan_metadata
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    ForgetTransfer,
)
from dtool_operator.planning.standing import (
    ABOUT_DATA,
    Standing,
    find_failure,
    find_pause,
    find_standing,
    is_running,
)
from dtool_operator.planning.storage_check import check_frozen, check_owner
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import TransferRecord
from dtool_operator.planning.verdict import Damaged, Done, Kept, Refused
from dtool_operator.planning.verification import find_due
from dtool_operator.planning.work import build_refresh, build_start, build_verification


def watch_frozen(seen: ObservedDataset, target: Target, storage: StorageView | Refusal | None) -> DatasetPlan:
    """Say whether the dataset is still what it was; `storage` None: nothing gave a reason to ask."""
    if storage is None:
        return _keep(seen, target, actions=[mark_finished(seen, target.uuid)])
    if isinstance(storage, Refusal):
        return _watch_unseen(seen, target, storage)
    target = replace(target, uuid=storage.uuid or target.uuid)
    refusal = check_owner(seen, target, storage)
    if refusal is not None:
        return conclude(seen, Refused(refusal), target=target, actions=_stop(seen), look_again=Backoff())
    damage = check_frozen(target, storage)
    if damage is not None:
        actions = [mark_finished(seen, target.uuid), *_stop(seen)]
        return conclude(seen, Damaged(damage), target=target, actions=actions, look_again=resync(seen))
    # a damaged dataset is left as it is found
    metadata = plan_metadata(seen, target, storage) if find_damage(seen.dataset) is None else None
    task = build_verification(seen, target, storage)
    # what was begun is reported, though it may not be due any more
    if not find_due(seen) or find_standing(seen, task) is not Standing.ABSENT:
        return _verify(seen, target, task, metadata)
    return _keep(seen, target, actions=[mark_finished(seen, target.uuid), *_stop(seen)], metadata=metadata)


def report_spoilt(seen: ObservedDataset, target: Target, freeze: Task) -> DatasetPlan | None:
    """Report what was written after the flip: the dataset is frozen, and not as it was frozen (rule 14).

    None: the freeze, which is not done, told nothing of what it made.
    """
    record = seen.transfer
    if record is None or record.facts is None or record.task.fingerprint != freeze.fingerprint:
        return None
    failure = find_failure(record)
    assert failure is not None, "a freeze that found nothing is done"
    actions: list[DatasetAction] = [mark_finished(seen, target.uuid), ForgetTransfer()]
    return conclude(seen, Damaged(failure, record), target=target, actions=actions, look_again=resync(seen))


def _keep(
    seen: ObservedDataset,
    target: Target,
    *,
    actions: list[DatasetAction],
    metadata: MetadataPlan | None = None,
    look_again: timedelta | Backoff | None = None,
) -> DatasetPlan:
    """Leave it as it is, and look again when its next verification is due, or sooner."""
    later = min(resync(seen), max(find_due(seen), timedelta(seconds=1)))
    return conclude(
        seen,
        Kept(),
        target=target,
        actions=actions,
        look_again=later if look_again is None else look_again,
        metadata=metadata,
    )


def _watch_unseen(seen: ObservedDataset, target: Target, refusal: Refusal) -> DatasetPlan:
    """A bucket that does not answer says nothing about the dataset; what cannot be understood does."""
    match refusal.reason:
        case Reason.INVALID_ADMIN_METADATA:
            return conclude(seen, Damaged(refusal), target=target, look_again=resync(seen))
        case Reason.PREFIX_OWNED_BY_OTHER:
            return conclude(seen, Refused(refusal), target=target, look_again=Backoff())
        case Reason.INVALID_SPEC:  # of the spec a look compares README, tags and annotations alone
            unsynced = MetadataPlan(build_unsynced(refusal), seen.dataset.status.managed)
            return _keep(seen, target, actions=[], metadata=unsynced, look_again=resync(seen))
        case _:
            return _keep(seen, target, actions=mark_deletable(seen.dataset), look_again=Backoff())


def _verify(seen: ObservedDataset, target: Target, task: Task, metadata: MetadataPlan | None) -> DatasetPlan:
    """Verify it on schedule or on request; a damaged one stays Damaged until that has succeeded."""
    record = seen.transfer
    standing = find_standing(seen, task)
    if record is None or standing in {Standing.ABSENT, Standing.RETRY}:
        return _start(seen, target, task, metadata)
    match standing:
        case Standing.OTHER_RUNS:
            return _keep(seen, target, actions=[CancelTransfer()], look_again=timedelta(0))
        case Standing.RUNNING:
            fresh_keys = build_refresh(record.task, task, None)
            return conclude(
                seen, Kept(record), target=target, actions=fresh_keys, look_again=WORK_LOOK, metadata=metadata
            )
        case Standing.DONE:
            actions: list[DatasetAction] = [mark_finished(seen, target.uuid), ForgetTransfer()]
            return conclude(
                seen,
                Done(record),
                target=target,
                actions=actions,
                look_again=resync(seen) if metadata is not None else timedelta(0),
                metadata=metadata,
            )
        case _:
            return _report_failure(seen, target, record, metadata)


def _start(seen: ObservedDataset, target: Target, task: Task, metadata: MetadataPlan | None) -> DatasetPlan:
    if not seen.slots.is_free:
        return _keep(seen, target, actions=[], look_again=Backoff(), metadata=metadata)
    actions: list[DatasetAction] = [mark_finished(seen, target.uuid), build_start(task, None)]
    return _keep(seen, target, actions=actions, look_again=WORK_LOOK, metadata=metadata)


def _report_failure(
    seen: ObservedDataset, target: Target, record: TransferRecord, metadata: MetadataPlan | None
) -> DatasetPlan:
    """Report damage; a verification that could not be made says nothing of the dataset."""
    failure = find_failure(record)
    assert failure is not None
    pause = find_pause(seen, record, failure)
    later = resync(seen) if pause is None else pause
    if failure.reason not in ABOUT_DATA:
        return _keep(seen, target, actions=[], look_again=later, metadata=metadata)
    # what a verification has told is in the status, and so is when the next is due
    actions = [] if record.facts is None else [ForgetTransfer()]
    return conclude(seen, Damaged(failure, record), target=target, actions=actions, look_again=later)


def _stop(seen: ObservedDataset) -> list[DatasetAction]:
    if seen.transfer is None:
        return []
    return [CancelTransfer() if is_running(seen.transfer) else ForgetTransfer()]
