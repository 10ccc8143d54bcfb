"""What to do with a DtoolDataset that is being deleted (rule 18); pure.

The finalizer stands only while a create, copy or freeze is unfinished, or where the data shall go with their
object. A copy that never froze is removed, its source still has it; whatever cannot be reached any more never
blocks the deletion.
"""

from dataclasses import dataclass
from datetime import timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import DeletionPolicy
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.names import FINALIZER, LABEL_UUID
from dtool_operator.planning.conclusion import WORK_LOOK, DatasetPlan
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.identity import dataset_uuid
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import (
    Target,
    check_ready,
    check_writable,
    find_older_claim,
    find_other_claim,
    resolve_target,
)
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    Plan,
    RemoveJob,
)
from dtool_operator.planning.removal import (
    is_timed_out,
    release,
    remove_from_volume,
    report_failure,
    say,
    start_removal,
)
from dtool_operator.planning.standing import (
    Standing,
    find_standing,
    is_running,
)
from dtool_operator.planning.storage_check import check_owner
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.transfer import TransferRecord, read_job
from dtool_operator.planning.work import build_refresh, build_removal, plan_owner
from dtool_s3.uri import is_uuid

#: What a deletion does not wait for, where it is gone: the keys, the bucket.
_VANISHED = frozenset({Reason.SECRET_NOT_FOUND, Reason.BUCKET_NOT_FOUND})

_NOT_REPORTED = "A frozen dataset is there that this object never reported as its own."

