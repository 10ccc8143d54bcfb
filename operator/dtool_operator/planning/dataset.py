"""What to do with one DtoolDataset: a chain of refusals, then start, wait, report, or leave it. Pure.

    refusals the cluster alone decides -> (S3 is asked) -> refusals S3 decides -> transfer -> report

`needs_storage` tells the reconciler whether S3 is worth asking; `plan_dataset` decides with its answer.
"""

from datetime import timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode, DatasetState
from dtool_operator.api.conditions import ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED, FINALIZER, LABEL_UUID
from dtool_operator.planning.deletion import plan_deletion, resolve_removal
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
    ForgetTransfer,
    MarkObject,
    Plan,
    RefreshCredentials,
    StartTransfer,
    backoff_delay,
    is_due,
    spread_interval,
)
from dtool_operator.planning.status import (
    Damaged,
    Done,
    Kept,
    Refused,
    Suspended,
    Verdict,
    Working,
    build_dataset_status,
)
from dtool_operator.planning.storage_check import check_frozen, check_place, check_source
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_operator.planning.work import build_task, expected_owner

DatasetPlan = Plan[DatasetAction, DtoolDatasetStatus]

#: Outcomes of a worker that stay until the object is edited or a look is requested.
_FINAL_REASONS = frozenset({Reason.CONTENT_DIFFERS, Reason.UNSAFE_PATH, Reason.INVALID_MANIFEST})

_CREDENTIALS_LOOK = timedelta(seconds=30)


def plan_dataset(seen: ObservedDataset) -> DatasetPlan:
    """Decide what happens with a dataset now."""
    if seen.dataset.meta.deletion_timestamp is not None:
        return plan_deletion(seen)
    placed = resolve(seen)
    if isinstance(placed, Refusal):
        return _refuse(seen, None, placed)
    target, source = placed
    if was_frozen(seen.dataset) and not _is_repaired(seen, target):
        return _watch_frozen(seen, target)
    assert seen.storage is not None, "S3 is asked for whatever the cluster does not refuse"
    record = seen.transfer
    if isinstance(seen.storage, Refusal) and record is not None and record.state is TransferState.RUNNING:
        # a worker has its own patience with S3; what this look could not see does not end it
        return _finish(seen, [], target, Working(record), look_again=_CREDENTIALS_LOOK)
    refusal = _check_storage(seen, target, source)
    if refusal is not None:
        return _refuse(seen, target, refusal)
    assert isinstance(seen.storage, StorageView)
    return _transfer(seen, target, source, seen.storage)


def find_places(seen: ObservedDataset) -> tuple[Target, SourcePlace | None] | None:
    """Say what S3 is to be asked about; None where the cluster alone decides."""
    if seen.dataset.meta.deletion_timestamp is not None:
        if FINALIZER not in seen.dataset.meta.finalizers:
            return None
        target = resolve_removal(seen)
        return None if isinstance(target, Refusal) else (target, None)
    placed = resolve(seen)
    return None if isinstance(placed, Refusal) else placed


def resolve(seen: ObservedDataset) -> tuple[Target, SourcePlace | None] | Refusal:
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
    if dataset.spec.source is None or is_intact(dataset):
        return target, None
    source = resolve_source(dataset, target, seen.cluster, seen.policy)
    return source if isinstance(source, Refusal) else (target, source)


def was_frozen(dataset: DtoolDataset) -> bool:
    """Tell whether the operator has reported this dataset as frozen before."""
    frozen = find_condition(dataset.status.conditions, ConditionType.FROZEN)
    return frozen is not None and frozen.status is ConditionStatus.TRUE and dataset.status.uuid is not None


def is_intact(dataset: DtoolDataset) -> bool:
    """Tell whether a dataset was frozen and no damage was seen since: its source does not matter."""
    return was_frozen(dataset) and dataset.status.state is not DatasetState.DAMAGED


def _is_repaired(seen: ObservedDataset, target: Target) -> bool:
    """Tell whether a damaged dataset looks whole again; it is then verified like a new one."""
    if is_intact(seen.dataset) or not isinstance(seen.storage, StorageView):
        return False
    return check_frozen(target, seen.storage) is None


