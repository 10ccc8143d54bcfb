"""Every kind of source (rule 12): whose consent it needs, what waits for what, what a worker is told."""

from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.conditions import Condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.task import NewDataset
from tests.support import observed as see
from tests.support.observed import bucket, dataset, seen, stored
from tests.support.told import Told, not_ready, ready_message, stalled, tell

COPYING = not_ready("Copying")
MARK = "put finalizer, label"
URL = f"https://data.example.org/published/{see.UUID}?signature=x"
HOSTS = replace(see.POLICY, allowed_http_hosts=frozenset({"Data.example.org"}))
PIN = "ab" * 32
FROM_BOB = {"dataset": {"name": "raw", "namespace": "bob"}}
SHARED = bucket("shared", bucket="shared-data", readAccess="Bucket", prefixTemplate="d/{namespace}/")
BOBS = see.was_frozen(dataset(namespace="bob", bucketRef={"name": "shared", "namespace": see.ADMIN}))


def objects(prefix: str, name: str = "lab") -> dict[str, Any]:
    """Plain objects as a source."""
    return {"objects": {"bucketRef": {"name": name, "namespace": see.ADMIN}, "prefix": prefix}}


def following(other: DtoolDataset | None = BOBS, /, *buckets: Any, **spec: Any) -> ObservedDataset:
    """A look at a copy of another object's dataset."""
    fields = {"storage": spec.pop("storage", stored(source_prefix="d/bob/"))}
    return seen(
        dataset(source=FROM_BOB, **spec), *(buckets or (bucket(), SHARED)), source_dataset=other, **fields
    )


STARTS: dict[str, tuple[ObservedDataset, str]] = {
    "an s3 URI": (
        seen(),
        "server-side copy instrument-data/ to lab-data/u/alice/ with keys of dtool-system/instruments",
    ),
    "a stored dataset": (
        seen(
            dataset(
                source={
                    "stored": {"bucketRef": {"name": "instruments", "namespace": see.ADMIN}, "uuid": see.UUID}
                }
            )
        ),
        "server-side copy instrument-data/ to lab-data/u/alice/ with keys of dtool-system/instruments",
    ),
    "another object's dataset": (
        following(),
        "server-side copy shared-data/d/bob/ to lab-data/u/alice/ with keys of dtool-system/shared",
    ),
    "another object's dataset of the same namespace": (
        seen(
            dataset("copy", source={"dataset": {"name": "raw"}}),
            bucket(),
            SHARED,
            source_dataset=see.was_frozen(dataset(bucketRef={"name": "shared", "namespace": see.ADMIN})),
            storage=stored(source_prefix="d/alice/"),
        ),
        "server-side copy shared-data/d/alice/ to lab-data/u/alice/ with keys of dtool-system/shared",
    ),
    "objects below the own prefix": (
        seen(dataset(source=objects("u/alice/run/")), storage=stored()),
        "server-side ingest lab-data/u/alice/run/ to lab-data/u/alice/ as raw with keys of dtool-system/lab",
    ),
    "objects anywhere in a bucket that lets all be read": (
        seen(dataset(source=objects("run/", "instruments"))),
        (
            "server-side ingest instrument-data/run/ to lab-data/u/alice/ as raw "
            "with keys of dtool-system/instruments"
        ),
    ),
    "a published dataset": (
        seen(dataset(source={"uri": URL}), policy=HOSTS),
        f"copy {URL} to lab-data/u/alice/",
    ),
    "a derived dataset": (
        seen(dataset(identity="New", name="filtered")),
        (
            "server-side copy instrument-data/ to lab-data/u/alice/ as filtered "
            "with keys of dtool-system/instruments"
        ),
    ),
    "a dataset derived of a published one": (
        seen(dataset(source={"uri": URL}, identity="New"), policy=HOSTS),
        f"copy {URL} to lab-data/u/alice/ as raw",
    ),
}


@pytest.mark.parametrize("case", STARTS)
def test_rule_12_work_is_begun_for(case: str) -> None:
    look, start = STARTS[case]

    plan = plan_dataset(look)

    assert tell(plan) == Told((MARK, f"start {start}"), "Copying", COPYING, "30s")


@pytest.mark.parametrize("case", STARTS)
def test_rule_10_a_second_look_begins_nothing_for(case: str) -> None:
    look = STARTS[case][0]

    later = see.carried_out(look, plan_dataset(look))

    assert tell(plan_dataset(later)) == Told((), "Copying", COPYING, "30s")
    assert plan_dataset(later).status == later.dataset.status


def test_rule_11_a_copy_has_the_uuid_of_its_source_and_a_derived_dataset_the_objects_own() -> None:
    kept = see.task_of(seen(dataset(source={"uri": URL}), policy=HOSTS))
    followed = see.task_of(following())
    derived = see.task_of(seen(dataset(identity="New")))

    assert (kept.uuid, kept.new, followed.uuid) == (see.UUID, None, see.UUID)
    assert derived.uuid == see.UID
    assert derived.new == NewDataset(name="raw", creator_username="alice", source_uuid=see.UUID)


