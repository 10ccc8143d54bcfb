"""Datasets that begin here: empty protos, adopted ones, their freezing (rules 11, 14 and 20); whole plans."""

from dataclasses import replace

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import NamespaceView, ObservedDataset, Slots
from dtool_operator.planning.plan import CreateProto
from dtool_operator.planning.transfer import TransferRecord
from tests.support import observed as see
from tests.support.observed import HERE, OTHER, adopted, bucket, dataset, seen, stored
from tests.support.told import READY, Told, damaged, not_ready, ready_message, stalled, tell

MARK = "put finalizer, label"
OWN = "own u/alice/ as cluster-1/ns-alice"
CREATE = "create raw by alice"
FREEZE = "start freeze lab-data/u/alice/"
VERIFY = "start verify lab-data/u/alice/"
PREPARING = not_ready("Progressing")
FREEZING = not_ready("Freezing")
VERIFYING = not_ready("Verifying")
PROTO = ("Ready True Proto", "Frozen False Proto", "Verified Unknown Proto", "MetadataSynced True Synced")

OPEN = stored("proto", registered="u/alice/")
NOTHING = stored()
NEW = dataset(source=None)
FROZEN_LATER = dataset(source=None, freeze=True)
ENDING = (NamespaceView("alice", "ns-alice", {"lab": "true"}, is_terminating=True),)


def left(one: DtoolDataset, **fields: object) -> DtoolDataset:
    """An object that was created, and whose proto dataset was reported."""
    plan = plan_dataset(seen(see.marked(one, label=see.UID), storage=OPEN))
    return replace(see.reported(see.marked(one, label=see.UID), plan), **fields)


BEGINNINGS: dict[str, tuple[ObservedDataset, Told]] = {
    "a new one is created after finalizer and owner marker": (
        seen(NEW, storage=stored(owner=None)),
        Told((MARK, OWN, CREATE), "Pending", PREPARING, "0s"),
    ),
    "an owner marker that is ours is not written again": (
        seen(NEW, storage=NOTHING),
        Told((MARK, CREATE), "Pending", PREPARING, "0s"),
    ),
    "an owner that is named is replaced before": (
        seen(
            NEW,
            bucket(takeOver=[{"namespace": "alice", "fromOwner": "cluster-2/ns-other"}]),
            storage=stored(owner=OTHER),
        ),
        Told((MARK, f"{OWN}, not {OTHER}", CREATE), "Pending", PREPARING, "0s"),
    ),
    "an owner that is not named is left, and so is the prefix": (
        seen(
            NEW,
            bucket(takeOver=[{"namespace": "alice", "fromOwner": "cluster-3/ns-other"}]),
            storage=stored(owner=OTHER),
        ),
        Told((), "Pending", not_ready("PrefixOwnedByOther")),
    ),
    "a creation that was interrupted is finished": (
        seen(see.marked(NEW, finalizer=True, label=see.UID), storage=stored(registered="u/alice/")),
        Told((CREATE,), "Pending", PREPARING, "0s"),
    ),
    "one that is there is a proto that is Ready": (
        seen(see.marked(NEW, finalizer=True, label=see.UID), storage=OPEN),
        Told(("no finalizer, label",), "Proto", PROTO, "resync"),
    ),
    "one that goes with its object keeps its finalizer": (
        seen(
            see.marked(dataset(source=None, deletionPolicy="Delete"), finalizer=True, label=see.UID),
            storage=OPEN,
        ),
        Told((), "Proto", PROTO, "resync"),
    ),
    "one that shall be frozen is frozen": (
        seen(FROZEN_LATER, storage=OPEN),
        Told((MARK, FREEZE), "Freezing", FREEZING, "30s"),
    ),
    "one that shall be frozen is created first": (
        seen(FROZEN_LATER, storage=NOTHING),
        Told((MARK, CREATE), "Pending", PREPARING, "0s"),
    ),
    "one that others froze is verified": (
        seen(NEW, storage=HERE),
        Told(("no finalizer, label", VERIFY), "Verifying", VERIFYING, "30s"),
    ),
    "an adopted proto stays open": (
        seen(adopted(), storage=OPEN),
        Told(("no finalizer, label",), "Proto", PROTO, "resync"),
    ),
    "an adopted proto is frozen where the spec says so": (
        seen(adopted(freeze=True), storage=OPEN),
        Told((MARK, FREEZE), "Freezing", FREEZING, "30s"),
    ),
    "an adopted frozen one is verified, whatever freeze says": (
        seen(adopted(freeze=True), storage=HERE),
        Told(("no finalizer, label", VERIFY), "Verifying", VERIFYING, "30s"),
    ),
    "freezing waits for a place": (
        seen(adopted(freeze=True), storage=OPEN, slots=Slots(running=4)),
        Told((), "Pending", not_ready("Queued"), "pause"),
    ),
    "the creation needs none": (
        seen(NEW, storage=NOTHING, slots=Slots(running=4)),
        Told((MARK, CREATE), "Pending", PREPARING, "0s"),
    ),
    "nothing is created in a namespace that ends": (
        seen(NEW, cluster=see.cluster(bucket(), namespaces=ENDING), storage=NOTHING),
        Told((), "Pending", not_ready("Pending")),
    ),
    "its uuid is another one's": (
        seen(NEW, storage=stored(registered="u/bob/")),
        Told((), "Pending", not_ready("UUIDTaken")),
    ),
}


