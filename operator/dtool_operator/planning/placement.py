"""Where a dataset shall be and where it comes from, from what the cluster says alone. Pure.

Each check returns a Refusal or lets the next one speak; S3 is asked only when all of them are content.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode, DeletionPolicy, Identity, VerifyMethod
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset, DtoolDatasetSpec
from dtool_operator.api.reasons import Reason, is_stalled_reason
from dtool_operator.api.source import BucketRef, Source
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.observed import ClusterView, Policy, Refusal, is_ready
from dtool_operator.planning.prefix_policy import (
    derive_prefix,
    endpoint_key,
    is_admitted,
    may_read,
    storage_key,
)
from dtool_s3.uri import parse_dataset_uri

#: Refusals of a bucket's spec that end without an edit of it.
_RULED_OUT: Final = frozenset({Reason.ENDPOINT_NOT_ALLOWED, Reason.PREFIX_OVERLAPS, Reason.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a dataset."""

    bucket: DtoolBucket
    prefix: str
    uuid: str


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """Where a copy is read: bucket objects of one endpoint and bucket, the oldest first."""

    uuid: str
    candidates: tuple[DtoolBucket, ...]

    def choose(self, namespace: str, prefix: str) -> DtoolBucket | None:
        """Return the oldest bucket object that lets the namespace read under `prefix`."""
        return next((b for b in self.candidates if may_read(b, namespace, prefix)), None)


def find_unsupported(spec: DtoolDatasetSpec) -> Refusal | None:
    """Name the first field that this version does not act on; fields at their defaults never are."""
    source = spec.source
    checks: tuple[tuple[bool, str], ...] = (
        (spec.volume is not None, "spec.volume"),
        (source is not None and source.dataset is not None, "spec.source.dataset"),
        (source is not None and source.objects is not None, "spec.source.objects"),
        (source is not None and source.volume is not None, "spec.source.volume"),
        (source is not None and _is_http(source), "spec.source.uri with http(s)"),
        (source is not None and source.manifest_sha256 is not None, "spec.source.manifestSHA256"),
        (spec.identity is Identity.NEW, "spec.identity: New"),
        (
            source is None and spec.uuid is None,
            "new datasets (neither spec.source nor spec.uuid)",
        ),
        (spec.freeze and spec.uuid is not None, "spec.freeze of an adopted dataset"),
        (spec.name is not None, "spec.name for a dataset that keeps its identity"),
        (spec.readme is not None, "spec.readme"),
        (bool(spec.tags), "spec.tags"),
        (bool(spec.annotations), "spec.annotations"),
        (spec.verify.method is not VerifyMethod.LISTING, "spec.verify.method"),
        (spec.verify.interval != type(spec.verify)().interval, "spec.verify.interval"),
        (spec.deletion_policy is not DeletionPolicy.RETAIN, "spec.deletionPolicy: Delete"),
    )
    field = next((name for is_used, name in checks if is_used), None)
    if field is None:
        return None
    return Refusal(Reason.NOT_SUPPORTED, f"This version does not support {field}.")


def _is_http(source: Source) -> bool:
    return source.uri is not None and not source.uri.startswith("s3://")


def dataset_uuid(spec: DtoolDatasetSpec) -> str | None:
    """Return the uuid that the spec alone decides: adopted, or preserved from an s3 source."""
    if spec.uuid is not None:
        return spec.uuid
    if spec.source is None or spec.identity is Identity.NEW:
        return None
    if spec.source.stored is not None:
        return spec.source.stored.uuid
    if spec.source.uri is not None and not _is_http(spec.source):
        return parse_dataset_uri(spec.source.uri).uuid
    return None


