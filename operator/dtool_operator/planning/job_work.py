"""Task documents of work in Jobs: beside a volume, or for copies that are divided; pure builders."""

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.source import VolumeSource, VolumeTarget
from dtool_operator.planning.observed import ObservedDataset, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.quota import find_room
from dtool_operator.planning.source_place import SourcePlace
from dtool_operator.planning.task import JobPlace, NewDataset, Task, TaskKind, VolumePlace
from dtool_operator.planning.verification import find_request
from dtool_operator.planning.work import bucket_key, build_location, build_task, seal_task
from dtool_s3.transfer.verify import VerifyMethod

#: The bucket key of work that touches no bucket.
NO_BUCKET = "none"


def build_inspection(seen: ObservedDataset, target: Target, volume: VolumeSource, job: JobPlace) -> Task:
    """Describe the look at a dataset directory on a volume; no bucket is touched."""
    return seal_task(
        Task(
            kind=TaskKind.INSPECT,
            key=seen.dataset.uid,
            namespace=seen.dataset.namespace,
            fingerprint="",
            uuid="",
            volume=_build_volume(volume),
            job=job,
            bucket_key=bucket_key(target.bucket),
        )
    )


def build_source_inspection(copy: Task) -> Task:
    """Describe the look at how large the source of a copy is."""
    return seal_task(
        Task(
            kind=TaskKind.INSPECT,
            key=copy.key,
            namespace=copy.namespace,
            fingerprint="",
            uuid=copy.uuid if copy.new is None else copy.new.source_uuid or "",
            source=copy.source,
            manifest_sha256=copy.manifest_sha256,
            concurrency=copy.concurrency,
            # nothing is written: it gets the keys of the source alone
            credentials_version="|" + copy.credentials_version.rpartition("|")[2],
            bucket_key=copy.bucket_key,
            source_bucket_key=copy.source_bucket_key,
        )
    )


def with_job(task: Task, job: JobPlace) -> Task:
    """Return the same work to be done by a Job."""
    return seal_task(task.model_copy(update={"job": job}))


def build_share(copy: Task, job: JobPlace, *, concurrency: int) -> Task:
    """Describe what the Pods of an Indexed Job do for a copy: each brings its share of the items.

    `concurrency`: of each Pod.
    """
    return with_job(copy.model_copy(update={"kind": TaskKind.COPY_ITEMS, "concurrency": concurrency}), job)


def build_upload(
    seen: ObservedDataset, target: Target, storage: StorageView, volume: VolumeSource, job: JobPlace
) -> Task:
    """Describe the upload of a directory into a proto dataset that is there."""
    found, room = seen.dataset.status.source, find_room(target, seen.usage)
    return build_task(
        seen,
        target,
        TaskKind.UPLOAD,
        storage,
        volume=_build_volume(volume),
        job=job,
        new=_build_uploaded(seen),
        manifest_sha256=None if found is None else found.manifest_sha256,
        max_size_bytes=room,
    )


def _build_uploaded(seen: ObservedDataset) -> NewDataset | None:
    """Say which identity an upload has that is not the directory's."""
    dataset, found = seen.dataset, seen.dataset.status.source
    if not dataset.spec.is_new_dataset:
        return None
    return NewDataset(
        name=dataset.dataset_name,
        creator_username=dataset.namespace,
        source_uuid=None if found is None else found.uuid,
        readme=dataset.spec.readme or "",
    )


def build_publication(seen: ObservedDataset, target: Target, storage: StorageView) -> Task:
    """Describe the proof of what an upload brought; signed URLs have expired when it freezes."""
    jobs, found = seen.policy.jobs, seen.dataset.status.source
    assert jobs is not None, "an upload was a Job"
    pinned = None if seen.dataset.spec.is_new_dataset else found
    return build_task(
        seen,
        target,
        TaskKind.PUBLISH,
        storage,
        quiet_seconds=jobs.signing_expiry.total_seconds(),
        manifest_sha256=None if pinned is None else pinned.manifest_sha256,
        content_sha256=None if pinned is None else pinned.content_sha256,
        max_size_bytes=find_room(target, seen.usage),
    )


def _build_volume(volume: VolumeSource) -> VolumePlace:
    return VolumePlace(claim=volume.claim_name, path=volume.path, layout=volume.layout)


def build_download(
    seen: ObservedDataset, origin: SourcePlace, storage: StorageView, reader: DtoolBucket, job: JobPlace
) -> Task:
    """Describe how a dataset is brought to a volume; every byte is read and hashed on the way."""
    source = seen.dataset.spec.source
    assert source is not None
    return seal_task(
        Task(
            kind=TaskKind.DOWNLOAD,
            key=seen.dataset.uid,
            namespace=seen.dataset.namespace,
            fingerprint="",
            uuid=origin.uuid,
            source=build_location(reader, storage.source_prefix or ""),
            manifest_sha256=source.manifest_sha256,
            method=VerifyMethod.CONTENT,
            volume=_place(seen.dataset.spec.volume),
            job=job,
            credentials_version=storage.credentials_version,
            bucket_key=bucket_key(reader),
            source_bucket_key=bucket_key(reader),
        )
    )


def build_volume_verification(seen: ObservedDataset, uuid: str, job: JobPlace) -> Task:
    """Describe how every byte of a dataset on a volume is read and hashed."""
    return _build_on_volume(seen, uuid, job, TaskKind.VERIFY)


def build_volume_removal(seen: ObservedDataset, uuid: str, job: JobPlace, *, only_proto: bool) -> Task:
    """Describe the removal of an unfinished copy on a volume, or of a dataset that goes with its object."""
    return _build_on_volume(seen, uuid, job, TaskKind.REMOVE, only_proto=only_proto)


def _build_on_volume(
    seen: ObservedDataset, uuid: str, job: JobPlace, kind: TaskKind, *, only_proto: bool = True
) -> Task:
    return seal_task(
        Task(
            kind=kind,
            key=seen.dataset.uid,
            namespace=seen.dataset.namespace,
            fingerprint="",
            uuid=uuid,
            volume=_place(seen.dataset.spec.volume, seen.dataset.status.name),
            job=job,
            method=VerifyMethod.CONTENT,
            request=find_request(seen.dataset) if kind is TaskKind.VERIFY else None,
            only_proto=only_proto,
            bucket_key=NO_BUCKET,
        )
    )


def _place(volume: VolumeTarget | None, name: str | None = None) -> VolumePlace:
    assert volume is not None, "it is a dataset on a volume"
    return VolumePlace(claim=volume.claim_name, path=volume.path, name=name)