#: With these the data cannot be reached any more, or must not be touched: nothing is removed.
_LEFT_BEHIND = _VANISHED | frozenset(
    {
        Reason.NAMESPACE_NOT_ALLOWED,
        Reason.CLAIMED_BY_ANOTHER,
        Reason.READ_ONLY_BUCKET,
        Reason.PREFIX_OWNED_BY_OTHER,
    }
)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the data: kept whatever they are, or removed; `warning`: what is worth telling of them.

    `only_proto`: a frozen dataset stays in any case.
    """

    is_kept: bool
    only_proto: bool = True
    warning: str | None = None


def find_fate(dataset: DtoolDataset) -> Fate:
    """Decide by policy and status, whoever put the finalizer there.

    A proto dataset without a source is nowhere else, and so may be what a copy was refused to replace: under
    a uuid that is not the object's own that is not this object's to delete, whatever its policy.
    """
    spec = dataset.spec
    is_deleted = spec.deletion_policy is DeletionPolicy.DELETE
    frozen = find_condition(dataset.status.conditions, ConditionType.FROZEN)
    is_refused = frozen is not None and frozen.reason == Reason.CONTENT_DIFFERS
    if is_refused and spec.source is not None and not (is_deleted and spec.is_new_dataset):
        return Fate(is_kept=True, warning="Something else than the source lay at the target.")
    if is_deleted:
        # what is known by its label alone, or that a copy found frozen, was never reported as this object's
        is_own = was_frozen(dataset) or spec.source is None or spec.is_new_dataset
        return Fate(is_kept=False, only_proto=dataset_uuid(dataset) is None or not is_own)
    return Fate(is_kept=was_frozen(dataset) or spec.source is None)


def plan_deletion(seen: ObservedDataset) -> DatasetPlan:
    """Cancel, remove what shall go if it is ours, release."""
    record, fate, job = seen.transfer, find_fate(seen.dataset), seen.dataset.status.job
    if record is None and job is not None:
        status = seen.dataset.status.model_copy(update={"job": None})
        return Plan((RemoveJob(read_job(job)),), status, timedelta(0))
    if FINALIZER not in seen.dataset.meta.finalizers:
        return Plan((CancelTransfer(),) if is_running(record) else (), None, None)
    if record is not None and must_stop(record):
        return _stop(seen, record)
    if fate.is_kept:
        return release(seen, fate.warning)
    if seen.dataset.spec.volume is not None:
        return remove_from_volume(seen, only_proto=fate.only_proto)
    target = resolve_removal(seen)
    if isinstance(target, Refusal):
        return _wait(seen, target)
    assert seen.storage is not None, "S3 is asked before anything is removed"
    if isinstance(seen.storage, Refusal):
        return _wait(seen, seen.storage)
    return _remove(seen, target, seen.storage, fate)


def _stop(seen: ObservedDataset, record: TransferRecord) -> DatasetPlan:
    if record.job is not None and is_timed_out(seen):
        return release(seen, f"Its Job {record.job.name} could not be ended.")
    return Plan((CancelTransfer(),), None, timedelta(0))


def must_stop(record: TransferRecord | None) -> bool:
    """Tell whether a worker does what a deletion ends, at once and whatever S3 says."""
    return record is not None and is_running(record) and record.task.kind is not TaskKind.REMOVE


def resolve_removal(seen: ObservedDataset) -> Target | Refusal:
    """Find the place of what shall go, if the cluster still lets it be touched."""
    dataset = seen.dataset
    # the label is written with the finalizer, before anything under the uuid; users copy both along
    known = dataset_uuid(dataset)
    uuid = known or dataset.meta.labels.get(LABEL_UUID, "")
    if dataset.spec.bucket_ref is None or not is_uuid(uuid):
        return Refusal(Reason.BUCKET_NOT_FOUND, "The object never had a dataset in a bucket.")
    if dataset.namespace not in seen.cluster.namespaces:
        return Refusal(Reason.BUCKET_NOT_FOUND, f"Namespace {dataset.namespace!r} is gone.")
    target = resolve_target(dataset, uuid, seen.cluster)
    if isinstance(target, Refusal):
        return target
    return (
        (find_other_claim(target, seen.siblings, seen.cluster) if known is None else None)
        or find_older_claim(dataset, target, seen.siblings, seen.cluster)
        or check_writable(target.bucket)
        or _check_usable(target.bucket)
        or target
    )


def _check_usable(bucket: DtoolBucket) -> Refusal | None:
    """Refuse a bucket that is not Ready; what may be gone for good (Secret, bucket) is looked for now."""
    refusal = check_ready(bucket)
    if refusal is None or not refusal.is_passing:
        return refusal
    ready = find_condition(bucket.status.conditions, ConditionType.READY)
    if ready is None or ready.observed_generation != bucket.meta.generation:
        return refusal
    return None if ready.reason in _VANISHED else refusal


def _remove(seen: ObservedDataset, target: Target, storage: StorageView, fate: Fate) -> DatasetPlan:
    """Remove what is there, if it is ours."""
    refusal = check_owner(seen, target, storage)
    if refusal is not None:
        return _wait(seen, refusal)
    if storage.registered_prefix not in (None, target.prefix):
        # the key comes before everything else: without a dataset here nothing of this object's is here
        elsewhere = f"The registration key of {target.uuid} names another prefix."
        return release(seen, None if storage.admin is None else elsewhere)
    is_frozen = storage.admin is not None and storage.admin.is_frozen
    if is_frozen and fate.only_proto:
        is_meant = seen.dataset.spec.deletion_policy is DeletionPolicy.DELETE
        return release(seen, _NOT_REPORTED if is_meant else None)
    # the owner marker comes before the first write: without one nothing was written
    is_empty = storage.owner is None and storage.registered_prefix is None and storage.admin is None
    if is_empty:
        return release(seen)
    return _follow_removal(seen, target, storage, fate)


def _follow_removal(seen: ObservedDataset, target: Target, storage: StorageView, fate: Fate) -> DatasetPlan:
    task = build_removal(seen, target, storage, only_proto=fate.only_proto)
    match find_standing(seen, task):
        case Standing.DONE:
            return release(seen)
        case Standing.OTHER_RUNS:
            return Plan((CancelTransfer(),), None, timedelta(0))
        case Standing.RUNNING:
            assert seen.transfer is not None
            return Plan(tuple(build_refresh(seen.transfer.task, task, None)), None, WORK_LOOK)
        case Standing.PAUSED | Standing.RETRY if is_timed_out(seen):
            return release(seen, f"What lies under {target.prefix!r} could not be removed.")
        case Standing.PAUSED:
            return report_failure(seen)
        case Standing.ABSENT | Standing.RETRY:  # pragma: no branch
            return start_removal(seen, task, plan_owner(seen, target, storage))


def _wait(seen: ObservedDataset, refusal: Refusal) -> DatasetPlan:
    """Wait for what may come back, for so long; leave behind at once what may not be touched."""
    if refusal.reason in _LEFT_BEHIND or is_timed_out(seen):
        return release(seen, refusal.message)
    is_stopped = refusal.reason is Reason.BUCKET_NOT_READY and not refusal.is_passing
    actions = [CancelTransfer()] if is_stopped and is_running(seen.transfer) else []
    return say(seen, refusal, actions=actions, look_again=Backoff())
