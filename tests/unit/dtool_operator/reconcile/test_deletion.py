"""What a deletion must never remove, and what must never hold it up."""

import asyncio

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, FINALIZER
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.eventually import eventually_async
from tests.support.play import Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


async def _begin_copy(play: Play) -> None:
    """Start a copy that comes no further than its first item."""
    await play.store_dataset()
    play.server.faults.append(Fault(operation="copy", hold=asyncio.Event(), times=None))
    play.dataset("alice", "raw", source=SOURCE)

    async def has_begun() -> None:
        assert any(r.operation == "copy" for r in play.server.requests)

    await eventually_async(has_begun, within=10)


async def _until_the_bucket_says(play: Play, reason: str) -> None:
    async def says() -> None:
        assert play.condition("dtool-system", "lab", plural=BUCKET_PLURAL)["reason"] == reason

    await eventually_async(says, within=10)


async def test_a_finalizer_that_a_user_copied_does_not_cost_a_proto_dataset(play: Play) -> None:
    """An object exported while it was copied and applied again as an adoption has the finalizer."""
    await play.store_dataset("lab-data", prefix="u/alice/", is_frozen=False)
    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()
    body = play.cluster.get(DATASET_PLURAL, "alice", "raw")
    await play.cluster.patch_metadata(
        play.cluster.ref(DATASET_PLURAL, "alice", "raw"),
        resource_version=body["metadata"]["resourceVersion"],
        finalizers=(FINALIZER,),
    )
    keys = play.server.keys("lab-data")

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert play.server.keys("lab-data") == keys


@pytest.mark.parametrize("is_known", [False, True], ids=["just now", "and the bucket object says so"])
async def test_a_secret_that_is_gone_does_not_hold_up_a_deletion(play: Play, is_known: bool) -> None:
    await _begin_copy(play)
    play.cluster.delete_secret("dtool-system", "lab-s3")
    if is_known:
        request = {"dtool.dev/reconcileRequestedAt": "now"}
        play.cluster.set_annotations(BUCKET_PLURAL, "dtool-system", "lab", request)
        await _until_the_bucket_says(play, "SecretNotFound")

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")


async def test_what_a_deletion_leaves_behind_is_said_on_the_bucket_object(play: Play) -> None:
    """The dataset's own Events go with its namespace; the bucket's administrator has to know."""
    await _begin_copy(play)
    play.cluster.label_namespace("alice", {"dtool.dev/lab": None})
    await play.settle()

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    said = [event for event in play.cluster.events if event.reason == "DataLeftBehind"]
    assert [(event.ref.plural, event.ref.name) for event in said] == [(BUCKET_PLURAL, "lab")]
    assert "alice/raw" in said[0].message
    assert UUID in said[0].message


async def test_a_namespace_that_was_never_admitted_cannot_speak_on_a_bucket_object(play: Play) -> None:
    """Anybody may put our finalizer on an object of theirs; the names in it are theirs too."""
    play.dataset("mallory", "raw", source=SOURCE)
    await play.settle()
    body = play.cluster.get(DATASET_PLURAL, "mallory", "raw")
    await play.cluster.patch_metadata(
        play.cluster.ref(DATASET_PLURAL, "mallory", "raw"),
        resource_version=body["metadata"]["resourceVersion"],
        finalizers=(FINALIZER,),
    )

    play.cluster.delete(DATASET_PLURAL, "mallory", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "mallory", "raw")
    assert all(event.ref.name != "lab" for event in play.cluster.events if event.reason == "DataLeftBehind")
