"""The operator's picture of the cluster, fed by watch events; owns the cache and who depends on whom.

Holds parsed objects only. An older resourceVersion never replaces a newer one, so that the answer to an own
write counts at once and its echo changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.dataset import DtoolDataset, parse_dataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.parsing import InvalidObject, ObjectMeta, parse_metadata, parse_status
from dtool_operator.names import (
    ANNOTATION_RECONCILE_REQUESTED,
    ANNOTATION_VERIFY_REQUESTED,
    BUCKET_PLURAL,
    DATASET_PLURAL,
    LABEL_UUID,
)
from dtool_operator.planning.history import find_damage, was_frozen
from dtool_operator.planning.identity import dataset_uuid, find_original
from dtool_operator.planning.observed import ClusterView, NamespaceView, Usage, is_ready
from dtool_operator.planning.placement import claim_rank
from dtool_operator.reconcile.dataset_index import Dataset, DatasetIndex
from dtool_operator.reconcile.departed import Departed
from dtool_operator.reconcile.invalid_object import Invalid, Status
from dtool_operator.reconcile.queue import Key
from dtool_operator.reconcile.relations import Bucket, admits_others, lies_in, mentions, object_key

NAMESPACE_PLURAL = "namespaces"

#: Annotations by which users ask for something now (rule 21).
REQUESTS: Final = (ANNOTATION_RECONCILE_REQUESTED, ANNOTATION_VERIFY_REQUESTED)

Parsed = TypeVar("Parsed")


#: Takes in the answer to an own write, of a kind, and has everybody else looked at whom it concerns.
TakeIn = Callable[[str, Mapping[str, Any]], None]


class World:
    """Buckets, datasets and namespaces as last seen."""

    def __init__(self) -> None:
        self.cluster_uid = ""
        self._buckets: dict[str, Bucket] = {}
        self._datasets = DatasetIndex()
        self._namespaces: dict[str, NamespaceView] = {}
        self._view: ClusterView | None = None
        self._departed = Departed()

    def bucket(self, uid: str) -> Bucket | None:
        """Return a bucket object, or None if it is gone."""
        return self._buckets.get(uid)

    def dataset(self, uid: str) -> Dataset | None:
        """Return a dataset object, or None if it is gone."""
        return self._datasets.get(uid)

    def datasets(self, namespace: str | None = None) -> tuple[DtoolDataset, ...]:
        """Return the valid dataset objects, of one namespace or of all."""
        return tuple(self._datasets.valid(namespace))

    def find_dataset(self, namespace: str, name: str) -> DtoolDataset | None:
        """Return the valid dataset object of a name, or None."""
        found = self._datasets.find(namespace, name)
        return found if isinstance(found, DtoolDataset) else None

    def bucket_of(self, dataset: DtoolDataset) -> DtoolBucket | None:
        """Return the valid bucket object that a dataset's place names, or None."""
        ref = dataset.spec.bucket_ref
        return None if ref is None else self.view().find_bucket(ref.namespace or dataset.namespace, ref.name)

    def source_of(self, dataset: DtoolDataset) -> DtoolDataset | None:
        """Return the object whose dataset is this one's source, where its spec names one that is valid."""
        ref = dataset.spec.source.dataset if dataset.spec.source else None
        return None if ref is None else self.find_dataset(ref.namespace or dataset.namespace, ref.name)

    def rivals(self, dataset: Dataset) -> tuple[DtoolDataset, ...]:
        """Return the other valid objects of its namespace that describe the same dataset."""
        if not isinstance(dataset, DtoolDataset):
            return ()
        source, original = self.source_of(dataset), find_original(dataset)
        uuid, label = dataset_uuid(dataset), dataset.meta.labels.get(LABEL_UUID)
        uuids = [uuid] if uuid else [source.status.uuid if source else None, label]
        claimants = [one for u in uuids if u for one in self._datasets.claimants(dataset.namespace, u)]
        if original is not None:
            # copies of one source are rivals before their uuid is known
            copies = self._datasets.followers(*original)
            claimants += [one for one in copies if one.namespace == dataset.namespace]
        found = {one.uid: one for one in claimants if one.uid != dataset.uid}
        return tuple(found.values())

    def find_usage(self, dataset: DtoolDataset, bucket: DtoolBucket) -> Usage:
        """Add up what the namespace keeps in a bucket beside this dataset (rule 8).

        What is described counts, and what came first: of many that are applied at once the oldest get in.
        """
        rank, datasets, size_bytes = claim_rank(dataset), 0, 0
        for one in self._datasets.valid(dataset.namespace):
            if one.uid == dataset.uid or not lies_in(one, bucket):
                continue
            is_described = one.status.size_bytes is not None or one.status.created_at is not None
            datasets += is_described or claim_rank(one) < rank
            progress = one.status.progress
            size_bytes += one.status.size_bytes or (0 if progress is None else progress.bytes_total)
        return Usage(datasets, size_bytes)

    @property
    def is_shared(self) -> bool:
        """Whether more than one namespace may have datasets copied."""
        buckets = self.view().buckets
        return len({bucket.namespace for bucket in buckets}) > 1 or any(map(admits_others, buckets))

    def view(self) -> ClusterView:
        """Return a frozen picture of buckets and namespaces."""
        if self._view is None:
            buckets = self._buckets.values()
            self._view = ClusterView(
                uid=self.cluster_uid,
                buckets=tuple(b for b in buckets if isinstance(b, DtoolBucket)),
                namespaces=dict(self._namespaces),
                invalid_buckets=frozenset(
                    (b.meta.namespace, b.meta.name) for b in buckets if isinstance(b, Invalid)
                ),
            )
        return self._view

    def put(self, plural: str, body: Mapping[str, Any]) -> set[Key]:
        """Take in an object as the API server sent it; return the keys that must be looked at."""
        if plural == NAMESPACE_PLURAL:
            return self._put_namespace(body)
        if plural == BUCKET_PLURAL:
            return self._put_bucket(body)
        return self._put_dataset(body)

    def absorb(self, plural: str, body: Mapping[str, Any]) -> set[Key]:
        """Take in the answer to an own write; return the keys that must be looked at, as `put` does.

        The object itself is being looked at, and is among them only where the answer shows what a user did
        in the meantime: the watch's event of that is no news then, and would be passed over.
        """
        uid = body["metadata"]["uid"]
        if uid in self._departed:
            return set()  # the watch was faster: the answer to the end of a finalizer speaks of what is gone
        before = self._known(plural, uid)
        keys = self.put(plural, body)
        after = self._known(plural, uid)
        if before is None or (after is not None and _wish(before) != _wish(after)):
            return keys  # what was created by this write is looked at for the first time
        return {key for key in keys if key.uid != uid}

    def _known(self, plural: str, uid: str) -> Bucket | Dataset | None:
        return self._buckets.get(uid) if plural == BUCKET_PLURAL else self._datasets.get(uid)

    def remove(self, plural: str, uid: str, name: str = "") -> set[Key]:
        """Take out an object that is gone; return the keys that must be looked at."""
        self._view = None
        if plural == NAMESPACE_PLURAL:
            known = self._namespaces.get(name)
            if known is None or known.uid != uid:
                return set()
            del self._namespaces[name]
            return self._keys_of_namespace(name)
        self._departed.add(uid)
        if plural == BUCKET_PLURAL:
            bucket = self._buckets.pop(uid, None)
            if bucket is None:
                return set()
            return {object_key(BUCKET_PLURAL, bucket.meta)} | self._after_bucket(bucket)
        return self._remove_dataset(uid)

    def _remove_dataset(self, uid: str) -> set[Key]:
        """Take out a dataset; those that yielded to it, or copy it, are looked at again."""
        dataset = self._datasets.get(uid)
        if dataset is None:
            return set()
        meta = dataset.meta
        others = (*self.rivals(dataset), *self._datasets.followers(meta.namespace, meta.name))
        self._datasets.remove(uid)
        return {object_key(DATASET_PLURAL, one.meta) for one in (dataset, *others)}

    def _put_namespace(self, body: Mapping[str, Any]) -> set[Key]:
        meta = parse_metadata(body)
        phase = (body.get("status") or {}).get("phase")
        is_terminating = meta.deletion_timestamp is not None or phase == "Terminating"
        view = NamespaceView(meta.name, meta.uid, dict(meta.labels), is_terminating)
        if self._namespaces.get(meta.name) == view:
            return set()
        self._namespaces[meta.name] = view
        self._view = None
        return self._keys_of_namespace(meta.name)

    def _put_bucket(self, body: Mapping[str, Any]) -> set[Key]:
        bucket = _parse(parse_bucket, DtoolBucketStatus, body)
        known = self._buckets.get(bucket.meta.uid)
        if known is not None and not _is_newer(bucket.meta, known.meta):
            return set()
        self._buckets[bucket.meta.uid] = bucket
        self._view = None
        keys = {object_key(BUCKET_PLURAL, bucket.meta)} if _is_asking(known, bucket) else set()
        if known is None or _bucket_face(known) != _bucket_face(bucket):
            keys |= self._after_bucket(bucket)
        return keys

    def _put_dataset(self, body: Mapping[str, Any]) -> set[Key]:
        dataset = _parse(parse_dataset, DtoolDatasetStatus, body)
        known = self._datasets.get(dataset.meta.uid)
        if known is not None and not _is_newer(dataset.meta, known.meta):
            return set()
        self._datasets.put(dataset)
        keys = {object_key(DATASET_PLURAL, dataset.meta)} if _is_asking(known, dataset) else set()
        if known is None or _claim(known) != _claim(dataset):
            # of two objects of one second the newer may be the one that owns
            keys |= {object_key(DATASET_PLURAL, rival.meta) for rival in self.rivals(dataset)}
        if known is None or _dataset_face(known) != _dataset_face(dataset):
            followers = self._datasets.followers(dataset.meta.namespace, dataset.meta.name)
            keys |= {object_key(DATASET_PLURAL, one.meta) for one in followers}
        return keys

    def _keys_of_namespace(self, name: str) -> set[Key]:
        datasets = self.datasets(name)
        return {object_key(DATASET_PLURAL, d.meta) for d in datasets} | self._bucket_keys()

    def _bucket_keys(self) -> set[Key]:
        return {object_key(BUCKET_PLURAL, bucket.meta) for bucket in self._buckets.values()}

    def _after_bucket(self, bucket: Bucket) -> set[Key]:
        """Keys of the datasets that mention a bucket object, and of its rivals for the same bucket."""
        dependents = (d for d in self.datasets() if mentions(d, bucket))
        rivals = (
            other
            for other in self._buckets.values()
            if isinstance(other, DtoolBucket)
            and isinstance(bucket, DtoolBucket)
            and other.uid != bucket.uid
            and other.spec.bucket == bucket.spec.bucket
        )
        return {object_key(DATASET_PLURAL, d.meta) for d in dependents} | {
            object_key(BUCKET_PLURAL, rival.meta) for rival in rivals
        }


