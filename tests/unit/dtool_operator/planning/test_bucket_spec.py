"""What a DtoolBucket may ask for (rules 1 to 3), before anything of its bucket is touched; whole plans."""

from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.observed import ObservedBucket, Policy
from tests.support import observed as see
from tests.support.observed import bucket, changed, instruments
from tests.support.observed_bucket import seen_bucket
from tests.support.told import Told, ready_message, tell


def refused(reason: str, second: str = "Stalled") -> tuple[str, ...]:
    """What is said of a bucket whose spec was refused."""
    return (
        f"Ready False {reason}",
        f"{second} True {reason}",
        f"Reachable Unknown {reason}",
        f"Listed Unknown {reason}",
        "PrefixesRespected Unknown Pending",
    )


def _give(namespace: str, prefix: str) -> dict[str, str]:
    return {"namespace": namespace, "prefix": prefix}


#: Rule 1.
POWERS: dict[str, dict[str, Any]] = {
    "spec.credentials absent": {"credentials": None},
    "spec.allowedNamespaces.from other than Same": {"allowedNamespaces": {"from": "All"}},
    "spec.allowedNamespaces.from other": {"allowedNamespaces": see.ADMITTED},
    "spec.prefixOverrides": {"prefixOverrides": [{"namespace": "alice", "prefix": "x/"}]},
    "spec.takeOver of another namespace's prefix": {"takeOver": [{"namespace": "bob", "fromOwner": "a/b"}]},
}


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize(
    "more", [{}, {"listing": {"import": "Frozen"}, "suspend": True}], ids=["", "and more"]
)
def test_a_team_that_takes_an_administrators_power_is_stalled_rule_1(
    power: str, more: dict[str, Any]
) -> None:
    plan = plan_bucket(seen_bucket(bucket("own", "alice", **POWERS[power], **more)))

    assert tell(plan) == Told(says=refused("ReservedForAdministrators"), look="resync")
    assert power in ready_message(plan)
    assert "(dtool-system)" in ready_message(plan)


def test_a_team_may_take_over_its_own_namespaces_prefix_rule_1() -> None:
    own = bucket("own", "alice", takeOver=[{"namespace": "alice", "fromOwner": "a/b"}])

    assert tell(plan_bucket(seen_bucket(own, bucket(bucket="x-data")))).do == ("test by reading #1",)


def test_a_team_may_import_into_its_own_namespace_rule_1() -> None:
    own = bucket("own", "alice", listing={"import": "Frozen"})

    assert tell(plan_bucket(seen_bucket(own, bucket(bucket="x-data")))).do == ("test by reading #1",)


SERVED: dict[str, dict[str, Any]] = {
    "defaults": {
        "addressing": "Auto",
        "conditionalWrites": "Required",
        "prefixTemplate": "u/{namespace}/",
        "prefixOverrides": [],
        "acknowledgedPrefixes": [],
        "takeOver": [],
        "readAccess": "Prefix",
        "accessMode": "ReadWrite",
        "listing": {"interval": "10m", "import": "Never", "importLimit": 1000},
        "limits": {"concurrentTransfers": 4, "concurrentRequests": 64, "perNamespace": {}},
        "suspend": False,
    },
    "what this version serves": {
        "region": "eu-central-1",
        "addressing": "Virtual",
        "conditionalWrites": "BestEffort",
        "prefixTemplate": "data/{namespace}/dtool/",
        "acknowledgedPrefixes": ["", "old/"],
        "readAccess": "Bucket",
        "accessMode": "ReadOnly",
        "listing": {"interval": "1m"},
        "limits": {"concurrentTransfers": 1, "concurrentRequests": 1},
    },
    "certificates, encryption, quotas, import": {
        "caBundle": {"configMapKeyRef": {"name": "ca"}},
        "encryption": {"mode": "SSE-KMS", "kmsKeyId": "k"},
        "listing": {"import": "Frozen", "importLimit": 5},
        "limits": {"perNamespace": {"datasets": 0, "sizeBytes": 1}},
    },
}


@pytest.mark.parametrize("case", SERVED)
@pytest.mark.parametrize("namespace", [see.ADMIN, "alice"])
def test_what_is_served_and_what_is_left_at_its_default_is_tried(case: str, namespace: str) -> None:
    one = bucket("one", namespace, **SERVED[case])

    assert tell(plan_bucket(seen_bucket(one, instruments()))).do == ("test by reading #1",)


AWS = {"endpoint": None}
ONLY_AWS = replace(see.POLICY, allowed_endpoints=frozenset({"aws"}))
LISTED = replace(see.POLICY, allowed_endpoints=frozenset({"https://S3.example.org:443/"}))

ENDPOINTS: dict[str, tuple[DtoolBucket, Policy, bool]] = {
    "an administrator's bucket": (bucket(), see.POLICY, True),
    "AWS": (bucket("own", "alice", **AWS), see.POLICY, True),
    "the endpoint of an administrator's bucket": (bucket("own", "alice"), see.POLICY, True),
    "any other": (bucket("own", "alice", endpoint="http://169.254.169.254"), see.POLICY, False),
    "one on the administrator's list": (bucket("own", "alice"), LISTED, True),
    "AWS, not on the administrator's list": (bucket("own", "alice", **AWS), LISTED, False),
    "an administrator's bucket that is not on the list": (bucket(), ONLY_AWS, False),
}


