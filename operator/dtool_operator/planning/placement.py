"""Where a dataset shall be, from what the cluster says alone. Pure.

Each check returns a Refusal or lets the next one speak; S3 is asked only when all of them are content.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset, DtoolDatasetSpec
from dtool_operator.api.reasons import Reason, is_stalled_reason
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.identity import dataset_uuid, find_original
from dtool_operator.planning.imported import is_imported
from dtool_operator.planning.observed import ClusterView, Policy, Refusal, is_ready
from dtool_operator.planning.prefix_policy import (
    derive_prefix,
    endpoint_key,
    find_override_conflict,
    is_admitted,
    storage_key,
)

#: Refusals of a bucket's spec that end without an edit of it.
_RULED_OUT: Final = frozenset({Reason.ENDPOINT_NOT_ALLOWED, Reason.PREFIX_OVERLAPS, Reason.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a dataset."""

    bucket: DtoolBucket
    prefix: str
    uuid: str


def check_spec(spec: DtoolDatasetSpec) -> Refusal | None:
    """Refuse a name for what keeps the one it has, and metadata for what is uploaded as it is."""
    if spec.name is not None and not spec.is_new_dataset:
        return Refusal(
            Reason.INVALID_SPEC,
            "spec.name is for new datasets: what keeps its identity keeps its name. Remove it from the spec.",
        )
    return None


def check_name(dataset: DtoolDataset) -> Refusal | None:
    """Refuse another name for a dataset that has one."""
    wanted, name = dataset.spec.name, dataset.status.name
    if wanted is None or name in (None, wanted):
        return None
    return Refusal(
        Reason.INVALID_SPEC,
        f"spec.name: the dataset was created as {name!r}; set it to that, or remove it. A dataset of another "
        "name is made with identity: New.",
    )


def find_bucket(namespace: str, name: str, cluster: ClusterView) -> DtoolBucket | Refusal:
    """Look a bucket object up; `BucketNotFound` says in which namespace it was looked for."""
    found = cluster.find_bucket(namespace, name)
    if found is not None:
        return found
    if (namespace, name) in cluster.invalid_buckets:
        return Refusal(
            Reason.BUCKET_NOT_READY, f"DtoolBucket {namespace}/{name} is not valid; see its conditions."
        )
    return Refusal(
        Reason.BUCKET_NOT_FOUND,
        f"There is no DtoolBucket {name!r} in namespace {namespace!r}; it is waited for. Elsewhere? Then "
        "bucketRef needs its namespace.",
    )


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


def resolve_target(dataset: DtoolDataset, uuid: str, cluster: ClusterView) -> Target | Refusal:
    """Find the bucket and derive the prefix, asking for both consents."""
    ref = dataset.spec.bucket_ref
    assert ref is not None, "volumes are refused before"
    bucket = find_bucket(ref.namespace or dataset.namespace, ref.name, cluster)
    if isinstance(bucket, Refusal):
        return bucket
    refusal = check_admission(bucket, dataset.namespace, cluster)
    if refusal is not None:
        return refusal
    overlap = find_override_conflict(bucket.spec, dataset.namespace)
    if overlap is not None:
        return Refusal(Reason.PREFIX_OVERLAPS, overlap)
    return Target(bucket, derive_prefix(bucket.spec, dataset.namespace), uuid)


def check_target(dataset: DtoolDataset, target: Target) -> Refusal | None:
    """Refuse a bucket that may not take the dataset, or cannot now.

    ReadOnly comes first: it ends what runs, also where the bucket was not found usable again since the edit.
    """
    spec = dataset.spec
    is_written = spec.uuid is None and not was_frozen(dataset)
    return (check_writable(target.bucket) if is_written else None) or check_ready(target.bucket)


def check_writable(bucket: DtoolBucket) -> Refusal | None:
    """Refuse a bucket to which nothing is ever written."""
    if bucket.spec.access_mode is AccessMode.READ_WRITE:
        return None
    name = f"{bucket.namespace}/{bucket.name}"
    return Refusal(
        Reason.READ_ONLY_BUCKET,
        f"DtoolBucket {name} is ReadOnly: nothing is written to it. Name another one, or adopt what is there "
        "with spec.uuid.",
    )


def find_older_claim(
    dataset: DtoolDataset, target: Target, siblings: tuple[DtoolDataset, ...], cluster: ClusterView
) -> Refusal | None:
    """Refuse where an older object of this namespace describes the same dataset at the same place."""
    rank = claim_rank(dataset)
    older = [
        other
        for other in siblings
        if claim_rank(other) < rank and _is_same_dataset(dataset, other, target.uuid)
    ]
    first = _find_first(older, target, cluster)
    if first is None:
        return None
    return Refusal(
        Reason.CLAIMED_BY_ANOTHER,
        f"DtoolDataset {first.name!r} came first and describes the same dataset; delete one of them.",
    )


def find_other_claim(
    target: Target, siblings: tuple[DtoolDataset, ...], cluster: ClusterView
) -> Refusal | None:
    """Refuse where another object of this namespace, of any age, describes the dataset at this place."""
    describing = [other for other in siblings if dataset_uuid(other) == target.uuid]
    other = _find_first(describing, target, cluster)
    if other is None:
        return None
    return Refusal(Reason.CLAIMED_BY_ANOTHER, f"DtoolDataset {other.name!r} describes dataset {target.uuid}.")


def _find_first(others: Iterable[DtoolDataset], target: Target, cluster: ClusterView) -> DtoolDataset | None:
    """Return the first object whose dataset lies, or shall lie, where the target does."""
    for other in sorted(others, key=claim_rank):
        ref = other.spec.bucket_ref
        bucket = ref and find_bucket(ref.namespace or other.namespace, ref.name, cluster)
        if isinstance(bucket, DtoolBucket) and _same_place(bucket, other.namespace, target):
            return other
    return None


def _is_same_dataset(dataset: DtoolDataset, other: DtoolDataset, uuid: str) -> bool:
    """Tell whether another object stands for this dataset, or will; of two copies none may know it yet."""
    known = dataset_uuid(other)
    if known is not None:
        return known == uuid
    original = find_original(other)
    return original is not None and original == find_original(dataset)


def claim_rank(dataset: DtoolDataset) -> tuple[bool, datetime, str]:
    """Return what orders claims on one dataset: users' objects, the oldest first, then the smaller uid.

    Rules 9 and 11: an object that the operator imported yields to any other.
    """
    return is_imported(dataset), dataset.meta.creation_timestamp, dataset.uid


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
