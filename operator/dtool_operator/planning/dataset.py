"""What to do with one DtoolDataset: a chain of refusals, then start, wait, report, or leave it. Pure.

    what the cluster refuses -> (S3 is asked) -> what S3 refuses -> what is there, work -> report

`inquiry.find_inquiry` tells the reconciler what S3 is to be asked about; `plan_dataset` decides with its
answer. Datasets that were frozen are `frozen`'s, those being deleted `deletion`'s.
"""

from dataclasses import replace
from datetime import timedelta

from dtool_operator.planning.conclusion import DatasetPlan, conclude, mark_finished, resync
from dtool_operator.planning.creation import create_empty
from dtool_operator.planning.deletion import plan_deletion
from dtool_operator.planning.following import (
    Work,
    find_ending,
    find_final_outcome,
    follow,
    queue,
    refuse,
    wait_for_storage,
)
from dtool_operator.planning.frozen import report_spoilt, watch_frozen
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.metadata import plan_metadata
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target, check_writable
from dtool_operator.planning.plan import CancelTransfer, DatasetAction
from dtool_operator.planning.quota import check_quota
from dtool_operator.planning.resolution import resolve
from dtool_operator.planning.scaling import follow_scaled, may_be_job
from dtool_operator.planning.source_place import Origin, VolumeOrigin
from dtool_operator.planning.standing import Standing, find_standing, is_running
from dtool_operator.planning.storage_check import check_place, check_source
from dtool_operator.planning.upload import bring_from_volume, inspect_volume, is_unknown
from dtool_operator.planning.verdict import Proto, Working
from dtool_operator.planning.volume import plan_on_volume
from dtool_operator.planning.work import (
    build_copy,
    build_freeze,
    build_verification,
    choose_reader,
    plan_owner,
)
from dtool_s3.documents import AdminMetadata


def plan_dataset(seen: ObservedDataset) -> DatasetPlan:
    """Decide what happens with a dataset now."""
    if seen.dataset.meta.deletion_timestamp is not None:
        return plan_deletion(seen)
    if seen.dataset.spec.volume is not None:
        return plan_on_volume(seen)
    placed = resolve(seen)
    if isinstance(placed, Refusal):
        return refuse(seen, placed)
    target, origin = placed
    if isinstance(origin, VolumeOrigin) and is_unknown(seen, origin):
        return inspect_volume(seen, target, origin)
    if was_frozen(seen.dataset):
        return watch_frozen(seen, target, seen.storage)
    return _look_at(seen, target, origin)


def _look_at(seen: ObservedDataset, target: Target, origin: Origin | None) -> DatasetPlan:
    """Go by what S3 says of the place and the source."""
    storage = seen.storage
    if storage is None:
        place, outcome = target if target.uuid else None, find_final_outcome(seen)
        return queue(seen, place) if outcome is None else refuse(seen, outcome, place)
    if isinstance(storage, Refusal):
        return wait_for_storage(seen, storage, target)
    target = replace(target, uuid=storage.uuid or target.uuid)
    refusal = check_place(seen, target, storage)
    if refusal is None and origin is not None:
        refusal = check_source(seen, origin, storage)
    if refusal is not None:
        return refuse(seen, refusal, target)
    if origin is not None:
        return _bring(seen, target, origin, storage)
    return _look_after(seen, target, storage)


# ---- a source is brought to its target ------------------------------------------------------------------


def _bring(seen: ObservedDataset, target: Target, origin: Origin, storage: StorageView) -> DatasetPlan:
    if isinstance(origin, VolumeOrigin):
        return bring_from_volume(seen, target, origin, storage)
    if storage.admin is None:
        refusal = check_quota(target, seen.usage, seen.dataset.namespace)
        if refusal is not None:
            return refuse(seen, refusal, target)
    task = build_copy(seen, target, origin, storage)
    is_undone = storage.admin is None or not storage.admin.is_frozen
    work = Work(task, target, storage, choose_reader(seen, origin, storage), is_undone=is_undone)
    jobs = may_be_job(seen, task)
    return follow(seen, work) if jobs is None else follow_scaled(seen, work, jobs)


# ---- a dataset that is there, or shall be created -------------------------------------------------------


def _look_after(seen: ObservedDataset, target: Target, storage: StorageView) -> DatasetPlan:
    """Create a new dataset; leave a proto dataset open, or freeze it; verify a frozen one."""
    if storage.admin is None:
        return create_empty(seen, target, storage)
    freeze = build_freeze(seen, target, storage)
    is_just_frozen = find_standing(seen, freeze) is Standing.DONE
    if storage.admin.is_frozen and not is_just_frozen:
        spoilt = report_spoilt(seen, target, freeze)
        if spoilt is not None:
            return spoilt
        return follow(seen, Work(build_verification(seen, target, storage), target, storage))
    if seen.dataset.spec.freeze:
        refusal = check_writable(target.bucket)
        if refusal is not None:
            return refuse(seen, refusal, target)
        is_undone = not storage.admin.is_frozen
        return follow(seen, Work(freeze, target, storage, is_undone=is_undone))
    if is_running(seen.transfer):
        stop = [CancelTransfer()]
        working = Working(None, None)
        return conclude(seen, working, target=target, actions=stop, look_again=timedelta(0))
    return _leave_open(seen, target, storage, storage.admin)


def _leave_open(
    seen: ObservedDataset, target: Target, storage: StorageView, admin: AdminMetadata
) -> DatasetPlan:
    """Leave a proto dataset to those who fill it; its prefix is marked first, adopted ones' too (rule 4)."""
    metadata = plan_metadata(seen, target, storage)
    is_ours_to_mark = not metadata.actions and find_ending(seen) is None
    actions: list[DatasetAction] = [*plan_owner(seen, target, storage)] if is_ours_to_mark else []
    actions.append(mark_finished(seen, target.uuid))
    look, verdict = resync(seen), Proto(admin)
    return conclude(seen, verdict, target=target, actions=actions, look_again=look, metadata=metadata)
