"""The picture of the cluster: what an event changes, and whose look it asks for."""

from collections.abc import Iterable
from typing import Any

import pytest

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.names import (
    ANNOTATION_RECONCILE_REQUESTED,
    BUCKET_PLURAL,
    DATASET_PLURAL,
    FINALIZER,
    LABEL_UUID,
)
from dtool_operator.planning.observed import Usage
from dtool_operator.reconcile.queue import Key
from dtool_operator.reconcile.world import NAMESPACE_PLURAL, Invalid, World
from tests.support.datasets import UUID
from tests.support.observed import ADMIN, EPOCH, moment

OTHER_UUID = "00000000-0000-4000-8000-000000000000"
LAB = {"name": "lab", "namespace": ADMIN}


def body(name: str, namespace: str, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An object as the API server sends it."""
    status = fields.pop("status", None)
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": fields.pop("uid", f"{namespace}-{name}"),
        "generation": 1,
        "resourceVersion": str(fields.pop("version", 1)),
        "creationTimestamp": moment(EPOCH),
        **fields,
    }
    return {"metadata": metadata, "spec": spec, **({} if status is None else {"status": status})}


def bucket(name: str = "lab", namespace: str = ADMIN, **fields: Any) -> dict[str, Any]:
    spec = {"bucket": "lab-data", **fields.pop("spec", {})}
    return body(name, namespace, spec, **fields)


def dataset(name: str = "raw", namespace: str = "alice", **fields: Any) -> dict[str, Any]:
    spec = {"bucketRef": LAB, "uuid": UUID, **fields.pop("spec", {})}
    return body(name, namespace, {k: v for k, v in spec.items() if v is not None}, **fields)


def namespace(name: str, **fields: Any) -> dict[str, Any]:
    return {**body(name, "", {}, **fields)}


READY = {
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "observedGeneration": 1}
    ]
}


def filled(*others: tuple[str, dict[str, Any]]) -> World:
    """A world with a bucket, a dataset in it, its namespace, and more."""
    world = World()
    world.cluster_uid = "cluster-1"
    first = [
        (NAMESPACE_PLURAL, namespace("alice")),
        (BUCKET_PLURAL, bucket()),
        (DATASET_PLURAL, dataset()),
    ]
    for plural, one in (*first, *others):
        world.put(plural, one)
    return world


def names(keys: Iterable[Key]) -> list[str]:
    """Keys as sorted texts."""
    return sorted(f"{key.plural.removeprefix('dtool')} {key.uid}" for key in keys)


ITSELF = ["datasets alice-raw"]
LAB_KEY = "buckets dtool-system-lab"


def test_a_new_object_is_kept_and_looked_at() -> None:
    world = World()

    assert names(world.put(BUCKET_PLURAL, bucket())) == [LAB_KEY]
    assert names(world.put(DATASET_PLURAL, dataset())) == ITSELF
    assert isinstance(world.bucket("dtool-system-lab"), DtoolBucket)
    assert isinstance(world.dataset("alice-raw"), DtoolDataset)
    assert (world.bucket("x"), world.dataset("x")) == (None, None)


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "its status": ({"status": {"state": "Copying"}}, []),
    "its spec": ({"generation": 2}, ITSELF),
    "its deletion": ({"deletionTimestamp": moment(EPOCH)}, ITSELF),
    "its finalizers": ({"finalizers": [FINALIZER]}, ITSELF),
    "its uuid label": ({"labels": {LABEL_UUID: UUID}}, ITSELF),
    "another label": ({"labels": {"team": "x"}}, []),
    "a request": ({"annotations": {ANNOTATION_RECONCILE_REQUESTED: "now"}}, ITSELF),
    "another annotation": ({"annotations": {"a": "b"}}, []),
    "nothing": ({}, []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_dataset_is_looked_at_after_a_change_of(change: str) -> None:
    fields, expected = CHANGES[change]
    world = filled()

    keys = world.put(DATASET_PLURAL, dataset(version=2, **fields))

    assert names(keys) == expected
    assert world.dataset("alice-raw") is not None


def test_an_older_version_never_replaces_a_newer_one() -> None:
    world = filled()
    world.put(DATASET_PLURAL, dataset(version=9, status={"state": "Frozen"}))
    world.put(BUCKET_PLURAL, bucket(version=10, status=READY))

    assert world.put(DATASET_PLURAL, dataset(version=9, generation=7)) == set()
    assert world.put(DATASET_PLURAL, dataset(version=8, generation=7)) == set()
    assert world.put(BUCKET_PLURAL, bucket(version=9, generation=7)) == set()

    kept, lab = world.dataset("alice-raw"), world.bucket("dtool-system-lab")
    assert kept is not None
    assert lab is not None
    assert (kept.status.state, kept.meta.generation, lab.meta.generation) == ("Frozen", 1, 1)


def test_an_object_of_the_same_name_that_was_created_again_is_another_one() -> None:
    world = filled()

    keys = world.put(DATASET_PLURAL, dataset(uid="again", version=9))

    assert "datasets again" in names(keys)
    assert world.dataset("alice-raw") is not None


@pytest.mark.parametrize(
    ("fields", "is_told"),
    [
        ({"status": READY}, True),
        ({"status": {"sizeBytes": 7}}, False),
        ({"generation": 2}, True),
        ({"labels": {"a": "b"}}, False),
        ({"spec": {"bucket": "?"}}, True),
    ],
    ids=["it becomes Ready", "its counts", "its spec", "a label", "it becomes invalid"],
)
def test_datasets_are_looked_at_when_what_they_see_of_their_bucket_changes(
    fields: dict[str, Any], is_told: bool
) -> None:
    world = filled((DATASET_PLURAL, dataset("elsewhere", spec={"bucketRef": {"name": "other"}})))

    keys = names(world.put(BUCKET_PLURAL, bucket(version=2, **fields)))

    assert (ITSELF[0] in keys) is is_told
    assert "datasets alice-elsewhere" not in keys


SOURCES: dict[str, tuple[dict[str, Any], bool]] = {
    "stored": ({"stored": {"bucketRef": {"name": "src", "namespace": ADMIN}, "uuid": UUID}}, True),
    "stored in a bucket object of its own namespace": (
        {"stored": {"bucketRef": {"name": "src"}, "uuid": UUID}},
        False,
    ),
    "a URI of that bucket": ({"uri": f"s3://src-data/{UUID}"}, True),
    "a URI of another bucket": ({"uri": f"s3://other-data/{UUID}"}, False),
    "a web page": ({"uri": "https://data.example.org/src-data"}, False),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_dataset_is_looked_at_when_a_bucket_that_may_be_its_source_appears(source: str) -> None:
    origin, is_told = SOURCES[source]
    one = dataset("copy", spec={"uuid": None, "source": origin})
    world = filled((DATASET_PLURAL, one))

    keys = names(world.put(BUCKET_PLURAL, bucket("src", spec={"bucket": "src-data"})))

    assert ("datasets alice-copy" in keys) is is_told


def test_an_invalid_bucket_object_is_no_source_by_its_bucket_name() -> None:
    one = dataset("copy", spec={"uuid": None, "source": {"uri": f"s3://src-data/{UUID}"}})
    world = filled((DATASET_PLURAL, one))

    keys = world.put(BUCKET_PLURAL, bucket("src", spec={"bucket": "src-data", "endpoint": "ftp://x"}))

    assert names(keys) == ["buckets dtool-system-src"]


def test_bucket_objects_of_the_same_bucket_look_at_each_other() -> None:
    world = filled((BUCKET_PLURAL, bucket("other", spec={"bucket": "other-data"})))

    keys = names(world.put(BUCKET_PLURAL, bucket("rival", "alice")))

    assert keys == ["buckets alice-rival", LAB_KEY]


def test_everything_of_a_namespace_and_every_bucket_is_looked_at_when_the_namespace_changes() -> None:
    world = filled((DATASET_PLURAL, dataset("other", "bob")))

    assert names(world.put(NAMESPACE_PLURAL, namespace("alice", version=2, labels={"lab": "true"}))) == [
        LAB_KEY,
        *ITSELF,
    ]
    assert world.put(NAMESPACE_PLURAL, namespace("alice", version=3, labels={"lab": "true"})) == set()
    assert world.view().labels("alice") == {"lab": "true"}


@pytest.mark.parametrize("end", [{"deletionTimestamp": moment(EPOCH)}, {"status": {"phase": "Terminating"}}])
def test_a_namespace_that_ends_is_known_to_end(end: dict[str, Any]) -> None:
    world = filled()

    keys = world.put(NAMESPACE_PLURAL, namespace("alice", version=2, **end))

    assert ITSELF[0] in names(keys)
    assert world.view().namespaces["alice"].is_terminating


def test_a_namespace_that_is_gone_is_unknown() -> None:
    world = filled()

    assert world.remove(NAMESPACE_PLURAL, "another-uid", "alice") == set()
    assert names(world.remove(NAMESPACE_PLURAL, "-alice", "alice")) == [LAB_KEY, *ITSELF]
    assert "alice" not in world.view().namespaces
    assert world.remove(NAMESPACE_PLURAL, "-alice", "alice") == set()


def test_a_bucket_object_that_is_gone_is_looked_at_once_more_with_all_that_depend_on_it() -> None:
    world = filled()

    assert names(world.remove(BUCKET_PLURAL, "dtool-system-lab")) == [LAB_KEY, *ITSELF]
    assert world.view().find_bucket(ADMIN, "lab") is None
    assert world.remove(BUCKET_PLURAL, "dtool-system-lab") == set()


RIVALS = (
    (DATASET_PLURAL, dataset("twin")),
    (DATASET_PLURAL, dataset("other", spec={"uuid": OTHER_UUID})),
    (DATASET_PLURAL, dataset("far", "bob")),
    (DATASET_PLURAL, dataset("proto", spec={"uuid": None})),
)


def test_a_dataset_that_is_gone_wakes_those_that_yielded_to_it_and_no_others() -> None:
    world = filled(*RIVALS)

    keys = world.remove(DATASET_PLURAL, "alice-raw")

    assert names(keys) == ["datasets alice-raw", "datasets alice-twin"]
    assert world.dataset("alice-raw") is None
    assert world.remove(DATASET_PLURAL, "alice-raw") == set()
    assert names(world.remove(DATASET_PLURAL, "alice-proto")) == ["datasets alice-proto"]


@pytest.mark.parametrize("plural", [DATASET_PLURAL, BUCKET_PLURAL])
def test_the_answer_to_an_own_write_does_not_bring_back_what_the_watch_told_is_gone(plural: str) -> None:
    one = dataset() if plural == DATASET_PLURAL else bucket()
    world = filled((plural, one))
    world.remove(plural, one["metadata"]["uid"], one["metadata"]["name"])

    keys = world.absorb(plural, one)

    assert keys == set()
    assert world.dataset(one["metadata"]["uid"]) is None
    assert world.bucket(one["metadata"]["uid"]) is None


def test_a_new_dataset_wakes_those_that_may_have_to_yield_to_it() -> None:
    world = filled(*RIVALS)

    keys = world.put(DATASET_PLURAL, dataset("third"))

    assert names(keys) == ["datasets alice-raw", "datasets alice-third", "datasets alice-twin"]
    assert names(world.put(DATASET_PLURAL, dataset("third", version=2, generation=2))) == [
        "datasets alice-third"
    ]


def test_rivals_are_the_others_of_a_namespace_that_describe_the_same_dataset() -> None:
    world = filled(*RIVALS)
    raw = world.dataset("alice-raw")
    assert raw is not None

    assert [one.name for one in world.rivals(raw)] == ["twin"]
    world.put(DATASET_PLURAL, dataset("twin", version=2, spec={"uuid": "not one"}))
    assert world.rivals(raw) == ()
    invalid = world.dataset("alice-twin")
    assert invalid is not None
    assert world.rivals(invalid) == ()
    world.put(DATASET_PLURAL, dataset("twin", version=3))
    assert [one.name for one in world.rivals(raw)] == ["twin"]


def test_a_namespace_whose_last_dataset_is_gone_has_none() -> None:
    world = filled()

    world.remove(DATASET_PLURAL, "alice-raw")

    assert (world.datasets("alice"), world.datasets()) == ((), ())


def test_an_object_whose_spec_means_nothing_is_kept_with_the_reason_and_looked_at() -> None:
    world = filled()

    keys = world.put(DATASET_PLURAL, dataset(version=2, generation=2, spec={"uuid": "not one"}))

    kept = world.dataset("alice-raw")
    assert isinstance(kept, Invalid)
    assert names(keys) == ITSELF
    assert "spec.uuid" in kept.message
    assert world.datasets() == ()


def test_an_invalid_bucket_object_is_no_bucket_but_known_to_be_there() -> None:
    world = filled()

    world.put(BUCKET_PLURAL, bucket(version=2, generation=2, spec={"bucket": "?"}))

    view = world.view()
    assert (view.buckets, view.invalid_buckets) == ((), frozenset({(ADMIN, "lab")}))
    assert view.find_bucket(ADMIN, "lab") is None
    assert names(world.put(BUCKET_PLURAL, bucket(version=3, generation=3))) == [LAB_KEY, *ITSELF]


def test_datasets_can_be_listed_by_namespace() -> None:
    world = filled(*RIVALS)

    assert [one.name for one in world.datasets("bob")] == ["far"]
    assert len(world.datasets()) == 5
    assert world.datasets("nobody") == ()


def test_the_view_is_the_same_until_something_in_it_changes() -> None:
    world = filled()
    view = world.view()

    world.put(DATASET_PLURAL, dataset(version=2, generation=2))
    assert world.view() is view
    world.put(BUCKET_PLURAL, bucket(version=2, status=READY))

    assert world.view() is not view
    assert world.view().uid == "cluster-1"


def copy_of(name: str, place: str = "alice", **spec: Any) -> tuple[str, dict[str, Any]]:
    """A copy of the dataset that bob/original describes."""
    source = {"dataset": {"name": "original", "namespace": "bob"}}
    return DATASET_PLURAL, dataset(name, place, spec={"uuid": None, "source": source, **spec})


ORIGINAL = (DATASET_PLURAL, dataset("original", "bob"))
FROZEN = {
    "uuid": UUID,
    "conditions": [{"type": "Frozen", "status": "True", "reason": "Frozen", "message": ""}],
}
DAMAGED = {
    **FROZEN,
    "conditions": [
        *FROZEN["conditions"],
        {"type": "Verified", "status": "False", "reason": "ItemMissing", "message": ""},
    ],
}
COPY = "datasets alice-copy"


@pytest.mark.parametrize(
    ("fields", "is_told"),
    [
        ({"status": FROZEN}, True),
        ({"status": {**FROZEN, "sizeBytes": 7}}, True),
        ({"status": {"state": "Copying"}}, False),
        ({"status": DAMAGED}, True),
        ({"status": {"uuid": OTHER_UUID}}, True),
        ({"spec": {"uuid": "not one"}}, True),
        ({"labels": {"a": "b"}}, False),
    ],
    ids=[
        "it is frozen",
        "it is frozen and has a size",
        "a state",
        "damage",
        "its uuid",
        "invalid",
        "a label",
    ],
)
def test_a_copy_is_looked_at_when_what_it_sees_of_its_source_changes(
    fields: dict[str, Any], is_told: bool
) -> None:
    world = filled(ORIGINAL, copy_of("copy"))

    keys = names(world.put(DATASET_PLURAL, dataset("original", "bob", version=2, **fields)))

    assert (COPY in keys) is is_told
    assert names(world.put(DATASET_PLURAL, dataset("original", "bob", version=2, **fields))) == []


def test_a_copy_is_looked_at_when_its_source_comes_and_goes() -> None:
    world = filled(copy_of("copy"))

    assert COPY in names(world.put(*ORIGINAL))
    one = world.dataset("alice-copy")
    assert isinstance(one, DtoolDataset)
    assert world.source_of(one) is not None
    assert COPY in names(world.remove(DATASET_PLURAL, "bob-original"))
    assert world.source_of(one) is None


def test_a_source_whose_spec_means_nothing_is_none() -> None:
    invalid = dataset("original", "bob", spec={"uuid": "not one"})
    world = filled((DATASET_PLURAL, invalid), copy_of("copy"))
    one = world.dataset("alice-copy")
    assert isinstance(one, DtoolDataset)

    assert world.source_of(one) is None
    assert world.find_dataset("bob", "nobody") is None


def test_rule_11_copies_of_one_source_are_rivals_before_their_uuid_is_known() -> None:
    world = filled(copy_of("copy"), copy_of("twin"), copy_of("far", "carol"))
    one = world.dataset("alice-copy")
    assert isinstance(one, DtoolDataset)

    assert [rival.name for rival in world.rivals(one)] == ["twin"]
    assert names(world.remove(DATASET_PLURAL, "alice-twin")) == [COPY, "datasets alice-twin"]


def test_rule_11_a_copy_and_its_frozen_source_are_rivals_in_one_namespace() -> None:
    source = {"dataset": {"name": "raw"}}
    one = dataset("copy", spec={"uuid": None, "source": source})
    world = filled((DATASET_PLURAL, one), (DATASET_PLURAL, dataset(version=2, status=FROZEN)))
    copy = world.dataset("alice-copy")
    assert isinstance(copy, DtoolDataset)

    assert [rival.name for rival in world.rivals(copy)] == ["raw"]


def seen_lab(world: World) -> DtoolBucket:
    lab = world.bucket("dtool-system-lab")
    assert isinstance(lab, DtoolBucket)
    return lab


def added(name: str, place: str = "alice", **fields: Any) -> tuple[str, dict[str, Any]]:
    """A dataset with a uuid of its own."""
    return DATASET_PLURAL, dataset(name, place, **{"spec": {"uuid": None}, **fields})


def test_rule_8_usage_counts_what_is_described_and_what_came_first() -> None:
    later = moment(EPOCH.replace(year=2027))
    world = filled(
        added("described", status={"sizeBytes": 7, "createdAt": later}, creationTimestamp=later),
        added("open", status={"createdAt": later}, creationTimestamp=later),
        added("running", status={"progress": {"bytesTotal": 5}}, creationTimestamp=later),
        added("new", creationTimestamp=later),
        added("other-bucket", spec={"uuid": None, "bucketRef": {"name": "other"}}, status={"sizeBytes": 7}),
        added("other-namespace", "bob", status={"sizeBytes": 7}),
    )
    first, last = world.dataset("alice-raw"), world.dataset("alice-new")
    assert isinstance(first, DtoolDataset)
    assert isinstance(last, DtoolDataset)

    assert world.find_usage(first, seen_lab(world)) == Usage(2, 12)
    # raw came before, and so did the one that runs: of one second the smaller uid
    assert world.find_usage(last, seen_lab(world)) == Usage(3, 12)


def test_rule_17_places_are_shared_where_more_than_one_namespace_may_have_datasets() -> None:
    world = filled()
    assert not world.is_shared

    world.put(BUCKET_PLURAL, bucket(version=2, generation=2, spec={"allowedNamespaces": {"from": "All"}}))
    assert world.is_shared
    world.put(BUCKET_PLURAL, bucket(version=3, generation=3))
    assert not world.is_shared
    world.put(BUCKET_PLURAL, bucket("own", "alice"))
    assert world.is_shared


def test_the_answer_to_an_own_write_is_no_reason_to_look_again() -> None:
    world = filled()

    assert world.absorb(DATASET_PLURAL, dataset(version=2, finalizers=[FINALIZER])) == set()
    kept = world.dataset("alice-raw")
    assert kept is not None
    assert kept.meta.finalizers == (FINALIZER,)


def test_an_edit_that_the_answer_to_an_own_write_shows_is_looked_at() -> None:
    world = filled()

    assert names(world.absorb(DATASET_PLURAL, dataset(version=2, generation=2))) == ITSELF


def test_an_object_that_an_own_write_created_is_looked_at() -> None:
    world = filled()

    assert names(world.absorb(DATASET_PLURAL, dataset("new", spec={"uuid": OTHER_UUID}))) == [
        "datasets alice-new"
    ]


def test_whom_an_own_write_concerns_is_looked_at() -> None:
    world = filled(ORIGINAL, copy_of("copy"))

    keys = world.absorb(DATASET_PLURAL, dataset("original", "bob", version=2, status=FROZEN))

    assert names(keys) == [COPY]


def test_an_older_answer_changes_nothing() -> None:
    world = filled()
    world.put(BUCKET_PLURAL, bucket(version=5))

    assert world.absorb(BUCKET_PLURAL, bucket(version=4, generation=2)) == set()
