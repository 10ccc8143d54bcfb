"""When changed prefixOverrides come into force (rule 3); those in force are in the status."""

from dataclasses import replace
from typing import Any

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DtoolBucketStatus, OverrideInForce
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.overrides import find_changed, refuse_change
from tests.support.observed import bucket
from tests.support.observed_bucket import MINUTE, listing, read_back, seen_bucket, trial
from tests.support.told import ready_message, tell


def overriding(*overrides: tuple[str, str], **spec: Any) -> DtoolBucket:
    """A bucket object with these overrides, none of them in force yet."""
    entries = [{"namespace": namespace, "prefix": prefix} for namespace, prefix in overrides]
    return bucket(prefixOverrides=entries, **spec)


def in_force(one: DtoolBucket, *overrides: tuple[str, str]) -> DtoolBucket:
    entries = tuple(OverrideInForce(namespace=name, prefix=prefix) for name, prefix in overrides)
    return replace(one, status=DtoolBucketStatus(prefix_overrides=entries))


def test_of_a_new_object_every_override_is_a_change_of_the_derived_prefix_rule_3() -> None:
    assert find_changed(overriding(("chem", "u/olssont/"))) == {"chem": "u/chem/"}


def test_an_override_that_gives_the_derived_prefix_changes_nothing() -> None:
    assert find_changed(overriding(("chem", "u/chem/"))) == {}


def test_what_is_in_force_is_no_change_and_what_is_changed_is_told_with_its_present_prefix_rule_3() -> None:
    wanted = overriding(("kept", "a/"), ("moved", "c/"), ("added", "e/"))
    present = in_force(wanted, ("kept", "a/"), ("moved", "b/"), ("removed", "d/"))

    assert find_changed(present) == {"added": "u/added/", "moved": "b/", "removed": "d/"}


def test_a_bucket_whose_overrides_are_accepted_keeps_them_in_its_status_exactly() -> None:
    one = overriding(("chem", "u/ols  sont/"), ("alice", "x/"))

    plan = plan_bucket(seen_bucket(one, tested=trial()))

    assert plan.status is not None
    found = [(entry.namespace, entry.prefix) for entry in plan.status.prefix_overrides]
    assert found == [("alice", "x/"), ("chem", "u/ols  sont/")]
    assert find_changed(read_back(seen_bucket(one), plan).bucket) == {}


def test_a_change_that_a_marker_forbids_is_invalid_and_what_is_in_force_stays_rule_3() -> None:
    one = in_force(overriding(("chem", "new/")), ("chem", "old/"))
    refusal = refuse_change(one, "chem", "old/")
    look = replace(seen_bucket(one, tested=trial(), override_refusal=refusal), bucket=one)

    plan = plan_bucket(look)

    assert tell(plan).says == (
        "Ready False InvalidSpec",
        "Stalled True InvalidSpec",
        "Reachable Unknown InvalidSpec",
        "Listed Unknown InvalidSpec",
        "PrefixesRespected Unknown Pending",
    )
    assert tell(plan).look == "resync"
    assert plan.status is not None
    assert [entry.prefix for entry in plan.status.prefix_overrides] == ["old/"]
    for part in ("'chem'", "'old/'", "'new/'"):
        assert part in ready_message(plan)


def test_a_bucket_is_not_ready_before_all_changed_namespaces_were_asked() -> None:
    plan = plan_bucket(seen_bucket(overriding(("chem", "x/")), tested=trial(), overrides_unasked=True))

    assert (plan.actions, plan.status, tell(plan).look) == ((), None, "0s")


def test_a_bucket_that_does_not_answer_keeps_the_overrides_in_force() -> None:
    one = in_force(overriding(("chem", "x/")), ("chem", "x/"))
    look = replace(seen_bucket(one, tested=trial(), listed=listing(ago=5 * MINUTE)), bucket=one)

    later = read_back(look, plan_bucket(look))

    assert later.bucket.status.prefix_overrides == one.status.prefix_overrides
