"""What to do with a dataset whose place is a volume of its namespace; pure.

A Job beside the volume brings it from a bucket, reads and hashes every byte on the way, and swaps the whole
directory in at once. The operator sees no volume: what it reports of one is the word of the Job whose uid it
recorded before that began, about a volume that is the tenant's own. Nothing in S3 ever rests on it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from dtool_operator.api.choice import Identity, VerifyMethod
from dtool_operator.api.dataset import DtoolDatasetSpec
from dtool_operator.api.reasons import Reason
from dtool_operator.api.source import VolumeTarget
from dtool_operator.planning.conclusion import WORK_LOOK, DatasetPlan, conclude, mark_finished, resync
from dtool_operator.planning.following import (
    Work,
    find_final_outcome,
    follow,
    queue,
    refuse,
    start,
    wait_for_storage,
)
from dtool_operator.planning.history import find_damage, was_frozen
from dtool_operator.planning.identity import dataset_uuid
from dtool_operator.planning.job_place import place_volume_job
from dtool_operator.planning.job_work import build_download, build_volume_verification
from dtool_operator.planning.manifests import is_job_of
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import claim_rank
from dtool_operator.planning.plan import Backoff, CancelTransfer, DatasetAction, ForgetTransfer
from dtool_operator.planning.source_place import Origin, SourcePlace, resolve_source
from dtool_operator.planning.standing import (
    ABOUT_DATA,
    Standing,
    find_failure,
    find_pause,
    find_standing,
    is_running,
)
from dtool_operator.planning.storage_check import check_source
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import TransferRecord
from dtool_operator.planning.verdict import Damaged, Done, Kept
from dtool_operator.planning.verification import find_due, find_request
from dtool_operator.planning.work import choose_reader


def plan_on_volume(seen: ObservedDataset) -> DatasetPlan:
    """Decide what happens with a dataset on a volume now."""
    placed = resolve_on_volume(seen)
    if isinstance(placed, Refusal):
        return refuse(seen, placed)
    if was_frozen(seen.dataset):
        return _watch(seen)
    assert placed is not None, "what is not frozen yet has a source"
    storage = seen.storage
    if storage is None:
        outcome = find_final_outcome(seen)
        return queue(seen, None) if outcome is None else refuse(seen, outcome)
    if isinstance(storage, Refusal):
        return wait_for_storage(seen, storage)
    refusal = check_source(seen, placed, storage)
    if refusal is not None:
        return refuse(seen, refusal)
    return _with_identity(_download(seen, placed, storage), placed, storage)


def _download(seen: ObservedDataset, origin: SourcePlace, storage: StorageView) -> DatasetPlan:
    reader = choose_reader(seen, origin, storage)
    assert reader is not None, "who may not read the source is refused before"
    job = place_volume_job(seen, reader)
    if isinstance(job, Refusal):
        return refuse(seen, job)
    return follow(seen, Work(build_download(seen, origin, storage, reader, job), source=reader))


def _with_identity(plan: DatasetPlan, origin: SourcePlace, storage: StorageView) -> DatasetPlan:
    """Say from the beginning which dataset it is, and how its directory will be called.

    A deletion must find what was begun, and another object must not begin the same.
    """
    if plan.status is None:
        return plan
    assert storage.source_admin is not None, "a source that is not there is refused before"
    known = {"uuid": origin.uuid, "name": storage.source_admin.name}
    return replace(plan, status=plan.status.model_copy(update=known))


def resolve_on_volume(seen: ObservedDataset) -> SourcePlace | Refusal | None:
    """Find where the dataset comes from, or say what stands in the way; None: it is there already."""
    dataset = seen.dataset
    claim = _find_older_claim(seen, dataset_uuid(dataset))
    refusal = _find_unsupported(dataset.spec) or _find_pause(seen) or claim
    if refusal is not None:
        return refusal
    if was_frozen(dataset):
        return None
    origin: Origin | Refusal = resolve_source(seen, None)
    if isinstance(origin, Refusal):
        return origin
    if isinstance(origin, SourcePlace):
        # of another object's dataset only now it is known who else brings it
        return _find_older_claim(seen, origin.uuid) or origin
    return Refusal(
        Reason.NOT_SUPPORTED,
        "Onto a volume only a dataset in S3 can be brought (uri: s3://…, stored, dataset): bring the source "
        "into a bucket first, with a DtoolDataset of its own.",
    )


def _find_unsupported(spec: DtoolDatasetSpec) -> Refusal | None:
    """Refuse what a dataset on a volume cannot be: it is a copy, as its source is."""
    if spec.source is None:
        return Refusal(
            Reason.NOT_SUPPORTED,
            "spec.volume needs spec.source: a dataset on a volume is a copy of one in a bucket.",
        )
    changes = {
        "spec.identity: New": spec.identity is Identity.NEW,
        "spec.name": spec.name is not None,
        "spec.readme": spec.readme is not None,
        "spec.tags": bool(spec.tags),
        "spec.annotations": bool(spec.annotations),
    }
    used = next((field for field, is_used in changes.items() if is_used), None)
    if used is None:
        return None
    return Refusal(
        Reason.NOT_SUPPORTED,
        f"{used}: a dataset on a volume is as its source is. Make the change in a bucket, and bring that.",
    )


def _find_pause(seen: ObservedDataset) -> Refusal | None:
    dataset = seen.dataset
    if dataset.spec.suspend:
        return Refusal(Reason.SUSPENDED, "spec.suspend is true: nothing is started.")
    if dataset.namespace not in seen.cluster.namespaces:
        return Refusal(Reason.PENDING, f"Namespace {dataset.namespace!r} is not known to the operator yet.")
    return None


def _find_older_claim(seen: ObservedDataset, uuid: str | None) -> Refusal | None:
    """Refuse where an older object brings the same dataset to the same place."""
    dataset, place = seen.dataset, _read_place(seen.dataset.spec.volume)
    rivals = [other for other in seen.siblings if _read_place(other.spec.volume) == place]
    first = min((other for other in rivals if dataset_uuid(other) == uuid), key=claim_rank, default=None)
    if first is None or claim_rank(first) > claim_rank(dataset):
        return None
    return Refusal(
        Reason.CLAIMED_BY_ANOTHER,
        f"DtoolDataset {first.name!r} came first and brings the same dataset to the same place; delete one.",
    )


def _read_place(volume: VolumeTarget | None) -> tuple[str, ...]:
    """Return claim and directory, however the path is written; empty for a place in a bucket."""
    return () if volume is None else (volume.claim_name, *filter(None, volume.path.split("/")))


# ---- what was brought -----------------------------------------------------------------------------------


def _watch(seen: ObservedDataset) -> DatasetPlan:
    """Leave it as it is; read it again where that is asked for, by spec.verify or a request."""
    task = _find_verification(seen)
    if isinstance(task, Refusal):
        return refuse(seen, task)
    if task is None:
        actions: list[DatasetAction] = [mark_finished(seen, dataset_uuid(seen.dataset))]
        return _keep(seen, actions=actions, look_again=resync(seen))
    record, standing = seen.transfer, find_standing(seen, task)
    if record is None or standing in {Standing.ABSENT, Standing.RETRY}:
        begun = start(seen, Work(task))
        # what it says of a Job that was left is in its actions already
        return _keep(seen, actions=begun.actions, look_again=begun.look_again, sees_to_job=False)
    match standing:
        case Standing.OTHER_RUNS:
            return _keep(seen, actions=[CancelTransfer()], look_again=timedelta(0))
        case Standing.RUNNING:
            return _keep(seen, look_again=WORK_LOOK)
        case Standing.DONE:
            done = Done(record)
            return conclude(seen, done, target=None, actions=[ForgetTransfer()], look_again=resync(seen))
        case _:
            return _report_failure(seen, record)


def _keep(
    seen: ObservedDataset,
    *,
    actions: Sequence[DatasetAction] = (),
    look_again: timedelta | Backoff | None,
    sees_to_job: bool = True,
) -> DatasetPlan:
    """Leave it as it is."""
    kept = Kept(seen.transfer if is_running(seen.transfer) else None)
    return conclude(seen, kept, target=None, actions=actions, look_again=look_again, sees_to_job=sees_to_job)


def _report_failure(seen: ObservedDataset, record: TransferRecord) -> DatasetPlan:
    """Report damage; a verification that could not be made says nothing of the dataset."""
    failure = find_failure(record)
    assert failure is not None, "what is tried again has failed"
    pause = find_pause(seen, record, failure) or resync(seen)
    if failure.reason not in ABOUT_DATA:
        return _keep(seen, look_again=pause)
    # what a verification has told is in the status, and so is when the next is due
    actions: list[DatasetAction] = [] if record.facts is None else [ForgetTransfer()]
    return conclude(seen, Damaged(failure, record), target=None, actions=actions, look_again=pause)


def _find_verification(seen: ObservedDataset) -> Task | Refusal | None:
    dataset = seen.dataset
    reads = dataset.spec.verify.method is VerifyMethod.CONTENT or find_damage(dataset) is not None
    is_due = find_request(dataset) is not None or (reads and not find_due(seen))
    left, job = dataset.status.job, place_volume_job(seen, None)
    if isinstance(job, Refusal):
        return job if is_due else None
    task = build_volume_verification(seen, dataset_uuid(dataset) or "", job)
    # what was begun is reported, though it may not be due any more
    is_begun = seen.transfer is not None or (left is not None and is_job_of(left, task))
    return task if is_due or is_begun else None
