"""What a listing says of namespaces and violations, in a bucket's status."""

import time
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.bucket_status import DatasetCounts, DtoolBucketStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.census import admitted_prefixes
from dtool_operator.planning.findings import build_findings
from dtool_operator.planning.observed import NamespaceView, ObservedBucket
from dtool_s3.catalog import Catalog, CatalogEntry, EntryState
from tests.support import observed as see
from tests.support.observed import bucket
from tests.support.observed_bucket import listing, seen_bucket, trial
from tests.support.told import tell


def entry(number: int, prefix: str, state: EntryState = EntryState.FROZEN) -> CatalogEntry:
    return CatalogEntry(f"{number:08d}-0000-4000-8000-000000000000", prefix, state, "etag")


def count(*found: CatalogEntry, sizes: dict[int, int] | None = None, **fields: Any) -> DtoolBucketStatus:
    """The status of a bucket in which these were found; `sizes` of those that objects describe."""
    unregistered = tuple(e for e in found if e.state is EntryState.UNREGISTERED)
    entries = {e.uuid: e for e in found if e not in unregistered}
    look = seen_bucket(
        fields.pop("bucket", bucket()),
        tested=trial(),
        listed=listing(catalog=Catalog(entries, unregistered)),
        described={entry(number, "").uuid: size for number, size in (sizes or {}).items()},
        **fields,
    )
    status = plan_bucket(look).status
    assert status is not None
    return status


def test_every_dataset_is_counted_by_its_state() -> None:
    status = count(
        entry(1, "u/alice/"),
        entry(2, "u/alice/"),
        entry(3, "u/bob/", EntryState.PROTO),
        entry(4, "u/bob/", EntryState.UNREADABLE),
        entry(5, "u/bob/", EntryState.DANGLING),
    )

    assert status.datasets == DatasetCounts(total=5, frozen=2, proto=1, unreadable=1, dangling=1)
    assert [(row.namespace, row.datasets) for row in status.namespaces] == [("alice", 2), ("bob", 2)]


def test_only_the_bytes_of_described_datasets_are_counted_and_the_largest_come_first() -> None:
    status = count(
        entry(1, "u/alice/"), entry(2, "u/bob/"), entry(3, "u/bob/"), sizes={1: 2048, 2: 1024, 9: 5}
    )

    assert (status.size_bytes, status.size) == (3072, "3Ki")
    assert [(r.namespace, r.prefix, r.size_bytes) for r in status.namespaces] == [
        ("alice", "u/alice/", 2048),
        ("bob", "u/bob/", 1024),
    ]
    assert status.namespaces_omitted is None


def test_a_dataset_outside_every_prefix_is_a_violation() -> None:
    status = count(entry(2, "u/mallory/"), entry(1, ""), entry(3, "u/alice/"))

    assert [(v.uuid[:8], v.prefix, v.reason) for v in status.violations] == [
        ("00000001", "", Reason.OUTSIDE_ANY_PREFIX),
        ("00000002", "u/mallory/", Reason.OUTSIDE_ANY_PREFIX),
    ]
    assert status.violations_count == 2
    respected = status.conditions[-1]
    assert (respected.status, respected.reason) == ("False", Reason.OUTSIDE_ANY_PREFIX)
    assert ": 2;" in respected.message
    assert status.conditions[0].status == "True"


def test_acknowledged_prefixes_and_dangling_keys_are_no_violations() -> None:
    one = bucket(acknowledgedPrefixes=["", "old/"])

    status = count(
        entry(1, ""),
        entry(2, "old/"),
        entry(3, "gone/", EntryState.DANGLING),
        bucket=one,
    )

    assert (status.violations, status.violations_count) == ((), 0)
    assert status.datasets == DatasetCounts(total=3, frozen=2, dangling=1)


def test_an_acknowledged_prefix_covers_what_lies_below_it_and_the_empty_one_only_the_top() -> None:
    status = count(
        entry(1, "old/2019/"),
        entry(2, "older/"),
        entry(3, ""),
        bucket=bucket(acknowledgedPrefixes=["", "old/"]),
    )

    assert [violation.prefix for violation in status.violations] == ["older/"]


def test_a_dataset_without_registration_key_under_an_admitted_prefix_is_a_violation_and_not_counted() -> None:
    status = count(
        entry(1, "u/alice/"),
        entry(3, "u/bob/", EntryState.UNREGISTERED),
        entry(2, "u/alice/", EntryState.UNREGISTERED),
        entry(4, "u/nobody-any-more/", EntryState.UNREGISTERED),
    )

    assert [(v.uuid[:8], v.prefix, v.reason) for v in status.violations] == [
        ("00000002", "u/alice/", Reason.REGISTRATION_MISSING),
        ("00000003", "u/bob/", Reason.REGISTRATION_MISSING),
    ]
    assert status.datasets == DatasetCounts(total=1, frozen=1)
    respected = status.conditions[-1]
    assert (respected.status, respected.reason) == ("False", Reason.REGISTRATION_MISSING)
    assert "(dtool-s3 register writes one): 2;" in respected.message


def test_both_kinds_of_violation_are_told_and_the_worse_gives_the_reason() -> None:
    status = count(entry(1, "x/"), entry(2, "u/alice/", EntryState.UNREGISTERED))

    assert [v.reason for v in status.violations] == [Reason.OUTSIDE_ANY_PREFIX, Reason.REGISTRATION_MISSING]
    respected = status.conditions[-1]
    assert respected.reason == Reason.OUTSIDE_ANY_PREFIX
    assert "acknowledged prefix: 1; Datasets without a registration key" in respected.message