def find_bucket(ref: BucketRef, namespace: str, cluster: ClusterView) -> DtoolBucket | Refusal:
    """Look a reference up; `BucketNotFound` says in which namespace it was looked for."""
    place = ref.namespace or namespace
    found = cluster.find_bucket(place, ref.name)
    if found is not None:
        return found
    if (place, ref.name) in cluster.invalid_buckets:
        return Refusal(
            Reason.BUCKET_NOT_READY, f"DtoolBucket {place}/{ref.name} is not valid; see its conditions."
        )
    return Refusal(Reason.BUCKET_NOT_FOUND, f"There is no DtoolBucket {ref.name!r} in namespace {place!r}.")


def check_admission(bucket: DtoolBucket, namespace: str, cluster: ClusterView) -> Refusal | None:
    """Refuse a namespace that the bucket does not admit."""
    if is_admitted(bucket, namespace, cluster.labels(namespace)):
        return None
    return Refusal(
        Reason.NAMESPACE_NOT_ALLOWED,
        f"DtoolBucket {bucket.namespace}/{bucket.name} does not admit namespace {namespace!r}; "
        "its administrator decides in spec.allowedNamespaces.",
    )


def check_ready(bucket: DtoolBucket) -> Refusal | None:
    """Refuse a bucket that is suspended or not found usable yet.

    What runs may go on where the bucket only does not answer, or is tried again after an edit.
    """
    if is_ready(bucket):
        return None
    why = "is suspended" if bucket.spec.suspend else "is not Ready; see its conditions"
    return Refusal(
        Reason.BUCKET_NOT_READY,
        f"DtoolBucket {bucket.namespace}/{bucket.name} {why}.",
        is_passing=not (bucket.spec.suspend or _is_ruled_out(bucket)),
    )


def _is_ruled_out(bucket: DtoolBucket) -> bool:
    """Tell whether the bucket's present spec was refused, rather than its storage found wanting."""
    ready = find_condition(bucket.status.conditions, ConditionType.READY)
    if ready is None or ready.observed_generation != bucket.meta.generation:
        return False
    return is_stalled_reason(ready.reason) or ready.reason in _RULED_OUT


def resolve_target(dataset: DtoolDataset, cluster: ClusterView) -> Target | Refusal:
    """Find the bucket and derive the prefix, asking for both consents."""
    spec = dataset.spec
    uuid = dataset_uuid(spec)
    assert spec.bucket_ref is not None, "volumes are refused before"
    assert uuid is not None, "datasets without identity are refused before"
    bucket = find_bucket(spec.bucket_ref, dataset.namespace, cluster)
    if isinstance(bucket, Refusal):
        return bucket
    refusal = check_admission(bucket, dataset.namespace, cluster)
    if refusal is not None:
        return refusal
    return Target(bucket, derive_prefix(bucket.spec, dataset.namespace), uuid)


def check_target(dataset: DtoolDataset, target: Target) -> Refusal | None:
    """Refuse a bucket that may not take the dataset, or cannot now.

    ReadOnly comes first: it ends what runs, also where the bucket was not found usable again since the edit.
    """
    is_written = dataset.spec.source is not None and not was_frozen(dataset)
    return (check_writable(target.bucket) if is_written else None) or check_ready(target.bucket)


def check_writable(bucket: DtoolBucket) -> Refusal | None:
    """Refuse a bucket to which nothing is ever written."""
    if bucket.spec.access_mode is AccessMode.READ_WRITE:
        return None
    name = f"{bucket.namespace}/{bucket.name}"
    return Refusal(Reason.READ_ONLY_BUCKET, f"DtoolBucket {name} is ReadOnly: nothing is written to it.")


def resolve_source(
    dataset: DtoolDataset, target: Target, cluster: ClusterView, policy: Policy
) -> SourcePlace | Refusal:
    """Find the bucket objects through which the source may be read (rule 12)."""
    source = dataset.spec.source
    assert source is not None
    if source.stored is not None:
        bucket = find_bucket(source.stored.bucket_ref, dataset.namespace, cluster)
        if isinstance(bucket, Refusal):
            return bucket
        refusal = check_admission(bucket, dataset.namespace, cluster) or check_ready(bucket)
        return refusal or SourcePlace(source.stored.uuid, (bucket,))
    assert source.uri is not None
    uri = parse_dataset_uri(source.uri)
    return _first_tier(uri.bucket, uri.uuid, _tiers(dataset.namespace, target, cluster, policy), dataset)


