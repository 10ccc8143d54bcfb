"""What happens to a dataset that is deleted (rule 18): what goes, what stays, and that nothing blocks."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import NamespaceView, ObservedDataset, Slots
from tests.support import observed as see
from tests.support.observed import HERE, OTHER, adopted, bucket, dataset, instruments, seen, stored
from tests.support.told import Told, not_ready, ready_message, tell

MINUTE = timedelta(minutes=1)
REMOVE = "start remove lab-data/u/alice/"
STARTED = stored("proto", registered="u/alice/")
NOT_ADMITTED = (NamespaceView("alice", "ns-alice"),)
TERMINATING = (NamespaceView("alice", "ns-alice", {"lab": "true"}, is_terminating=True),)


def unfinished(spec: DtoolDataset | None = None, *, ago: timedelta = MINUTE) -> DtoolDataset:
    """An object that was deleted before its copy was frozen."""
    return see.deleted(see.marked(spec or dataset(), finalizer=True), ago=ago)


def gone(look: ObservedDataset, **fields: object) -> ObservedDataset:
    """The same look, after S3 was not asked."""
    return replace(look, storage=None, **fields)


BEGUN = seen(unfinished(), storage=STARTED)
"""An unfinished copy that is ours."""

#: Deletions that end, and what is said to be left behind (None: nothing).
RELEASED: dict[str, tuple[ObservedDataset, str | None]] = {
    "has been frozen": (seen(unfinished(), storage=HERE), None),
    "was reported frozen, wherever it is now": (
        gone(seen(see.deleted(see.marked(see.was_frozen(), finalizer=True)), instruments())),
        None,
    ),
    "was never begun": (seen(unfinished(), storage=stored(owner=None)), None),
    "was removed": (replace(BEGUN, transfer=see.ended(BEGUN, None)), None),
    "belongs to another namespace's identity": (
        seen(unfinished(), storage=stored(owner=OTHER)),
        "Prefix 'u/alice/' belongs to cluster-2/ns-other",
    ),
    "has an owner marker that cannot be understood": (
        seen(unfinished(), storage=see.refuse(Reason.PREFIX_OWNED_BY_OTHER)),
        "it says PrefixOwnedByOther",
    ),
    "is registered under another prefix": (
        seen(unfinished(), storage=stored("proto", registered="u/bob/")),
        f"The registration key of {see.UUID} names another prefix.",
    ),
    "has lost its bucket object": (
        gone(seen(unfinished(), instruments())),
        (
            "There is no DtoolBucket 'lab' in namespace 'dtool-system'; it is waited for. Elsewhere? Then "
            "bucketRef needs its namespace."
        ),
    ),
    "has lost its namespace": (
        gone(seen(unfinished(), cluster=see.cluster(bucket(), namespaces=()))),
        "Namespace 'alice' is gone.",
    ),
    "lost the bucket's consent": (
        gone(seen(unfinished(), cluster=see.cluster(bucket(), namespaces=NOT_ADMITTED))),
        "DtoolBucket dtool-system/lab does not admit namespace 'alice'",
    ),
    "is described by an older object": (
        gone(seen(unfinished(), siblings=(see.older(dataset()),))),
        "DtoolDataset 'older' came first and describes the same dataset",
    ),
    "lies in a bucket that has become read-only": (
        gone(seen(unfinished(), bucket(accessMode="ReadOnly"))),
        "DtoolBucket dtool-system/lab is ReadOnly",
    ),
    "shall lie on a volume, where no Job has begun": (
        gone(seen(unfinished(dataset(bucketRef=None, volume={"claimName": "c"})))),
        None,
    ),
    "has no uuid": (
        gone(
            seen(
                see.marked(unfinished(dataset(source={"dataset": {"name": "x"}})), finalizer=True, label=None)
            )
        ),
        "The object never had a dataset in a bucket.",
    ),
    "is none: a proto dataset that is nowhere else, whoever put the finalizer there": (
        gone(seen(unfinished(adopted()))),
        None,
    ),
    "has lost its Secret": (
        seen(unfinished(), storage=see.refuse(Reason.SECRET_NOT_FOUND)),
        "it says SecretNotFound",
    ),
    "has lost its Secret, as the bucket object says": (
        seen(
            unfinished(),
            see.judged(bucket(), Reason.SECRET_NOT_FOUND),
            storage=see.refuse(Reason.SECRET_NOT_FOUND),
        ),
        "it says SecretNotFound",
    ),
    "lay in a bucket that did not come back": (
        gone(seen(unfinished(ago=60 * MINUTE), bucket(suspend=True))),
        "DtoolBucket dtool-system/lab is suspended.",
    ),
    "lay at an endpoint that did not come back": (
        seen(unfinished(ago=60 * MINUTE), storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        "it says BucketUnreachable",
    ),
    "lay at one that did not come back, in a namespace that ends": (
        seen(
            unfinished(ago=5 * MINUTE),
            cluster=see.cluster(bucket(), namespaces=TERMINATING),
            storage=see.refuse(Reason.BUCKET_UNREACHABLE),
        ),
        "it says BucketUnreachable",
    ),
    "could not be removed for too long": (
        replace(
            BEGUN,
            dataset=unfinished(ago=61 * MINUTE),
            transfer=see.ended(BEGUN, Reason.ACCESS_DENIED, ago=10 * MINUTE),
        ),
        "What lies under 'u/alice/' could not be removed.",
    ),
    "could not be removed until just now": (
        replace(
            BEGUN,
            dataset=unfinished(ago=61 * MINUTE),
            transfer=see.ended(BEGUN, Reason.ACCESS_DENIED, attempts=9),
        ),
        "What lies under 'u/alice/' could not be removed.",
    ),
}


@pytest.mark.parametrize("case", RELEASED)
def test_an_object_is_let_go_whose_copy(case: str) -> None:
    look, left_behind = RELEASED[case]

    told = tell(plan_dataset(look))

    assert told == Told((*told.do[:-1], "no finalizer"), look=None)
    assert len(told.do) == (1 if left_behind is None else 2)
    if left_behind is not None:
        assert told.do[0].startswith(f"left behind: {left_behind}")
        assert told.do[0].endswith("What this object wrote was left there.")


@pytest.mark.parametrize("case", RELEASED)
def test_nothing_is_planned_for_an_object_that_was_let_go(case: str) -> None:
    look = RELEASED[case][0]

    later = see.carried_out(look, plan_dataset(look))

    assert tell(plan_dataset(later)) == Told((), look=None)
    assert find_inquiry(later) is None


@pytest.mark.parametrize("case", [case for case in RELEASED if "removed" not in case])
def test_a_removal_that_runs_is_ended_before_the_object_is_let_go(case: str) -> None:
    look = RELEASED[case][0]

    plan = plan_dataset(replace(look, transfer=see.running(BEGUN)))

    assert tell(plan).do == ("cancel", *tell(plan_dataset(look)).do)


WAITING: dict[str, tuple[ObservedDataset, str]] = {
    "is suspended": (gone(seen(unfinished(), bucket(suspend=True))), "BucketNotReady"),
    "does not answer the operator": (
        gone(seen(unfinished(), see.judged(bucket(), Reason.BUCKET_UNREACHABLE))),
        "BucketNotReady",
    ),
    "has not been looked at": (gone(seen(unfinished(), see.fresh(bucket()))), "BucketNotReady"),
    "has lost its Secret before an edit that may name another": (
        gone(seen(unfinished(), see.judged(bucket(), Reason.SECRET_NOT_FOUND, generation=0))),
        "BucketNotReady",
    ),
    "is not valid": (
        gone(
            seen(
                unfinished(), cluster=replace(see.cluster(), invalid_buckets=frozenset({(see.ADMIN, "lab")}))
            )
        ),
        "BucketNotReady",
    ),
    "does not answer this look": (
        seen(unfinished(), storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        "BucketUnreachable",
    ),
    "refuses the keys": (
        seen(unfinished(), storage=see.refuse(Reason.CREDENTIALS_REJECTED)),
        "CredentialsRejected",
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_a_deletion_waits_for_a_while_for_a_bucket_that(case: str) -> None:
    look, reason = WAITING[case]

    plan = plan_dataset(look)

    assert tell(plan) == Told((), "Pending", not_ready(reason), "back off")
    assert "What cannot be removed within 1:00:00" in ready_message(plan)
    assert plan_dataset(see.carried_out(look, plan)).status == plan.status


@pytest.mark.parametrize("case", WAITING)
def test_a_removal_that_runs_goes_on_unless_the_bucket_was_suspended(case: str) -> None:
    plan = plan_dataset(replace(WAITING[case][0], transfer=see.running(BEGUN)))

    assert tell(plan).do == (("cancel",) if case in {"is suspended", "is not valid"} else ())


REMOVALS: dict[str, tuple[ObservedDataset, Told]] = {
    "begins": (BEGUN, Told((REMOVE,), look="30s")),
    "begins where the Secret is back and the bucket object does not say so yet": (
        replace(BEGUN, cluster=see.cluster(see.judged(bucket(), Reason.SECRET_NOT_FOUND))),
        Told((REMOVE,), look="30s"),
    ),
    "begins with an owner marker where there is none": (
        replace(BEGUN, storage=replace(STARTED, owner=None)),
        Told(("own u/alice/ as cluster-1/ns-alice", REMOVE), look="30s"),
    ),
    "of a suspended dataset begins as well": (
        replace(BEGUN, dataset=unfinished(dataset(suspend=True))),
        Told((REMOVE,), look="30s"),
    ),
    "of a dataset whose spec is not supported any more begins as well": (
        replace(BEGUN, dataset=unfinished(dataset(tags=["a"]))),
        Told((REMOVE,), look="30s"),
    ),
    "waits for the copy to end": (
        replace(BEGUN, transfer=see.running(seen())),
        Told(("cancel",), look="0s"),
    ),
    "waits for a slot": (replace(BEGUN, slots=Slots(running=4)), Told((), look="back off")),
    "runs": (replace(BEGUN, transfer=see.running(BEGUN)), Told((), look="30s")),
    "gets the keys that are valid now": (
        replace(BEGUN, transfer=see.running(BEGUN), storage=replace(STARTED, credentials_version="2")),
        Told(("refresh keys",), look="30s"),
    ),
    "at another endpoint ends first": (
        replace(BEGUN, cluster=see.cluster(bucket(region="x")), transfer=see.running(BEGUN)),
        Told(("cancel",), look="0s"),
    ),
    "that failed waits": (
        replace(BEGUN, transfer=see.ended(BEGUN, Reason.ACCESS_DENIED, attempts=4)),
        Told((), "Pending", not_ready("AccessDenied"), "pause"),
    ),
    "that failed is tried again": (
        replace(BEGUN, transfer=see.ended(BEGUN, Reason.ACCESS_DENIED, ago=MINUTE)),
        Told((REMOVE,), look="30s"),
    ),
    "that failed is tried again at once with other keys": (
        replace(
            BEGUN,
            transfer=see.ended(BEGUN, Reason.ACCESS_DENIED, attempts=9),
            storage=replace(STARTED, credentials_version="2"),
        ),
        Told((REMOVE,), look="30s"),
    ),
    "that the store cannot do waits for its time": (
        replace(BEGUN, transfer=see.ended(BEGUN, Reason.NOT_SUPPORTED)),
        Told(
            (),
            "Failed",
            ("Ready False NotSupported", "Stalled True NotSupported", *not_ready("NotSupported")[2:]),
            "back off",
        ),
    ),
    "after a copy that failed begins": (
        replace(BEGUN, transfer=see.ended(seen(), Reason.SOURCE_DAMAGED)),
        Told((REMOVE,), look="30s"),
    ),
}


@pytest.mark.parametrize("case", REMOVALS)
def test_a_removal(case: str) -> None:
    look, expected = REMOVALS[case]

    assert tell(plan_dataset(look)) == expected


@pytest.mark.parametrize("case", [case for case in REMOVALS if REMOVE in REMOVALS[case][1].do])
def test_a_removal_that_was_begun_is_not_begun_again(case: str) -> None:
    look = REMOVALS[case][0]

    later = see.carried_out(look, plan_dataset(look))

    assert tell(plan_dataset(later)) == Told((), look="30s")


@pytest.mark.parametrize("one", [dataset(), adopted()], ids=["a copy", "an adopted dataset"])
def test_without_a_finalizer_only_running_work_is_ended(one: DtoolDataset) -> None:
    look = seen(see.deleted(see.marked(one)), storage=HERE)

    assert find_inquiry(look) is None
    assert tell(plan_dataset(look)) == Told((), look=None)
    assert tell(plan_dataset(replace(look, transfer=see.running(seen())))) == Told(("cancel",), look=None)


def test_s3_is_asked_about_an_unfinished_copy_only() -> None:
    inquiry = find_inquiry(BEGUN)

    assert inquiry is not None
    assert (inquiry.target.prefix, inquiry.origin) == ("u/alice/", None)
    assert find_inquiry(RELEASED["has lost its bucket object"][0]) is None
    assert find_inquiry(RELEASED["was reported frozen, wherever it is now"][0]) is None


DIFFERS = see.reported(
    see.marked(dataset(), finalizer=True),
    plan_dataset(seen(see.marked(dataset()), transfer=see.ended(seen(), Reason.CONTENT_DIFFERS))),
)
DELETE = dataset(deletionPolicy="Delete")
WHOLE = seen(unfinished(see.was_frozen(DELETE)), storage=HERE)

POLICIES: dict[str, tuple[ObservedDataset, Told]] = {
    "what a copy was refused to replace stays, and that is told": (
        gone(seen(see.deleted(DIFFERS))),
        Told(("left behind: Something else than the source lay at the target.", "no finalizer"), look=None),
    ),
    "an empty proto dataset stays": (
        gone(seen(unfinished(dataset(source=None)))),
        Told(("no finalizer",), look=None),
    ),
    "a frozen dataset stays where the policy says nothing": (
        gone(seen(unfinished(see.was_frozen()))),
        Told(("no finalizer",), look=None),
    ),
    "a frozen dataset goes where the policy is Delete": (WHOLE, Told((f"{REMOVE} wholly",), look="30s")),
    "so does an adopted one": (
        seen(unfinished(adopted(deletionPolicy="Delete")), storage=HERE),
        Told((f"{REMOVE} wholly",), look="30s"),
    ),
    "and a proto": (
        seen(unfinished(adopted(deletionPolicy="Delete")), storage=STARTED),
        Told((f"{REMOVE} wholly",), look="30s"),
    ),
    "but not what a copy was refused to replace": (
        gone(seen(see.deleted(replace(DIFFERS, spec=DELETE.spec)))),
        Told(("left behind: Something else than the source lay at the target.", "no finalizer"), look=None),
    ),
    "not from under somebody else's prefix": (
        replace(WHOLE, storage=replace(HERE, owner=OTHER)),
        Told(("left behind: ", "no finalizer"), look=None),
    ),
    "nor where it is registered elsewhere": (
        replace(WHOLE, storage=replace(HERE, registered_prefix="u/bob/")),
        Told(("left behind: ", "no finalizer"), look=None),
    ),
    "nor where consent was withdrawn": (
        gone(WHOLE, cluster=see.cluster(bucket(), namespaces=NOT_ADMITTED)),
        Told(("left behind: ", "no finalizer"), look=None),
    ),
    "nor what an older object describes": (
        gone(WHOLE, siblings=(see.older(adopted()),)),
        Told(("left behind: ", "no finalizer"), look=None),
    ),
    "an owner that is named is replaced before": (
        replace(
            WHOLE,
            cluster=see.cluster(bucket(takeOver=[{"namespace": "alice", "fromOwner": str(OTHER)}])),
            storage=replace(HERE, owner=OTHER),
        ),
        Told(("own u/alice/ as cluster-1/ns-alice", f"{REMOVE} wholly"), look="30s"),
    ),
    "a namespace whose prefix is another's override waits": (
        gone(WHOLE, cluster=see.cluster(bucket(prefixOverrides=[{"namespace": "x", "prefix": "u/alice/"}]))),
        Told((), "Frozen", None, "back off"),
    ),
}


@pytest.mark.parametrize("case", POLICIES)
def test_rule_18_by_policy(case: str) -> None:
    look, expected = POLICIES[case]

    told = tell(plan_dataset(look))

    done = tuple(one[: len(wanted)] for one, wanted in zip(told.do, expected.do, strict=True))
    assert (done, told.state, told.look) == (expected.do, expected.state, expected.look)


@pytest.mark.parametrize("case", [case for case in POLICIES if "wholly" in str(POLICIES[case][1].do)])
def test_rule_10_a_removal_of_all_is_begun_once_and_lets_the_object_go(case: str) -> None:
    look = POLICIES[case][0]
    begun = see.carried_out(look, plan_dataset(look))
    assert begun.transfer is not None

    assert tell(plan_dataset(begun)) == Told((), look="30s")
    ended = see.ended(begun, None, task=begun.transfer.task)
    assert tell(plan_dataset(replace(begun, transfer=ended))) == Told(("no finalizer",), look=None)


@pytest.mark.parametrize(
    "one", [DELETE, adopted(deletionPolicy="Delete"), dataset(source=None, deletionPolicy="Delete")]
)
def test_rule_18_the_finalizer_stands_while_the_policy_is_delete(one: DtoolDataset) -> None:
    label = one.uid if one.spec.is_new_dataset else see.UUID
    watched = see.was_frozen(see.marked(one))
    frozen = replace(
        see.marked(watched, label=label), status=watched.status.model_copy(update={"uuid": label})
    )

    assert tell(plan_dataset(seen(frozen, storage=HERE))).do == ("put finalizer, label",)
    kept = replace(frozen, spec=replace(one).spec.model_copy(update={"deletion_policy": "Retain"}))
    assert tell(plan_dataset(seen(see.marked(kept, finalizer=True, label=label), storage=HERE))).do == (
        "no finalizer, label",
    )


FOLLOWING = dataset("copy", source={"dataset": {"name": "x", "namespace": "bob"}})


def test_rule_18_what_another_object_describes_stays_where_only_a_label_names_it() -> None:
    look = gone(seen(unfinished(FOLLOWING), siblings=(adopted(),)))

    told = tell(plan_dataset(look))

    assert told.do[0].startswith("left behind: DtoolDataset 'raw' describes dataset")
    assert told.do[1:] == ("no finalizer",)


def test_rule_18_a_copy_that_only_its_label_names_is_removed_unless_it_is_frozen() -> None:
    one = unfinished(replace(FOLLOWING, spec=FOLLOWING.spec.model_copy(update={"deletion_policy": "Delete"})))

    assert tell(plan_dataset(seen(one, storage=STARTED))).do == (REMOVE,)
    assert tell(plan_dataset(seen(one, storage=HERE))).do == ("no finalizer",)


def test_a_copy_that_was_never_reported_frozen_does_not_take_a_frozen_dataset_with_it() -> None:
    plan = plan_dataset(seen(unfinished(DELETE), storage=HERE))

    (told, released) = tell(plan).do
    assert told.startswith("left behind: A frozen dataset is there that this object never reported")
    assert released == "no finalizer"


@pytest.mark.parametrize(("at", "is_told"), [(None, False), ("proto", True)])
def test_where_another_has_the_uuid_something_is_left_behind_only_if_it_is_there(
    at: str | None, is_told: bool
) -> None:
    plan = plan_dataset(seen(unfinished(), storage=stored(at, registered="u/bob/")))

    assert any(told.startswith("left behind") for told in tell(plan).do) is is_told
