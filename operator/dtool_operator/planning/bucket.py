"""What to do with one DtoolBucket: check the spec, try the bucket, list it, report. Pure.

Tests and listings are actions; their outcomes come back with the next look, which then plans nothing more.
"""

from collections import Counter
from datetime import timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DatasetCounts, DtoolBucketStatus, NamespaceUsage, Violation
from dtool_operator.api.choice import AccessMode
from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType, merge_conditions
from dtool_operator.api.quantities import format_size
from dtool_operator.api.reasons import Reason, is_stalled_reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.bucket_spec import check_bucket_spec
from dtool_operator.planning.observed import ObservedBucket, Refusal
from dtool_operator.planning.plan import (
    Backoff,
    BucketAction,
    ListDatasets,
    Plan,
    SelfTest,
    is_due,
    spread_interval,
)
from dtool_operator.planning.prefix_policy import derive_prefix, is_admitted
from dtool_s3.catalog import Catalog, CatalogEntry, EntryState

BucketPlan = Plan[BucketAction, DtoolBucketStatus]

NAMESPACES_SHOWN = 100
VIOLATIONS_SHOWN = 20

#: A bucket in which datasets arrive one after the other is not listed more often than this.
RELIST_PAUSE = timedelta(seconds=5)


def plan_bucket(seen: ObservedBucket) -> BucketPlan:
    """Decide what happens with a bucket now."""
    refusal = check_bucket_spec(seen.bucket, seen.cluster, seen.policy)
    if refusal is None and seen.bucket.spec.suspend:
        refusal = Refusal(Reason.SUSPENDED, "spec.suspend is true: nothing is started with this bucket.")
    if refusal is not None:
        is_final = is_stalled_reason(refusal.reason) or refusal.reason is Reason.SUSPENDED
        return Plan((), build_bucket_status(seen, refusal), _later(seen) if is_final else Backoff())
    if isinstance(seen.credentials, Refusal):
        return Plan((), build_bucket_status(seen, seen.credentials), Backoff())
    assert seen.credentials is not None, "credentials are read for every valid spec"
    actions = _due_actions(seen)
    if actions:
        return Plan(actions, None, timedelta(0))
    refusal = _storage_refusal(seen)
    is_retried = refusal is not None and not is_stalled_reason(refusal.reason)
    return Plan((), build_bucket_status(seen, refusal), Backoff() if is_retried else _later(seen))


def test_version(seen: ObservedBucket) -> str:
    """Say what a self-test depends on: spec, Secret, and the prefix under which it may write."""
    return f"{seen.bucket.meta.generation}/{seen.credentials}/{seen.owned_prefix}"


def _due_actions(seen: ObservedBucket) -> tuple[BucketAction, ...]:
    """Test first; a test that failed is repeated at every look, a listing only while the bucket answers."""
    tested, listed = seen.tested, seen.listed
    version = test_version(seen)
    just_now = timedelta(seconds=1)
    if tested is None or tested.version != version:
        return (SelfTest(version, seen.owned_prefix),)
    if tested.refusal is not None:
        needs_test = is_due(tested.tested_at, just_now, seen.now) and not is_stalled_reason(
            tested.refusal.reason
        )
        return (SelfTest(version, seen.owned_prefix),) if needs_test else ()
    if listed is None or is_due(listed.listed_at, seen.bucket.spec.listing.interval, seen.now):
        return (ListDatasets(),)
    if listed.refusal is not None and is_due(listed.listed_at, just_now, seen.now):
        return (ListDatasets(),)
    if listed.is_stale and is_due(listed.listed_at, RELIST_PAUSE, seen.now):
        return (ListDatasets(),)
    if _is_look_requested(seen.bucket) and is_due(listed.listed_at, just_now, seen.now):
        return (ListDatasets(),)
    return ()


def _is_look_requested(bucket: DtoolBucket) -> bool:
    asked = bucket.meta.get_request(ANNOTATION_RECONCILE_REQUESTED)
    return asked is not None and asked != bucket.status.last_handled_reconcile_at


def _storage_refusal(seen: ObservedBucket) -> Refusal | None:
    tested = None if seen.tested is None else seen.tested.refusal
    listed = None if seen.listed is None else seen.listed.refusal
    return tested or listed


def _later(seen: ObservedBucket) -> timedelta:
    if seen.listed is not None and seen.listed.is_stale:
        return RELIST_PAUSE
    return spread_interval(seen.bucket.spec.listing.interval, key=seen.bucket.uid)


