"""Where a dataset comes from, and who lets it be read (rule 12); pure.

Anything outside the reader's own prefix needs a bucket object that admits the reader and lets it read all.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import Identity
from dtool_operator.api.conditions import ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.api.source import DatasetRef, ObjectsSource, StoredSource, VolumeSource
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.identity import is_http
from dtool_operator.planning.observed import ObservedDataset, Refusal, is_ready
from dtool_operator.planning.placement import Target, check_admission, check_ready, find_bucket
from dtool_operator.planning.prefix_policy import (
    derive_prefix,
    endpoint_key,
    find_own_prefix,
    is_admitted,
    may_read,
)
from dtool_s3.publication.access_url import published_uuid
from dtool_s3.uri import parse_dataset_uri


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """A dataset in S3: bucket objects of one endpoint and bucket that may read it, the oldest first.

    `prefix`: where it lies, if another object describes it; then a registration key that names another place
    does not lead there (rule 6).
    """

    uuid: str
    candidates: tuple[DtoolBucket, ...]
    prefix: str | None = None

    def choose(self, namespace: str, prefix: str) -> DtoolBucket | None:
        """Return the oldest bucket object that lets the namespace read under `prefix`."""
        return next((b for b in self.candidates if may_read(b, namespace, prefix)), None)


@dataclass(frozen=True, slots=True)
class PublishedPlace:
    """A dataset that dtool published by http(s)."""

    uuid: str
    url: str


@dataclass(frozen=True, slots=True)
class ObjectsPlace:
    """Plain objects below a prefix, read through one bucket object."""

    bucket: DtoolBucket
    prefix: str


@dataclass(frozen=True, slots=True)
class VolumeOrigin:
    """A directory on a volume of the dataset's namespace."""

    volume: VolumeSource


Origin = SourcePlace | PublishedPlace | ObjectsPlace | VolumeOrigin


def resolve_source(seen: ObservedDataset, target: Target | None) -> Origin | Refusal:
    """Find out where the source is read, as far as the cluster decides it; `target` None: for a volume."""
    source = seen.dataset.spec.source
    assert source is not None
    if source.stored is not None:
        return _resolve_stored(seen, source.stored)
    if source.objects is not None:
        return _resolve_objects(seen, source.objects)
    if source.dataset is not None:
        return _resolve_dataset(seen, source.dataset)
    if source.volume is not None:
        return VolumeOrigin(source.volume)
    assert source.uri is not None, "a source is one of these"
    if is_http(source):
        return _resolve_published(seen, source.uri)
    uri = parse_dataset_uri(source.uri)
    return _first_tier(uri.bucket, uri.uuid, _tiers(seen, target), seen.dataset)


def _resolve_stored(seen: ObservedDataset, stored: StoredSource) -> SourcePlace | Refusal:
    bucket = _usable_bucket(seen, stored.bucket_ref.namespace, stored.bucket_ref.name)
    return bucket if isinstance(bucket, Refusal) else SourcePlace(stored.uuid, (bucket,))


def _usable_bucket(seen: ObservedDataset, namespace: str | None, name: str) -> DtoolBucket | Refusal:
    bucket = find_bucket(namespace or seen.dataset.namespace, name, seen.cluster)
    if isinstance(bucket, Refusal):
        return bucket
    return check_admission(bucket, seen.dataset.namespace, seen.cluster) or check_ready(bucket) or bucket


def _resolve_objects(seen: ObservedDataset, objects: ObjectsSource) -> ObjectsPlace | Refusal:
    """Plain objects below the own prefix, or anywhere in a bucket that lets its tenants read all of it."""
    bucket = _usable_bucket(seen, objects.bucket_ref.namespace, objects.bucket_ref.name)
    if isinstance(bucket, Refusal):
        return bucket
    own = find_own_prefix(bucket.spec, seen.dataset.namespace)
    # read access to `own` alone means what lies below it
    is_own = own is not None and objects.prefix.startswith(own)
    if is_own or may_read(bucket, seen.dataset.namespace, objects.prefix):
        return ObjectsPlace(bucket, objects.prefix)
    return Refusal(
        Reason.SOURCE_NOT_ALLOWED,
        f"Prefix {objects.prefix!r} lies outside {'every prefix' if own is None else repr(own)} of namespace "
        f"{seen.dataset.namespace!r} in bucket {bucket.spec.bucket!r}, and its DtoolBucket has no "
        "readAccess: Bucket, which its administrator decides.",
    )


