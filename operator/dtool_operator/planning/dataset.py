"""What to do with one DtoolDataset: a chain of refusals, then start, wait, report, or leave it. Pure.

    refusals the cluster alone decides -> (S3 is asked) -> refusals S3 decides -> transfer -> report

`find_places` tells the reconciler what S3 is to be asked about; `plan_dataset` decides with its answer.
"""

from datetime import timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.names import FINALIZER
from dtool_operator.planning.conclusion import WORK_LOOK, DatasetPlan, conclude, resync
from dtool_operator.planning.deletion import is_kept, plan_deletion, resolve_removal
from dtool_operator.planning.frozen import watch_frozen
from dtool_operator.planning.history import is_edited, is_look_requested, was_frozen
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import (
    SourcePlace,
    Target,
    check_target,
    find_older_claim,
    find_unsupported,
    resolve_source,
    resolve_target,
)
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    EnsureOwner,
    MarkObject,
)
from dtool_operator.planning.standing import Standing, find_failure, find_pause, find_standing, is_running
from dtool_operator.planning.status import Done, Kept, Refused, Suspended, Verdict, Working
from dtool_operator.planning.storage_check import check_place, check_source
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import TransferRecord
from dtool_operator.planning.work import build_refresh, build_start, build_task, expected_owner

__all__ = ["DatasetPlan", "find_places", "plan_dataset", "plan_failure", "resolve"]

#: Outcomes that only a worker reports, and that stay until the object is edited or a look is requested.
_FINAL_REASONS = frozenset({Reason.CONTENT_DIFFERS, Reason.UNSAFE_PATH, Reason.INVALID_MANIFEST})

Places = tuple[Target, SourcePlace | None]


def plan_dataset(seen: ObservedDataset) -> DatasetPlan:
    """Decide what happens with a dataset now."""
    if seen.dataset.meta.deletion_timestamp is not None:
        return plan_deletion(seen)
    placed = resolve(seen)
    if isinstance(placed, Refusal):
        return _refuse(seen, placed)
    target, source = placed
    storage = seen.storage
    assert storage is not None, "S3 is asked for whatever the cluster does not refuse"
    if was_frozen(seen.dataset):
        return watch_frozen(seen, target, storage)
    if isinstance(storage, Refusal):
        return _wait_for_storage(seen, target, storage)
    refusal = check_place(seen, target, storage)
    if refusal is None and source is not None:
        refusal = check_source(seen.dataset, source, storage)
    if refusal is not None:
        return _refuse(seen, refusal, target)
    return _transfer(seen, target, source, storage)


def plan_failure(seen: ObservedDataset, refusal: Refusal) -> DatasetPlan:
    """Say what went wrong when a plan was carried out; nothing more is done before the next look."""
    return conclude(seen, Refused(refusal), target=None, look_again=Backoff())


def find_places(seen: ObservedDataset) -> Places | None:
    """Say what S3 is to be asked about; None where the cluster alone decides."""
    if seen.dataset.meta.deletion_timestamp is not None:
        if FINALIZER not in seen.dataset.meta.finalizers or is_kept(seen.dataset):
            return None
        target = resolve_removal(seen)
        return None if isinstance(target, Refusal) else (target, None)
    placed = resolve(seen)
    return None if isinstance(placed, Refusal) else placed


def resolve(seen: ObservedDataset) -> Places | Refusal:
    """Ask everything that the cluster alone decides, in the order in which a user would repair it."""
    dataset = seen.dataset
    refusal = find_unsupported(dataset.spec)
    if refusal is not None:
        return refusal
    if dataset.spec.suspend:
        return Refusal(Reason.SUSPENDED, "spec.suspend is true: nothing is started.")
    if dataset.namespace not in seen.cluster.namespaces:
        return Refusal(Reason.PENDING, f"Namespace {dataset.namespace!r} is not known to the operator yet.")
    target = resolve_target(dataset, seen.cluster)
    if isinstance(target, Refusal):
        return target
    refusal = find_older_claim(dataset, target, seen.siblings, seen.cluster) or check_target(dataset, target)
    if refusal is not None:
        return refusal
    # what was frozen is complete without its source, which may be gone
    if dataset.spec.source is None or was_frozen(dataset):
        return target, None
    source = resolve_source(dataset, target, seen.cluster, seen.policy)
    return source if isinstance(source, Refusal) else (target, source)


