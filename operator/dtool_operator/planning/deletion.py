"""What to do with a DtoolDataset that is being deleted (rule 18); pure.

The finalizer stands only from before the first write of a copy until it is frozen. A copy that never froze
is removed, its source still has it; whatever cannot be reached any more never blocks the deletion.
"""

from datetime import timedelta

from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.names import FINALIZER
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import (
    Target,
    check_admission,
    check_ready,
    dataset_uuid,
    find_older_claim,
    resolve_target,
)
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    MarkObject,
    Plan,
    ReportLeftBehind,
    StartTransfer,
    backoff_delay,
    is_due,
)
from dtool_operator.planning.storage_check import check_owner
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.transfer import TransferState
from dtool_operator.planning.work import build_removal

DeletionPlan = Plan[DatasetAction, DtoolDatasetStatus]

_RELEASE = MarkObject(has_finalizer=False)
#: Without these the data cannot be reached, or must not be touched: nothing is removed.
_GONE = frozenset({Reason.BUCKET_NOT_FOUND, Reason.NAMESPACE_NOT_ALLOWED, Reason.CLAIMED_BY_ANOTHER})


def plan_deletion(seen: ObservedDataset) -> DeletionPlan:
    """Cancel, remove an unfinished copy if it is ours, release."""
    if FINALIZER not in seen.dataset.meta.finalizers:
        return _cancel_only(seen)
    record = seen.transfer
    if (
        record is not None
        and record.task.kind is not TaskKind.REMOVE
        and record.state is TransferState.RUNNING
    ):
        return Plan((CancelTransfer(),), None, timedelta(0))
    target = resolve_removal(seen)
    if isinstance(target, Refusal):
        if target.reason in _GONE:
            return _release(f"{target.message} What an unfinished copy wrote was left there.")
        return _retry_until_timeout(seen, target)
    if isinstance(seen.storage, Refusal):
        return _retry_until_timeout(seen, seen.storage)
    assert seen.storage is not None, "S3 is asked before anything is removed"
    return _remove(seen, target, seen.storage)


def resolve_removal(seen: ObservedDataset) -> Target | Refusal:
    """Find the place of an unfinished copy, if the cluster still lets it be touched."""
    dataset = seen.dataset
    if dataset.spec.bucket_ref is None or dataset_uuid(dataset.spec) is None:
        return Refusal(Reason.BUCKET_NOT_FOUND, "The object names no dataset in a bucket.")
    if dataset.namespace not in seen.cluster.namespaces:
        return Refusal(Reason.BUCKET_NOT_FOUND, f"Namespace {dataset.namespace!r} is gone.")
    target = resolve_target(dataset, seen.cluster)
    if isinstance(target, Refusal):
        return target
    return (
        check_admission(target.bucket, dataset.namespace, seen.cluster)
        or find_older_claim(dataset, target, seen.siblings, seen.cluster)
        or check_ready(target.bucket)
        or target
    )


def _cancel_only(seen: ObservedDataset) -> DeletionPlan:
    is_running = seen.transfer is not None and seen.transfer.state is TransferState.RUNNING
    return Plan((CancelTransfer(),) if is_running else (), None, None)


def _remove(seen: ObservedDataset, target: Target, storage: StorageView) -> DeletionPlan:
    refusal = check_owner(seen, target, storage)
    if refusal is not None:
        return _release(refusal.message)
    is_elsewhere = storage.registered_prefix not in (None, target.prefix)
    is_frozen = storage.admin is not None and storage.admin.is_frozen
    record = seen.transfer
    is_removed = (
        record is not None and record.task.kind is TaskKind.REMOVE and record.state is TransferState.SUCCEEDED
    )
    if is_removed or is_elsewhere or is_frozen:
        return Plan((_RELEASE,), None, None)
    task = build_removal(seen, target, storage.credentials_version)
    if record is not None and record.task.kind is TaskKind.REMOVE:
        if record.state is TransferState.RUNNING:
            return Plan((), None, timedelta(seconds=30))
        if is_timed_out(seen):
            return _release(f"What an unfinished copy wrote under {target.prefix!r} was left there.")
        pause = backoff_delay(
            record.attempts,
            key=seen.dataset.uid,
            base=seen.policy.backoff_base,
            cap=seen.policy.backoff_cap,
        )
        if not is_due(record.finished_at or seen.now, pause, seen.now):
            return Plan((), None, pause)
    return Plan((StartTransfer(task),), None, timedelta(seconds=30))


def _retry_until_timeout(seen: ObservedDataset, refusal: Refusal) -> DeletionPlan:
    if is_timed_out(seen):
        return _release(f"{refusal.message} What an unfinished copy wrote was left there.")
    return Plan((), None, Backoff())


def is_timed_out(seen: ObservedDataset) -> bool:
    """Tell whether the deletion waited long enough for an endpoint that does not answer."""
    deleted_at = seen.dataset.meta.deletion_timestamp
    assert deleted_at is not None
    namespace = seen.cluster.namespaces.get(seen.dataset.namespace)
    is_terminating = namespace is None or namespace.is_terminating
    policy = seen.policy
    timeout = policy.terminating_deletion_timeout if is_terminating else policy.deletion_timeout
    return is_due(deleted_at, timeout, seen.now)


def _release(message: str) -> DeletionPlan:
    return Plan((ReportLeftBehind(message), _RELEASE), None, None)
