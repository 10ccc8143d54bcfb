"""What to do with one DtoolDataset: a chain of refusals, then start, wait, report, or leave it. Pure.

    what the cluster refuses -> (S3 is asked) -> what S3 refuses -> what is there, work -> report

`inquiry.find_inquiry` tells the reconciler what S3 is to be asked about; `plan_dataset` decides with its
answer. Datasets that were frozen are `frozen`'s, those being deleted `deletion`'s.
"""

from dataclasses import replace
from datetime import timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.planning.conclusion import (
    WORK_LOOK,
    DatasetPlan,
    conclude,
    give_up,
    mark_finished,
    resync,
)
from dtool_operator.planning.deletion import plan_deletion
from dtool_operator.planning.frozen import report_spoilt, watch_frozen
from dtool_operator.planning.history import is_edited, is_look_requested, was_frozen
from dtool_operator.planning.imported import is_imported
from dtool_operator.planning.metadata import expect_metadata, plan_metadata
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target, check_writable
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    CreateProto,
    DatasetAction,
    ForgetTransfer,
    MarkObject,
    Plan,
    RemoveImported,
    spread_interval,
    time_left,
)
from dtool_operator.planning.quota import check_quota
from dtool_operator.planning.resolution import resolve
from dtool_operator.planning.source_place import Origin
from dtool_operator.planning.standing import Standing, find_failure, find_pause, find_standing, is_running
from dtool_operator.planning.storage_check import check_place, check_source
from dtool_operator.planning.task import Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord
from dtool_operator.planning.verdict import Done, Kept, Proto, Refused, Suspended, Verdict, Working
from dtool_operator.planning.work import (
    build_copy,
    build_freeze,
    build_refresh,
    build_start,
    build_verification,
    choose_reader,
    plan_owner,
)

#: A new object that waits for a place says nothing for so long.
QUEUE_PATIENCE = timedelta(seconds=10)

#: Whoever waits for a place and is not called looks again so often.
QUEUE_LOOK = timedelta(minutes=1)

#: Outcomes that only a worker reports, and that stay until the object is edited or a look is requested.
_FINAL_REASONS = frozenset({Reason.CONTENT_DIFFERS, Reason.UNSAFE_PATH, Reason.INVALID_MANIFEST})


def plan_dataset(seen: ObservedDataset) -> DatasetPlan:
    """Decide what happens with a dataset now."""
    if seen.dataset.meta.deletion_timestamp is not None:
        return plan_deletion(seen)
    placed = resolve(seen)
    if isinstance(placed, Refusal):
        return _refuse(seen, placed)
    target, origin = placed
    storage = seen.storage
    if was_frozen(seen.dataset):
        return watch_frozen(seen, target, storage)
    if storage is None:
        place, outcome = target if target.uuid else None, _find_final_outcome(seen)
        return _queue(seen, place) if outcome is None else _refuse(seen, outcome, place)
    if isinstance(storage, Refusal):
        return _wait_for_storage(seen, target, storage)
    target = replace(target, uuid=storage.uuid or target.uuid)
    refusal = check_place(seen, target, storage)
    if refusal is None and origin is not None:
        refusal = check_source(seen, origin, storage)
    if refusal is not None:
        return _refuse(seen, refusal, target)
    if origin is not None:
        return _bring(seen, target, origin, storage)
    return _look_after(seen, target, storage)


# ---- a source is brought to its target ------------------------------------------------------------------


def _bring(seen: ObservedDataset, target: Target, origin: Origin, storage: StorageView) -> DatasetPlan:
    if storage.admin is None:
        refusal = check_quota(target, seen.usage, seen.dataset.namespace)
        if refusal is not None:
            return _refuse(seen, refusal, target)
    task = build_copy(seen, target, origin, storage)
    return _follow(seen, target, task, storage, choose_reader(seen, origin, storage))


# ---- a dataset that is there, or shall be created -------------------------------------------------------


