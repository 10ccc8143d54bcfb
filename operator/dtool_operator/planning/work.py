"""From places to a task document and an owner marker; pure builders."""

import hashlib

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.planning.observed import ObservedDataset, StorageView
from dtool_operator.planning.placement import Target, may_copy_server_side
from dtool_operator.planning.plan import DatasetAction, RefreshCredentials, StartTransfer
from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_s3.ownership import Owner

MAX_ITEMS_IN_FLIGHT = 32


def build_location(bucket: DtoolBucket, prefix: str) -> Location:
    """Describe one side of a transfer, without keys."""
    spec = bucket.spec
    return Location(
        bucket=spec.bucket,
        prefix=prefix,
        endpoint=spec.endpoint,
        region=spec.region,
        addressing=spec.addressing,
        conditional_writes=spec.conditional_writes,
    )


def build_task(
    seen: ObservedDataset, target: Target, source: DtoolBucket | None, storage: StorageView
) -> Task:
    """Describe the copy from `source`, or without one the verification of an adopted dataset."""
    place = build_location(target.bucket, target.prefix)
    if source is None:
        return _task(seen, target, TaskKind.VERIFY, place, None, storage.credentials_version)
    origin = build_location(source, storage.source_prefix or "")
    server_side = may_copy_server_side(source, target.bucket, seen.policy)
    return _task(
        seen, target, TaskKind.COPY, place, origin, storage.credentials_version, server_side=server_side
    )


def build_removal(seen: ObservedDataset, target: Target, credentials_version: str) -> Task:
    """Describe the removal of an unfinished copy."""
    place = build_location(target.bucket, target.prefix)
    return _task(seen, target, TaskKind.REMOVE, place, None, credentials_version)


def _task(
    seen: ObservedDataset,
    target: Target,
    kind: TaskKind,
    place: Location,
    origin: Location | None,
    credentials_version: str,
    *,
    server_side: bool = False,
) -> Task:
    # a worker that may no longer read the source with the target's keys is another worker
    parts = [kind.value, target.uuid, place.model_dump_json(), str(server_side)]
    parts.append(origin.model_dump_json() if origin else "")
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return Task(
        kind=kind,
        key=seen.dataset.uid,
        namespace=seen.dataset.namespace,
        fingerprint=fingerprint,
        uuid=target.uuid,
        target=place,
        source=origin,
        server_side=server_side,
        concurrency=min(MAX_ITEMS_IN_FLIGHT, target.bucket.spec.limits.concurrent_requests),
        credentials_version=credentials_version,
        bucket_key=f"{target.bucket.namespace}/{target.bucket.name}",
    )


def build_start(task: Task, source: DtoolBucket | None) -> StartTransfer:
    """Say what to start, and through which bucket object the source is read."""
    return StartTransfer(task, _name(source))


def build_refresh(running: Task, wanted: Task, source: DtoolBucket | None) -> list[DatasetAction]:
    """Give a running task the Secrets as they are now, if they changed since it got its own (rule 19)."""
    if running.credentials_version == wanted.credentials_version:
        return []
    return [RefreshCredentials(wanted, _name(source))]


def _name(bucket: DtoolBucket | None) -> str | None:
    return None if bucket is None else f"{bucket.namespace}/{bucket.name}"


def expected_owner(seen: ObservedDataset, target: Target) -> Owner:
    """Return the identity that must own the prefix; the namespace is known, or nothing gets here."""
    namespace = seen.cluster.namespaces[seen.dataset.namespace]
    return Owner(
        cluster=seen.cluster.uid, namespace_uid=namespace.uid, namespace=namespace.name, prefix=target.prefix
    )