def is_look_requested(dataset: DtoolDataset) -> bool:
    """Tell whether the user asked for a look that was not answered yet (rule 21)."""
    asked = dataset.meta.get_request(ANNOTATION_RECONCILE_REQUESTED)
    return asked is not None and asked != dataset.status.last_handled_reconcile_at


def _check_storage(seen: ObservedDataset, target: Target, source: SourcePlace | None) -> Refusal | None:
    if isinstance(seen.storage, Refusal):
        return seen.storage
    assert seen.storage is not None
    refusal = check_place(seen, target, seen.storage)
    if refusal is not None or source is None:
        return refusal
    return check_source(seen.dataset, source, seen.storage)


def _refuse(seen: ObservedDataset, target: Target | None, refusal: Refusal) -> DatasetPlan:
    """Cancel what runs, say why, look again later; a frozen dataset stays what it is."""
    record = seen.transfer
    actions: list[DatasetAction] = []
    if record is not None and record.state is TransferState.RUNNING:
        actions.append(CancelTransfer())
    if was_frozen(seen.dataset) and refusal.reason is Reason.BUCKET_NOT_READY:
        return _finish(seen, actions, target, Kept(), look_again=Backoff())
    verdict: Verdict = Suspended() if refusal.reason is Reason.SUSPENDED else Refused(refusal)
    is_final = refusal.reason is Reason.SUSPENDED or is_stalled_reason(refusal.reason)
    look_again = spread_interval(seen.policy.resync, key=seen.dataset.uid) if is_final else Backoff()
    return _finish(seen, actions, target, verdict, look_again=look_again)


def plan_failure(seen: ObservedDataset, refusal: Refusal) -> DatasetPlan:
    """Say what went wrong when a plan was carried out; nothing more is done before the next look."""
    return _finish(seen, [], None, Refused(refusal), look_again=Backoff())


def _watch_frozen(seen: ObservedDataset, target: Target) -> DatasetPlan:
    """Compare a frozen dataset with what S3 says of it; never touch it."""
    later = spread_interval(seen.policy.resync, key=seen.dataset.uid)
    actions: list[DatasetAction] = []
    if seen.transfer is not None and seen.transfer.state is not TransferState.RUNNING:
        actions.append(ForgetTransfer())
    if FINALIZER in seen.dataset.meta.finalizers:
        actions.append(MarkObject(has_finalizer=False, uuid=target.uuid))
    if not isinstance(seen.storage, StorageView):
        return _finish(seen, actions, target, Kept(), look_again=Backoff() if seen.storage else later)
    damage = check_frozen(target, seen.storage)
    verdict: Verdict = Kept() if damage is None else Damaged(damage)
    return _finish(seen, actions, target, verdict, look_again=later)


def _transfer(
    seen: ObservedDataset, target: Target, source: SourcePlace | None, storage: StorageView
) -> DatasetPlan:
    """Go by what became of the work so far: none, running, failed or done."""
    chosen = None if source is None else source.choose(seen.dataset.namespace, storage.source_prefix or "")
    task = build_task(seen, target, chosen, storage)
    record = seen.transfer
    if record is None:
        return _resume_or_start(seen, target, task, chosen)
    is_same = record.task.fingerprint == task.fingerprint
    match record.state:
        case TransferState.RUNNING if is_same:
            return _keep_running(seen, target, task, chosen)
        case TransferState.RUNNING:
            return _finish(seen, [CancelTransfer()], target, Working(record), look_again=timedelta(0))
        case TransferState.SUCCEEDED if is_same and record.facts is not None:
            return _report_done(seen, target, record)
        case TransferState.FAILED if is_same and not _is_retry_due(seen, task, record):
            return _report_failure(seen, target, record)
    return _start(seen, target, task, chosen)


def _resume_or_start(
    seen: ObservedDataset, target: Target, task: Task, source: DtoolBucket | None
) -> DatasetPlan:
    """After a restart: an outcome that only an edit can change is not tried again."""
    ready = find_condition(seen.dataset.status.conditions, ConditionType.READY)
    is_final = (
        ready is not None
        and ready.reason in _FINAL_REASONS
        and ready.observed_generation == seen.dataset.meta.generation
        and not is_look_requested(seen.dataset)
    )
    if is_final:
        later = spread_interval(seen.policy.resync, key=seen.dataset.uid)
        return _finish(seen, [], target, Kept(), look_again=later)
    return _start(seen, target, task, source)