def test_rule_11_a_dataset_of_plain_objects_gets_the_specs_name_and_readme() -> None:
    task = see.task_of(seen(dataset(source=objects("u/alice/x/"), name="plate", readme="description: x\n")))

    assert task.uuid == see.UID
    assert task.new == NewDataset(name="plate", creator_username="alice", readme="description: x\n")


@pytest.mark.parametrize("source", [see.URI, {"uri": URL}])
def test_a_pinned_manifest_is_told_to_the_worker(source: dict[str, str]) -> None:
    task = see.task_of(seen(dataset(source={**source, "manifestSHA256": PIN}), policy=HOSTS))

    assert task.manifest_sha256 == PIN


def test_a_source_that_is_read_by_http_is_nobodys_bucket() -> None:
    task = see.task_of(seen(dataset(source={"uri": URL}), policy=HOSTS))

    assert (task.source, task.source_bucket_key, task.server_side) == (None, None, False)


REFUSED: dict[str, tuple[ObservedDataset, Reason, str]] = {
    "a host that nobody allowed": (
        seen(dataset(source={"uri": URL})),
        Reason.ENDPOINT_NOT_ALLOWED,
        "Host data.example.org",
    ),
    "another port of a host that is allowed": (
        seen(
            dataset(source={"uri": URL.replace("example.org", "example.org:8080")}),
            policy=HOSTS,
        ),
        Reason.ENDPOINT_NOT_ALLOWED,
        "Host data.example.org:8080",
    ),
    "objects under a prefix that may not be read": (
        seen(dataset(source=objects("u/bob/"))),
        Reason.SOURCE_NOT_ALLOWED,
        "Prefix 'u/bob/' lies outside 'u/alice/'",
    ),
    "all objects of a bucket of which it may read a part": (
        seen(dataset(source=objects(""))),
        Reason.SOURCE_NOT_ALLOWED,
        "Prefix '' lies outside",
    ),
    "objects of a bucket that is not there": (
        seen(dataset(source=objects("x/", "gone"))),
        Reason.BUCKET_NOT_FOUND,
        "'gone'",
    ),
    "objects of a bucket that does not admit it": (
        seen(
            dataset(source={"objects": {"bucketRef": {"name": "bobs", "namespace": "bob"}, "prefix": ""}}),
            bucket(),
            bucket("bobs", "bob", bucket="bobs-data", readAccess="Bucket"),
        ),
        Reason.NAMESPACE_NOT_ALLOWED,
        "bob/bobs",
    ),
    "another object that is not there": (following(None), Reason.SOURCE_DATASET_NOT_FOUND, "bob/raw"),
    "another object's dataset on a volume": (
        following(
            see.was_frozen(dataset(namespace="bob", bucketRef=None, volume={"claimName": "c"})),
        ),
        Reason.SOURCE_DATASET_NOT_FOUND,
        "bob/raw",
    ),
    "an object's dataset on a volume of the same namespace, and says how it is brought from there": (
        seen(
            dataset(source={"dataset": {"name": "kept"}}),
            source_dataset=see.was_frozen(dataset("kept", bucketRef=None, volume={"claimName": "scratch"})),
        ),
        Reason.SOURCE_DATASET_NOT_FOUND,
        "on volume 'scratch', where anybody of the namespace may change it: name the directory",
    ),
    "another object's dataset in a bucket that is not there": (
        following(BOBS, bucket()),
        Reason.SOURCE_DATASET_NOT_FOUND,
        "bob/raw",
    ),
    "another object's dataset in a bucket that does not admit it": (
        following(
            see.was_frozen(dataset(namespace="bob", bucketRef={"name": "bobs"})),
            bucket(),
            bucket("bobs", "bob", readAccess="Bucket"),
        ),
        Reason.SOURCE_DATASET_NOT_FOUND,
        "bob/raw",
    ),
    "another object's dataset under a prefix that it may not read": (
        following(see.was_frozen(dataset(namespace="bob"))),
        Reason.SOURCE_DATASET_NOT_FOUND,
        "bob/raw",
    ),
    "another object's dataset that is not frozen": (
        following(replace(BOBS, status=dataset().status)),
        Reason.SOURCE_NOT_FROZEN,
        "bob/raw is not Frozen yet",
    ),
    "another object's dataset that is damaged": (
        following(
            see.reported(
                BOBS,
                plan_dataset(
                    seen(
                        BOBS,
                        bucket(),
                        SHARED,
                        storage=stored("frozen", owner=None),
                    )
                ),
            )
        ),
        Reason.SOURCE_DAMAGED,
        "RegistrationHijacked",
    ),
    "another object's dataset in a bucket that is not Ready": (
        following(BOBS, bucket(), see.fresh(SHARED)),
        Reason.BUCKET_NOT_READY,
        "dtool-system/shared",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rule_12_nothing_is_asked_of_s3_for(case: str) -> None:
    look, reason, says = REFUSED[case]

    plan = plan_dataset(replace(look, storage=None))

    assert find_inquiry(look) is None
    assert tell(plan) == Told(state="Pending", says=not_ready(reason))
    assert says in ready_message(plan)
    assert plan_dataset(see.carried_out(look, plan)).actions == ()


def test_who_may_not_read_a_dataset_does_not_learn_whether_it_is_there() -> None:
    absent = plan_dataset(following(None))
    hidden = plan_dataset(following(see.was_frozen(dataset(namespace="bob"))))

    assert ready_message(absent) == ready_message(hidden)


def test_a_url_that_names_no_dataset_is_no_valid_spec() -> None:
    plan = plan_dataset(seen(dataset(source={"uri": "https://data.example.org/x"}), policy=HOSTS))

    assert tell(plan) == Told((), "Failed", stalled("InvalidSpec"), "resync")
    assert "ends in its uuid" in ready_message(plan)


OTHER_UUID = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"
BEGUN = replace(
    dataset(source=FROM_BOB), status=see.was_frozen().status.model_copy(update={"conditions": ()})
)
REPLACED = replace(BOBS, status=BOBS.status.model_copy(update={"uuid": OTHER_UUID}))


def test_a_source_that_became_another_dataset_ends_the_copy_that_began() -> None:
    look = replace(following(REPLACED), dataset=BEGUN)

    plan = plan_dataset(replace(look, transfer=see.running(seen())))

    assert tell(plan).do == ("cancel",)
    assert tell(plan).says == not_ready("SourceNotFound")
    assert OTHER_UUID in ready_message(plan)


def test_a_derived_dataset_has_its_own_uuid_whatever_its_source_is_now() -> None:
    look = following(REPLACED, identity="New", storage=stored(source_prefix="d/bob/"))

    assert see.task_of(look).uuid == see.UID


def test_a_damaged_source_stays_a_source_where_its_condition_is_unknown() -> None:
    unread = Condition.model_validate({"type": "Verified", "status": "Unknown", "reason": "ContentNotRead"})
    conditions = (*(c for c in BOBS.status.conditions if c.type != "Verified"), unread)
    other = replace(BOBS, status=BOBS.status.model_copy(update={"conditions": conditions}))

    assert see.task_of(following(other)).source is not None


TWIN = dataset("twin", source=FROM_BOB)


def test_rule_11_of_two_copies_of_one_source_only_the_older_begins_before_the_uuid_is_known() -> None:
    plan = plan_dataset(replace(following(), siblings=(see.older(TWIN),)))

    assert tell(plan) == Told((), "Pending", not_ready("ClaimedByAnother"))


@pytest.mark.parametrize(
    "twin",
    [
        dataset("twin", source=FROM_BOB, identity="New"),
        dataset("twin", source={"dataset": {"name": "raw"}}),
        dataset("twin", source=FROM_BOB, bucketRef={"name": "shared", "namespace": see.ADMIN}),
    ],
    ids=["a derived dataset", "a copy of another source", "a copy to another place"],
)
def test_rule_11_other_objects_with_such_a_source_are_no_rivals(twin: DtoolDataset) -> None:
    assert plan_dataset(replace(following(), siblings=(see.older(twin),))).actions


def test_rule_11_a_dataset_is_not_copied_onto_itself() -> None:
    original = see.older(see.was_frozen(), name="raw")
    look = seen(
        dataset("copy", source={"dataset": {"name": "raw"}}),
        bucket(readAccess="Bucket"),
        source_dataset=original,
        siblings=(original,),
        storage=see.HERE,
    )

    assert find_inquiry(look) is None
    assert tell(plan_dataset(look)) == Told((), "Pending", not_ready("ClaimedByAnother"))


def test_rule_6_a_source_whose_registration_key_names_another_place_is_not_copied_from_there() -> None:
    plan = plan_dataset(following(storage=stored(source_prefix="d/mallory/")))

    assert tell(plan) == Told((), "Pending", not_ready("RegistrationHijacked"))
    assert plan.status is not None


def test_rule_4_a_source_under_the_own_prefix_is_not_read_where_that_belongs_to_another_identity() -> None:
    look = seen(dataset(source=objects("u/alice/run/")), storage=stored(source_owner=see.OTHER))

    plan = plan_dataset(look)

    assert tell(plan) == Told((), "Pending", not_ready("PrefixOwnedByOther"))
    assert "nothing is read there" in ready_message(plan)
    assert plan_dataset(replace(look, storage=stored(source_owner=see.OWNER))).actions