def _refuse(seen: ObservedDataset, refusal: Refusal, target: Target | None = None) -> DatasetPlan:
    """Cancel what runs, say why, look again later; a frozen dataset stays what it is."""
    if was_frozen(seen.dataset) and refusal.reason is Reason.BUCKET_NOT_READY:
        return conclude(seen, Kept(), target=target, actions=_stop(seen, refusal), look_again=Backoff())
    record = seen.transfer
    if record is not None and is_running(record) and refusal.is_passing:
        return conclude(seen, Working(record), target=target, look_again=WORK_LOOK)
    is_suspended = refusal.reason is Reason.SUSPENDED
    verdict: Verdict = Suspended() if is_suspended else Refused(refusal)
    is_final = is_suspended or is_stalled_reason(refusal.reason)
    return conclude(
        seen,
        verdict,
        target=target,
        actions=_stop(seen, refusal),
        look_again=resync(seen) if is_final else Backoff(),
    )


def _stop(seen: ObservedDataset, refusal: Refusal) -> list[DatasetAction]:
    return [CancelTransfer()] if is_running(seen.transfer) and not refusal.is_passing else []


def _wait_for_storage(seen: ObservedDataset, target: Target, refusal: Refusal) -> DatasetPlan:
    """A worker has its own patience with S3: what this look could not see does not end it."""
    record = seen.transfer
    if record is None or not is_running(record) or refusal.reason is Reason.PREFIX_OWNED_BY_OTHER:
        return _refuse(seen, refusal, target)
    return conclude(seen, Working(record), target=target, look_again=WORK_LOOK)


def _transfer(
    seen: ObservedDataset, target: Target, source: SourcePlace | None, storage: StorageView
) -> DatasetPlan:
    """Go by what became of the work so far."""
    chosen = None if source is None else source.choose(seen.dataset.namespace, storage.source_prefix or "")
    task = build_task(seen, target, chosen, storage)
    record = seen.transfer
    if record is None:
        outcome = _find_final_outcome(seen)
        return _start(seen, target, task, chosen) if outcome is None else _refuse(seen, outcome, target)
    working = Working(record)
    match find_standing(seen, task):
        case Standing.ABSENT | Standing.RETRY:
            return _start(seen, target, task, chosen)
        case Standing.OTHER_RUNS:
            return conclude(seen, working, target=target, actions=[CancelTransfer()], look_again=timedelta(0))
        case Standing.RUNNING:
            fresh_keys = build_refresh(record.task, task, chosen)
            return conclude(seen, working, target=target, actions=fresh_keys, look_again=WORK_LOOK)
        case Standing.DONE:
            return _report_done(seen, target, record)
        case Standing.PAUSED:  # pragma: no branch
            return _report_failure(seen, target, record)


def _find_final_outcome(seen: ObservedDataset) -> Refusal | None:
    """Recall, after a restart, an outcome that only an edit can change: it is not tried again."""
    ready = find_condition(seen.dataset.status.conditions, ConditionType.READY)
    if ready is None or is_edited(seen.dataset) or is_look_requested(seen.dataset):
        return None
    reason = find_reason(ready.reason, Reason.PENDING)
    return Refusal(reason, ready.message) if reason in _FINAL_REASONS else None


def _start(seen: ObservedDataset, target: Target, task: Task, source: DtoolBucket | None) -> DatasetPlan:
    """Finalizer first, then the owner marker, then the worker; or wait for a slot."""
    if seen.cluster.namespaces[seen.dataset.namespace].is_terminating:
        # a new object cannot be in it: the namespace was created again, and the watch has not told its uid
        ending = Refusal(Reason.PENDING, f"Namespace {seen.dataset.namespace!r} is being deleted.")
        return conclude(seen, Refused(ending), target=target, look_again=Backoff())
    if not seen.slots.is_free:
        waiting = Refusal(Reason.QUEUED, "Waits for a running transfer to end.")
        return conclude(seen, Refused(waiting), target=target, look_again=Backoff())
    assert isinstance(seen.storage, StorageView)
    actions: list[DatasetAction] = [MarkObject(has_finalizer=source is not None, uuid=target.uuid)]
    if target.bucket.spec.access_mode is AccessMode.READ_WRITE and seen.storage.owner is None:
        actions.append(EnsureOwner(expected_owner(seen, target)))
    actions.append(build_start(task, source))
    return conclude(seen, Working(None), target=target, actions=actions, look_again=WORK_LOOK)


def _report_done(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    assert record.facts is not None
    verdict = Done(record.facts, record.finished_at or seen.now)
    mark = MarkObject(has_finalizer=False, uuid=target.uuid)
    return conclude(seen, verdict, target=target, actions=[mark], look_again=resync(seen))


def _report_failure(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    failure = find_failure(record)
    assert failure is not None
    pause = find_pause(seen, record, failure)
    later = resync(seen) if pause is None else pause
    return conclude(seen, Refused(failure), target=target, look_again=later)
