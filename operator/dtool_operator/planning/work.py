"""From places to task documents and owner markers; pure builders."""

import hashlib
from typing import Any

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode
from dtool_operator.planning.observed import ObservedDataset, StorageView
from dtool_operator.planning.placement import Target, may_copy_server_side
from dtool_operator.planning.plan import DatasetAction, EnsureOwner, RefreshCredentials, StartTransfer
from dtool_operator.planning.prefix_policy import find_take_over
from dtool_operator.planning.quota import find_room
from dtool_operator.planning.source_place import (
    ObjectsPlace,
    Origin,
    PublishedPlace,
    SourcePlace,
    VolumeOrigin,
)
from dtool_operator.planning.task import (
    Encryption,
    Location,
    NewDataset,
    Task,
    TaskKind,
)
from dtool_operator.planning.verification import choose_method, find_request
from dtool_s3.ownership import Owner
from dtool_s3.settings import EncryptionMode

MAX_ITEMS_IN_FLIGHT = 32

#: What two tasks may differ in and still be the same work.
_INCIDENTAL = {
    "fingerprint",
    "credentials_version",
    "max_size_bytes",
    "concurrency",
    "bucket_key",
    "source_bucket_key",
}


def build_location(bucket: DtoolBucket, prefix: str) -> Location:
    """Describe one side of a transfer, without keys."""
    spec = bucket.spec
    encryption = spec.encryption
    return Location(
        bucket=spec.bucket,
        prefix=prefix,
        endpoint=spec.endpoint,
        region=spec.region,
        addressing=spec.addressing,
        conditional_writes=spec.conditional_writes,
        encryption=None
        if encryption is None
        else Encryption(mode=EncryptionMode(encryption.mode), kms_key_id=encryption.kms_key_id),
    )


def choose_reader(seen: ObservedDataset, origin: Origin, storage: StorageView) -> DtoolBucket | None:
    """Return the bucket object through which a source is read; None for one that is read by http(s)."""
    match origin:
        case SourcePlace():
            return origin.choose(seen.dataset.namespace, storage.source_prefix or "")
        case ObjectsPlace(bucket, _):
            return bucket
        case PublishedPlace() | VolumeOrigin():  # pragma: no branch
            return None


def build_copy(seen: ObservedDataset, target: Target, origin: Origin, storage: StorageView) -> Task:
    """Describe the work that brings a source to its target: a copy, or a new dataset of plain objects."""
    room = find_room(target, seen.usage)
    common: dict[str, Any] = {"max_size_bytes": room, "new": _build_new(seen, origin)}
    source = seen.dataset.spec.source
    assert source is not None
    if isinstance(origin, PublishedPlace):
        pinned = {"source_url": origin.url, "manifest_sha256": source.manifest_sha256}
        return build_task(seen, target, TaskKind.COPY, storage, **common, **pinned)
    reader = choose_reader(seen, origin, storage)
    assert reader is not None, "who may not read the source is refused before"
    common["server_side"] = may_copy_server_side(reader, target.bucket, seen.policy)
    common["source_bucket_key"] = bucket_key(reader)
    if isinstance(origin, ObjectsPlace):
        location = build_location(reader, origin.prefix)
        return build_task(seen, target, TaskKind.INGEST, storage, source=location, **common)
    location = build_location(reader, storage.source_prefix or "")
    pin = source.manifest_sha256
    return build_task(seen, target, TaskKind.COPY, storage, source=location, manifest_sha256=pin, **common)


def _build_new(seen: ObservedDataset, origin: Origin) -> NewDataset | None:
    dataset = seen.dataset
    if not dataset.spec.is_new_dataset:
        return None
    new = NewDataset(name=dataset.dataset_name, creator_username=dataset.namespace)
    if isinstance(origin, SourcePlace | PublishedPlace):
        return new.model_copy(update={"source_uuid": origin.uuid})
    return new.model_copy(update={"readme": dataset.spec.readme or ""})


def build_verification(seen: ObservedDataset, target: Target, storage: StorageView) -> Task:
    """Describe the verification of a frozen dataset."""
    method, request = choose_method(seen.dataset), find_request(seen.dataset)
    return build_task(seen, target, TaskKind.VERIFY, storage, method=method, request=request)


