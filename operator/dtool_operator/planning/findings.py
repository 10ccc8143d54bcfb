"""What a complete listing means for DtoolDatasets: which could be imported, which imported ones lost theirs.

Pure; rule 9 of the API. What is done about it is decided in `importing`, with each look.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import ImportMode
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.planning.census import admitted_prefixes
from dtool_operator.planning.identity import list_candidates
from dtool_operator.planning.imported import is_imported, is_kept_in
from dtool_operator.planning.observed import Findings, ObservedBucket
from dtool_operator.planning.prefix_policy import derive_prefix, find_take_over, storage_key
from dtool_s3.catalog import Catalog, EntryState
from dtool_s3.layout import DatasetLayout

Claims = Mapping[str, tuple[DtoolDataset, ...]]
"""The objects that may describe the dataset at a root, in this S3 bucket."""

_NOT_THERE: Final = (None, EntryState.DANGLING)


def build_findings(before: ObservedBucket, seen: ObservedBucket, catalog: Catalog) -> Findings:
    """Say what a complete listing means for the objects, those of before it began and those of now.

    An object that went meanwhile may have taken its dataset along; one that came was not looked for.
    """
    prefixes = admitted_prefixes(before)
    importable: Mapping[str, tuple[str, ...]] = {}
    if seen.bucket.spec.listing.import_ is ImportMode.FROZEN:
        described = find_claims(before).keys() | find_claims(seen).keys()
        importable = _find_importable(prefixes, described, catalog)
    vanished = () if catalog.unlisted else tuple(_find_vanished(before, seen, catalog))
    return Findings(prefixes=frozenset(prefixes), importable=importable, vanished=vanished)


def find_marker_prefixes(seen: ObservedBucket, found: Findings) -> tuple[str, ...]:
    """Return the prefixes whose owner markers decide what is done with the findings."""
    vanished, bucket = set(found.vanished), seen.bucket
    losing = {own_prefix(one, bucket) for one in seen.objects if one.uid in vanished}
    handed_over = {prefix for prefix, name in admitted_prefixes(seen).items() if find_take_over(bucket, name)}
    return tuple(sorted(losing | handed_over | found.importable.keys()))


def find_claims(seen: ObservedBucket) -> Claims:
    """Find which objects describe which datasets of this S3 bucket, through whichever bucket object."""
    storage = storage_key(seen.bucket.spec)
    buckets = {(b.namespace, b.name): b for b in seen.cluster.buckets if storage_key(b.spec) == storage}
    claims: dict[str, tuple[DtoolDataset, ...]] = {}
    for one in seen.objects:
        ref = one.spec.bucket_ref
        bucket = None if ref is None else buckets.get((ref.namespace or one.namespace, ref.name))
        if bucket is None:
            continue
        prefix = own_prefix(one, bucket)
        for uuid in list_candidates(one):
            root = DatasetLayout(prefix, uuid).root
            claims[root] = (*claims.get(root, ()), one)
    return claims


def list_imported(seen: ObservedBucket) -> tuple[DtoolDataset, ...]:
    """List the imported objects of this bucket object."""
    return tuple(one for one in seen.objects if is_kept_in(one, seen.bucket) and is_imported(one))


def own_prefix(dataset: DtoolDataset, bucket: DtoolBucket) -> str:
    """Return the prefix under which an object's dataset lies in a bucket object."""
    return derive_prefix(bucket.spec, dataset.namespace)


def is_listed(catalog: Catalog, prefix: str, uuid: str) -> bool:
    """Tell whether a listing found a dataset, in whatever state, registered under this prefix."""
    entry = catalog.entries.get(uuid)
    return entry is not None and entry.state is not EntryState.DANGLING and entry.prefix == prefix


def _find_importable(
    prefixes: Mapping[str, str], described: frozenset[str] | set[str], catalog: Catalog
) -> dict[str, tuple[str, ...]]:
    importable: dict[str, list[str]] = {}
    for entry in catalog.entries.values():
        if entry.state is not EntryState.FROZEN or entry.prefix not in prefixes:
            continue
        if DatasetLayout(entry.prefix, entry.uuid).root not in described:
            importable.setdefault(entry.prefix, []).append(entry.uuid)
    return {prefix: tuple(sorted(uuids)) for prefix, uuids in sorted(importable.items())}


def _find_vanished(before: ObservedBucket, seen: ObservedBucket, catalog: Catalog) -> Iterator[str]:
    """Yield the imported objects whose dataset the listing did not find.

    One that lies there without its registration key, is a proto dataset or cannot be read is damaged, not
    gone.
    """
    known = {one.uid for one in before.objects}
    unregistered = {DatasetLayout(one.prefix, one.uuid).root for one in catalog.unregistered}
    for one in list_imported(seen):
        assert one.spec.uuid is not None
        prefix = own_prefix(one, seen.bucket)
        entry = catalog.entries.get(one.spec.uuid)
        if one.uid not in known or (entry is not None and entry.state is EntryState.UNREADABLE):
            continue
        is_there = is_listed(catalog, prefix, one.spec.uuid)
        if not is_there and DatasetLayout(prefix, one.spec.uuid).root not in unregistered:
            yield one.uid