def _look_after(seen: ObservedDataset, target: Target, storage: StorageView) -> DatasetPlan:
    """Create a new dataset; leave a proto dataset open, or freeze it; verify a frozen one."""
    if storage.admin is None:
        return _create(seen, target, storage)
    freeze = build_freeze(seen, target, storage)
    is_just_frozen = find_standing(seen, freeze) is Standing.DONE
    if storage.admin.is_frozen and not is_just_frozen:
        spoilt = report_spoilt(seen, target, freeze)
        if spoilt is not None:
            return spoilt
        return _follow(seen, target, build_verification(seen, target, storage), storage, None)
    if seen.dataset.spec.freeze:
        refusal = check_writable(target.bucket)
        if refusal is not None:
            return _refuse(seen, refusal, target)
        return _follow(seen, target, freeze, storage, None)
    if is_running(seen.transfer):
        stop = [CancelTransfer()]
        working = Working(None, None)
        return conclude(seen, working, target=target, actions=stop, look_again=timedelta(0))
    return conclude(
        seen,
        Proto(storage.admin),
        target=target,
        actions=[mark_finished(seen, target)],
        look_again=resync(seen),
        metadata=plan_metadata(seen, target, storage),
    )


def _create(seen: ObservedDataset, target: Target, storage: StorageView) -> DatasetPlan:
    """Finalizer first, then the owner marker, then the proto dataset."""
    dataset = seen.dataset
    refusal = (
        _find_loss(seen, target) or _find_ending(seen) or check_quota(target, seen.usage, dataset.namespace)
    )
    if refusal is not None:
        return _refuse(seen, refusal, target)
    create = CreateProto(
        uuid=target.uuid,
        name=dataset.dataset_name,
        creator_username=dataset.namespace,
        readme=dataset.spec.readme or "",
    )
    actions: list[DatasetAction] = [
        MarkObject(has_finalizer=True, uuid=target.uuid),
        *plan_owner(seen, target, storage),
        create,
    ]
    return conclude(seen, Working(None, None), target=target, actions=actions, look_again=timedelta(0))


def _find_loss(seen: ObservedDataset, target: Target) -> Refusal | None:
    """Refuse to create again what was there: whoever filled it shall learn that it is gone."""
    if seen.dataset.status.created_at is None:
        return None
    return Refusal(
        Reason.DATASET_MISSING,
        f"Proto dataset {target.uuid} was under {target.prefix!r} and is not there any more. Restore it, "
        "or delete this object and create it again for an empty one.",
    )


# ---- work -----------------------------------------------------------------------------------------------


def _follow(
    seen: ObservedDataset, target: Target, task: Task, storage: StorageView, source: DtoolBucket | None
) -> DatasetPlan:
    """Go by what became of the work so far."""
    record = seen.transfer
    if record is None:
        outcome = _find_final_outcome(seen)
        if outcome is not None:
            return _refuse(seen, outcome, target)
        return _start(seen, target, task, storage, source)
    working = Working(record, task.kind)
    match find_standing(seen, task):
        case Standing.ABSENT | Standing.RETRY:
            return _start(seen, target, task, storage, source)
        case Standing.OTHER_RUNS:
            return conclude(seen, working, target=target, actions=[CancelTransfer()], look_again=timedelta(0))
        case Standing.RUNNING:
            fresh_keys = build_refresh(record.task, task, source)
            return conclude(seen, working, target=target, actions=fresh_keys, look_again=WORK_LOOK)
        case Standing.DONE if storage.admin is None or not storage.admin.is_frozen:
            # undone since: its end was not reported at once, because nothing was to go on
            return _start(seen, target, task, storage, source)
        case Standing.DONE:
            return _report_done(seen, target, record)
        case Standing.PAUSED:  # pragma: no branch
            return _report_failure(seen, target, record)


def _start(
    seen: ObservedDataset, target: Target, task: Task, storage: StorageView, source: DtoolBucket | None
) -> DatasetPlan:
    """Finalizer first, then the owner marker, then the worker; or wait for a slot."""
    ending = _find_ending(seen)
    if ending is not None:
        return conclude(seen, Refused(ending), target=target, look_again=Backoff())
    if not seen.slots.is_free:
        return _queue(seen, target)
    is_written = task.kind is not TaskKind.VERIFY
    mark = MarkObject(has_finalizer=True, uuid=target.uuid) if is_written else mark_finished(seen, target)
    actions: list[DatasetAction] = [mark, *plan_owner(seen, target, storage), build_start(task, source)]
    return conclude(seen, Working(None, task.kind), target=target, actions=actions, look_again=WORK_LOOK)


