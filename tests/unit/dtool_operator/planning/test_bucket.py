"""From a valid spec to a bucket that is Ready (rule 7) and counted (rule 8): tests, listings; whole plans."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.bucket import RELIST_PAUSE, plan_bucket
from dtool_operator.planning.observed import ObservedBucket
from dtool_operator.planning.plan import ListDatasets, SelfTest
from tests.support import observed as see
from tests.support.observed import NOW, bucket
from tests.support.observed_bucket import MINUTE, listing, read_back, seen_bucket, trial
from tests.support.told import Told, ready_message, tell

GOOD = ("Ready True Succeeded", "Reachable True Succeeded")
COUNTED = (*GOOD, "Listed True Succeeded", "PrefixesRespected True WithinPrefixes")
UNREACHABLE = see.refuse(Reason.BUCKET_UNREACHABLE)
NO_CONDITIONS = see.refuse(Reason.NOT_SUPPORTED)
ASKED = {"annotations": {ANNOTATION_RECONCILE_REQUESTED: "now"}}


def refused(
    reason: str,
    second: str = "Reconciling",
    *,
    respected: str = "Unknown Pending",
    reachable: str = "False",
) -> tuple[str, ...]:
    """What is said of a bucket that does not answer."""
    return (
        f"Ready False {reason}",
        f"{second} True {reason}",
        f"Reachable {reachable} {reason}",
        f"Listed Unknown {reason}",
        f"PrefixesRespected {respected}",
    )


NEW = seen_bucket(bucket())
KNOWN = read_back(NEW, plan_bucket(replace(NEW, tested=trial(), listed=listing())))
"""A bucket that was reported Ready and counted, by an operator that was started since."""
ASKING = replace(KNOWN, bucket=see.changed(KNOWN.bucket, **ASKED))

STEPS: dict[str, tuple[ObservedBucket, Told]] = {
    "a new bucket is tested": (NEW, Told(("test by reading #1",), look="0s")),
    "it is tested under the first prefix that is ours": (
        replace(NEW, owned_prefix="u/alice/", tested=trial()),
        Told(("test u/alice/ #1",), look="0s"),
    ),
    "it is tested again with another Secret": (
        replace(KNOWN, credentials="8", tested=trial(), listed=listing()),
        Told(("test by reading #1",), look="0s"),
    ),
    "it is tested again after an edit": (
        replace(KNOWN, bucket=see.changed(KNOWN.bucket, generation=2), tested=trial(), listed=listing()),
        Told(("test by reading #1",), look="0s"),
    ),
    "it is tested again with another Secret even if it failed for good": (
        replace(KNOWN, credentials="8", tested=trial(NO_CONDITIONS, attempt=7)),
        Told(("test by reading #1",), look="0s"),
    ),
    "a bucket that answers is Ready before it is listed": (
        replace(NEW, tested=trial()),
        Told((), None, (*GOOD, "Listed Unknown Pending", "PrefixesRespected Unknown Pending"), "0s"),
    ),
    "one that is Ready is listed": (replace(KNOWN, tested=trial()), Told(("list #1",), look="0s")),
    "one that is listed is reported": (
        replace(NEW, tested=trial(), listed=listing(ago=5 * MINUTE)),
        Told((), None, COUNTED, "60s"),
    ),
    "it is listed again when the interval is over": (
        replace(KNOWN, tested=trial(), listed=listing(ago=11 * MINUTE)),
        Told(("list #1",), None, COUNTED, "0s"),
    ),
    "a dataset that arrived a moment ago waits a little": (
        replace(KNOWN, tested=trial(), listed=listing(is_stale=True, ago=timedelta(seconds=1))),
        Told((), None, COUNTED, "4s"),
    ),
    "a dataset that arrived is counted soon": (
        replace(KNOWN, tested=trial(), listed=listing(is_stale=True, ago=RELIST_PAUSE)),
        Told(("list #1",), None, COUNTED, "0s"),
    ),
    "a look that the user asked for lists": (
        replace(ASKING, tested=trial(), listed=listing()),
        Told(("list #1",), None, COUNTED, "0s"),
    ),
    "no Secret": (
        replace(NEW, credentials=see.refuse(Reason.SECRET_NOT_FOUND)),
        Told(
            (),
            None,
            (
                *refused("SecretNotFound")[:2],
                "Reachable Unknown SecretNotFound",
                *refused("SecretNotFound")[3:],
            ),
        ),
    ),
    "a bucket that does not answer waits": (
        replace(NEW, tested=trial(UNREACHABLE, ago=timedelta(0))),
        Told((), None, refused("BucketUnreachable"), "pause"),
    ),
    "and is tested again": (
        replace(NEW, tested=trial(UNREACHABLE, attempt=3)),
        Told(("test by reading #4",), None, refused("BucketUnreachable"), "0s"),
    ),
    "one that was counted keeps what was found": (
        replace(KNOWN, tested=trial(UNREACHABLE, ago=timedelta(0))),
        Told((), None, refused("BucketUnreachable", respected="True WithinPrefixes"), "pause"),
    ),
    "a store that cannot do what it must is stalled": (
        replace(NEW, tested=trial(NO_CONDITIONS, ago=99 * MINUTE)),
        Told((), None, refused("NotSupported", "Stalled"), "60s"),
    ),
    "it is tested again on request": (
        replace(ASKING, tested=trial(NO_CONDITIONS)),
        Told(
            ("test by reading #2",),
            None,
            refused("NotSupported", "Stalled", respected="True WithinPrefixes"),
            "0s",
        ),
    ),
    "a listing that shows that it cannot be used": (
        replace(KNOWN, tested=trial(), listed=listing(UNREACHABLE, ago=timedelta(0))),
        Told((), None, refused("BucketUnreachable", respected="True WithinPrefixes"), "pause"),
    ),
    "a listing that fails otherwise leaves it Ready": (
        replace(KNOWN, tested=trial(), listed=listing(see.refuse(Reason.THROTTLED), ago=timedelta(0))),
        Told((), None, (*GOOD, "Listed False Throttled", "PrefixesRespected True WithinPrefixes"), "pause"),
    ),
    "a listing that failed is repeated": (
        replace(KNOWN, tested=trial(), listed=listing(UNREACHABLE, attempt=2)),
        Told(("list #3",), None, refused("BucketUnreachable", respected="True WithinPrefixes"), "0s"),
    ),
    "a first listing that fails": (
        replace(KNOWN, tested=trial(), listed=listing(UNREACHABLE, ago=timedelta(0), catalog=None)),
        Told((), None, refused("BucketUnreachable", respected="True WithinPrefixes"), "pause"),
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_step_by_step(case: str) -> None:
    look, expected = STEPS[case]

    assert tell(plan_bucket(look)) == expected


@pytest.mark.parametrize("case", STEPS)
def test_what_was_reported_is_not_reported_differently_at_the_next_look(case: str) -> None:
    look = STEPS[case][0]
    later = read_back(look, plan_bucket(look))

    status = plan_bucket(replace(later, now=NOW + timedelta(seconds=1))).status

    assert status is None or status == later.bucket.status


AFTER_RESTART = {
    "ready": {"tested": trial(), "listed": listing()},
    "unreachable": {"tested": trial(UNREACHABLE, ago=timedelta(0)), "listed": None},
    "unreachable since it was listed": {"tested": trial(), "listed": listing(UNREACHABLE, ago=timedelta(0))},
    "stalled": {"tested": trial(NO_CONDITIONS), "listed": None},
    "without a Secret": {"credentials": see.refuse(Reason.SECRET_NOT_FOUND)},
    "suspended": {"bucket": see.fresh(bucket(suspend=True))},
}


@pytest.mark.parametrize("case", AFTER_RESTART)
def test_a_new_operator_over_an_unchanged_bucket_comes_to_an_equal_status(case: str) -> None:
    look = replace(KNOWN, **AFTER_RESTART[case])
    before = read_back(look, plan_bucket(look))
    outcome = {name: AFTER_RESTART[case].get(name) for name in ("tested", "listed")}
    if case == "unreachable since it was listed":
        outcome = {"tested": trial(UNREACHABLE, ago=timedelta(0)), "listed": None}

    written = list(_run(replace(before, tested=None, listed=None, now=NOW + timedelta(days=1)), outcome))

    assert all(status == before.bucket.status for status in written)
    assert written


def _run(look: ObservedBucket, outcome: dict[str, Any]) -> Any:
    """Play a new operator that finds the same again; yield the statuses that it would write."""
    for _ in range(10):
        plan = plan_bucket(look)
        if plan.status is not None:
            yield plan.status
        match plan.actions:
            case (SelfTest(version, _, _),):
                look = replace(look, tested=replace(outcome["tested"], version=version, tested_at=look.now))
            case (ListDatasets(),):
                look = replace(look, listed=replace(outcome["listed"], listed_at=look.now))
            case _:
                return
    raise AssertionError("it does not come to rest")


def test_failures_in_a_row_are_repeated_after_growing_pauses() -> None:
    pauses = [_seconds_to_the_next_test(attempt) for attempt in range(1, 15)]

    assert pauses[:7] == sorted(pauses[:7])
    assert pauses[0] in {2, 3}
    assert min(pauses[10:]) > 3 * 60
    assert max(pauses) < 7 * 60


def _seconds_to_the_next_test(attempt: int) -> int:
    """Look again whenever the plan says so, until it tests: a Secret may have changed between tests."""
    for seconds in range(600):
        failed = trial(UNREACHABLE, ago=timedelta(seconds=seconds), attempt=attempt)
        plan = plan_bucket(replace(NEW, tested=failed))
        if plan.actions:
            return seconds
        assert isinstance(plan.look_again, timedelta)
        assert timedelta(0) < plan.look_again <= MINUTE
    raise AssertionError("it is never tested again")


def test_a_request_is_echoed_when_it_was_acted_on() -> None:
    plan = plan_bucket(STEPS["a look that the user asked for lists"][0])

    assert plan.status is not None
    assert plan.status.last_handled_reconcile_at == "now"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "The bucket answers."),
        ({"accessMode": "ReadOnly"}, "nothing is written to it"),
        ({"conditionalWrites": "BestEffort"}, "the later may replace the earlier"),
    ],
)
def test_a_ready_bucket_says_what_is_special(spec: dict[str, Any], says: str) -> None:
    assert says in ready_message(plan_bucket(seen_bucket(bucket(**spec), tested=trial(), listed=listing())))


def test_every_condition_speaks_of_the_present_generation() -> None:
    look = seen_bucket(
        see.changed(bucket(), generation=4), tested=trial(version="4/7/None"), listed=listing()
    )

    status = plan_bucket(look).status

    assert status is not None
    assert {status.observed_generation, *(c.observed_generation for c in status.conditions)} == {4}
