"""README, tags and annotations that the spec owns, at any time, frozen or not; pure.

Tags and annotations are ensured; those the operator added and the spec no longer names are removed; everybody
else's stay. `status.managed` says which are the operator's, and says it before they are written: an operator
that is killed in between finds them as its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from dtool_operator.api.choice import AccessMode
from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import Managed
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import Backoff, DatasetAction, EnsureOwner, SyncMetadata
from dtool_operator.planning.work import plan_owner
from dtool_s3.metadata import Metadata, MetadataChange


@dataclass(frozen=True, slots=True)
class MetadataPlan:
    """What is done about them now, what the status says, and when to look again; None: that is open."""

    synced: Condition
    managed: Managed | None
    actions: tuple[DatasetAction, ...] = ()
    look_again: timedelta | Backoff | None = None


def find_wanted(dataset: DtoolDataset) -> Metadata | None:
    """Return what the spec asks for, and what it no longer does; None: nothing was ever asked."""
    spec, managed = dataset.spec, dataset.status.managed or Managed()
    wanted = Metadata(
        readme=spec.readme,
        tags=frozenset(spec.tags),
        annotations=dict(spec.annotations),
        removed_tags=frozenset(managed.tags) - frozenset(spec.tags),
        removed_annotations=frozenset(managed.annotations) - spec.annotations.keys(),
    )
    is_anything = wanted.readme is not None or wanted.tags or wanted.annotations
    return wanted if is_anything or wanted.removed_tags or wanted.removed_annotations else None


def is_out_of_sync(dataset: DtoolDataset) -> bool:
    """Tell whether the last attempt failed."""
    synced = find_condition(dataset.status.conditions, ConditionType.METADATA_SYNCED)
    return synced is not None and synced.status is ConditionStatus.FALSE


def expect_metadata(dataset: DtoolDataset) -> MetadataPlan | None:
    """Say of data that have just been frozen that what the spec adds is to come; None: it adds nothing.

    Until it is there the dataset is not what the spec describes, and not Ready (rule 13).
    """
    if find_wanted(dataset) is None:
        return None
    lacking = _to_come(ConditionStatus.FALSE, Reason.PENDING)
    return MetadataPlan(lacking, dataset.status.managed, look_again=timedelta(0))


def plan_metadata(seen: ObservedDataset, target: Target, storage: StorageView | None) -> MetadataPlan:
    """Compare, note what will be added, then write it."""
    dataset = seen.dataset
    managed = dataset.status.managed
    if find_wanted(dataset) is None:
        return MetadataPlan(_synced(), None)
    change = None if storage is None else storage.change
    if change is None:
        known = find_condition(dataset.status.conditions, ConditionType.METADATA_SYNCED)
        return MetadataPlan(known or _unknown(), managed)
    if change.is_empty:
        return MetadataPlan(_synced(), _keep(managed, dataset))
    if target.bucket.spec.access_mode is AccessMode.READ_ONLY:
        name = f"{target.bucket.namespace}/{target.bucket.name}"
        refusal = Refusal(
            Reason.READ_ONLY_BUCKET,
            f"DtoolBucket {name} is ReadOnly: README, tags and annotations stay as they are there. Remove "
            "them from the spec.",
        )
        return MetadataPlan(build_unsynced(refusal), managed)
    ours = _extend(managed, change)
    if ours != (managed or Managed()):
        return MetadataPlan(_to_come(_so_far(dataset), Reason.PENDING), ours, look_again=timedelta(0))
    # a store that does not show what was written is not written to without a pause
    known = find_condition(dataset.status.conditions, ConditionType.METADATA_SYNCED)
    was_written = known is not None and known.reason == Reason.PROGRESSING
    later = Backoff() if was_written else timedelta(0)
    writing = _to_come(_so_far(dataset), Reason.PROGRESSING)
    return MetadataPlan(writing, ours, _write(seen, target, storage, change), later)


def _write(
    seen: ObservedDataset, target: Target, storage: StorageView | None, change: MetadataChange
) -> tuple[DatasetAction, ...]:
    assert storage is not None, "only what S3 has shown is changed"
    assert storage.admin is not None, "what is compared is there"
    owner: list[EnsureOwner] = plan_owner(seen, target, storage)
    return (*owner, SyncMetadata(target.uuid, change, is_frozen=storage.admin.is_frozen))


def build_unsynced(refusal: Refusal) -> Condition:
    """Say why README, tags and annotations are not what the spec asks."""
    return Condition(
        type=ConditionType.METADATA_SYNCED,
        status=ConditionStatus.FALSE,
        reason=refusal.reason,
        message=refusal.message,
    )


def _synced() -> Condition:
    return Condition(type=ConditionType.METADATA_SYNCED, status=ConditionStatus.TRUE, reason=Reason.SYNCED)


def _unknown() -> Condition:
    status = ConditionStatus.UNKNOWN
    return Condition(type=ConditionType.METADATA_SYNCED, status=status, reason=Reason.PENDING)


def _so_far(dataset: DtoolDataset) -> ConditionStatus:
    """Return what is known before a write: what the spec asked for was never there, or it was once."""
    return ConditionStatus.FALSE if is_out_of_sync(dataset) else ConditionStatus.UNKNOWN


def _to_come(status: ConditionStatus, reason: Reason) -> Condition:
    message = "README, tags and annotations of the spec are written next."
    return Condition(type=ConditionType.METADATA_SYNCED, status=status, reason=reason, message=message)


def _extend(managed: Managed | None, change: MetadataChange) -> Managed:
    """Count what will be added as the operator's own."""
    known = managed or Managed()
    return Managed(
        tags=_sorted({*known.tags, *change.put_tags}),
        annotations=_sorted({*known.annotations, *change.put_annotations}),
    )


def _keep(managed: Managed | None, dataset: DtoolDataset) -> Managed | None:
    """Count no longer what the spec does not name: all is as it asks, so it is gone."""
    if managed is None:
        return None
    spec = dataset.spec
    return Managed(
        tags=_sorted(set(managed.tags) & set(spec.tags)),
        annotations=_sorted(set(managed.annotations) & spec.annotations.keys()),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