def _queue(seen: ObservedDataset, target: Target | None) -> DatasetPlan:
    """Wait for a place; whoever ends calls those who wait, so that looks in between are rare.

    Of thousands that are applied at once most have their turn soon: a wait is told once it has lasted.
    """
    is_new = seen.dataset.status.observed_generation is None
    told_in = time_left(seen.dataset.meta.creation_timestamp, QUEUE_PATIENCE, seen.now)
    if is_new and told_in:
        return Plan((), None, told_in, is_waiting=True)
    waiting = Refusal(Reason.QUEUED, "Waits for a running transfer to end.")
    later = spread_interval(QUEUE_LOOK, key=seen.dataset.uid)
    plan = conclude(seen, Refused(waiting), target=target, look_again=later)
    return replace(plan, is_waiting=True)


def _find_ending(seen: ObservedDataset) -> Refusal | None:
    """Refuse to begin in a namespace that ends.

    A new object cannot be in it: the namespace was created again, and the watch has not told its uid.
    """
    if not seen.cluster.namespaces[seen.dataset.namespace].is_terminating:
        return None
    return Refusal(Reason.PENDING, f"Namespace {seen.dataset.namespace!r} is being deleted.")


def _report_done(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    actions: list[DatasetAction] = [mark_finished(seen, target), ForgetTransfer()]
    # README, tags and annotations of the spec come on top of what a copy has of its source
    metadata = expect_metadata(seen.dataset)
    return conclude(
        seen, Done(record), target=target, actions=actions, look_again=resync(seen), metadata=metadata
    )


def _report_failure(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    failure = find_failure(record)
    assert failure is not None
    pause = find_pause(seen, record, failure)
    later = resync(seen) if pause is None else pause
    return conclude(seen, Refused(failure), target=target, look_again=later)


# ---- nothing goes on ------------------------------------------------------------------------------------


def _refuse(seen: ObservedDataset, refusal: Refusal, target: Target | None = None) -> DatasetPlan:
    """Cancel what runs, say why, look again later; a frozen dataset stays what it is."""
    if refusal.reason is Reason.CLAIMED_BY_ANOTHER and is_imported(seen.dataset):
        return Plan((*give_up(seen, refusal), RemoveImported()), None, None)
    if was_frozen(seen.dataset) and refusal.reason is Reason.BUCKET_NOT_READY:
        return conclude(seen, Kept(), target=target, actions=give_up(seen, refusal), look_again=Backoff())
    record = seen.transfer
    if record is not None and is_running(record) and refusal.is_passing:
        working = Working(record, record.task.kind)
        return conclude(seen, working, target=target, look_again=WORK_LOOK)
    is_suspended = refusal.reason is Reason.SUSPENDED
    verdict: Verdict = Suspended() if is_suspended else Refused(refusal)
    is_final = is_suspended or is_stalled_reason(refusal.reason)
    return conclude(
        seen,
        verdict,
        target=target,
        actions=give_up(seen, refusal),
        look_again=resync(seen) if is_final else Backoff(),
    )


def _wait_for_storage(seen: ObservedDataset, target: Target, refusal: Refusal) -> DatasetPlan:
    """A worker has its own patience with S3: what this look could not see does not end it."""
    record = seen.transfer
    if record is None or not is_running(record) or refusal.reason is Reason.PREFIX_OWNED_BY_OTHER:
        return _refuse(seen, refusal, target)
    working = Working(record, record.task.kind)
    return conclude(seen, working, target=target, look_again=WORK_LOOK)


def _find_final_outcome(seen: ObservedDataset) -> Refusal | None:
    """Recall, after a restart, an outcome that only an edit can change: it is not tried again."""
    ready = find_condition(seen.dataset.status.conditions, ConditionType.READY)
    if ready is None or is_edited(seen.dataset) or is_look_requested(seen.dataset):
        return None
    reason = find_reason(ready.reason, Reason.PENDING)
    return Refusal(reason, ready.message) if reason in _FINAL_REASONS else None