def _parse(
    parse: Callable[[Mapping[str, Any]], Parsed], status: type[Status], body: Mapping[str, Any]
) -> Parsed | Invalid[Status]:
    try:
        return parse(body)
    except InvalidObject as error:
        return Invalid(error.meta, error.message, parse_status(status, body))


def _is_newer(meta: ObjectMeta, known: ObjectMeta) -> bool:
    return _version(meta) > _version(known)


def _version(meta: ObjectMeta) -> int:
    """Versions of one object grow; the API server's are numbers."""
    return int(meta.resource_version) if meta.resource_version.isdigit() else 0


def _is_asking(known: Bucket | Dataset | None, new: Bucket | Dataset) -> bool:
    """Tell whether an event is more than the echo of an own write to status, label or finalizer."""
    return known is None or _question(known) != _question(new)


def _question(one: Bucket | Dataset) -> tuple[object, ...]:
    return (*_wish(one), one.meta.finalizers, one.meta.labels.get(LABEL_UUID), isinstance(one, Invalid))


def _wish(one: Bucket | Dataset) -> tuple[object, ...]:
    """Return what only users change: spec, deletion, a requested look."""
    meta = one.meta
    requests = (meta.annotations.get(name) for name in REQUESTS)
    return meta.generation, meta.deletion_timestamp, *requests


def _claim(dataset: Dataset) -> str | None:
    """Return the uuid that an object is known to stand for."""
    return dataset_uuid(dataset) if isinstance(dataset, DtoolDataset) else None


def _dataset_face(dataset: Dataset) -> tuple[object, ...]:
    """Return what those see of a dataset that copy it."""
    if not isinstance(dataset, DtoolDataset):
        return (None,)
    return was_frozen(dataset), dataset.status.uuid, find_damage(dataset) is not None


def _bucket_face(bucket: Bucket) -> tuple[object, ...]:
    """Return what datasets see of a bucket object."""
    usable = isinstance(bucket, DtoolBucket) and is_ready(bucket)
    return bucket.meta.generation, usable, isinstance(bucket, Invalid)
