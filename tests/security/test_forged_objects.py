"""What users write into objects gives them no power: labels, annotations, finalizers, many objects."""

from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, FINALIZER, LABEL_IMPORTED, LABEL_UUID
from dtool_s3.ownership import owner_key
from tests.support.datasets import UUID
from tests.support.play import ADMIN_NAMESPACE, Play

LAB = {"name": "lab", "namespace": ADMIN_NAMESPACE}


def request_look(play: Play, value: str, plural: str, namespace: str, name: str) -> None:
    request = {"dtool.dev/reconcileRequestedAt": value}
    play.cluster.set_annotations(plural, namespace, name, request)


async def bob_keeps_a_dataset(play: Play) -> None:
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    await play.store_dataset("lab-data", prefix="u/bob/")
    play.dataset("bob", "raw", uuid=UUID)
    await play.settle()


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_forged_uuid_label_leads_to_nobody_elses_dataset(play: Play, policy: str) -> None:
    """Neither while the object lives nor when it is deleted with all powers that a user has."""
    await bob_keeps_a_dataset(play)
    before = [key for key in play.server.keys("lab-data") if UUID in key]
    label = {LABEL_UUID: UUID}
    spec = {"bucketRef": LAB, "deletionPolicy": policy}
    play.cluster.create(DATASET_PLURAL, "alice", "mine", spec=spec, labels=label)
    await play.settle()
    own_uuid = play.status("alice", "mine")["uuid"]
    play.cluster.set_labels(DATASET_PLURAL, "alice", "mine", label)
    await play.settle()

    play.cluster.delete(DATASET_PLURAL, "alice", "mine")
    await play.settle()

    assert own_uuid != UUID
    assert not play.cluster.exists(DATASET_PLURAL, "alice", "mine")
    assert [key for key in play.server.keys("lab-data") if UUID in key] == before
    assert play.status("bob", "raw")["state"] == "Frozen"


@pytest.mark.parametrize("namespace", ["alice", "mallory"])
@pytest.mark.parametrize("source", [{}, {"uuid": UUID}], ids=["new", "adopted"])
async def test_a_finalizer_put_by_hand_removes_nobody_elses_data(
    play: Play, source: dict[str, Any], namespace: str
) -> None:
    """With the finalizer, the label and the policy Delete, whether the namespace is admitted or not."""
    await bob_keeps_a_dataset(play)
    before = [key for key in play.server.keys("lab-data") if UUID in key]
    spec = {"bucketRef": LAB, "deletionPolicy": "Delete", **source}
    play.cluster.create(DATASET_PLURAL, namespace, "thief", spec=spec, labels={LABEL_UUID: UUID})
    await play.settle()
    ref = play.cluster.ref(DATASET_PLURAL, namespace, "thief")
    body = play.cluster.get(DATASET_PLURAL, namespace, "thief")
    version = body["metadata"]["resourceVersion"]
    told = await play.cluster.patch_metadata(
        ref, resource_version=version, finalizers=(FINALIZER,), labels={LABEL_UUID: UUID}
    )
    play.operator.object_changed(DATASET_PLURAL, told)
    await play.settle()

    play.cluster.delete(DATASET_PLURAL, namespace, "thief")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, namespace, "thief")
    assert [key for key in play.server.keys("lab-data") if UUID in key] == before
    assert play.status("bob", "raw")["state"] == "Frozen"


async def test_a_finalizer_taken_off_by_hand_comes_back_while_it_is_needed(play: Play) -> None:
    play.dataset("alice", "mine", deletionPolicy="Delete")
    await play.settle()
    play.cluster.remove_finalizers(DATASET_PLURAL, "alice", "mine")
    await play.settle()
    request_look(play, "1", DATASET_PLURAL, "alice", "mine")
    await play.settle()

    assert play.cluster.get(DATASET_PLURAL, "alice", "mine")["metadata"]["finalizers"] == [FINALIZER]


async def test_the_label_of_imported_objects_deletes_no_object_that_asks_for_anything(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    spec = {"bucketRef": LAB, "uuid": UUID, "tags": ["mine"]}
    labels = {LABEL_IMPORTED: "true"}
    play.cluster.create(DATASET_PLURAL, "alice", "a", spec=spec, labels=labels)
    play.cluster.create(DATASET_PLURAL, "alice", "b", spec=spec, labels=labels)
    await play.settle()

    assert play.cluster.exists(DATASET_PLURAL, "alice", "a")
    assert play.cluster.exists(DATASET_PLURAL, "alice", "b")


async def test_objects_that_look_imported_take_nobodys_room(play: Play) -> None:
    """Mallory's objects bear the label; alice's dataset is imported though the limit is one."""
    for number in range(3):
        uuid = f"1c10766c-0000-4000-8000-00000000000{number}"
        spec = {"bucketRef": LAB, "uuid": uuid}
        labels = {LABEL_IMPORTED: "true"}
        play.cluster.create(DATASET_PLURAL, "mallory", f"forged-{number}", spec=spec, labels=labels)
    await play.store_dataset("lab-data", prefix="u/alice/")
    listing = {"import": "Frozen", "importLimit": 1}
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", listing=listing)
    await play.settle()
    request_look(play, "1", BUCKET_PLURAL, ADMIN_NAMESPACE, "lab")
    await play.settle()

    assert play.cluster.exists(DATASET_PLURAL, "alice", "sample-1c10766c")


async def test_requests_in_a_loop_are_looks_of_their_own_object_and_no_hot_loop(play: Play) -> None:
    """A hundred requests between two looks are one look; when they end, so do the looks."""
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.dataset("alice", "mine", uuid=UUID)
    await play.settle()
    requests, writes = len(play.server.requests), len(play.cluster.writes)

    for number in range(100):
        annotations = {f"dtool.dev/{what}RequestedAt": f"{number}" for what in ("reconcile", "verify")}
        play.cluster.set_annotations(DATASET_PLURAL, "alice", "mine", annotations)
    await play.settle()

    assert play.status("alice", "mine")["lastHandledReconcileAt"] == "99"
    assert play.status("alice", "mine")["lastHandledVerifyAt"] == "99"
    assert len(play.server.requests) - requests < 60
    assert len(play.cluster.writes) - writes < 12
    quiet = len(play.server.requests), len(play.cluster.writes)
    await play.settle()
    assert (len(play.server.requests), len(play.cluster.writes)) == quiet


@pytest.mark.parametrize("value", ["\u202e\x1b[31m\r\nforged: true", " " * 300, "x" * 5000, ""])
async def test_a_request_of_any_text_is_answered_once(play: Play, value: str) -> None:
    """The echo is sanitized: a request that never equals its echo would be a hot loop."""
    play.dataset("alice", "mine")
    await play.settle()

    request_look(play, value, DATASET_PLURAL, "alice", "mine")
    await play.settle()
    writes = len(play.cluster.writes)
    await play.settle()

    assert len(play.cluster.writes) == writes
    assert play.status("alice", "mine").get("lastHandledReconcileAt", "").isprintable()


async def test_an_object_cannot_be_made_with_a_status(play: Play) -> None:
    """Nothing is frozen because an object says so: the API server drops a status that users send."""
    body = play.cluster.create(DATASET_PLURAL, "alice", "mine", spec={"bucketRef": LAB})
    assert "status" not in body or not body["status"].get("conditions")
    await play.settle()

    assert play.status("alice", "mine")["state"] == "Proto"
    assert owner_key("u/alice/") in play.server.keys("lab-data")
