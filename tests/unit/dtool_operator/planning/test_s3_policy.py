"""Policies for people: who gets one, and what stands in it, per server."""

import fnmatch
import json
from typing import Any

import pytest

from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.planning.s3_policy import (
    NotExpressible,
    PolicyFormat,
    build_grant,
    build_policy,
    find_refusal,
    is_settled,
)


def bucket(*, ready: str | None = None, status: str = "False", observed: int = 1, **spec: Any) -> DtoolBucket:
    conditions = []
    if ready:
        moment = "2026-01-01T00:00:00Z"
        conditions = [
            {"type": "Reachable", "status": "True", "reason": "Reachable", "lastTransitionTime": moment},
            {"type": "Ready", "status": status, "reason": ready, "lastTransitionTime": moment},
        ]
    return parse_bucket(
        {
            "metadata": {
                "name": "lab",
                "namespace": "dtool-system",
                "uid": "u1",
                "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"bucket": "lab-data", "allowedNamespaces": {"from": "All"}, **spec},
            "status": {"observedGeneration": observed, "conditions": conditions},
        }
    )


def policy(form: PolicyFormat = PolicyFormat.AWS, *, strict: bool = False, **spec: Any) -> dict[str, Any]:
    return build_policy(build_grant(bucket(**spec), "alice"), form, strict=strict)


def resources(document: dict[str, Any], sid: str) -> list[str]:
    found: list[str] = statement(document, sid)["Resource"]
    return found


def statement(document: dict[str, Any], sid: str) -> dict[str, Any]:
    (found,) = [each for each in document["Statement"] if each["Sid"] == sid]
    return dict(found)


def test_a_namespace_that_reads_its_prefix_lists_it_and_the_registration_keys() -> None:
    document = policy()

    listing = statement(document, "List")
    assert listing["Resource"] == ["arn:aws:s3:::lab-data"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["u/alice/*", "dtool*"]}}
    assert resources(document, "Read") == ["arn:aws:s3:::lab-data/u/alice/*", "arn:aws:s3:::lab-data/dtool-*"]
    assert resources(document, "Write") == resources(document, "Read")


def test_read_access_to_the_bucket_is_the_classic_policy() -> None:
    document = policy(readAccess="Bucket")

    assert "Condition" not in statement(document, "List")
    assert resources(document, "Read") == ["arn:aws:s3:::lab-data/*"]
    assert resources(document, "Write") == [
        "arn:aws:s3:::lab-data/u/alice/*",
        "arn:aws:s3:::lab-data/dtool-*",
    ]


def test_nobody_lists_others_uploads_where_a_listing_of_uploads_has_no_prefix() -> None:
    assert statement(policy(), "List")["Action"] == ["s3:ListBucket"]
    assert statement(policy(PolicyFormat.MINIO), "List")["Action"] == ["s3:ListBucket"]
    whole = policy(readAccess="Bucket")
    assert statement(whole, "List")["Action"] == ["s3:ListBucket", "s3:ListBucketMultipartUploads"]


def test_the_owner_marker_is_denied_to_writers() -> None:
    denial = statement(policy(), "KeepOwnerMarker")

    assert denial["Effect"] == "Deny"
    assert denial["Resource"] == ["arn:aws:s3:::lab-data/u/alice/.dtool-owner"]
    assert set(denial["Action"]) == {"s3:PutObject", "s3:DeleteObject"}


def test_a_read_only_bucket_gives_no_right_to_write() -> None:
    document = policy(accessMode="ReadOnly")

    assert [each["Sid"] for each in document["Statement"]] == ["List", "Read"]
    assert policy(PolicyFormat.SEAWEEDFS_ACTIONS, accessMode="ReadOnly") == {
        "identities": [
            {
                "name": "alice",
                "actions": [
                    "Read:lab-data/u/alice/*",
                    "Read:lab-data/dtool-*",
                    "List:lab-data/u/alice/*",
                    "List:lab-data/dtool*",
                ],
            }
        ]
    }


