"""Whose datasets a listing of a bucket shows, counted for its status; pure (rule 8 of the API).

One pass over the catalog per look, and memory for what is shown only: a bucket may hold many datasets.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DatasetCounts, NamespaceUsage, Violation
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.quantities import format_size
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import ClusterView, ObservedBucket
from dtool_operator.planning.prefix_policy import (
    derive_prefix,
    find_override_conflict,
    is_admitted,
    storage_key,
)
from dtool_s3.catalog import Catalog, CatalogEntry, EntryState

NAMESPACES_SHOWN = 100
VIOLATIONS_SHOWN = 20

#: Refusals of a bucket's spec: such a bucket object gives prefixes to nobody.
_REFUSED = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.RESERVED_FOR_ADMINISTRATORS,
        Reason.NOT_SUPPORTED,
        Reason.ENDPOINT_NOT_ALLOWED,
        Reason.PREFIX_OVERLAPS,
    }
)


@dataclass(frozen=True, slots=True)
class Census:
    """What is there: `fields` of the status, and how many violations of each kind there are."""

    fields: Mapping[str, object]
    violation_counts: Mapping[Reason, int]


def admitted_prefixes(seen: ObservedBucket) -> dict[str, str]:
    """Return the namespace of each prefix that the bucket admits; no two are equal or nest (rule 3)."""
    return list_admitted(seen.bucket, seen.cluster)


def list_admitted(bucket: DtoolBucket, cluster: ClusterView) -> dict[str, str]:
    """Return the namespace of each prefix that a bucket object admits."""
    return {
        derive_prefix(bucket.spec, view.name): view.name
        for view in cluster.namespaces.values()
        if is_admitted(bucket, view.name, view.labels)
        and find_override_conflict(bucket.spec, view.name) is None
    }


def take_census(seen: ObservedBucket, catalog: Catalog) -> Census:
    """Count what a listing found, by state and by namespace, and what is not where it should be."""
    owners = admitted_prefixes(seen)
    states: Counter[EntryState] = Counter()
    datasets: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    outside: list[CatalogEntry] = []
    size_bytes = 0
    for entry in catalog.entries.values():
        states[entry.state] += 1
        size = seen.described.get(entry.uuid, 0)
        size_bytes += size
        if entry.state is EntryState.DANGLING:
            continue
        if entry.prefix in owners:
            datasets[entry.prefix] += 1
            sizes[entry.prefix] += size
        else:
            outside.append(entry)
    usage = [(-sizes[prefix], -count, owners[prefix], prefix) for prefix, count in datasets.items()]
    violations = {
        Reason.OUTSIDE_ANY_PREFIX: _drop_acknowledged(seen, outside),
        Reason.REGISTRATION_MISSING: [one for one in catalog.unregistered if one.prefix in owners],
    }
    counts = {reason: len(entries) for reason, entries in violations.items()}
    fields = {
        "datasets": DatasetCounts(total=len(catalog.entries), **{s.value: n for s, n in states.items()}),
        "size_bytes": size_bytes,
        "size": format_size(size_bytes),
        "namespaces": tuple(_show_usage(row) for row in heapq.nsmallest(NAMESPACES_SHOWN, usage)),
        "namespaces_omitted": max(0, len(usage) - NAMESPACES_SHOWN) or None,
        "violations": _show_violations(violations),
        "violations_count": sum(counts.values()),
    }
    return Census(fields, counts)


def _show_usage(row: tuple[int, int, str, str]) -> NamespaceUsage:
    size, count, namespace, prefix = row
    return NamespaceUsage(namespace=namespace, prefix=prefix, datasets=-count, size_bytes=-size)


def _show_violations(found: Mapping[Reason, Iterable[CatalogEntry]]) -> tuple[Violation, ...]:
    """Show the first of those that are where they should not be: those outside first, each kind by uuid."""
    shown = [
        Violation(uuid=entry.uuid, prefix=entry.prefix, reason=reason.value)
        for reason, entries in found.items()
        for entry in heapq.nsmallest(VIOLATIONS_SHOWN, entries, key=lambda entry: entry.uuid)
    ]
    return tuple(shown[:VIOLATIONS_SHOWN])


def _drop_acknowledged(seen: ObservedBucket, outside: list[CatalogEntry]) -> list[CatalogEntry]:
    """Leave those under no acknowledged prefix and under none of another bucket object of this S3 bucket."""
    if not outside:
        return outside
    elsewhere = prefixes_of_others(seen.bucket, seen.cluster)
    acknowledged = seen.bucket.spec.acknowledged_prefixes
    return [
        entry
        for entry in outside
        if entry.prefix not in elsewhere
        and not any(_lies_below(entry.prefix, known) for known in acknowledged)
    ]


def prefixes_of_others(bucket: DtoolBucket, cluster: ClusterView) -> frozenset[str]:
    """Return the prefixes that other accepted bucket objects of the same S3 bucket admit."""
    storage = storage_key(bucket.spec)
    return frozenset(
        prefix
        for other in cluster.buckets
        if other.uid != bucket.uid and storage_key(other.spec) == storage and is_accepted(other)
        for prefix in list_admitted(other, cluster)
    )


def is_accepted(bucket: DtoolBucket) -> bool:
    """Tell whether a bucket object's present spec was found good, whether or not its S3 answers now."""
    ready = find_condition(bucket.status.conditions, ConditionType.READY)
    return (
        ready is not None
        and ready.observed_generation == bucket.meta.generation
        and ready.reason not in _REFUSED
    )


def _lies_below(prefix: str, acknowledged: str) -> bool:
    """`""` stands for the bucket's top alone; everything is below it, and would be no violation."""
    return prefix.startswith(acknowledged) if acknowledged else prefix == ""
