"""When a frozen dataset is verified, and how (rules 13, 16 and 21); whole plans."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import Evidence
from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED, ANNOTATION_VERIFY_REQUESTED
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.failure import plan_failure
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import CatalogView, ObservedDataset, Slots
from dtool_operator.planning.plan import MarkObject
from dtool_operator.planning.task import DatasetFacts, MismatchLine
from dtool_operator.planning.verification import find_due, is_overdue
from dtool_s3.catalog import CatalogEntry, EntryState
from tests.support import observed as see
from tests.support.observed import HERE, dataset, seen, stored
from tests.support.told import READY, Told, damaged, tell

VERIFY = "start verify lab-data/u/alice/"
READ = f"{VERIFY} by reading"
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
MINUTE = timedelta(minutes=1)
CONTENT = {"interval": "24h", "method": "Content"}
ENTRY = CatalogEntry(see.UUID, "u/alice/", EntryState.FROZEN, "etag")
LISTED = CatalogView(ENTRY)


def later(after: timedelta, one: DtoolDataset | None = None, **fields: Any) -> ObservedDataset:
    """A look at a frozen dataset so long after it was verified."""
    return seen(
        one or see.was_frozen(), **{"storage": HERE, "catalog": LISTED, **fields}, now=see.NOW + after
    )


def asking(value: str, name: str = ANNOTATION_VERIFY_REQUESTED, **spec: Any) -> DtoolDataset:
    return see.with_annotations(see.was_frozen(dataset(**spec)), {name: value})


DUE: dict[str, tuple[ObservedDataset, str | None]] = {
    "right after its copy it is not": (later(timedelta(0)), None),
    "a week later it may be, by its place in the spread": (later(WEEK * 1.21), VERIFY),
    "before its interval is over it is not": (later(WEEK * 0.99), None),
    "a shorter interval counts": (
        later(HOUR * 1.3, see.was_frozen(dataset(verify={"interval": "1h"}))),
        VERIFY,
    ),
    "the method is the spec's": (later(DAY * 1.3, see.was_frozen(dataset(verify=CONTENT))), READ),
    "reading is at least a day apart": (later(HOUR * 23, see.was_frozen(dataset(verify=CONTENT))), None),
    "a request counts at once": (later(MINUTE, asking("please")), f"{VERIFY} as asked please"),
    "a request is made with the spec's method": (
        later(MINUTE, asking("please", verify=CONTENT)),
        f"{READ} as asked please",
    ),
}


@pytest.mark.parametrize("case", DUE)
def test_rule_21_whether_a_verification_is_due(case: str) -> None:
    look, start = DUE[case]

    plan = plan_dataset(look)

    assert tell(plan).do == (() if start is None else (start,))
    assert tell(plan).state == "Frozen"
    assert (find_inquiry(look) is None) is (start is None)


@pytest.mark.parametrize("case", [case for case in DUE if DUE[case][1]])
def test_rule_10_a_verification_that_was_begun_is_not_begun_again(case: str) -> None:
    look = DUE[case][0]

    later = see.carried_out(look, plan_dataset(look))

    assert tell(plan_dataset(later)) == Told((), "Verifying", READY, "30s")


def test_a_request_that_was_answered_asks_for_nothing() -> None:
    look = later(MINUTE, asking("please"))
    done = see.carried_out(look, plan_dataset(replace(look, transfer=see.ended(look, see.facts()))))

    assert done.dataset.status.last_handled_verify_at == "please"
    assert plan_dataset(done).actions == ()
    assert find_inquiry(done) is None


def test_a_dataset_without_a_verification_gets_one() -> None:
    one = see.was_frozen()
    restored = replace(one, status=one.status.model_copy(update={"verified": None}))

    assert tell(plan_dataset(later(timedelta(0), restored))).do == (VERIFY,)
    assert not is_overdue(restored, see.NOW + WEEK * 99)


def test_verifications_are_spread_over_a_fifth_of_the_interval() -> None:
    due = []
    for number in range(200):
        one = see.was_frozen()
        moved = replace(one, meta=replace(one.meta, uid=see.object_uid("alice", str(number))))
        due.append(find_due(later(timedelta(0), moved)))

    assert min(due) >= WEEK
    assert max(due) <= WEEK * 1.2
    assert max(due) - min(due) > WEEK * 0.18


def test_a_verification_that_should_have_ended_long_ago_makes_verified_unknown() -> None:
    look = later(WEEK * 1.8, slots=Slots(running=4))

    plan = plan_dataset(look)

    says = (*READY[:2], "MetadataSynced True Synced", "Verified Unknown VerificationOverdue")
    assert tell(plan).do == ()
    assert tell(plan).state == "Frozen"
    assert sorted(tell(plan).says or ()) == sorted(says)


OLD = see.verified_long_ago(see.was_frozen())
KEPT_FROM_IT = {
    "a bucket that does not answer": later(WEEK, OLD, storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
    "a bucket that is not Ready": seen(OLD, see.bucket(suspend=True), see.instruments()),
    "a namespace that is not admitted any more": seen(OLD, see.bucket(allowedNamespaces={"from": "Same"})),
    "its own suspension": seen(replace(OLD, spec=dataset(suspend=True).spec)),
}


@pytest.mark.parametrize("case", KEPT_FROM_IT)
def test_whatever_keeps_a_dataset_from_its_verification_verified_is_unknown_in_the_end(case: str) -> None:
    look = KEPT_FROM_IT[case]
    first = plan_dataset(look)
    reported = replace(look, dataset=see.reported(look.dataset, first))

    assert "Verified Unknown VerificationOverdue" in (tell(first).says or ())
    assert "Verified Unknown VerificationOverdue" in (tell(plan_dataset(reported)).says or ()), "it stays so"
    assert "Frozen True Frozen" in (tell(first).says or ())


def test_what_went_wrong_in_a_plan_does_not_make_a_verification_younger() -> None:
    plan = plan_failure(later(WEEK, OLD), see.refuse(Reason.ACCESS_DENIED), MarkObject(has_finalizer=False))

    assert "Verified Unknown VerificationOverdue" in (tell(plan).says or ())


def test_what_was_overdue_is_verified_again_when_its_verification_ends() -> None:
    look = later(WEEK * 1.8)
    overdue = see.carried_out(look, plan_dataset(replace(look, slots=Slots(running=4))))

    plan = plan_dataset(replace(overdue, transfer=see.ended(look, see.facts())))

    assert tell(plan) == Told(("forget",), "Frozen", READY, "resync")


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        ({"etag_md5": 3}, "Verified True ContentVerified"),
        ({"etag_md5": 1}, "Verified Unknown ContentNotRead"),
    ],
    ids=["all proven", "not all proven"],
)
def test_what_is_no_longer_overdue_says_again_what_was_found(evidence: dict[str, int], says: str) -> None:
    one = see.was_frozen()
    assert one.status.verified is not None
    verified = one.status.verified.model_copy(update={"evidence": Evidence(**evidence)})
    frozen = replace(one, status=one.status.model_copy(update={"verified": verified}))
    late = later(WEEK * 1.8, frozen, slots=Slots(running=4))
    overdue = see.carried_out(late, plan_dataset(late)).dataset
    longer = replace(overdue, spec=dataset(verify={"interval": "8000h"}).spec)

    plan = plan_dataset(later(WEEK * 1.8, longer))

    assert says in (tell(plan).says or ())


def test_damage_is_not_hidden_by_being_overdue() -> None:
    one = see.was_frozen()
    hurt = see.reported(one, plan_dataset(seen(one, storage=stored("frozen"))))

    plan = plan_dataset(later(WEEK * 2, hurt, slots=Slots(running=4)))

    assert tell(plan).says == damaged("RegistrationHijacked")


WRONG = MismatchLine(relpath="a.txt", expected="md5 x", found="md5 y")
MISMATCH = see.facts(mismatch_count=1, mismatches=(WRONG,))


def found(look: ObservedDataset, facts: DatasetFacts, reason: Reason) -> ObservedDataset:
    """The next look after a verification that found damage was reported."""
    record = see.ended(look, reason)
    assert record.error is not None
    told = replace(record, facts=facts, error=record.error.model_copy(update={"facts": facts}))
    return see.carried_out(look, plan_dataset(replace(look, transfer=told)))


LISTING_DUE = later(timedelta(0), asking("1"))
CONTENT_DUE = later(timedelta(0), asking("1", verify=CONTENT))
MISSING = found(LISTING_DUE, MISMATCH, Reason.ITEM_MISSING)
EXTRA = found(LISTING_DUE, see.facts(), Reason.CONTENT_DIFFERS)
CHANGED = found(CONTENT_DUE, MISMATCH, Reason.CONTENT_DIFFERS)
READ_EXTRA = found(CONTENT_DUE, see.facts(), Reason.CONTENT_DIFFERS)
NOW_BY_LISTING = replace(CHANGED, dataset=replace(CHANGED.dataset, spec=dataset().spec))

HURT: dict[str, tuple[ObservedDataset, timedelta, str | None]] = {
    "missing items are not looked for again at once": (MISSING, MINUTE, None),
    "they are after a while": (MISSING, 12 * MINUTE, VERIFY),
    "extra items are not looked for again at once": (EXTRA, MINUTE, None),
    "nor are they after a while by reading, if reading found them": (READ_EXTRA, 12 * MINUTE, None),
    "but a day later": (READ_EXTRA, DAY, READ),
    "bytes that reading found are looked for by reading a day later": (CHANGED, DAY, READ),
    "and not before": (CHANGED, 23 * HOUR, None),
    "though the spec says Listing now": (NOW_BY_LISTING, DAY, READ),
}


@pytest.mark.parametrize("case", HURT)
def test_rule_16_how_damage_is_looked_for(case: str) -> None:
    look, after, start = HURT[case]

    told = tell(plan_dataset(replace(look, now=see.NOW + after)))

    assert told.do == (() if start is None else (start,))
    assert told.state == "Damaged"


@pytest.mark.parametrize("look", [MISSING, EXTRA, CHANGED, READ_EXTRA])
def test_rule_10_damage_that_was_told_is_told_once(look: ObservedDataset) -> None:
    plan = plan_dataset(look)

    assert (plan.actions, plan.status) == ((), look.dataset.status)
    assert look.transfer is None


def test_rule_16_what_reading_found_is_in_the_status() -> None:
    status = CHANGED.dataset.status

    assert status.verified is not None
    assert (status.verified.method, status.verified.mismatch_count) == ("Content", 1)
    assert status.verified.mismatches[0].relpath == "a.txt"
    assert (status.state, status.last_handled_verify_at) == ("Damaged", "1")


@pytest.mark.parametrize("look", [MISSING, EXTRA], ids=["missing items", "extra items"])
def test_rule_21_whoever_brought_back_what_was_missing_asks_for_a_look(look: ObservedDataset) -> None:
    one = see.with_annotations(
        look.dataset, {ANNOTATION_VERIFY_REQUESTED: "1", ANNOTATION_RECONCILE_REQUESTED: "2"}
    )
    asked = replace(look, dataset=one, now=see.NOW + MINUTE)
    begun = see.carried_out(asked, plan_dataset(asked))
    assert begun.transfer is not None

    done = plan_dataset(replace(begun, transfer=see.ended(begun, see.facts(), task=begun.transfer.task)))

    assert tell(done) == Told(("forget",), "Frozen", READY, "0s")


def test_a_verification_is_reported_though_it_is_not_due_any_more() -> None:
    look = later(WEEK * 1.3)
    record = see.ended(look, see.facts())
    longer = replace(look, dataset=see.was_frozen(dataset(verify={"interval": "8760h"})))

    plan = plan_dataset(replace(longer, transfer=record))

    assert tell(plan) == Told(("forget",), "Frozen", READY, "resync")
    assert plan.status is not None
    assert plan.status.verified is not None
    assert plan.status.verified.time == see.NOW


def test_a_verification_that_could_not_be_made_says_nothing_of_the_dataset() -> None:
    look = later(WEEK * 1.3)
    failed = replace(see.ended(look, Reason.BUCKET_UNREACHABLE, attempts=9), finished_at=look.now)

    plan = plan_dataset(replace(look, transfer=failed))

    assert tell(plan) == Told((), "Frozen", READY, "pause")


LISTINGS: dict[str, tuple[CatalogView | None, bool]] = {
    "was not made yet": (None, False),
    "shows it as it was": (LISTED, False),
    "does not show it": (CatalogView(None), True),
    "shows it under another prefix": (CatalogView(replace(ENTRY, prefix="u/bob/")), True),
    "shows a proto": (CatalogView(replace(ENTRY, state=EntryState.PROTO)), True),
}


@pytest.mark.parametrize("case", LISTINGS)
def test_s3_is_asked_about_a_frozen_dataset_where_the_listing(case: str) -> None:
    catalog, is_asked = LISTINGS[case]

    inquiry = find_inquiry(later(timedelta(0), catalog=catalog))

    assert (inquiry is not None) is is_asked
    if inquiry is not None:
        assert (inquiry.origin, inquiry.other_uuid, inquiry.wanted) == (None, None, None)


ASKED: dict[str, ObservedDataset] = {
    "damage was told": MISSING,
    "a look is requested": later(timedelta(0), asking("1", ANNOTATION_RECONCILE_REQUESTED)),
    "a verification is requested": later(timedelta(0), asking("1")),
    "a worker is left": later(timedelta(0), transfer=see.ended(seen(), see.facts())),
}


@pytest.mark.parametrize("case", ASKED)
def test_s3_is_asked_about_a_frozen_dataset_where(case: str) -> None:
    assert find_inquiry(ASKED[case]) is not None


QUEUED: dict[str, tuple[ObservedDataset, bool]] = {
    "a copy that waits for a place is not": (seen(slots=Slots(running=4)), False),
    "an adopted dataset that waits is not": (seen(see.adopted(), slots=Slots(running=4)), False),
    "a copy that runs is": (seen(slots=Slots(running=4), transfer=see.running(seen())), True),
    "a new dataset needs no place": (seen(dataset(source=None), slots=Slots(running=4)), True),
    "a frozen dataset needs none to be looked at": (
        later(timedelta(0), asking("1"), slots=Slots(running=4)),
        True,
    ),
}


@pytest.mark.parametrize("case", QUEUED)
def test_rule_17_s3_is_not_asked_in_vain(case: str) -> None:
    look, is_asked = QUEUED[case]

    assert (find_inquiry(replace(look, storage=None)) is not None) is is_asked