@pytest.mark.parametrize("case", BEGINNINGS)
def test_how_a_dataset_begins(case: str) -> None:
    look, expected = BEGINNINGS[case]

    assert tell(plan_dataset(look)) == expected


@pytest.mark.parametrize("case", BEGINNINGS)
def test_rule_10_it_comes_to_rest_and_is_created_once(case: str) -> None:
    look, creations = BEGINNINGS[case][0], 0
    for _ in range(4):
        plan = plan_dataset(look)
        creations += sum(isinstance(action, CreateProto) for action in plan.actions)
        look = see.carried_out(look, plan)

    assert (plan.actions, plan.status) == ((), look.dataset.status)
    assert creations <= 1


def test_rule_11_a_new_dataset_gets_the_objects_uid_the_specs_name_and_readme() -> None:
    plan = plan_dataset(seen(dataset(source=None, name="plate", readme="description: x\n"), storage=NOTHING))

    assert plan.actions[-1] == CreateProto(see.UID, "plate", "alice", "description: x\n")
    assert plan.status is not None
    assert plan.status.uuid == see.UID


def test_rule_11_a_label_that_is_registered_here_counts() -> None:
    restored = see.marked(NEW)
    inquiry = find_inquiry(seen(restored))

    plan = plan_dataset(seen(restored, storage=replace(OPEN, uuid=see.UUID)))

    assert inquiry is not None
    assert (inquiry.target.uuid, inquiry.other_uuid) == (see.UUID, see.UID)
    assert plan.status is not None
    assert (plan.status.uuid, plan.status.state) == (see.UUID, "Proto")


def test_rule_11_a_label_that_is_not_registered_here_does_not() -> None:
    plan = plan_dataset(seen(see.marked(NEW), storage=replace(NOTHING, uuid=see.UID)))

    assert tell(plan).do == (MARK, CREATE)
    assert plan.status is not None
    assert plan.status.uuid == see.UID


def test_rule_20_a_proto_says_what_it_is() -> None:
    status = left(NEW).status

    assert (status.state, status.name, status.creator_username) == ("Proto", "sample", "olssont")
    assert (status.items, status.frozen_at) == (None, None)


def test_a_proto_that_vanished_is_missing_and_not_created_again() -> None:
    plan = plan_dataset(seen(created(NEW), storage=NOTHING))

    assert tell(plan) == Told((), "Pending", not_ready("DatasetMissing"))
    assert "is not there any more" in ready_message(plan)


def created(one: DtoolDataset) -> DtoolDataset:
    """An object whose proto dataset told when it was created."""
    told = left(one)
    return replace(told, status=told.status.model_copy(update={"created_at": see.NOW}))


LOOK = seen(adopted(freeze=True), storage=OPEN)


