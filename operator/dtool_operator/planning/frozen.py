"""What to do with a dataset that was reported frozen before: compare it with what S3 says; pure.

Nothing is ever written to it (rule 16). Damage is reported, not repaired; one that looks whole again is
verified by listing it, not copied.
"""

from datetime import timedelta

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.conclusion import WORK_LOOK, DatasetPlan, conclude, resync
from dtool_operator.planning.history import find_damage
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    ForgetTransfer,
    MarkObject,
)
from dtool_operator.planning.standing import (
    ABOUT_DATA,
    Standing,
    find_failure,
    find_pause,
    find_standing,
    is_running,
)
from dtool_operator.planning.status import Damaged, Done, Kept, Refused, Verdict
from dtool_operator.planning.storage_check import check_frozen, check_owner
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import TransferRecord
from dtool_operator.planning.work import build_refresh, build_start, build_task


def watch_frozen(seen: ObservedDataset, target: Target, storage: StorageView | Refusal) -> DatasetPlan:
    """Say whether the dataset is still what it was."""
    if isinstance(storage, Refusal):
        return _watch_unseen(seen, target, storage)
    refusal = check_owner(seen, target, storage)
    if refusal is not None:
        return conclude(seen, Refused(refusal), target=target, actions=_stop(seen), look_again=Backoff())
    damage = check_frozen(target, storage)
    if damage is None and find_damage(seen.dataset) is not None:
        return _verify_again(seen, target, build_task(seen, target, None, storage))
    verdict: Verdict = Kept() if damage is None else Damaged(damage)
    actions = [_mark(target), *_stop(seen)]
    return conclude(seen, verdict, target=target, actions=actions, look_again=resync(seen))


def _watch_unseen(seen: ObservedDataset, target: Target, refusal: Refusal) -> DatasetPlan:
    """A bucket that does not answer says nothing about the dataset; what cannot be understood does."""
    match refusal.reason:
        case Reason.INVALID_ADMIN_METADATA:
            return conclude(seen, Damaged(refusal), target=target, look_again=resync(seen))
        case Reason.PREFIX_OWNED_BY_OTHER:
            return conclude(seen, Refused(refusal), target=target, look_again=Backoff())
        case _:
            return conclude(seen, Kept(), target=target, look_again=Backoff())


def _verify_again(seen: ObservedDataset, target: Target, task: Task) -> DatasetPlan:
    """Verify a damaged dataset that looks whole; it stays Damaged until that has succeeded."""
    record = seen.transfer
    standing = find_standing(seen, task)
    if record is None or standing in {Standing.ABSENT, Standing.RETRY}:
        return _start(seen, target, task)
    match standing:
        case Standing.OTHER_RUNS:
            return conclude(seen, Kept(), target=target, actions=[CancelTransfer()], look_again=timedelta(0))
        case Standing.RUNNING:
            fresh_keys = build_refresh(record.task, task, None)
            return conclude(seen, Kept(), target=target, actions=fresh_keys, look_again=WORK_LOOK)
        case Standing.DONE:
            assert record.facts is not None
            verdict = Done(record.facts, record.finished_at or seen.now)
            return conclude(seen, verdict, target=target, actions=[_mark(target)], look_again=resync(seen))
        case _:
            return _report_failure(seen, target, record)


def _start(seen: ObservedDataset, target: Target, task: Task) -> DatasetPlan:
    if not seen.slots.is_free:
        return conclude(seen, Kept(), target=target, look_again=Backoff())
    actions: list[DatasetAction] = [_mark(target), build_start(task, None)]
    return conclude(seen, Kept(), target=target, actions=actions, look_again=WORK_LOOK)


def _report_failure(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    failure = find_failure(record)
    assert failure is not None
    verdict = Damaged(failure) if failure.reason in ABOUT_DATA else Kept()
    pause = find_pause(seen, record, failure)
    return conclude(seen, verdict, target=target, look_again=resync(seen) if pause is None else pause)


def _mark(target: Target) -> MarkObject:
    return MarkObject(has_finalizer=False, uuid=target.uuid)


def _stop(seen: ObservedDataset) -> list[DatasetAction]:
    if seen.transfer is None:
        return []
    return [CancelTransfer() if is_running(seen.transfer) else ForgetTransfer()]