@pytest.mark.parametrize("case", ENDPOINTS)
def test_endpoints_are_those_that_the_administrator_allows_rule_2(case: str) -> None:
    one, policy, is_allowed = ENDPOINTS[case]
    plan = plan_bucket(seen_bucket(one, instruments(), policy=policy))

    if is_allowed:
        assert plan.actions
    else:
        assert tell(plan) == Told(says=refused("EndpointNotAllowed", "Reconciling"))
        assert "ALLOWED_ENDPOINTS" in ready_message(plan)


NESTED = {
    "equal": ("x/", "x/"),
    "nested": ("x/", "x/y/"),
    "nested, the other way": ("x/y/z/", "x/"),
}


@pytest.mark.parametrize("case", NESTED)
def test_overrides_that_nest_contradict_each_other_rule_3(case: str) -> None:
    overrides = [_give(name, prefix) for name, prefix in zip(("alice", "bob"), NESTED[case], strict=True)]

    plan = plan_bucket(seen_bucket(bucket(prefixOverrides=overrides)))

    assert tell(plan) == Told(says=refused("InvalidSpec"), look="resync")
    assert "'alice'" in ready_message(plan)
    assert "'bob'" in ready_message(plan)


def test_overrides_that_lie_beside_each_other_are_tried() -> None:
    overrides = [_give("alice", "x/a/"), _give("bob", "x/ab/"), _give("carol", "x/b/")]

    assert plan_bucket(seen_bucket(bucket(prefixOverrides=overrides))).actions


RIVAL = changed(bucket("rival"), age=-1)

OVERLAPS: dict[str, tuple[ObservedBucket, str | None]] = {
    "an older one of an administrator": (seen_bucket(bucket(), RIVAL), "dtool-system/rival"),
    "a younger one": (seen_bucket(bucket(), changed(RIVAL, age=1)), None),
    "a team's, however old": (seen_bucket(bucket(), changed(bucket("team", "alice"), age=-9)), None),
    "an administrator's, of a team's": (
        seen_bucket(bucket("team", "alice"), changed(bucket(), age=9)),
        "dtool-system/lab",
    ),
    "one of whose overrides could be a derived prefix, rule 3": (
        seen_bucket(
            bucket(),
            changed(
                bucket("rival", prefixTemplate="v/{namespace}/", prefixOverrides=[_give("x", "u/alice/y/")]),
                age=-1,
            ),
        ),
        "dtool-system/rival",
    ),
    "one of whose overrides nests with an override, rule 3": (
        seen_bucket(
            bucket(prefixOverrides=[_give("x", "old/x/")]),
            changed(
                bucket("rival", prefixTemplate="v/{namespace}/", prefixOverrides=[_give("y", "old/")]), age=-1
            ),
        ),
        "dtool-system/rival",
    ),
    "one whose overrides lie beside": (
        seen_bucket(
            bucket(prefixOverrides=[_give("x", "old/x/")]),
            changed(
                bucket("rival", prefixTemplate="v/{namespace}/", prefixOverrides=[_give("y", "old/y/")]),
                age=-1,
            ),
        ),
        None,
    ),
    "one whose overrides are for namespaces that it does not admit": (
        seen_bucket(
            bucket(),
            changed(
                bucket(
                    "rival",
                    prefixTemplate="v/{namespace}/",
                    allowedNamespaces={"from": "Same"},
                    prefixOverrides=[_give("x", "u/alice/")],
                ),
                age=-1,
            ),
        ),
        None,
    ),
    "a suspended one": (
        seen_bucket(bucket(), changed(bucket("rival", suspend=True), age=-1)),
        "dtool-system/rival",
    ),
    "one that takes a power it does not have": (
        seen_bucket(
            bucket("team", "alice", bucket="team-data"),
            bucket(),
            changed(
                bucket("greedy", "mallory", bucket="team-data", allowedNamespaces={"from": "All"}), age=-9
            ),
        ),
        None,
    ),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_prefixes_that_could_overlap_yield_to_rule_3(case: str) -> None:
    look, winner = OVERLAPS[case]

    plan = plan_bucket(look)

    if winner is None:
        assert plan.actions
    else:
        assert tell(plan) == Told(says=refused("PrefixOverlaps", "Reconciling"))
        assert f"DtoolBucket {winner} " in ready_message(plan)


ORDER: dict[str, tuple[DtoolBucket, Reason]] = {
    "reserved before a contradiction": (
        bucket("a", "alice", prefixOverrides=[_give("alice", "x/"), _give("bob", "x/")]),
        Reason.RESERVED_FOR_ADMINISTRATORS,
    ),
    "a contradiction before its endpoint": (
        bucket(
            prefixOverrides=[_give("alice", "x/"), _give("bob", "x/y/")], endpoint="https://x.example.org"
        ),
        Reason.INVALID_SPEC,
    ),
    "its endpoint before overlaps": (
        bucket("a", "alice", bucket="instrument-data", endpoint="https://x.example.org"),
        Reason.ENDPOINT_NOT_ALLOWED,
    ),
    "overlaps before suspension": (
        changed(bucket("a", "alice", suspend=True), age=1),
        Reason.PREFIX_OVERLAPS,
    ),
}


@pytest.mark.parametrize("case", ORDER)
def test_what_is_said_first(case: str) -> None:
    one, reason = ORDER[case]

    plan = plan_bucket(seen_bucket(one, bucket(), instruments()))

    assert tell(plan).says is not None
    assert f"Ready False {reason}" in (tell(plan).says or ())


def test_a_suspended_bucket_is_left_alone() -> None:
    plan = plan_bucket(seen_bucket(bucket(suspend=True)))

    assert tell(plan) == Told(says=refused("Suspended", "Reconciling"), look="resync")