def _start(seen: ObservedDataset, target: Target, task: Task, source: DtoolBucket | None) -> DatasetPlan:
    if not seen.slots.is_free:
        waiting = Refusal(Reason.QUEUED, "Waits for a running transfer to end.")
        return _finish(seen, [], target, Refused(waiting), look_again=Backoff())
    actions: list[DatasetAction] = [MarkObject(has_finalizer=source is not None, uuid=target.uuid)]
    if target.bucket.spec.access_mode is AccessMode.READ_WRITE:
        actions.append(EnsureOwner(expected_owner(seen, target)))
    actions.append(StartTransfer(task, bucket_key(source)))
    return _finish(seen, actions, target, Working(None), look_again=_CREDENTIALS_LOOK)


def bucket_key(bucket: DtoolBucket | None) -> str | None:
    """Return `namespace/name` of a bucket object."""
    return None if bucket is None else f"{bucket.namespace}/{bucket.name}"


def _keep_running(
    seen: ObservedDataset, target: Target, task: Task, source: DtoolBucket | None
) -> DatasetPlan:
    record = seen.transfer
    assert record is not None
    actions: list[DatasetAction] = []
    if record.task.credentials_version != task.credentials_version:
        actions.append(RefreshCredentials(task, bucket_key(source)))
    return _finish(seen, actions, target, Working(record), look_again=_CREDENTIALS_LOOK)


def _report_done(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    assert record.facts is not None
    actions: list[DatasetAction] = [MarkObject(has_finalizer=False, uuid=target.uuid)]
    later = spread_interval(seen.policy.resync, key=seen.dataset.uid)
    return _finish(
        seen, actions, target, Done(record.facts, record.finished_at or seen.now), look_again=later
    )


def _report_failure(seen: ObservedDataset, target: Target, record: TransferRecord) -> DatasetPlan:
    assert record.error is not None
    refusal = failure_of(record)
    later: timedelta = spread_interval(seen.policy.resync, key=seen.dataset.uid)
    if not is_stalled_reason(refusal.reason):
        later = max(timedelta(0), _retry_pause(seen, record) - (seen.now - (record.finished_at or seen.now)))
    return _finish(seen, [], target, Refused(refusal), look_again=later)


def failure_of(record: TransferRecord) -> Refusal:
    """Say why a worker failed, in the API's vocabulary."""
    assert record.error is not None
    return Refusal(find_reason(record.error.reason, Reason.TRANSFER_FAILED), record.error.message)


def _is_retry_due(seen: ObservedDataset, task: Task, record: TransferRecord) -> bool:
    if is_look_requested(seen.dataset) or record.task.credentials_version != task.credentials_version:
        return True
    if is_stalled_reason(failure_of(record).reason):
        return False
    return is_due(record.finished_at or seen.now, _retry_pause(seen, record), seen.now)


def _retry_pause(seen: ObservedDataset, record: TransferRecord) -> timedelta:
    policy = seen.policy
    return backoff_delay(
        record.attempts, key=seen.dataset.uid, base=policy.backoff_base, cap=policy.backoff_cap
    )


def _finish(
    seen: ObservedDataset,
    actions: list[DatasetAction],
    target: Target | None,
    verdict: Verdict,
    *,
    look_again: timedelta | Backoff | None,
) -> DatasetPlan:
    """Leave out what is so already, and build the status."""
    kept = tuple(action for action in actions if not _is_done(seen.dataset, action))
    return Plan(kept, build_dataset_status(seen.dataset, target, verdict, seen.now), look_again)


def _is_done(dataset: DtoolDataset, action: DatasetAction) -> bool:
    if not isinstance(action, MarkObject):
        return False
    has_finalizer = FINALIZER in dataset.meta.finalizers
    return has_finalizer == action.has_finalizer and (
        action.uuid is None or dataset.meta.labels.get(LABEL_UUID) == action.uuid
    )
