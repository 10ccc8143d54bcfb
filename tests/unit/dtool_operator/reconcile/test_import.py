"""Datasets that are found become objects, and these go with their datasets (rule 9); whole operators."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from dtool_operator.errors import ApiFailure, Conflict
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, LABEL_IMPORTED, LABEL_UUID
from dtool_s3.errors import AccessDenied, BucketUnreachable
from dtool_s3.ownership import Owner, dump_owner, owner_key, read_owner
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID, DatasetFixture
from tests.support.eventually import eventually_async
from tests.support.play import ADMIN_NAMESPACE, Play

OTHER_UUID = "1c10766c-0000-4000-8000-000000000002"
NAME = "sample-1c10766c"
IMPORTING = {"import": "Frozen"}


@pytest_asyncio.fixture
async def play() -> AsyncIterator[Play]:
    """The stage; the bucket object lab imports."""
    play = await Play.start()
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", listing=IMPORTING)
    await play.settle()
    yield play
    await play.stop()


async def look(play: Play, word: str, name: str = "lab") -> None:
    """Ask for a look, which lists the bucket, and wait until all is quiet."""
    request = {"dtool.dev/reconcileRequestedAt": word}
    play.cluster.set_annotations(BUCKET_PLURAL, ADMIN_NAMESPACE, name, request)
    await play.settle()


def remove(play: Play, fixture: DatasetFixture, bucket: str = "lab-data", *, keeps_key: bool = False) -> None:
    """Take a dataset away, as somebody with keys does."""
    layout = fixture.layout
    for key in play.server.keys(bucket):
        if key.startswith(layout.root) or (key == layout.registration_key and not keeps_key):
            play.server.remove(bucket, key)


def names(play: Play) -> list[tuple[str, str]]:
    return [
        (body["metadata"]["namespace"], body["metadata"]["name"])
        for body in play.cluster.list(DATASET_PLURAL)
    ]


def ours(play: Play, namespace: str = "alice", prefix: str = "u/alice/") -> Owner:
    uids = [
        play.cluster.get("namespaces", "", name)["metadata"]["uid"] for name in ("kube-system", namespace)
    ]
    return Owner(uids[0], uids[1], namespace, prefix)


async def test_a_frozen_dataset_that_is_found_becomes_an_object_rule_9(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")

    await look(play, "1")

    body = play.cluster.get(DATASET_PLURAL, "alice", NAME)
    assert body["metadata"]["labels"] == {LABEL_UUID: UUID, LABEL_IMPORTED: "true"}
    assert body["spec"]["bucketRef"] == {"name": "lab", "namespace": ADMIN_NAMESPACE}
    assert body["spec"]["uuid"] == UUID
    assert "source" not in body["spec"]
    assert play.status("alice", NAME)["state"] == "Frozen"
    assert play.status(ADMIN_NAMESPACE, "lab", BUCKET_PLURAL)["imported"] == 1
    assert await read_owner(play.server.store("lab-data"), "u/alice/") == ours(play)


async def test_nothing_more_is_written_or_asked_once_all_is_imported_rule_10(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    await look(play, "1")
    await look(play, "2")
    writes, requests = len(play.cluster.writes), len(play.server.requests)

    await look(play, "3")

    written = play.cluster.writes[writes:]
    assert [(write.operation, write.ref.plural) for write in written] == [("apply_status", BUCKET_PLURAL)]
    keys = [request.key for request in play.server.requests[requests:]]
    assert owner_key("u/alice/") not in keys


async def test_only_frozen_datasets_of_admitted_namespaces_are_imported_rule_9(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/", is_frozen=False)
    await play.store_dataset("lab-data", prefix="u/mallory/", uuid=OTHER_UUID)
    await play.store_dataset("lab-data", prefix="", uuid="00000003-0000-4000-8000-000000000003")

    await look(play, "1")

    assert names(play) == []
    assert play.status(ADMIN_NAMESPACE, "lab", BUCKET_PLURAL)["imported"] == 0


async def test_nothing_is_imported_from_a_prefix_of_somebody_elses_rule_4(play: Play) -> None:
    theirs = Owner("another-cluster", "n", "alice", "u/alice/")
    await play.server.store("lab-data").put(owner_key("u/alice/"), dump_owner(theirs))
    await play.store_dataset("lab-data", prefix="u/alice/")

    await look(play, "1")

    assert names(play) == []
    listed = play.condition(ADMIN_NAMESPACE, "lab", "Listed", BUCKET_PLURAL)
    assert "'u/alice/'" in listed["message"]
    assert await read_owner(play.server.store("lab-data"), "u/alice/") == theirs


async def test_a_prefix_that_is_handed_over_is_taken_for_imports_and_what_was_frozen_before_rule_4(
    play: Play,
) -> None:
    """After a restore: the objects are there with their status, or nothing but the bucket is."""
    await play.store_dataset("lab-data", prefix="u/alice/")
    await look(play, "1")
    assert play.status("alice", NAME)["state"] == "Frozen"
    theirs = Owner("lost-cluster", "ns-1", "alice", "u/alice/")
    await play.server.store("lab-data").put(owner_key("u/alice/"), dump_owner(theirs))
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER_UUID)
    await look(play, "2")
    assert names(play) == [("alice", NAME)]

    entry = {"namespace": "alice", "fromOwner": str(theirs)}
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", takeOver=[entry])
    await look(play, "3")
    assert await read_owner(play.server.store("lab-data"), "u/alice/") == ours(play)
    assert len(names(play)) == 2

    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", takeOver=[])
    await look(play, "4")
    for _, name in names(play):
        play.cluster.set_annotations(DATASET_PLURAL, "alice", name, {"dtool.dev/verifyRequestedAt": "now"})
    await play.settle()
    assert [play.condition("alice", name)["status"] for _, name in names(play)] == ["True", "True"]


async def test_nothing_is_imported_where_the_marker_means_nothing_rule_4(play: Play) -> None:
    await play.server.store("lab-data").put(owner_key("u/alice/"), b"not JSON")
    await play.store_dataset("lab-data", prefix="u/alice/")

    await look(play, "1")

    assert names(play) == []
    assert play.condition(ADMIN_NAMESPACE, "lab", "Ready", BUCKET_PLURAL)["status"] == "True"


async def test_a_marker_that_cannot_be_read_keeps_one_prefix_out_and_the_bucket_ready(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    denied = AccessDenied("denied", code="AccessDenied")
    play.server.faults.append(Fault(key=owner_key("u/alice/"), error=denied, times=None))

    await look(play, "1")

    assert names(play) == []
    assert play.condition(ADMIN_NAMESPACE, "lab", "Ready", BUCKET_PLURAL)["status"] == "True"
    assert play.condition(ADMIN_NAMESPACE, "lab", "Listed", BUCKET_PLURAL)["status"] == "True"


async def test_two_datasets_of_one_name_and_one_beginning_get_two_names_rule_9(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER_UUID)

    await look(play, "1")

    assert sorted(names(play)) == [("alice", "sample-1c10766c"), ("alice", "sample-1c10766c-c4a9")]


async def test_a_users_object_of_the_name_keeps_it_rule_9(play: Play) -> None:
    play.dataset("alice", NAME, uuid="00000003-0000-4000-8000-000000000003")
    await play.store_dataset("lab-data", prefix="u/alice/")

    await look(play, "1")

    assert sorted(names(play)) == [("alice", NAME), ("alice", "sample-1c10766c-c4a9")]
    assert play.cluster.get(DATASET_PLURAL, "alice", NAME)["spec"]["uuid"] != UUID


async def test_an_object_whose_creation_was_answered_by_nothing_is_not_made_twice_rule_10(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.cluster.on_change = None  # the watch is late as well
    play.cluster.fail("create_dataset", ApiFailure("no answer", status=0), after=True)

    play.cluster.set_annotations(
        BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", {"dtool.dev/reconcileRequestedAt": "1"}
    )
    await play.restart_operator()
    await play.settle()

    assert names(play) == [("alice", NAME)]


async def test_a_namespace_that_takes_no_objects_holds_up_nobody_else_rule_17(play: Play) -> None:
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    await play.store_dataset("lab-data", prefix="u/alice/")
    await play.store_dataset("lab-data", prefix="u/bob/", uuid=OTHER_UUID)
    play.cluster.fail("create_dataset", ApiFailure("exceeded quota", status=403))

    await look(play, "1")

    assert names(play) == [("bob", "sample-1c10766c")]
    assert "alice" in play.condition(ADMIN_NAMESPACE, "lab", "Listed", BUCKET_PLURAL)["message"]
    await look(play, "2")
    assert sorted(names(play)) == [("alice", NAME), ("bob", NAME)]


async def test_at_most_import_limit_objects_are_made_rule_9(play: Play) -> None:
    play.cluster.update_spec(
        BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", listing={"import": "Frozen", "importLimit": 3}
    )
    for number in range(5):
        uuid = f"{number:08d}-0000-4000-8000-000000000000"
        await play.store_dataset("lab-data", prefix="u/alice/", uuid=uuid)

    await look(play, "1")
    await look(play, "2")

    assert len(names(play)) == 3
    assert play.status(ADMIN_NAMESPACE, "lab", BUCKET_PLURAL)["imported"] == 3


async def test_an_imported_object_goes_with_its_dataset_and_a_users_stays_rule_9(play: Play) -> None:
    found = await play.store_dataset("lab-data", prefix="u/alice/")
    adopted = await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER_UUID)
    play.dataset("alice", "mine", uuid=OTHER_UUID)
    await look(play, "1")
    assert sorted(names(play)) == [("alice", "mine"), ("alice", NAME)]

    remove(play, found)
    remove(play, adopted)
    await look(play, "2")

    assert names(play) == [("alice", "mine")]


async def test_an_imported_object_that_changes_meanwhile_goes_after_a_pause_rule_9(
    play: Play,
) -> None:
    fixture = await play.store_dataset("lab-data", prefix="u/alice/")
    await look(play, "1")
    remove(play, fixture)
    # it is told by the same listing that its dataset is missing
    play.cluster.fail("delete_object", Conflict("it changed since it was read"))
    await look(play, "2")

    assert names(play) == [("alice", NAME)]

    async def check() -> None:
        assert names(play) == []

    await eventually_async(check, within=5)


async def test_an_imported_object_that_a_user_edited_stays_rule_9(play: Play) -> None:
    found = await play.store_dataset("lab-data", prefix="u/alice/")
    await look(play, "1")
    play.cluster.update_spec(DATASET_PLURAL, "alice", NAME, suspend=True)

    remove(play, found)
    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def _import_one(play: Play) -> DatasetFixture:
    found = await play.store_dataset("lab-data", prefix="u/alice/")
    await look(play, "1")
    assert names(play) == [("alice", NAME)]
    return found


async def test_an_empty_bucket_at_the_same_address_has_nothing_pruned_rule_4(play: Play) -> None:
    await _import_one(play)
    for key in play.server.keys("lab-data"):
        play.server.remove("lab-data", key)

    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def test_another_bucket_at_the_same_address_is_neither_claimed_nor_imported_rule_4(play: Play) -> None:
    await _import_one(play)
    for key in play.server.keys("lab-data"):
        play.server.remove("lab-data", key)
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER_UUID)

    await look(play, "2")
    await look(play, "3")

    assert names(play) == [("alice", NAME)]
    assert await read_owner(play.server.store("lab-data"), "u/alice/") is None


async def test_a_bucket_that_does_not_answer_has_nothing_pruned_rule_9(play: Play) -> None:
    found = await _import_one(play)
    remove(play, found)
    play.server.faults.append(Fault(bucket="lab-data", error=BucketUnreachable("no answer"), times=None))

    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def test_a_bucket_of_which_a_part_cannot_be_listed_has_nothing_pruned_rule_9(play: Play) -> None:
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    found = await _import_one(play)
    remove(play, found)
    denied = AccessDenied("denied", code="AccessDenied")
    play.server.faults.append(Fault(operation="list", key="u/bob/", error=denied, times=None))

    await look(play, "2")

    assert names(play) == [("alice", NAME)]
    listed = play.condition(ADMIN_NAMESPACE, "lab", "Listed", BUCKET_PLURAL)
    assert "cannot be listed" in listed["message"]


async def test_a_dataset_that_lost_only_its_registration_key_keeps_its_object_rule_9(play: Play) -> None:
    found = await _import_one(play)
    play.server.remove("lab-data", found.layout.registration_key)

    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def test_withdrawn_consent_prunes_nothing_rule_5(play: Play) -> None:
    found = await _import_one(play)
    play.cluster.label_namespace("alice", {"dtool.dev/lab": None})
    await play.settle()

    remove(play, found)
    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def test_a_read_only_bucket_is_imported_without_a_marker_and_never_written_rule_4(play: Play) -> None:
    play.cluster.update_spec(
        BUCKET_PLURAL, ADMIN_NAMESPACE, "instruments", listing=IMPORTING, acknowledgedPrefixes=None
    )
    first = await play.store_dataset(prefix="u/alice/")
    await play.store_dataset(prefix="u/alice/", uuid=OTHER_UUID)
    await look(play, "1", "instruments")
    assert len(names(play)) == 2

    remove(play, first, "instrument-data")
    await look(play, "2", "instruments")

    assert len(names(play)) == 1
    assert owner_key("u/alice/") not in play.server.keys("instrument-data")
    for key in play.server.keys("instrument-data"):
        play.server.remove("instrument-data", key)
    await look(play, "3", "instruments")
    assert len(names(play)) == 1, "an empty ReadOnly bucket is no proof that the dataset is gone"


async def test_a_user_who_deletes_an_imported_object_finds_it_again_after_the_next_listing(
    play: Play,
) -> None:
    await _import_one(play)

    play.cluster.delete(DATASET_PLURAL, "alice", NAME)
    await play.settle()
    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def test_an_imported_object_yields_to_a_users_rule_9(play: Play) -> None:
    await _import_one(play)
    play.dataset("alice", "mine", uuid=UUID)
    await play.settle()

    await look(play, "2")

    assert names(play) == [("alice", "mine")]
    assert play.status("alice", "mine")["state"] == "Frozen"
    assert play.server.keys("lab-data")


async def test_a_namespace_created_again_gets_nothing_of_the_former_ones_rule_4(play: Play) -> None:
    await _import_one(play)
    play.cluster.delete_namespace("alice")
    await play.settle()
    play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
    await play.settle()

    await look(play, "2")

    assert names(play) == []


class Killed(BaseException):
    """The operator was killed."""


POINTS = [
    f"{action}:{when}"
    for action in ("SelfTest", "ListDatasets", "EnsureOwner", "ImportDataset", "PruneImported")
    for when in ("before", "after")
]


async def _kill_at(play: Play, point: str, word: str) -> Any:
    """End the operator when it comes by; start another one."""
    hit = asyncio.Event()

    def crash(name: str) -> None:
        if name == point and not hit.is_set():
            hit.set()
            raise Killed(point)

    play.operator.buckets._crash_point = crash
    play.cluster.set_annotations(
        BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", {"dtool.dev/reconcileRequestedAt": word}
    )
    await asyncio.wait_for(hit.wait(), timeout=10)
    await play.restart_operator()
    await play.settle()
    await look(play, f"{word}+")


@pytest.mark.parametrize("point", POINTS)
async def test_an_operator_killed_at_any_action_comes_to_the_same_end_rule_10(point: str) -> None:
    play = await Play.start()
    await play.settle()
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER_UUID)
    found = await play.store_dataset("lab-data", prefix="u/alice/")
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", suspend=True, listing=IMPORTING)
    await play.settle()
    play.cluster.on_change = None
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", suspend=None, listing=IMPORTING)
    play.cluster.on_change = play._tell

    if point.startswith("Prune"):
        await look(play, "0")
        remove(play, found)
    await _kill_at(play, point, "1")
    if not point.startswith("Prune"):
        assert sorted(names(play)) == [("alice", NAME), ("alice", "sample-1c10766c-c4a9")]
        remove(play, found)
        await look(play, "2")

    left = [body["spec"]["uuid"] for body in play.cluster.list(DATASET_PLURAL)]
    assert left == [OTHER_UUID]
    assert await read_owner(play.server.store("lab-data"), "u/alice/") == ours(play)
    await play.stop()


async def test_fifty_datasets_are_imported_in_turns_rule_17(play: Play) -> None:
    for number in range(50):
        uuid = f"{number:08d}-0000-4000-8000-000000000000"
        await play.store_dataset("lab-data", prefix="u/alice/", uuid=uuid, items={})

    play.cluster.set_annotations(
        BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", {"dtool.dev/reconcileRequestedAt": "1"}
    )

    async def all_are_there() -> None:
        assert len(names(play)) == 50

    await eventually_async(all_are_there, within=20)
    await play.settle()
    assert play.status(ADMIN_NAMESPACE, "lab", BUCKET_PLURAL)["imported"] == 50


async def test_a_marker_that_cannot_be_read_does_not_keep_other_namespaces_out_rule_17(play: Play) -> None:
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    await play.store_dataset("lab-data", prefix="u/alice/")
    await play.store_dataset("lab-data", prefix="u/bob/", uuid=OTHER_UUID)
    denied = AccessDenied("denied", code="AccessDenied")
    play.server.faults.append(Fault(key=owner_key("u/alice/"), error=denied, times=None))

    await look(play, "1")

    assert names(play) == [("bob", "sample-1c10766c")]


async def test_a_dataset_that_came_back_after_the_listing_keeps_its_object_rule_9(play: Play) -> None:
    found = await _import_one(play)
    remove(play, found)

    def comes_back(name: str) -> None:
        if name == "PruneImported:before":
            layout = found.layout
            document = json.dumps(found.admin())
            play.server.write("lab-data", layout.admin_metadata_key, document.encode())

    play.operator.buckets._crash_point = comes_back
    await look(play, "2")

    assert names(play) == [("alice", NAME)]


async def test_a_namespace_that_was_replaced_unseen_gets_nothing_rule_4(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    real = play.cluster.read_namespace_uid

    async def read_namespace_uid(name: str) -> str | None:
        return "another" if name == "alice" else await real(name)

    play.cluster.read_namespace_uid = read_namespace_uid  # type: ignore[method-assign]
    await look(play, "1")

    assert names(play) == []
    assert await read_owner(play.server.store("lab-data"), "u/alice/") is None


async def test_an_object_whose_watch_event_comes_late_is_looked_at_all_the_same(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    told: list[tuple[str, str, Any]] = []
    play.cluster.on_change = lambda *change: told.append(change)
    uid = play.cluster.ref(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab").uid
    play.operator.buckets.note_change(uid)
    request = {"dtool.dev/reconcileRequestedAt": "1"}
    play.cluster.set_annotations(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", request)
    play._tell(*told.pop())

    async def is_reported() -> None:
        assert names(play) == [("alice", NAME)]
        assert play.status("alice", NAME).get("state") == "Frozen"

    await eventually_async(is_reported, within=10)
