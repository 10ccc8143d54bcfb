"""What S3 is to be asked about one dataset at this look; pure. Most looks ask nothing.

A dataset that was frozen is watched through the listing of its bucket: requests of its own are made only
where that listing, the spec or the status gives a reason.
"""

from dataclasses import dataclass

from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.reasons import Reason
from dtool_operator.names import FINALIZER
from dtool_operator.planning.deletion import find_fate, must_stop, resolve_removal
from dtool_operator.planning.history import find_damage, is_look_requested, was_frozen
from dtool_operator.planning.identity import list_candidates
from dtool_operator.planning.metadata import find_wanted, is_out_of_sync
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.placement import Target
from dtool_operator.planning.resolution import resolve
from dtool_operator.planning.source_place import Origin, SourcePlace
from dtool_operator.planning.upload import is_unknown
from dtool_operator.planning.verification import find_due
from dtool_operator.planning.volume import resolve_on_volume
from dtool_s3.catalog import CatalogEntry, EntryState
from dtool_s3.metadata import Metadata


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Questions to S3; `target` None: only the source is asked about, for a volume.

    `other_uuid`: the dataset that counts where the target's uuid is not registered under its prefix.
    `wanted`: what README, tags and annotations are compared with.
    """

    target: Target | None
    origin: Origin | None = None
    other_uuid: str | None = None
    wanted: Metadata | None = None


def find_inquiry(seen: ObservedDataset) -> Inquiry | None:
    """Say what S3 is to be asked about; None where what is known already decides."""
    dataset = seen.dataset
    if dataset.meta.deletion_timestamp is not None:
        return _find_removal(seen)
    if dataset.spec.volume is not None:
        source = resolve_on_volume(seen)
        return Inquiry(None, source) if isinstance(source, SourcePlace) and not is_queued(seen) else None
    placed = resolve(seen)
    if isinstance(placed, Refusal) or is_unknown(seen, placed[1]):
        return None
    target, origin = placed
    if was_frozen(dataset) and not _is_look_needed(seen, target):
        return None
    if is_queued(seen):
        return None
    candidates = list_candidates(dataset)
    is_stable = was_frozen(dataset) or dataset.spec.source is None
    return Inquiry(
        target,
        origin,
        other_uuid=candidates[1] if len(candidates) > 1 else None,
        wanted=find_wanted(dataset) if is_stable else None,
    )


def _find_removal(seen: ObservedDataset) -> Inquiry | None:
    dataset = seen.dataset
    if FINALIZER not in dataset.meta.finalizers or find_fate(dataset).is_kept or must_stop(seen.transfer):
        return None
    removal = resolve_removal(seen)
    return None if isinstance(removal, Refusal) else Inquiry(removal)


def is_queued(seen: ObservedDataset) -> bool:
    """Tell whether a worker would be needed and there is no place for one: S3 is not asked in vain then.

    Of thousands that wait for a place each would ask again at every look.
    """
    spec = seen.dataset.spec
    ready = find_condition(seen.dataset.status.conditions, ConditionType.READY)
    is_open = ready is not None and ready.reason == Reason.PROTO and not spec.freeze
    needs_worker = spec.source is not None or (spec.uuid is not None and not is_open)
    is_begun = seen.transfer is not None or seen.dataset.status.job is not None
    return needs_worker and not was_frozen(seen.dataset) and not is_begun and not seen.slots.is_free


def _is_look_needed(seen: ObservedDataset, target: Target) -> bool:
    """Tell whether a frozen dataset's own keys must be looked at."""
    dataset = seen.dataset
    return (
        find_damage(dataset) is not None
        or is_look_requested(dataset)
        or find_wanted(dataset) is not None
        or is_out_of_sync(dataset)
        or seen.transfer is not None
        or not find_due(seen)
        or (seen.catalog is not None and not is_as_reported(seen.catalog.entry, target.prefix))
    )


def is_as_reported(entry: CatalogEntry | None, prefix: str) -> bool:
    """Tell whether a listing shows a dataset frozen, registered, and under its prefix."""
    return entry is not None and entry.state is EntryState.FROZEN and entry.prefix == prefix
