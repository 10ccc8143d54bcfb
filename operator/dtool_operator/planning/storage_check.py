"""What S3's answers allow: ownership, registration, source. Pure; each check refuses or is content."""

from dtool_operator.api.choice import ReadAccess
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
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
    may_see = target.bucket.spec.read_access is ReadAccess.BUCKET
    where = f"under prefix {storage.registered_prefix!r}" if may_see else "under another prefix"
    place = f"bucket {target.bucket.spec.bucket!r} {where}"
    if dataset.spec.source is not None:
        return Refusal(
            Reason.ALREADY_IN_BUCKET,
            f"Dataset {target.uuid} already is in {place}; it cannot be there twice.",
        )
    return Refusal(Reason.UUID_TAKEN, f"UUID {target.uuid} is registered in {place}.")


def _check_adopted(dataset: DtoolDataset, target: Target, storage: StorageView) -> Refusal | None:
    """Refuse to adopt what is not there, or what readers of the bucket do not find."""
    if dataset.spec.uuid is None:
        return None
    if storage.admin is None:
        return Refusal(
            Reason.DATASET_MISSING,
            f"There is no dataset {target.uuid} under prefix {target.prefix!r} "
            f"of bucket {target.bucket.spec.bucket!r}.",
        )
    if storage.registered_prefix is None:
        return Refusal(
            Reason.REGISTRATION_MISSING,
            f"Dataset {target.uuid} has no registration key dtool-{target.uuid} in its bucket; "
            "dtool cannot find it without.",
        )
    return None


def check_source(dataset: DtoolDataset, source: Origin, storage: StorageView) -> Refusal | None:
    """Refuse a dataset in S3 that is not there, may not be read, or is not frozen; workers see the rest."""
    if not isinstance(source, SourcePlace):
        return None
    bucket = source.candidates[0].spec.bucket
    if storage.source_prefix is None:
        return Refusal(
            Reason.SOURCE_NOT_FOUND, f"No dataset {source.uuid} is registered in bucket {bucket!r}."
        )
    if source.choose(dataset.namespace, storage.source_prefix) is None:
        return Refusal(
            Reason.SOURCE_NOT_ALLOWED,
            f"Dataset {source.uuid} lies outside the prefix of namespace {dataset.namespace!r} in bucket "
            f"{bucket!r}, and its DtoolBucket has no readAccess: Bucket.",
        )
    if storage.source_admin is None:
        return Refusal(
            Reason.SOURCE_NOT_FOUND,
            f"Bucket {bucket!r} registers {source.uuid}, but there is no dataset at that place.",
        )
    if not storage.source_admin.is_frozen:
        return Refusal(
            Reason.SOURCE_NOT_FROZEN,
            f"Dataset {source.uuid} in bucket {bucket!r} is a proto dataset; it is copied once it is frozen.",
        )
    return None


def check_frozen(target: Target, storage: StorageView) -> Refusal | None:
    """Say what happened to a dataset that was reported frozen before; None: it is as it was."""
    is_registered = storage.registered_prefix is not None
    if storage.admin is None and storage.registered_prefix in (None, target.prefix):
        return Refusal(
            Reason.DATASET_MISSING,
            f"Dataset {target.uuid} was frozen under {target.prefix!r} and is not there any more.",
        )
    if storage.registered_prefix != target.prefix:
        found = "names another prefix" if is_registered else "is gone"
        return Refusal(
            Reason.REGISTRATION_HIJACKED,
            f"The registration key of {target.uuid} {found}; the dataset under {target.prefix!r} is not "
            "what readers of the bucket find.",
        )
    assert storage.admin is not None
    if not storage.admin.is_frozen:
        return Refusal(
            Reason.CONTENT_DIFFERS, f"Dataset {target.uuid} was frozen and is a proto dataset now."
        )
    return None