def _resolve_published(seen: ObservedDataset, url: str) -> PublishedPlace | Refusal:
    """Only hosts that the administrator named are ever asked."""
    uuid = published_uuid(url)
    if uuid is None:
        return Refusal(
            Reason.INVALID_SPEC,
            "spec.source.uri: the URL of a published dataset ends in its uuid, before any query.",
        )
    host = urlsplit(url).netloc.lower()
    if host not in {name.lower() for name in seen.policy.allowed_http_hosts}:
        return Refusal(
            Reason.ENDPOINT_NOT_ALLOWED,
            f"Host {host} is not on the operator's list of http(s) sources; its administrator extends "
            "DTOOL_OPERATOR_ALLOWED_HTTP_HOSTS.",
        )
    return PublishedPlace(uuid, url)


def _resolve_dataset(seen: ObservedDataset, ref: DatasetRef) -> SourcePlace | Refusal:
    """Another object's dataset, once it is frozen; one that may not be read is as if it were not there."""
    reader, other = seen.dataset, seen.source_dataset
    name = f"{ref.namespace or reader.namespace}/{ref.name}"
    absent = Refusal(
        Reason.SOURCE_DATASET_NOT_FOUND,
        f"There is no DtoolDataset {name} that namespace {reader.namespace!r} may read.",
    )
    if other is not None and other.spec.volume is not None and other.namespace == reader.namespace:
        return Refusal(
            Reason.SOURCE_DATASET_NOT_FOUND,
            f"DtoolDataset {name} keeps its dataset on volume {other.spec.volume.claim_name!r}, where "
            "anybody of the namespace may change it: name the directory with source.volume, layout: Dataset.",
        )
    if other is None or other.spec.bucket_ref is None:
        return absent
    place = other.spec.bucket_ref
    bucket = seen.cluster.find_bucket(place.namespace or other.namespace, place.name)
    if bucket is None or not is_admitted(bucket, reader.namespace, seen.cluster.labels(reader.namespace)):
        return absent
    prefix = derive_prefix(bucket.spec, other.namespace)
    if not may_read(bucket, reader.namespace, prefix):
        return absent
    refusal = _check_other(reader, other, name) or check_ready(bucket)
    return refusal or SourcePlace(_uuid(other), (bucket,), prefix)


def _uuid(other: DtoolDataset) -> str:
    assert other.status.uuid is not None, "what is frozen has a uuid"
    return other.status.uuid


def _check_other(reader: DtoolDataset, other: DtoolDataset, name: str) -> Refusal | None:
    """Refuse a source that is not frozen, not intact, or not the one that the copy began with."""
    if not was_frozen(other) or other.status.uuid is None:
        return Refusal(
            Reason.SOURCE_NOT_FROZEN, f"DtoolDataset {name} is not Frozen yet; it is copied once it is."
        )
    verified = find_condition(other.status.conditions, ConditionType.VERIFIED)
    if verified is not None and verified.status is ConditionStatus.FALSE:
        return Refusal(
            Reason.SOURCE_DAMAGED,
            f"DtoolDataset {name} is damaged ({verified.reason}); it is copied once it is found whole.",
        )
    preserves = reader.spec.identity is Identity.PRESERVE
    if preserves and reader.status.uuid not in (None, other.status.uuid):
        return Refusal(
            Reason.SOURCE_NOT_FOUND,
            f"DtoolDataset {name} describes another dataset ({other.status.uuid}) than the one that this "
            f"copy began with ({reader.status.uuid}): create another DtoolDataset for it.",
        )
    return None


def _tiers(seen: ObservedDataset, target: Target | None) -> tuple[tuple[DtoolBucket, ...], ...]:
    namespace, cluster = seen.dataset.namespace, seen.cluster
    labels = cluster.labels(namespace)
    admitting = [b for b in cluster.buckets if is_admitted(b, namespace, labels)]
    return (
        tuple(b for b in admitting if b.namespace == namespace),
        () if target is None else (target.bucket,),
        tuple(b for b in admitting if b.namespace in seen.policy.admin_namespaces),
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
        f"No DtoolBucket lets namespace {dataset.namespace!r} read bucket {bucket_name!r}; describe it with "
        "one of this namespace, or have an administrator admit the namespace to his.",
    )
