"""Where a source is read (rule 12): tiers, ambiguity, the oldest that permits it, and whose keys sign."""

from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.placement import may_copy_server_side
from dtool_operator.planning.source_place import SourcePlace
from tests.support import observed as see
from tests.support.observed import bucket, changed, dataset, instruments, seen

OWN = bucket("own", "alice", bucket="instrument-data", prefixTemplate="")
OTHER_ENDPOINT = "https://other.example.org"


def candidates(look: Any) -> list[str]:
    inquiry = find_inquiry(look)
    assert inquiry is not None
    assert isinstance(inquiry.origin, SourcePlace)
    return [f"{one.namespace}/{one.name}" for one in inquiry.origin.candidates]


TIERS: dict[str, tuple[Any, tuple[DtoolBucket, ...], list[str]]] = {
    "its own namespace's bucket comes first": (
        dataset(),
        (bucket(), instruments(), OWN),
        ["alice/own"],
    ),
    "then the bucket it is put into": (
        dataset(source={"uri": f"s3://lab-data/{see.UUID}"}),
        (bucket(), bucket("lab2")),
        ["dtool-system/lab"],
    ),
    "then administrators' buckets": (
        dataset(),
        (bucket(), instruments()),
        ["dtool-system/instruments"],
    ),
    "other teams' buckets never": (
        dataset(),
        (bucket(), instruments(), bucket("own", "bob", bucket="instrument-data", readAccess="Bucket")),
        ["dtool-system/instruments"],
    ),
    "administrators' buckets that do not admit it never": (
        dataset(),
        (
            bucket(),
            instruments(),
            bucket("closed", bucket="instrument-data", allowedNamespaces={"from": "Same"}),
        ),
        ["dtool-system/instruments"],
    ),
    "within a tier the oldest first, then the smaller uid": (
        dataset(),
        (
            bucket(),
            changed(instruments(), age=5),
            changed(bucket("b", bucket="instrument-data"), age=1, uid="b"),
            changed(bucket("a", bucket="instrument-data"), age=1, uid="a"),
        ),
        ["dtool-system/a", "dtool-system/b", "dtool-system/instruments"],
    ),
    "one that is not Ready is passed over": (
        dataset(),
        (bucket(), instruments(), see.fresh(changed(bucket("new", bucket="instrument-data"), age=-1))),
        ["dtool-system/instruments"],
    ),
    "two endpoints in a later tier do not matter": (
        dataset(),
        (bucket(), OWN, instruments(), bucket("x", bucket="instrument-data", endpoint=OTHER_ENDPOINT)),
        ["alice/own"],
    ),
    "a stored source is read where it says": (
        dataset(
            source={
                "stored": {"bucketRef": {"name": "instruments", "namespace": see.ADMIN}, "uuid": see.UUID}
            }
        ),
        (bucket(), instruments(), OWN),
        ["dtool-system/instruments"],
    ),
}


@pytest.mark.parametrize("case", TIERS)
def test_where_a_source_is_looked_up(case: str) -> None:
    one, buckets, expected = TIERS[case]

    assert candidates(seen(one, *buckets)) == expected


def test_a_bucket_of_ones_own_that_does_not_admit_its_own_namespace_is_no_match() -> None:
    closed = {"from": "Selector", "selector": {"matchLabels": {"x": "y"}}}
    own = bucket("mine", bucket="instrument-data", allowedNamespaces=closed)
    one = dataset(namespace=see.ADMIN)

    assert candidates(seen(one, bucket(), instruments(), own)) == ["dtool-system/instruments"]


def test_the_oldest_that_permits_the_read_is_read_through() -> None:
    strict = changed(bucket("strict", bucket="instrument-data"), age=-1)
    open_ = changed(instruments(), age=1)
    inquiry = find_inquiry(seen(None, bucket(), strict, open_))
    assert inquiry is not None
    assert isinstance(inquiry.origin, SourcePlace)

    assert inquiry.origin.choose("alice", "u/bob/") is open_
    assert inquiry.origin.choose("alice", "u/alice/") is strict


SIGNING: dict[str, tuple[DtoolBucket, DtoolBucket, bool]] = {
    "an administrator's source is read with the target's keys": (instruments(), bucket(), True),
    "so it is into a team's bucket": (instruments(), bucket("own", "alice", bucket="own-data"), True),
    "not at another endpoint": (instruments(endpoint=OTHER_ENDPOINT), bucket(), False),
    "a team's source is not read with an administrator's keys": (OWN, bucket(), False),
    "nor with other keys of the same team": (OWN, bucket("two", "alice"), False),
    "but with the same keys": (
        OWN,
        bucket("two", "alice", credentials={"secretRef": {"name": "own-s3"}}),
        True,
    ),
    "a Secret of the same name in another namespace is not the same": (
        OWN,
        bucket("two", "bob", credentials={"secretRef": {"name": "own-s3"}}),
        False,
    ),
    "keys are not the operator's own identity": (OWN, bucket("two", "alice", credentials=None), False),
    "the operator's own identity is one": (
        bucket("a", "alice", credentials=None),
        bucket("b", "alice", credentials=None),
        True,
    ),
}


@pytest.mark.parametrize("case", SIGNING)
def test_who_signs_a_server_side_copy(case: str) -> None:
    """Rule 12: no confused deputy."""
    source, target, is_allowed = SIGNING[case]

    assert may_copy_server_side(source, target, see.POLICY) is is_allowed


def test_the_administrator_says_whose_buckets_are_administrators() -> None:
    policy = replace(see.POLICY, admin_namespaces=frozenset({"alice"}))
    look = seen(None, bucket(), instruments(), policy=policy)

    assert find_inquiry(look) is None
