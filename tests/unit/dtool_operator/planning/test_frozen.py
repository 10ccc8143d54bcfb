"""Datasets that were frozen before: kept whatever is in the way, watched, reported when damaged, repaired."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import NamespaceView, ObservedDataset, Refusal, Slots, StorageView
from tests.support import observed as see
from tests.support.observed import HERE, OTHER, bucket, dataset, instruments, seen, stored
from tests.support.told import FROZEN, READY, Told, damaged, ready_message, tell

KEPT: dict[str, tuple[ObservedDataset, str, Reason]] = {
    "it is suspended": (seen(dataset(suspend=True)), "Suspended", Reason.SUSPENDED),
    "consent is withdrawn": (
        seen(cluster=see.cluster(bucket(), namespaces=(NamespaceView("alice", "ns-alice"),))),
        "Frozen",
        Reason.NAMESPACE_NOT_ALLOWED,
    ),
    "its bucket object is deleted": (seen(None, instruments()), "Frozen", Reason.BUCKET_NOT_FOUND),
    "an older object describes it": (
        seen(siblings=(see.older(dataset()),)),
        "Frozen",
        Reason.CLAIMED_BY_ANOTHER,
    ),
    "its namespace is another one now": (
        seen(storage=stored(owner=OTHER)),
        "Frozen",
        Reason.PREFIX_OWNED_BY_OTHER,
    ),
    "the owner marker cannot be understood": (
        seen(storage=see.refuse(Reason.PREFIX_OWNED_BY_OTHER)),
        "Frozen",
        Reason.PREFIX_OWNED_BY_OTHER,
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_a_frozen_dataset_that_is_refused_says_so_and_stays_frozen(case: str) -> None:
    look, state, reason = KEPT[case]

    plan = plan_dataset(replace(look, dataset=see.was_frozen(look.dataset)))

    says = (f"Ready False {reason}", f"Reconciling True {reason}", *FROZEN)
    assert tell(plan) == Told((), state, says, "resync" if state == "Suspended" else "back off")


@pytest.mark.parametrize("case", KEPT)
def test_a_frozen_dataset_is_ready_again_when_the_refusal_is_over(case: str) -> None:
    look, before = KEPT[case][0], see.was_frozen()
    refused = see.reported(before, plan_dataset(replace(look, dataset=see.was_frozen(look.dataset))))

    plan = plan_dataset(seen(replace(before, status=refused.status), storage=HERE))

    assert plan.status is not None
    assert plan.status.dump() == before.status.dump()


def test_an_edit_that_means_nothing_stalls_a_frozen_dataset_too() -> None:
    edited = see.was_frozen(dataset(name="other"))

    plan = plan_dataset(seen(edited, storage=None))

    says = ("Ready False InvalidSpec", "Stalled True InvalidSpec", *FROZEN)
    assert tell(plan) == Told((), "Failed", says, "resync")


UNSEEN = {
    "its bucket is suspended": seen(None, bucket(suspend=True), instruments()),
    "its bucket does not answer": seen(None, see.judged(bucket(), Reason.BUCKET_UNREACHABLE), instruments()),
    "its bucket was just edited": seen(None, see.changed(bucket(), generation=2), instruments()),
    "its bucket object is not valid": seen(cluster=see.invalid_bucket("lab")),
    "S3 did not answer this look": seen(storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
    "the keys are refused": seen(storage=see.refuse(Reason.CREDENTIALS_REJECTED)),
    "the Secret is gone": seen(storage=see.refuse(Reason.SECRET_NOT_FOUND)),
}


@pytest.mark.parametrize("case", UNSEEN)
def test_what_cannot_be_seen_does_not_flip_a_frozen_dataset(case: str) -> None:
    """Rule 7."""
    frozen = see.was_frozen()

    plan = plan_dataset(replace(UNSEEN[case], dataset=frozen))

    assert tell(plan) == Told((), "Frozen", READY, "back off")
    assert plan.status == frozen.status


WATCHED = {
    "nothing is to be done": (see.was_frozen(), None, ()),
    "the record of its copy is dropped": (see.was_frozen(), see.ended(seen(), see.facts()), ("forget",)),
    "a finalizer that was left is taken off": (
        see.marked(see.was_frozen(), finalizer=True),
        None,
        ("no finalizer, label",),
    ),
    "a label that somebody removed is put back": (
        see.marked(see.was_frozen(), label=None),
        None,
        ("no finalizer, label",),
    ),
}


def test_a_worker_that_copies_what_is_frozen_is_ended() -> None:
    """Rule 16."""
    plan = plan_dataset(seen(see.was_frozen(), storage=HERE, transfer=see.running(seen())))

    assert tell(plan) == Told(("cancel",), "Frozen", READY, "0s")


@pytest.mark.parametrize("case", WATCHED)
def test_a_frozen_dataset_that_is_as_it_was_keeps_an_equal_status(case: str) -> None:
    frozen, record, do = WATCHED[case]
    look = seen(frozen, storage=HERE, transfer=record)

    plan = plan_dataset(replace(look, now=see.NOW + timedelta(days=1)))

    assert tell(plan) == Told(do, "Frozen", READY, "resync")
    assert plan.status == frozen.status
    assert plan_dataset(see.carried_out(look, plan)).actions == ()


def test_a_frozen_dataset_does_not_need_its_source_any_more() -> None:
    look = seen(see.was_frozen(), bucket(), storage=HERE)

    assert find_inquiry(look) is None
    assert tell(plan_dataset(look)) == Told((), "Frozen", READY, "resync")


def test_a_frozen_dataset_may_lie_in_a_bucket_that_has_become_read_only() -> None:
    look = seen(see.was_frozen(), bucket(accessMode="ReadOnly"), storage=HERE)

    assert tell(plan_dataset(look)) == Told((), "Frozen", READY, "resync")


DAMAGES: dict[str, tuple[StorageView | Refusal, Reason, str]] = {
    "its registration key names another prefix": (
        stored("frozen", registered="u/mallory/"),
        Reason.REGISTRATION_HIJACKED,
        "names another prefix",
    ),
    "its registration key is gone": (stored("frozen"), Reason.REGISTRATION_HIJACKED, "is gone"),
    "everything is gone": (stored(), Reason.DATASET_MISSING, "is not there any more"),
    "it is gone and still registered": (
        stored(registered="u/alice/"),
        Reason.DATASET_MISSING,
        "is not there any more",
    ),
    "it is gone and registered elsewhere": (
        stored(registered="u/mallory/"),
        Reason.REGISTRATION_HIJACKED,
        "names another prefix",
    ),
    "it is a proto dataset again": (
        stored("proto", registered="u/alice/"),
        Reason.CONTENT_DIFFERS,
        "is a proto dataset now",
    ),
    "its administrative metadata mean nothing": (
        see.refuse(Reason.INVALID_ADMIN_METADATA),
        Reason.INVALID_ADMIN_METADATA,
        "it says",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_dataset_that_changed_after_freezing_is_damaged_and_nothing_is_done_to_it(case: str) -> None:
    """Rules 6 and 16."""
    storage, reason, says = DAMAGES[case]

    plan = plan_dataset(seen(see.was_frozen(), storage=storage))

    assert tell(plan) == Told((), "Damaged", damaged(reason), "resync")
    assert says in ready_message(plan)
    assert plan.status is not None
    assert plan.status.frozen_at == see.was_frozen().status.frozen_at


def hurt(case: str = "its registration key is gone") -> DtoolDataset:
    """An object that was reported Damaged."""
    frozen = see.was_frozen()
    return see.reported(frozen, plan_dataset(seen(frozen, storage=DAMAGES[case][0])))


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_dataset_has_an_equal_status_after_a_restart(case: str) -> None:
    one = hurt(case)

    plan = plan_dataset(seen(one, storage=DAMAGES[case][0], now=see.NOW + timedelta(hours=1)))

    assert (plan.actions, plan.status) == ((), one.status)


@pytest.mark.parametrize("case", UNSEEN)
def test_what_cannot_be_seen_does_not_hide_damage(case: str) -> None:
    plan = plan_dataset(replace(UNSEEN[case], dataset=hurt()))

    assert tell(plan) == Told((), "Damaged", damaged("RegistrationHijacked"), "back off")
    assert plan.status == hurt().status


def test_damage_is_not_forgotten_while_a_dataset_is_suspended() -> None:
    one = hurt()
    suspended = see.reported(one, plan_dataset(seen(replace(one, spec=dataset(suspend=True).spec))))
    resumed = replace(suspended, spec=one.spec)
    refused = see.reported(resumed, plan_dataset(seen(resumed, instruments())))

    plan = plan_dataset(seen(refused, storage=see.refuse(Reason.THROTTLED)))

    assert (suspended.status.state, refused.status.state) == ("Suspended", "Damaged")
    assert plan.status == one.status


def test_a_damaged_dataset_that_looks_whole_again_is_verified_by_listing_not_copied() -> None:
    look = seen(hurt(), storage=HERE)

    plan = plan_dataset(look)

    assert tell(plan) == Told(
        ("start verify lab-data/u/alice/",), "Damaged", damaged("RegistrationHijacked"), "30s"
    )
    assert plan.status == look.dataset.status
    assert plan_dataset(see.carried_out(look, plan)).actions == ()


WHOLE = seen(hurt(), storage=HERE)
MINUTE = timedelta(minutes=1)

REPAIRS: dict[str, tuple[ObservedDataset, Told]] = {
    "no slot is free": (
        replace(WHOLE, slots=Slots(running_in_bucket=4)),
        Told((), "Damaged", damaged("RegistrationHijacked"), "back off"),
    ),
    "the verification runs": (
        replace(WHOLE, transfer=see.running(WHOLE)),
        Told((), "Damaged", damaged("RegistrationHijacked"), "30s"),
    ),
    "the keys changed meanwhile": (
        replace(WHOLE, storage=replace(HERE, credentials_version="2"), transfer=see.running(WHOLE)),
        Told(("refresh keys",), "Damaged", damaged("RegistrationHijacked"), "30s"),
    ),
    "another worker still runs": (
        replace(WHOLE, transfer=see.running(seen())),
        Told(("cancel",), "Damaged", damaged("RegistrationHijacked"), "0s"),
    ),
    "the record is that of the copy": (
        replace(WHOLE, transfer=see.ended(seen(), see.facts())),
        Told(("start verify lab-data/u/alice/",), "Damaged", damaged("RegistrationHijacked"), "30s"),
    ),
    "it has succeeded": (
        replace(WHOLE, transfer=see.ended(WHOLE, see.facts())),
        Told(("forget",), "Frozen", READY, "0s"),
    ),
    "an item is missing": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.ITEM_MISSING)),
        Told((), "Damaged", damaged("ItemMissing"), "resync"),
    ),
    "an item was missing, long ago": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.ITEM_MISSING, ago=11 * MINUTE)),
        Told(("start verify lab-data/u/alice/",), "Damaged", damaged("RegistrationHijacked"), "30s"),
    ),
    "the worker could not see it": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.BUCKET_UNREACHABLE, attempts=20)),
        Told((), "Damaged", damaged("RegistrationHijacked"), "pause"),
    ),
    "the worker could not see it, and the pause is over": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.BUCKET_UNREACHABLE, attempts=20, ago=7 * MINUTE)),
        Told(("start verify lab-data/u/alice/",), "Damaged", damaged("RegistrationHijacked"), "30s"),
    ),
    "the store cannot be asked so": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.INVALID_SPEC)),
        Told((), "Damaged", damaged("RegistrationHijacked"), "resync"),
    ),
    "there is an extra item": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.CONTENT_DIFFERS)),
        Told((), "Damaged", damaged("ContentDiffers"), "resync"),
    ),
    "there was an extra item, long ago": (
        replace(WHOLE, transfer=see.ended(WHOLE, Reason.CONTENT_DIFFERS, ago=11 * MINUTE)),
        Told(("start verify lab-data/u/alice/",), "Damaged", damaged("RegistrationHijacked"), "30s"),
    ),
}


@pytest.mark.parametrize("case", REPAIRS)
def test_a_dataset_stays_damaged_until_its_verification_has_succeeded(case: str) -> None:
    look, expected = REPAIRS[case]

    assert tell(plan_dataset(look)) == expected


def test_a_verification_goes_on_while_its_bucket_does_not_answer() -> None:
    unseen = replace(UNSEEN["its bucket does not answer"], dataset=hurt(), transfer=see.running(WHOLE))

    assert tell(plan_dataset(unseen)).do == ()
    assert tell(plan_dataset(replace(unseen, cluster=see.invalid_bucket("lab")))).do == ("cancel",)


def test_a_verification_ends_where_the_prefix_is_somebody_elses() -> None:
    taken = replace(WHOLE, storage=replace(HERE, owner=OTHER), transfer=see.running(WHOLE))

    assert tell(plan_dataset(taken)).do == ("cancel",)


def test_a_repaired_dataset_is_watched_like_any_other() -> None:
    repaired = see.reported(hurt(), plan_dataset(REPAIRS["it has succeeded"][0]))

    plan = plan_dataset(seen(repaired, storage=HERE))

    assert tell(plan) == Told((), "Frozen", READY, "resync")
    assert plan.status == repaired.status


def test_metadata_that_dtool_does_not_take_are_said_and_the_data_stay_frozen() -> None:
    plan = plan_dataset(seen(see.was_frozen(), storage=see.refuse(Reason.INVALID_SPEC)))

    says = (
        "Ready False InvalidSpec",
        "Stalled True InvalidSpec",
        *FROZEN[:-1],
        "MetadataSynced False InvalidSpec",
    )
    assert (tell(plan).do, tell(plan).says, tell(plan).look) == ((), says, "resync")