def _tiers(
    namespace: str, target: Target, cluster: ClusterView, policy: Policy
) -> tuple[tuple[DtoolBucket, ...], ...]:
    labels = cluster.labels(namespace)
    return (
        tuple(b for b in cluster.buckets if b.namespace == namespace and is_admitted(b, namespace, labels)),
        (target.bucket,),
        tuple(
            b
            for b in cluster.buckets
            if b.namespace in policy.admin_namespaces and is_admitted(b, namespace, labels)
        ),
    )


def _first_tier(
    bucket_name: str, uuid: str, tiers: tuple[tuple[DtoolBucket, ...], ...], dataset: DtoolDataset
) -> SourcePlace | Refusal:
    for tier in tiers:
        matching = [b for b in tier if b.spec.bucket == bucket_name]
        if not matching:
            continue
        if len({endpoint_key(b.spec) for b in matching}) > 1:
            return Refusal(
                Reason.SOURCE_AMBIGUOUS,
                f"Bucket {bucket_name!r} is known on two endpoints; name one with spec.source.stored.",
            )
        usable = [b for b in matching if is_ready(b)]
        if not usable:
            refusal = check_ready(matching[0])
            assert refusal is not None
            return refusal
        oldest_first = sorted(usable, key=lambda b: (b.meta.creation_timestamp, b.uid))
        return SourcePlace(uuid, tuple(oldest_first))
    return Refusal(
        Reason.SOURCE_NOT_ALLOWED,
        f"No DtoolBucket lets namespace {dataset.namespace!r} read bucket {bucket_name!r}.",
    )


def find_older_claim(
    dataset: DtoolDataset, target: Target, siblings: tuple[DtoolDataset, ...], cluster: ClusterView
) -> Refusal | None:
    """Refuse where an older object of this namespace describes the same dataset at the same place."""
    rank = claim_rank(dataset)
    for other in sorted(siblings, key=claim_rank):
        if claim_rank(other) >= rank:
            break
        if other.spec.bucket_ref is None or dataset_uuid(other.spec) != target.uuid:
            continue
        bucket = find_bucket(other.spec.bucket_ref, other.namespace, cluster)
        if isinstance(bucket, DtoolBucket) and _same_place(bucket, other.namespace, target):
            return Refusal(
                Reason.CLAIMED_BY_ANOTHER,
                f"DtoolDataset {other.name!r} came first and describes the same dataset; delete one of them.",
            )
    return None


def claim_rank(dataset: DtoolDataset) -> tuple[datetime, str]:
    """Return what orders claims on one dataset: the oldest object first, then the smaller uid (rule 11)."""
    return dataset.meta.creation_timestamp, dataset.uid


def _same_place(bucket: DtoolBucket, namespace: str, target: Target) -> bool:
    same_storage = storage_key(bucket.spec) == storage_key(target.bucket.spec)
    return same_storage and derive_prefix(bucket.spec, namespace) == target.prefix


def may_copy_server_side(source: DtoolBucket, target: DtoolBucket, policy: Policy) -> bool:
    """Tell whether one credential may sign both the read and the write (no confused deputy, rule 12).

    `source` is a bucket object whose rules were found to let the dataset's namespace read.
    """
    if endpoint_key(source.spec) != endpoint_key(target.spec):
        return False
    return _same_credential(source, target) or source.namespace in policy.admin_namespaces


def _same_credential(one: DtoolBucket, other: DtoolBucket) -> bool:
    if one.spec.credentials is None or other.spec.credentials is None:
        return one.spec.credentials is other.spec.credentials is None
    return (one.namespace, one.spec.credentials) == (other.namespace, other.spec.credentials)