def spoilt(look: ObservedDataset) -> TransferRecord:
    """A freeze after which an item is not as the manifest says."""
    record = see.ended(look, Reason.WRITTEN_WHILE_FREEZING)
    assert record.error is not None
    found = see.facts(mismatch_count=1)
    return replace(record, facts=found, error=record.error.model_copy(update={"facts": found}))


FREEZES: dict[str, tuple[ObservedDataset, Told]] = {
    "runs": (
        replace(LOOK, transfer=see.running(LOOK, phase="Freezing")),
        Told((MARK,)[:0], "Freezing", FREEZING, "30s"),
    ),
    "has ended": (
        replace(LOOK, transfer=see.ended(LOOK, see.facts()), storage=HERE),
        Told(("no finalizer, label", "forget"), "Frozen", READY, "resync"),
    ),
    "found that somebody still writes": (
        replace(LOOK, transfer=see.ended(LOOK, Reason.WRITTEN_WHILE_FREEZING)),
        Told((), "Pending", not_ready("WrittenWhileFreezing"), "pause"),
    ),
    "was ended by an operator that was killed after the flip": (
        replace(LOOK, storage=HERE),
        Told(("no finalizer, label", VERIFY), "Verifying", VERIFYING, "30s"),
    ),
    "found damage after the flip": (
        replace(LOOK, transfer=spoilt(LOOK), storage=HERE),
        Told(("no finalizer, label", "forget"), "Damaged", damaged("WrittenWhileFreezing"), "resync"),
    ),
    "that failed without a word of it before somebody froze it is forgotten": (
        replace(LOOK, transfer=see.ended(LOOK, Reason.ACCESS_DENIED), storage=HERE),
        Told(("no finalizer, label", VERIFY), "Verifying", VERIFYING, "30s"),
    ),
    "has ended and was undone before that was reported": (
        replace(LOOK, transfer=see.ended(LOOK, see.facts())),
        Told((MARK, FREEZE), "Freezing", FREEZING, "30s"),
    ),
    "is no longer wanted": (
        replace(LOOK, dataset=adopted(), transfer=see.running(LOOK)),
        Told(("cancel",), "Pending", PREPARING, "0s"),
    ),
}


@pytest.mark.parametrize("case", FREEZES)
def test_rule_14_a_freeze(case: str) -> None:
    look, expected = FREEZES[case]

    assert tell(plan_dataset(look)) == expected


def test_rule_14_the_quiet_period_is_the_administrators() -> None:
    assert see.task_of(LOOK).quiet_seconds == 30


def test_rule_13_the_specs_metadata_come_right_after_a_copy() -> None:
    look = seen(dataset(tags=["a"]))

    plan = plan_dataset(replace(look, transfer=see.ended(look, see.facts()), storage=HERE))

    assert tell(plan).look == "0s"
    assert "Ready False Pending" in (tell(plan).says or ())
    assert "Frozen True Frozen" in (tell(plan).says or ())


@pytest.mark.parametrize("one", [NEW, adopted()])
def test_nothing_is_copied_into_what_is_there(one: DtoolDataset) -> None:
    for storage in (NOTHING, OPEN, HERE):
        assert "copy" not in str(tell(plan_dataset(seen(one, storage=storage))).do)


def test_a_proto_in_a_read_only_bucket_is_not_frozen_and_a_frozen_one_is_adopted() -> None:
    read_only = see.bucket(accessMode="ReadOnly")
    wish = see.adopted(freeze=True)

    proto = plan_dataset(seen(wish, read_only, storage=see.stored("proto", registered="u/alice/")))
    frozen = plan_dataset(seen(wish, read_only, storage=see.HERE))

    assert tell(proto) == Told(state="Pending", says=not_ready("ReadOnlyBucket"))
    assert tell(frozen).state == "Verifying"


def test_a_dataset_is_not_renamed_by_an_edit() -> None:
    one = dataset(source=None, name="plate")
    named = replace(one, status=one.status.model_copy(update={"name": "dish"}))

    plan = plan_dataset(seen(named, storage=None))

    assert tell(plan) == Told(state="Failed", says=stalled("InvalidSpec"), look="resync")
    assert "'dish'" in ready_message(plan)
    assert find_inquiry(seen(replace(named, status=one.status))) is not None
