"""What S3's answers allow: ownership, registration, source. Pure; each check refuses or is content."""

from dtool_operator.api.choice import ReadAccess
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.names import FINALIZER
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.source_place import Origin, SourcePlace
from dtool_operator.planning.work import expected_owner, may_take_over


def check_place(seen: ObservedDataset, target: Target, storage: StorageView) -> Refusal | None:
    """Refuse a prefix of somebody else's and a UUID that is registered elsewhere."""
    return (
        check_owner(seen, target, storage)
        or _check_registration(seen.dataset, target, storage)
        or _check_adopted(seen.dataset, target, storage)
    )


def check_owner(seen: ObservedDataset, target: Target, storage: StorageView) -> Refusal | None:
    """Refuse where the owner marker names another identity; a missing one is created before any write."""
    ours = expected_owner(seen, target)
    if storage.owner is None or storage.owner == ours or may_take_over(seen, target, storage.owner):
        return None
    return Refusal(
        Reason.PREFIX_OWNED_BY_OTHER,
        f"Prefix {target.prefix!r} belongs to {storage.owner} (namespace {storage.owner.namespace!r}), not "
        f"to {ours}; nothing there is touched. To take it over, spec.takeOver of the DtoolBucket names "
        f"fromOwner: {storage.owner}.",
    )


def _check_registration(dataset: DtoolDataset, target: Target, storage: StorageView) -> Refusal | None:
    if storage.registered_prefix is None or storage.registered_prefix == target.prefix:
        return None
    if storage.admin is not None and _was_begun(dataset):
        # it was registered here before anything else was written
        return _hijacked(target, "names another prefix")
    may_see = target.bucket.spec.read_access is ReadAccess.BUCKET
    where = f"under prefix {storage.registered_prefix!r}" if may_see else "under another prefix"
    place = f"bucket {target.bucket.spec.bucket!r} {where}"
    if dataset.spec.source is not None:
        return Refusal(
            Reason.ALREADY_IN_BUCKET,
            f"Dataset {target.uuid} already is in {place}; it cannot be there twice. Use it there, or create "
            "an object with identity: New.",
        )
    return Refusal(
        Reason.UUID_TAKEN,
        f"UUID {target.uuid} is registered in {place}; what this object describes lies under "
        f"{target.prefix!r} only. Delete this object, or have whoever registered it there remove it.",
    )


def _was_begun(dataset: DtoolDataset) -> bool:
    """Tell whether the dataset under the own prefix is this object's, reported or being written."""
    return dataset.status.created_at is not None or FINALIZER in dataset.meta.finalizers


def _hijacked(target: Target, found: str) -> Refusal:
    return Refusal(
        Reason.REGISTRATION_HIJACKED,
        f"The registration key of {target.uuid} {found}; the dataset under {target.prefix!r} is not "
        "what readers of the bucket find. Find out who did it, and write the prefix into the object "
        f"dtool-{target.uuid} again; then ask for a look with dtool.dev/reconcileRequestedAt.",
    )


def _check_adopted(dataset: DtoolDataset, target: Target, storage: StorageView) -> Refusal | None:
    """Refuse to adopt what is not there, and to call good what readers of the bucket do not find."""
    if dataset.spec.source is not None or (dataset.spec.uuid is None and storage.admin is None):
        return None
    if storage.admin is None:
        return Refusal(
            Reason.DATASET_MISSING,
            f"There is no dataset {target.uuid} under prefix {target.prefix!r} "
            f"of bucket {target.bucket.spec.bucket!r}; it is adopted once it is. Is spec.uuid right?",
        )
    if storage.registered_prefix is None:
        return Refusal(
            Reason.REGISTRATION_MISSING,
            f"Dataset {target.uuid} has no registration key dtool-{target.uuid}; dtool does not find it. "
            f"To write it: dtool-s3 register --prefix={target.prefix} "
            f"s3://{target.bucket.spec.bucket}/{target.uuid}",
        )
    return None


def check_source(seen: ObservedDataset, source: Origin, storage: StorageView) -> Refusal | None:
    """Refuse a source in S3 that is not there, may not be read, or is not frozen; workers see the rest."""
    refusal = _check_source_owner(seen, storage)
    if refusal is not None or not isinstance(source, SourcePlace):
        return refusal
    dataset, bucket = seen.dataset, source.candidates[0].spec.bucket
    if storage.source_prefix is None:
        return Refusal(
            Reason.SOURCE_NOT_FOUND,
            f"No dataset {source.uuid} is registered in bucket {bucket!r}; it is copied once it is there.",
        )
    if source.prefix not in (None, storage.source_prefix):
        return Refusal(
            Reason.REGISTRATION_HIJACKED,
            f"The registration key of {source.uuid} in bucket {bucket!r} names another prefix than the one "
            "where its DtoolDataset keeps it: nothing is copied from there.",
        )
    if source.choose(dataset.namespace, storage.source_prefix) is None:
        return Refusal(
            Reason.SOURCE_NOT_ALLOWED,
            f"Dataset {source.uuid} lies outside the prefix of namespace {dataset.namespace!r} in bucket "
            f"{bucket!r}, and its DtoolBucket has no readAccess: Bucket, which its administrator decides.",
        )
    if storage.source_admin is None:
        return Refusal(
            Reason.SOURCE_NOT_FOUND,
            f"Bucket {bucket!r} registers {source.uuid}, but there is no dataset at that place; it is copied "
            "once it is there.",
        )
    if not storage.source_admin.is_frozen:
        return Refusal(
            Reason.SOURCE_NOT_FROZEN,
            f"Dataset {source.uuid} in bucket {bucket!r} is a proto dataset; it is copied once it is frozen.",
        )
    return None


def _check_source_owner(seen: ObservedDataset, storage: StorageView) -> Refusal | None:
    """Refuse to read a prefix as its owner where it belongs to another identity of the same name (rule 4)."""
    found, namespace = storage.source_owner, seen.cluster.namespaces[seen.dataset.namespace]
    if found is None or (found.cluster, found.namespace_uid) == (seen.cluster.uid, namespace.uid):
        return None
    return Refusal(
        Reason.PREFIX_OWNED_BY_OTHER,
        f"The prefix of the source belongs to {found} (namespace {found.namespace!r}), not to "
        f"{seen.cluster.uid}/{namespace.uid}: nothing is read there.",
    )


def check_frozen(target: Target, storage: StorageView) -> Refusal | None:
    """Say what happened to a dataset that was reported frozen before; None: it is as it was."""
    is_registered = storage.registered_prefix is not None
    if storage.admin is None and storage.registered_prefix in (None, target.prefix):
        return Refusal(
            Reason.DATASET_MISSING,
            f"Dataset {target.uuid} was frozen under {target.prefix!r} and is not there any more. Restore it "
            "there, or delete this object; created anew, an object with a source copies it again.",
        )
    if storage.registered_prefix != target.prefix:
        return _hijacked(target, "names another prefix" if is_registered else "is gone")
    assert storage.admin is not None
    if not storage.admin.is_frozen:
        return Refusal(
            Reason.CONTENT_DIFFERS,
            f"Dataset {target.uuid} was frozen and is a proto dataset now: somebody replaced its object "
            "dtool. Restore that.",
        )
    return None
