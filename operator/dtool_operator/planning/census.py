"""Whose datasets a listing of a bucket shows, counted for its status; pure (rule 8 of the API)."""

from collections import Counter

from dtool_operator.api.bucket_status import DatasetCounts, NamespaceUsage, Violation
from dtool_operator.api.quantities import format_size
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import ObservedBucket
from dtool_operator.planning.prefix_policy import derive_prefix, is_admitted
from dtool_s3.catalog import Catalog, CatalogEntry, EntryState

NAMESPACES_SHOWN = 100
VIOLATIONS_SHOWN = 20


def admitted_prefixes(seen: ObservedBucket) -> dict[str, str]:
    """Return the namespace of each prefix that the bucket admits."""
    return {
        derive_prefix(seen.bucket.spec, view.name): view.name
        for view in seen.cluster.namespaces.values()
        if is_admitted(seen.bucket, view.name, view.labels)
    }


def find_violations(seen: ObservedBucket, catalog: Catalog) -> list[Violation]:
    """List the datasets that are where they should not be: those outside first, each kind by uuid."""
    return [
        Violation(uuid=entry.uuid, prefix=entry.prefix, reason=reason.value)
        for reason, entries in (
            (Reason.OUTSIDE_ANY_PREFIX, _find_outside(seen, catalog)),
            (Reason.REGISTRATION_MISSING, _find_unregistered(seen, catalog)),
        )
        for entry in entries
    ]


def _find_unregistered(seen: ObservedBucket, catalog: Catalog) -> list[CatalogEntry]:
    """List the datasets under prefixes admitted now to which no registration key leads."""
    admitted = admitted_prefixes(seen)
    unregistered = [entry for entry in catalog.unregistered if entry.prefix in admitted]
    return sorted(unregistered, key=lambda entry: entry.uuid)


def _find_outside(seen: ObservedBucket, catalog: Catalog) -> list[CatalogEntry]:
    """List the datasets under no admitted and no acknowledged prefix, by uuid."""
    admitted = admitted_prefixes(seen)
    acknowledged = seen.bucket.spec.acknowledged_prefixes
    outside = [
        entry
        for entry in catalog.entries.values()
        if _is_there(entry)
        and entry.prefix not in admitted
        and not any(_lies_below(entry.prefix, known) for known in acknowledged)
    ]
    return sorted(outside, key=lambda entry: entry.uuid)


def _lies_below(prefix: str, acknowledged: str) -> bool:
    """`""` stands for the bucket's top alone; everything is below it, and would be no violation."""
    return prefix.startswith(acknowledged) if acknowledged else prefix == ""


def _is_there(entry: CatalogEntry) -> bool:
    return entry.state is not EntryState.DANGLING


def describe_catalog(seen: ObservedBucket, catalog: Catalog) -> dict[str, object]:
    """Return the fields of a bucket's status that count what is there."""
    states = Counter(entry.state for entry in catalog.entries.values())
    size_bytes = sum(seen.described.get(uuid, 0) for uuid in catalog.entries)
    usage = _usage(seen, catalog)
    violations = find_violations(seen, catalog)
    return {
        "datasets": DatasetCounts(total=len(catalog.entries), **{s.value: n for s, n in states.items()}),
        "size_bytes": size_bytes,
        "size": format_size(size_bytes),
        "namespaces": tuple(usage[:NAMESPACES_SHOWN]),
        "namespaces_omitted": max(0, len(usage) - NAMESPACES_SHOWN) or None,
        "violations": tuple(violations[:VIOLATIONS_SHOWN]),
        "violations_count": len(violations),
    }


def _usage(seen: ObservedBucket, catalog: Catalog) -> list[NamespaceUsage]:
    owners = admitted_prefixes(seen)
    datasets: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for entry in catalog.entries.values():
        if entry.prefix in owners and _is_there(entry):
            datasets[entry.prefix] += 1
            sizes[entry.prefix] += seen.described.get(entry.uuid, 0)
    rows = [
        NamespaceUsage(namespace=owners[p], prefix=p, datasets=count, size_bytes=sizes[p])
        for p, count in datasets.items()
    ]
    return sorted(rows, key=lambda row: (-row.size_bytes, -row.datasets, row.namespace))
