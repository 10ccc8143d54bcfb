"""How what lies on a volume becomes a dataset in a bucket; pure.

    (a look at a dataset directory) -> proto dataset, by the operator -> items, by a Job -> proof and freeze

The Job beside the volume brings items and says by a manifest what they should be; what is there counts only
once a child process of the operator has proven it against that and published it (rule 14).
"""

from datetime import timedelta

from dtool_operator.api.choice import Layout
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.advice import advise
from dtool_operator.planning.conclusion import DatasetPlan, conclude
from dtool_operator.planning.creation import begin_dataset
from dtool_operator.planning.following import Work, follow, refuse
from dtool_operator.planning.job_place import place_volume_job
from dtool_operator.planning.job_work import build_inspection, build_publication, build_upload
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import CreateProto, ForgetTransfer
from dtool_operator.planning.source_place import VolumeOrigin
from dtool_operator.planning.standing import (
    TO_UPLOAD_AGAIN,
    Standing,
    find_failure,
    find_standing,
    is_running,
)
from dtool_operator.planning.task import Task
from dtool_operator.planning.verdict import Inspected


def is_unknown(seen: ObservedDataset, origin: object) -> bool:
    """Tell whether somebody must look first which dataset a directory on a volume is."""
    is_dataset = isinstance(origin, VolumeOrigin) and origin.volume.layout is Layout.DATASET
    return is_dataset and seen.dataset.status.source is None


def inspect_volume(seen: ObservedDataset, target: Target, origin: VolumeOrigin) -> DatasetPlan:
    """Have a Job look which dataset the directory is."""
    job = place_volume_job(seen, None)
    if isinstance(job, Refusal):
        return refuse(seen, job)
    work = Work(build_inspection(seen, target, origin.volume, job), target if target.uuid else None)
    return inspect(seen, work)


def inspect(seen: ObservedDataset, work: Work) -> DatasetPlan:
    """Have a worker look what the source is; what it found is in the status afterwards."""
    record = seen.transfer
    if record is None or find_standing(seen, work.task) is not Standing.DONE:
        return follow(seen, work)
    found = Inspected(record)
    return conclude(seen, found, target=work.target, actions=[ForgetTransfer()], look_again=timedelta(0))


def bring_from_volume(
    seen: ObservedDataset, target: Target, origin: VolumeOrigin, storage: StorageView
) -> DatasetPlan:
    """Create, upload, publish: each when the one before it is done."""
    refusal = _check_pin(seen)
    if refusal is not None:
        return refuse(seen, refusal, target)
    job = place_volume_job(seen, target.bucket)
    if isinstance(job, Refusal):
        return refuse(seen, job, target)
    if storage.admin is None:
        return begin_dataset(seen, target, storage, _build_creation(seen, target))
    upload = build_upload(seen, target, storage, origin.volume, job)
    publication = build_publication(seen, target, storage)
    if storage.admin.is_frozen or _is_uploaded(seen, upload, publication):
        is_undone = not storage.admin.is_frozen
        return follow(seen, Work(publication, target, storage, is_undone=is_undone))
    return follow(seen, Work(upload, target, storage))


def _check_pin(seen: ObservedDataset) -> Refusal | None:
    source, found = seen.dataset.spec.source, seen.dataset.status.source
    pinned = None if source is None else source.manifest_sha256
    if pinned is None or found is None or found.manifest_sha256 == pinned:
        return None
    detail = f"the manifest on the volume has the SHA-256 {found.manifest_sha256}"
    return Refusal(Reason.INVALID_MANIFEST, advise(Reason.INVALID_MANIFEST, detail))


def _build_creation(seen: ObservedDataset, target: Target) -> CreateProto:
    """Describe the proto dataset: a new one, or one that keeps the identity it has on the volume."""
    dataset, found = seen.dataset, seen.dataset.status.source
    if found is None or dataset.spec.is_new_dataset:
        return CreateProto(
            uuid=target.uuid,
            name=dataset.dataset_name,
            creator_username=dataset.namespace,
            readme=dataset.spec.readme or "",
        )
    return CreateProto(
        uuid=target.uuid,
        name=found.name,
        creator_username=found.creator_username,
        readme="",
        created_at=None if found.created_at is None else found.created_at.timestamp(),
        frozen_at=None if found.frozen_at is None else found.frozen_at.timestamp(),
    )


def _is_uploaded(seen: ObservedDataset, upload: Task, publication: Task) -> bool:
    """Tell whether the upload is over and its publication comes next, runs, or is to be tried again."""
    record = seen.transfer
    if record is None:
        return False
    if record.task.fingerprint == upload.fingerprint:
        return find_standing(seen, upload) is Standing.DONE
    if record.task.fingerprint != publication.fingerprint:
        return False
    failure = None if is_running(record) else find_failure(record)
    is_wanting = failure is not None and failure.reason in TO_UPLOAD_AGAIN
    return not (is_wanting and find_standing(seen, publication) is Standing.RETRY)
