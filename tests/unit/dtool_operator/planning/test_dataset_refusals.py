"""What stops a dataset before any work, as whole plans; and that stopping it is neither hot nor harmful."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.reasons import Reason
from dtool_operator.names import LABEL_IMPORTED, LABEL_UUID
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import ObservedDataset, Slots
from dtool_operator.planning.plan import Backoff
from tests.support import observed as see
from tests.support.observed import HERE, OTHER, adopted, bucket, dataset, instruments, seen, stored
from tests.support.told import Told, not_ready, ready_message, stalled, tell

LAB_LATER = {"bucketRef": {"name": "later", "namespace": see.ADMIN}}
STORED = {"source": {"stored": {"bucketRef": {"name": "own"}, "uuid": see.UUID}}}


def _suspended_lab() -> ObservedDataset:
    return seen(None, bucket(suspend=True), instruments())


BY_THE_CLUSTER: dict[str, tuple[ObservedDataset, Reason, str]] = {
    "its namespace is not known yet": (
        seen(dataset(namespace="new")),
        Reason.PENDING,
        "Namespace 'new' is not known",
    ),
    "there is no such bucket object": (
        seen(dataset(**LAB_LATER)),
        Reason.BUCKET_NOT_FOUND,
        "no DtoolBucket 'later' in namespace 'dtool-system'",
    ),
    "the bucket reference means its own namespace": (
        seen(dataset(bucketRef={"name": "lab"})),
        Reason.BUCKET_NOT_FOUND,
        "in namespace 'alice'",
    ),
    "the bucket object is not valid": (
        seen(dataset(**LAB_LATER), cluster=see.invalid_bucket("later")),
        Reason.BUCKET_NOT_READY,
        "dtool-system/later is not valid",
    ),
    "the bucket does not admit its namespace": (
        seen(dataset(namespace="mallory")),
        Reason.NAMESPACE_NOT_ALLOWED,
        "does not admit namespace 'mallory'",
    ),
    "the bucket was not looked at yet": (
        seen(None, see.fresh(bucket()), instruments()),
        Reason.BUCKET_NOT_READY,
        "dtool-system/lab is not Ready",
    ),
    "the bucket was edited since": (
        seen(None, see.changed(bucket(), generation=2), instruments()),
        Reason.BUCKET_NOT_READY,
        "dtool-system/lab is not Ready",
    ),
    "the bucket is suspended": (_suspended_lab(), Reason.BUCKET_NOT_READY, "dtool-system/lab is suspended"),
    "the bucket is read-only": (
        seen(None, bucket(accessMode="ReadOnly"), instruments()),
        Reason.READ_ONLY_BUCKET,
        "dtool-system/lab is ReadOnly",
    ),
    "an older object describes the same": (
        seen(siblings=(dataset(), see.older(dataset()))),
        Reason.CLAIMED_BY_ANOTHER,
        "DtoolDataset 'older' came first",
    ),
    "nobody offers the source": (
        seen(None, bucket()),
        Reason.SOURCE_NOT_ALLOWED,
        "lets namespace 'alice' read bucket 'instrument-data'",
    ),
    "the source's bucket object is not Ready": (
        seen(None, bucket(), see.judged(instruments(), Reason.CREDENTIALS_REJECTED)),
        Reason.BUCKET_NOT_READY,
        "dtool-system/instruments is not Ready",
    ),
    "two endpoints have the source's bucket": (
        seen(None, bucket(), instruments(), bucket("aws", bucket="instrument-data", endpoint=None)),
        Reason.SOURCE_AMBIGUOUS,
        "spec.source.stored",
    ),
    "the stored source's bucket object is missing": (
        seen(dataset(**STORED)),
        Reason.BUCKET_NOT_FOUND,
        "'own' in namespace 'alice'",
    ),
    "the stored source's bucket does not admit it": (
        seen(
            dataset(source={"stored": {"bucketRef": {"name": "bobs", "namespace": "bob"}, "uuid": see.UUID}}),
            bucket(),
            bucket("bobs", "bob", bucket="bobs-data"),
        ),
        Reason.NAMESPACE_NOT_ALLOWED,
        "bob/bobs does not admit",
    ),
    "the stored source's bucket is not Ready": (
        seen(dataset(**STORED), bucket(), see.fresh(bucket("own", "alice", bucket="own-data"))),
        Reason.BUCKET_NOT_READY,
        "alice/own is not Ready",
    ),
}


@pytest.mark.parametrize("case", BY_THE_CLUSTER)
def test_what_the_cluster_refuses_is_not_asked_of_s3_and_waits(case: str) -> None:
    """Rules 5, 11, 12 and 20."""
    look, reason, says = BY_THE_CLUSTER[case]

    plan = plan_dataset(replace(look, storage=None))

    assert find_inquiry(look) is None
    assert tell(plan) == Told(state="Pending", says=not_ready(reason))
    assert says in ready_message(plan)


BY_S3: dict[str, tuple[ObservedDataset, Reason, str]] = {
    "the bucket does not answer": (
        seen(storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        Reason.BUCKET_UNREACHABLE,
        "it says BucketUnreachable",
    ),
    "the prefix belongs to another cluster": (
        seen(storage=stored(owner=OTHER)),
        Reason.PREFIX_OWNED_BY_OTHER,
        "belongs to cluster-2/ns-other (namespace 'bob'), not to cluster-1/ns-alice",
    ),
    "the prefix belongs to a namespace of the same name that was deleted": (
        seen(storage=stored(owner=replace(see.OWNER, namespace_uid="before"))),
        Reason.PREFIX_OWNED_BY_OTHER,
        "belongs to cluster-1/before",
    ),
    "an adopted dataset is registered elsewhere": (
        seen(adopted(), storage=stored(registered="u/bob/")),
        Reason.UUID_TAKEN,
        "under another prefix",
    ),
    "there is nothing to adopt": (
        seen(adopted(), storage=stored()),
        Reason.DATASET_MISSING,
        "under prefix 'u/alice/' of bucket 'lab-data'",
    ),
    "what is to be adopted is not registered": (
        seen(adopted(), storage=stored("frozen")),
        Reason.REGISTRATION_MISSING,
        f"dtool-{see.UUID}",
    ),
    "the source is not registered": (
        seen(storage=stored(source=None, source_prefix=None)),
        Reason.SOURCE_NOT_FOUND,
        "registered in bucket 'instrument-data'",
    ),
    "the source is registered and not there": (
        seen(storage=stored(source=None)),
        Reason.SOURCE_NOT_FOUND,
        "there is no dataset at that place",
    ),
    "the source is a proto dataset": (
        seen(storage=stored(source="proto")),
        Reason.SOURCE_NOT_FROZEN,
        "copied once it is frozen",
    ),
    "the source lies under a prefix that it may not read": (
        seen(None, bucket(), instruments(readAccess="Prefix"), storage=stored(source_prefix="u/bob/")),
        Reason.SOURCE_NOT_ALLOWED,
        "outside the prefix of namespace 'alice'",
    ),
}


@pytest.mark.parametrize("case", BY_S3)
def test_what_s3_refuses_is_said_of_the_place_and_waits(case: str) -> None:
    """Rules 4, 6, 12 and 20."""
    look, reason, says = BY_S3[case]

    plan = plan_dataset(look)

    assert find_inquiry(look) is not None
    assert tell(plan) == Told(state="Pending", says=not_ready(reason))
    assert says in ready_message(plan)
    assert plan.status is not None
    assert (plan.status.uuid, plan.status.uri) == (see.UUID, f"s3://lab-data/{see.UUID}")


ONLY_AN_EDIT_HELPS: dict[str, tuple[ObservedDataset, Reason, str]] = {
    "a copy's uuid is registered under another prefix": (
        seen(storage=stored(registered="u/bob/")),
        Reason.ALREADY_IN_BUCKET,
        "under another prefix",
    ),
    "the same, and the reader may see where": (
        seen(None, bucket(readAccess="Bucket"), instruments(), storage=stored(registered="u/bob/")),
        Reason.ALREADY_IN_BUCKET,
        "under prefix 'u/bob/'",
    ),
}


@pytest.mark.parametrize("case", ONLY_AN_EDIT_HELPS)
def test_what_only_an_edit_can_change_is_stalled(case: str) -> None:
    """Rules 11 and 20."""
    look, reason, says = ONLY_AN_EDIT_HELPS[case]

    plan = plan_dataset(look)

    assert tell(plan) == Told(state="Failed", says=stalled(reason), look="resync")
    assert says in ready_message(plan)


ALL = {**BY_THE_CLUSTER, **BY_S3, **ONLY_AN_EDIT_HELPS}


@pytest.mark.parametrize("case", ALL)
def test_a_refused_dataset_has_an_equal_status_at_the_next_look_and_after_a_restart(case: str) -> None:
    look = ALL[case][0]
    first = plan_dataset(look)

    later = see.carried_out(look, first)
    second = plan_dataset(replace(later, now=see.NOW + timedelta(hours=1)))

    assert (second.actions, second.status) == ((), later.dataset.status)


@pytest.mark.parametrize("case", ALL)
def test_no_refusal_has_a_dataset_looked_at_in_a_hot_loop(case: str) -> None:
    look_again = plan_dataset(ALL[case][0]).look_again

    assert isinstance(look_again, Backoff) or (look_again and look_again >= timedelta(minutes=1))


#: What passes by itself: a bucket that is looked at again, and one that does not answer.
PASSING = {
    "the bucket was not looked at yet",
    "the bucket was edited since",
    "the bucket does not answer",
    "the source's bucket object is not Ready",
    "the stored source's bucket is not Ready",
}


@pytest.mark.parametrize("case", ALL)
def test_a_refusal_ends_the_work_unless_it_is_expected_to_pass(case: str) -> None:
    look = ALL[case][0]

    plan = plan_dataset(replace(look, transfer=see.running(seen())))

    told = tell(plan)
    assert (told.do, told.look) == ((), "30s") if case in PASSING else (told.do == ("cancel",))


def test_a_suspended_dataset_ends_its_work_and_is_not_ready() -> None:
    """Rule 20."""
    look = seen(dataset(suspend=True), storage=None)

    plan = plan_dataset(replace(look, transfer=see.running(seen())))

    assert tell(plan) == Told(("cancel",), "Suspended", not_ready("Suspended"), "resync")
    assert plan_dataset(see.carried_out(look, plan)).actions == ()


@pytest.mark.parametrize(
    "reason", [Reason.ENDPOINT_NOT_ALLOWED, Reason.PREFIX_OVERLAPS, Reason.NOT_SUPPORTED, Reason.SUSPENDED]
)
def test_a_bucket_whose_spec_was_refused_ends_the_work_in_it(reason: Reason) -> None:
    look = seen(None, see.judged(bucket(), reason), instruments())

    plan = plan_dataset(replace(look, transfer=see.running(seen())))

    assert tell(plan).do == ("cancel",)


def test_a_bucket_that_was_edited_since_its_spec_was_refused_may_pass() -> None:
    one = see.changed(see.judged(bucket(), Reason.PREFIX_OVERLAPS), generation=2)

    plan = plan_dataset(seen(None, one, instruments(), transfer=see.running(seen())))

    assert tell(plan).do == ()


def test_that_another_object_owns_is_said_before_what_is_wrong_with_the_bucket() -> None:
    plan = plan_dataset(seen(None, see.fresh(bucket()), siblings=(see.older(dataset()),)))

    assert tell(plan).says == not_ready("ClaimedByAnother")


def test_a_worker_is_ended_where_the_owner_marker_can_no_longer_be_understood() -> None:
    look = seen(storage=see.refuse(Reason.PREFIX_OWNED_BY_OTHER))

    plan = plan_dataset(replace(look, transfer=see.running(seen())))

    assert tell(plan) == Told(("cancel",), "Pending", not_ready("PrefixOwnedByOther"))


def test_without_a_free_slot_a_dataset_is_queued() -> None:
    plan = plan_dataset(seen(slots=Slots(running=4)))

    assert tell(plan) == Told(state="Pending", says=not_ready("Queued"), look="pause")


def test_a_read_only_bucket_without_an_owner_marker_lets_its_dataset_be_adopted_without_a_write() -> None:
    """Rule 4: in a ReadOnly bucket a missing marker counts as ours."""
    here = replace(HERE, owner=None)

    plan = plan_dataset(seen(adopted(), bucket(accessMode="ReadOnly"), storage=here))

    assert tell(plan).do == ("no finalizer, label", "start verify lab-data/u/alice/")


def test_a_new_dataset_that_waits_for_a_place_says_so_once_the_wait_has_lasted() -> None:
    """Rule 17: of thousands that are applied at once most have their turn soon."""
    one = dataset()
    applied = replace(one, meta=replace(one.meta, creation_timestamp=see.NOW - timedelta(seconds=4)))
    look = seen(applied, slots=Slots(running=4))

    first, later = plan_dataset(look), plan_dataset(replace(look, now=see.NOW + timedelta(seconds=6)))

    assert (tell(first), first.is_waiting) == (Told((), look="6s"), True)
    assert tell(later) == Told((), "Pending", not_ready("Queued"), "pause")
    assert later.is_waiting


IMPORTED = replace(
    adopted(), meta=replace(adopted().meta, labels={LABEL_UUID: see.UUID, LABEL_IMPORTED: "true"})
)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_rule_9_an_imported_object_that_a_users_describes_is_removed(is_frozen: bool) -> None:
    frozen = replace(IMPORTED, status=see.was_frozen().status) if is_frozen else IMPORTED
    look = seen(
        frozen,
        siblings=(replace(adopted(), meta=replace(adopted().meta, name="mine", uid="mine")),),
        storage=None,
    )

    assert find_inquiry(look) is None
    assert tell(plan_dataset(look)) == Told(("remove the object",), look=None)
    ended = plan_dataset(replace(look, transfer=see.running(seen(adopted(), storage=HERE))))
    assert tell(ended).do == ("cancel", "remove the object")


def test_rule_9_a_users_object_is_never_removed() -> None:
    plan = plan_dataset(seen(adopted(), siblings=(see.older(adopted()),), storage=None))

    assert tell(plan) == Told((), "Pending", not_ready("ClaimedByAnother"))