def test_long_lists_are_cut_and_what_is_left_out_is_counted() -> None:
    names = [f"team-{number:03d}" for number in range(130)]
    views = tuple(NamespaceView(name, name, {"lab": "true"}) for name in names)
    inside = [entry(number, f"u/{name}/") for number, name in enumerate(names)]
    outside = [entry(1000 + number, "x/") for number in range(30)]
    one = bucket()

    status = count(*inside, *outside, bucket=one, cluster=see.cluster(one, namespaces=views))

    assert (len(status.namespaces), status.namespaces_omitted) == (100, 30)
    assert (len(status.violations), status.violations_count) == (20, 30)


def test_an_empty_bucket_counts_nothing() -> None:
    status = count()

    assert (status.datasets, status.size, status.namespaces) == (DatasetCounts(), "0B", ())


def test_the_prefixes_of_a_bucket_are_those_of_the_namespaces_it_admits() -> None:
    assert admitted_prefixes(seen_bucket(bucket())) == {
        "u/alice/": "alice",
        "u/bob/": "bob",
        "u/dtool-system/": "dtool-system",
    }
    assert admitted_prefixes(seen_bucket(bucket("own", "mallory", prefixTemplate="x/"))) == {"x/": "mallory"}


def test_what_was_counted_stays_while_the_bucket_is_suspended() -> None:
    counted = count(entry(1, "u/alice/"))
    look = seen_bucket(bucket(suspend=True))

    plan = plan_bucket(replace(look, bucket=replace(look.bucket, status=counted)))

    assert plan.status is not None
    assert plan.status.datasets == counted.datasets
    assert "PrefixesRespected True WithinPrefixes" in (tell(plan).says or ())


BESIDE = bucket("beside", prefixTemplate="v/{namespace}/")
REFUSALS = {
    Reason.SUCCEEDED: True,
    Reason.BUCKET_UNREACHABLE: True,
    Reason.SUSPENDED: True,
    Reason.PREFIX_OVERLAPS: False,
    Reason.RESERVED_FOR_ADMINISTRATORS: False,
    Reason.INVALID_SPEC: False,
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_another_accepted_bucket_object_of_the_same_storage_admits_is_no_violation_rule_8(
    reason: Reason,
) -> None:
    there = see.cluster(bucket(), see.judged(BESIDE, reason))

    status = count(entry(1, "v/alice/"), entry(2, "v/mallory/"), entry(3, "u/alice/"), cluster=there)

    outside = [violation.prefix for violation in status.violations]
    assert outside == (["v/mallory/"] if REFUSALS[reason] else ["v/alice/", "v/mallory/"])


def test_a_bucket_object_of_another_storage_or_an_older_spec_excuses_nothing_rule_8() -> None:
    elsewhere = bucket("elsewhere", bucket="other-data", prefixTemplate="v/{namespace}/")
    edited = see.changed(bucket("edited", prefixTemplate="v/{namespace}/"), generation=2)

    status = count(entry(1, "v/alice/"), cluster=see.cluster(bucket(), elsewhere, edited))

    assert status.violations_count == 1


def test_an_override_moves_a_namespaces_datasets_and_keeps_the_other_ones_out_rule_3() -> None:
    one = bucket(prefixOverrides=[{"namespace": "alice", "prefix": "u/bob/"}])

    status = count(entry(1, "u/bob/"), entry(2, "u/alice/"), bucket=one, cluster=see.cluster(one))

    assert [(row.namespace, row.prefix) for row in status.namespaces] == [("alice", "u/bob/")]
    assert [violation.prefix for violation in status.violations] == ["u/alice/"]


def many(count_: int) -> Catalog:
    """A bucket of many datasets in 200 namespaces, a tenth of them outside."""
    found = {}
    for number in range(count_):
        prefix = "x/" if number % 10 == 0 else f"u/team-{number % 200:03d}/"
        one = entry(number, prefix)
        found[one.uuid] = one
    return Catalog(found)


def look_at(count_: int, *, import_: str = "Never") -> ObservedBucket:
    """One look at it, in which every dataset inside is described."""
    names = [f"team-{number:03d}" for number in range(200)]
    views = tuple(NamespaceView(name, name, {"lab": "true"}) for name in names)
    one = bucket(listing={"import": import_, "importLimit": 100_000})
    catalog = many(count_)
    inside = [e for e in catalog.entries.values() if e.prefix != "x/"]
    template = see.adopted()
    objects = tuple(
        replace(
            template,
            meta=replace(template.meta, name=f"d-{e.uuid[:8]}", uid=e.uuid, namespace=e.prefix[2:-1]),
            spec=template.spec.model_copy(update={"uuid": e.uuid}),
        )
        for e in inside
    )
    there = see.cluster(one, namespaces=views)
    seen = seen_bucket(one, tested=trial(), listed=listing(catalog=catalog), cluster=there, objects=objects)
    return replace(seen, listed=replace(listing(catalog=catalog), found=build_findings(seen, seen, catalog)))


def seconds(look: ObservedBucket) -> float:
    """The best of three, so that a busy machine matters little."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        plan_bucket(look)
        taken.append(time.perf_counter() - started)
    return min(taken)


@pytest.mark.parametrize("mode", ["Never", "Frozen"])
def test_a_look_at_ten_times_the_datasets_takes_no_more_than_about_ten_times_as_long_rule_8(
    mode: str,
) -> None:
    small, large = look_at(1_000, import_=mode), look_at(10_000, import_=mode)

    assert seconds(large) < 25 * seconds(small)


def test_a_look_at_ten_thousand_datasets_needs_little_memory_beside_what_is_listed_rule_8() -> None:
    look = look_at(10_000, import_="Frozen")
    plan_bucket(look)

    tracemalloc.start()
    try:
        plan = plan_bucket(look)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert plan.status is not None
    assert plan.status.violations_count == 1_000
    assert len(plan.status.violations) == 20
    assert peak < 10_000 * 1_024
