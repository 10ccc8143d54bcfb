"""How objects are related: which dataset lies in, or is read through, which bucket object; pure."""

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.choice import FromNamespaces
from dtool_operator.api.dataset import DtoolDataset, DtoolDatasetSpec
from dtool_operator.api.parsing import ObjectMeta
from dtool_operator.api.source import BucketRef
from dtool_operator.reconcile.invalid_object import Invalid
from dtool_operator.reconcile.queue import Key
from dtool_s3.uri import DatasetURI, parse_uri

Bucket = DtoolBucket | Invalid[DtoolBucketStatus]


def admits_others(bucket: DtoolBucket) -> bool:
    """Tell whether a bucket object is meant for more than its own namespace."""
    return bucket.spec.allowed_namespaces.from_ is not FromNamespaces.SAME


def lies_in(dataset: DtoolDataset, bucket: Bucket) -> bool:
    """Tell whether a bucket object is a dataset's place."""
    ref = dataset.spec.bucket_ref
    return ref is not None and (ref.namespace or dataset.namespace, ref.name) == (
        bucket.meta.namespace,
        bucket.meta.name,
    )


def mentions(dataset: DtoolDataset, bucket: Bucket) -> bool:
    """Tell whether a dataset's place or source may depend on a bucket object."""
    spec = dataset.spec
    if lies_in(dataset, bucket):
        return True
    here = (bucket.meta.namespace, bucket.meta.name)
    if any((ref.namespace or dataset.namespace, ref.name) == here for ref in _source_refs(spec)):
        return True
    uri = spec.source.uri if spec.source else None
    if uri is None or not uri.startswith("s3://") or not isinstance(bucket, DtoolBucket):
        return False
    parsed = parse_uri(uri)
    return isinstance(parsed, DatasetURI) and parsed.bucket == bucket.spec.bucket


def _source_refs(spec: DtoolDatasetSpec) -> tuple[BucketRef, ...]:
    """Return the bucket object that a source names, if it does."""
    source = spec.source
    named = () if source is None else (source.stored, source.objects)
    return tuple(one.bucket_ref for one in named if one is not None)


def object_key(plural: str, meta: ObjectMeta) -> Key:
    """Return the key of an object."""
    return Key(plural, meta.namespace, meta.uid)
