"""DtoolDatasets that the operator made for datasets it found (rule 9): which they are, when they yield.

Pure. An imported object that a user edits is the user's from then on.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset, DtoolDatasetSpec
from dtool_operator.names import LABEL_IMPORTED, LABEL_UUID
from dtool_operator.planning.identity import list_candidates
from dtool_operator.planning.observed import ClusterView
from dtool_operator.planning.prefix_policy import derive_prefix, storage_key

Place = tuple[tuple[str, str], str]
"""Endpoint and bucket name, and a prefix: where an object's dataset lies, through whichever bucket object."""

_TRUE: Final = "true"
_BLANK: Final = DtoolDatasetSpec.model_construct()
#: The fields that an imported object does not set, with their defaults.
_OTHER_FIELDS: Final = {
    name: getattr(_BLANK, name)
    for name in DtoolDatasetSpec.model_fields
    if name not in {"bucket_ref", "uuid"}
}


def is_imported(dataset: DtoolDataset) -> bool:
    """Tell whether an object is the operator's own, so that the operator may delete it.

    It carries the label, and its spec says where and which dataset, and nothing else: whatever more there is
    was asked for by a user.
    """
    spec = dataset.spec
    if dataset.meta.labels.get(LABEL_IMPORTED) != _TRUE or spec.bucket_ref is None or spec.uuid is None:
        return False
    return all(getattr(spec, name) == default for name, default in _OTHER_FIELDS.items())


def build_labels(uuid: str) -> dict[str, str]:
    """Return the labels of an imported object."""
    return {LABEL_UUID: uuid, LABEL_IMPORTED: _TRUE}


def find_place(dataset: DtoolDataset, cluster: ClusterView) -> Place | None:
    """Return where an object's dataset lies or shall lie; None for volumes and unknown bucket objects."""
    ref = dataset.spec.bucket_ref
    bucket = None if ref is None else cluster.find_bucket(ref.namespace or dataset.namespace, ref.name)
    if bucket is None:
        return None
    return storage_key(bucket.spec), derive_prefix(bucket.spec, dataset.namespace)


def is_kept_in(dataset: DtoolDataset, bucket: DtoolBucket) -> bool:
    """Tell whether an object names this bucket object as its place."""
    ref = dataset.spec.bucket_ref
    place = None if ref is None else (ref.namespace or dataset.namespace, ref.name)
    return place == (bucket.namespace, bucket.name)


def find_superior(
    dataset: DtoolDataset, others: Iterable[DtoolDataset], cluster: ClusterView
) -> DtoolDataset | None:
    """Return the object to which an imported one yields: a user's for the same uuid and place, or None.

    Of two imported ones the older stays. What is being deleted is yielded to by nobody.
    """
    place = find_place(dataset, cluster)
    if place is None or dataset.spec.uuid is None:
        return None
    return choose_superior(
        dataset,
        (
            other
            for other in others
            if other.namespace == dataset.namespace
            and dataset.spec.uuid in list_candidates(other)
            and find_place(other, cluster) == place
        ),
    )


def choose_superior(dataset: DtoolDataset, rivals: Iterable[DtoolDataset]) -> DtoolDataset | None:
    """Do the same among objects that are known to describe the same dataset at the same place."""
    superior = (
        rival
        for rival in rivals
        if rival.uid != dataset.uid
        and rival.meta.deletion_timestamp is None
        and (not is_imported(rival) or _rank(rival) < _rank(dataset))
    )
    return min(superior, key=_rank, default=None)


def _rank(dataset: DtoolDataset) -> tuple[bool, datetime, str]:
    return is_imported(dataset), dataset.meta.creation_timestamp, dataset.uid