def test_strict_denies_registration_keys_without_if_none_match_and_their_deletion() -> None:
    document = policy(strict=True)

    once = statement(document, "RegisterOnce")
    assert once["Effect"] == "Deny"
    assert once["Action"] == ["s3:PutObject"]
    assert once["Resource"] == ["arn:aws:s3:::lab-data/dtool-*"]
    assert once["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    kept = statement(document, "KeepRegistrations")
    assert (kept["Effect"], kept["Action"], kept["Resource"]) == (
        "Deny",
        ["s3:DeleteObject"],
        once["Resource"],
    )


def test_strict_holds_for_a_bucket_whose_prefix_is_its_top() -> None:
    document = policy(strict=True, prefixTemplate="", allowedNamespaces={"from": "Same"})

    assert resources(document, "Write")[0] == "arn:aws:s3:::lab-data/*"
    assert {each["Sid"] for each in document["Statement"] if each["Effect"] == "Deny"} == {
        "KeepOwnerMarker",
        "RegisterOnce",
        "KeepRegistrations",
    }


@pytest.mark.parametrize("form", [form for form in PolicyFormat if form is not PolicyFormat.AWS])
def test_strict_is_refused_where_it_would_not_hold(form: PolicyFormat) -> None:
    with pytest.raises(NotExpressible, match="s3:if-none-match"):
        policy(form, strict=True)


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_names_of_resources_follow_the_region(region: str, partition: str) -> None:
    assert statement(policy(region=region), "List")["Resource"] == [f"arn:{partition}:s3:::lab-data"]
    assert statement(policy(PolicyFormat.MINIO, region=region), "List")["Resource"] == [
        "arn:aws:s3:::lab-data"
    ]


def test_an_override_is_the_prefix() -> None:
    document = policy(prefixOverrides=[{"namespace": "alice", "prefix": "u/olssont/"}])

    assert resources(document, "Write")[0] == "arn:aws:s3:::lab-data/u/olssont/*"
    assert resources(document, "KeepOwnerMarker") == ["arn:aws:s3:::lab-data/u/olssont/.dtool-owner"]


def test_seaweedfs_gets_a_policy_and_an_identity_that_has_it() -> None:
    document = policy(PolicyFormat.SEAWEEDFS)

    (identity,) = document["identities"]
    (attached,) = document["policies"]
    assert identity == {"name": "alice", "actions": [], "policyNames": [attached["name"]]}
    listing = statement(json.loads(attached["content"]), "List")
    assert "s3:ListBucketMultipartUploads" in listing["Action"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["u/alice/*", "dtool*"]}}


def test_seaweedfs_actions_are_the_classic_ones() -> None:
    (identity,) = policy(PolicyFormat.SEAWEEDFS_ACTIONS, readAccess="Bucket")["identities"]

    assert identity["actions"] == [
        "Read:lab-data",
        "List:lab-data",
        "Write:lab-data/u/alice/*",
        "Write:lab-data/dtool-*",
    ]


@pytest.mark.parametrize("character", ["*", "?", "$", "\\"])
def test_a_prefix_that_would_be_a_pattern_is_refused(character: str) -> None:
    with pytest.raises(NotExpressible, match="pattern"):
        policy(prefixTemplate=f"u{character}/{{namespace}}/")


def test_no_document_lets_one_namespace_write_where_another_may() -> None:
    alice = resources(policy(), "Write")[0]
    for other in ("alic", "alice2", "a", "alice-b"):
        theirs = resources(build_policy(build_grant(bucket(), other), PolicyFormat.AWS), "Write")[0]
        assert not fnmatch.fnmatchcase(theirs.removesuffix("*") + "key", alice)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"allowedNamespaces": {"from": "Same"}}, "does not admit namespace alice"),
        (
            {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"lab": "no"}}}},
            "does not admit namespace alice",
        ),
        ({"prefixOverrides": [{"namespace": "chem", "prefix": "u/alice/"}]}, "gives to namespace chem"),
        ({"prefixOverrides": [{"namespace": "chem", "prefix": "u/"}]}, "gives to namespace chem"),
        ({"ready": "PrefixOverlaps"}, "PrefixOverlaps"),
        ({"ready": "ReservedForAdministrators"}, "ReservedForAdministrators"),
    ],
)
def test_a_namespace_without_a_settled_prefix_of_its_own_gets_nothing(
    spec: dict[str, Any], words: str
) -> None:
    refusal = find_refusal(bucket(**spec), "alice", {"lab": "yes"})

    assert refusal is not None
    assert words in refusal


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"ready": "BucketUnreachable"},
        {"prefixOverrides": [{"namespace": "chem", "prefix": "u/olssont/"}]},
        {"prefixOverrides": [{"namespace": "alice", "prefix": "u/olssont/"}]},
        {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"lab": "yes"}}}},
    ],
)
def test_an_admitted_namespace_gets_a_policy(spec: dict[str, Any]) -> None:
    assert find_refusal(bucket(**spec), "alice", {"lab": "yes"}) is None


def test_only_a_bucket_that_is_ready_as_it_is_now_is_settled() -> None:
    assert is_settled(bucket(ready="Ready", status="True"))
    assert not is_settled(bucket(ready="Ready", status="True", observed=0))
    assert not is_settled(bucket(ready="BucketUnreachable"))
    assert not is_settled(bucket())