def build_freeze(seen: ObservedDataset, target: Target, storage: StorageView) -> Task:
    """Describe the freezing of a proto dataset that others filled."""
    quiet = seen.policy.freeze_quiet_period.total_seconds()
    return build_task(seen, target, TaskKind.FREEZE, storage, quiet_seconds=quiet)


def build_removal(seen: ObservedDataset, target: Target, storage: StorageView, *, only_proto: bool) -> Task:
    """Describe the removal of an unfinished copy, or of a dataset that goes with its object."""
    return build_task(seen, target, TaskKind.REMOVE, storage, only_proto=only_proto)


def seal_task(task: Task) -> Task:
    """Give a task the fingerprint of what it does."""
    # a worker that may no longer read the source with the target's keys, for example, is another worker
    essence = task.model_dump_json(exclude=_INCIDENTAL)
    return task.model_copy(update={"fingerprint": hashlib.sha256(essence.encode()).hexdigest()[:16]})


def build_task(
    seen: ObservedDataset, target: Target, kind: TaskKind, storage: StorageView, **fields: Any
) -> Task:
    """Describe work for a dataset in a bucket."""
    task = Task(
        kind=kind,
        key=seen.dataset.uid,
        namespace=seen.dataset.namespace,
        fingerprint="",
        uuid=target.uuid,
        target=build_location(target.bucket, target.prefix),
        concurrency=share_requests(seen, target.bucket),
        credentials_version=storage.credentials_version,
        bucket_key=bucket_key(target.bucket),
        **fields,
    )
    return seal_task(task)


def build_start(task: Task, source: DtoolBucket | None) -> StartTransfer:
    """Say what to start, and through which bucket object the source is read."""
    return StartTransfer(task, name_source(source))


def build_refresh(running: Task, wanted: Task, source: DtoolBucket | None) -> list[DatasetAction]:
    """Give a running task the Secrets as they are now, if they changed since it got its own (rule 19)."""
    if running.credentials_version == wanted.credentials_version:
        return []
    return [RefreshCredentials(wanted, name_source(source))]


def bucket_key(bucket: DtoolBucket) -> str:
    """Return by which name a bucket object's transfers are counted."""
    return f"{bucket.namespace}/{bucket.name}"


def name_source(bucket: DtoolBucket | None) -> str | None:
    """Return by which name the source's credentials are found; None: there is no source, or none in S3."""
    return None if bucket is None else bucket_key(bucket)


def share_requests(seen: ObservedDataset, bucket: DtoolBucket, *, workers: int = 1) -> int:
    """Divide the bucket's requests in flight among as many transfers as may run at a time (rule 17).

    Return what is left for each of a transfer's `workers`, at least one.
    """
    limits = bucket.spec.limits
    transfers = min(limits.concurrent_transfers, seen.policy.max_transfers)
    return max(1, min(MAX_ITEMS_IN_FLIGHT, limits.concurrent_requests // transfers // workers))


def expected_owner(seen: ObservedDataset, target: Target) -> Owner:
    """Return the identity that must own the prefix; the namespace is known, or nothing gets here."""
    namespace = seen.cluster.namespaces[seen.dataset.namespace]
    return Owner(
        cluster=seen.cluster.uid, namespace_uid=namespace.uid, namespace=namespace.name, prefix=target.prefix
    )


def plan_owner(seen: ObservedDataset, target: Target, storage: StorageView) -> list[EnsureOwner]:
    """Say what must become of the owner marker before anything is written under the prefix (rule 4)."""
    ours, found = expected_owner(seen, target), storage.owner
    if found == ours or target.bucket.spec.access_mode is AccessMode.READ_ONLY:
        return []
    return [EnsureOwner(ours, replaces=found)]


def may_take_over(seen: ObservedDataset, target: Target, found: Owner) -> bool:
    """Tell whether the bucket object names exactly this owner to be replaced."""
    return find_take_over(target.bucket, seen.dataset.namespace) == str(found)
