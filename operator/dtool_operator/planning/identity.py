"""Which dataset an object stands for (rule 11); pure. A new one's uuid needs no memory: it is the object's.

The order is: what the spec says or the source has; status.uuid; the label, if it is registered under the own
prefix (after a restore); the object's uid.
"""

import re
from typing import Final

from dtool_operator.api.choice import Identity
from dtool_operator.api.dataset import DtoolDataset, DtoolDatasetSpec
from dtool_operator.api.source import Source
from dtool_operator.names import LABEL_UUID
from dtool_s3.publication.access_url import published_uuid
from dtool_s3.uri import parse_dataset_uri

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_http(source: Source) -> bool:
    """Tell whether a source is a dataset that was published by http(s)."""
    return source.uri is not None and not source.uri.startswith("s3://")


def spec_uuid(spec: DtoolDatasetSpec) -> str | None:
    """Return the uuid that the spec alone decides: adopted, or preserved from a source that names one."""
    if spec.uuid is not None:
        return spec.uuid
    return None if spec.source is None or spec.identity is Identity.NEW else source_uuid(spec.source)


def source_uuid(source: Source) -> str | None:
    """Return the uuid that a source names; None for another object's dataset, objects and volumes."""
    if source.stored is not None:
        return source.stored.uuid
    if source.uri is None:
        return None
    return published_uuid(source.uri) if is_http(source) else parse_dataset_uri(source.uri).uuid


def list_candidates(dataset: DtoolDataset) -> tuple[str, ...]:
    """Return the uuids that an object may stand for, the first that holds; none while its source decides.

    Of two the first is the label's, and holds only if it is registered under the own prefix.
    """
    decided = spec_uuid(dataset.spec) or dataset.status.uuid or _inspected_uuid(dataset)
    if decided is not None:
        return (decided,)
    if not dataset.spec.is_new_dataset:
        return ()
    label = dataset.meta.labels.get(LABEL_UUID, "")
    is_other = _UUID.fullmatch(label) is not None and label != dataset.uid
    return (label, dataset.uid) if is_other else (dataset.uid,)


def _inspected_uuid(dataset: DtoolDataset) -> str | None:
    """Return the uuid of a dataset on a volume, once somebody has looked, where the copy keeps it."""
    found = dataset.status.source
    return None if found is None or dataset.spec.is_new_dataset else found.uuid


def dataset_uuid(dataset: DtoolDataset) -> str | None:
    """Return the uuid an object stands for as far as the cluster tells; None while its source decides."""
    return next(iter(list_candidates(dataset)), None)


def find_original(dataset: DtoolDataset) -> tuple[str, str] | None:
    """Return namespace and name of the object whose dataset's uuid this one will have, or None."""
    source = dataset.spec.source
    if source is None or source.dataset is None or dataset.spec.identity is Identity.NEW:
        return None
    return source.dataset.namespace or dataset.namespace, source.dataset.name