def build_bucket_status(seen: ObservedBucket, refusal: Refusal | None) -> DtoolBucketStatus:
    """Build the complete status; what a listing found before stays while the bucket does not answer."""
    bucket = seen.bucket
    conditions = [
        c.model_copy(update={"observed_generation": bucket.meta.generation})
        for c in _conditions(seen, refusal)
    ]
    catalog = None if seen.listed is None else seen.listed.catalog
    counts = {} if catalog is None else _counts(seen, catalog)
    return DtoolBucketStatus.model_validate(
        {
            **dict(bucket.status),
            **counts,
            "observed_generation": bucket.meta.generation,
            "conditions": merge_conditions(bucket.status.conditions, conditions, seen.now),
            "last_handled_reconcile_at": bucket.meta.get_request(ANNOTATION_RECONCILE_REQUESTED),
        }
    )


def _conditions(seen: ObservedBucket, refusal: Refusal | None) -> list[Condition]:
    if refusal is None:
        return [
            _condition(
                ConditionType.READY, ConditionStatus.TRUE, Reason.SUCCEEDED, _ready_message(seen.bucket)
            ),
            _condition(ConditionType.REACHABLE, ConditionStatus.TRUE, Reason.SUCCEEDED),
            _condition(ConditionType.LISTED, ConditionStatus.TRUE, Reason.SUCCEEDED),
            _respected(seen),
        ]
    stalled = is_stalled_reason(refusal.reason)
    second = ConditionType.STALLED if stalled else ConditionType.RECONCILING
    was_asked = seen.tested is not None and refusal is _storage_refusal(seen)
    reachable = ConditionStatus.FALSE if was_asked else ConditionStatus.UNKNOWN
    return [
        _condition(ConditionType.READY, ConditionStatus.FALSE, refusal.reason, refusal.message),
        _condition(second, ConditionStatus.TRUE, refusal.reason, refusal.message),
        _condition(ConditionType.REACHABLE, reachable, refusal.reason, refusal.message),
        _condition(ConditionType.LISTED, ConditionStatus.UNKNOWN, refusal.reason),
        _respected(seen),
    ]


def _ready_message(bucket: DtoolBucket) -> str:
    if bucket.spec.access_mode is AccessMode.READ_ONLY:
        return "The bucket answers; nothing is written to it."
    return "The bucket answers."


def _respected(seen: ObservedBucket) -> Condition:
    catalog = None if seen.listed is None else seen.listed.catalog
    if catalog is None:
        return _condition(ConditionType.PREFIXES_RESPECTED, ConditionStatus.UNKNOWN, Reason.PENDING)
    outside = len(find_outside(seen, catalog))
    if outside:
        return _condition(
            ConditionType.PREFIXES_RESPECTED,
            ConditionStatus.FALSE,
            Reason.OUTSIDE_ANY_PREFIX,
            f"{outside} datasets lie outside every admitted and acknowledged prefix; see status.violations.",
        )
    return _condition(ConditionType.PREFIXES_RESPECTED, ConditionStatus.TRUE, Reason.WITHIN_PREFIXES)


def admitted_prefixes(seen: ObservedBucket) -> dict[str, str]:
    """Return the namespace of each prefix that the bucket admits."""
    return {
        derive_prefix(seen.bucket.spec, view.name): view.name
        for view in seen.cluster.namespaces.values()
        if is_admitted(seen.bucket, view.name, view.labels)
    }


def find_outside(seen: ObservedBucket, catalog: Catalog) -> list[CatalogEntry]:
    """List the datasets under no admitted and no acknowledged prefix, by uuid."""
    allowed = admitted_prefixes(seen).keys() | set(seen.bucket.spec.acknowledged_prefixes)
    outside = [e for e in catalog.entries.values() if e.prefix not in allowed and _is_there(e)]
    return sorted(outside, key=lambda entry: entry.uuid)


def _is_there(entry: CatalogEntry) -> bool:
    return entry.state is not EntryState.DANGLING


def _counts(seen: ObservedBucket, catalog: Catalog) -> dict[str, object]:
    states = catalog.counts()
    size_bytes = sum(seen.described.get(uuid, 0) for uuid in catalog.entries)
    usage = _usage(seen, catalog)
    outside = find_outside(seen, catalog)
    return {
        "datasets": DatasetCounts(total=len(catalog.entries), **{s.value: n for s, n in states.items()}),
        "size_bytes": size_bytes,
        "size": format_size(size_bytes),
        "namespaces": tuple(usage[:NAMESPACES_SHOWN]),
        "namespaces_omitted": max(0, len(usage) - NAMESPACES_SHOWN) or None,
        "violations": tuple(
            Violation(uuid=e.uuid, prefix=e.prefix, reason=Reason.OUTSIDE_ANY_PREFIX.value)
            for e in outside[:VIOLATIONS_SHOWN]
        ),
        "violations_count": len(outside),
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


def _condition(type_: ConditionType, status: ConditionStatus, reason: Reason, message: str = "") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)
