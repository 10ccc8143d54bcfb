"""Datasets that begin here: empty protos that others fill, derived ones, and their ends (rule 11)."""

from datetime import timedelta

from dtool_operator.names import DATASET_PLURAL, FINALIZER, LABEL_UUID
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from tests.support.datasets import ITEMS, UUID, md5
from tests.support.play import Play

SOURCE = f"s3://instrument-data/{UUID}"
QUIET = timedelta(0)


def layout_of(play: Play, name: str, namespace: str = "alice") -> DatasetLayout:
    return DatasetLayout(f"u/{namespace}/", play.status(namespace, name)["uuid"])


def fill(play: Play, layout: DatasetLayout) -> None:
    """Put items in, as `dtool add item` does."""
    for relpath, body in ITEMS.items():
        key = layout.item_key(item_identifier(relpath))
        play.server.write("lab-data", key, body, metadata=item_metadata(relpath, md5(body)))


async def test_rule_11_a_new_dataset_has_the_objects_uid_and_is_a_proto_that_is_ready(play: Play) -> None:
    play.dataset("alice", "plate", readme="description: a plate\n", name="plate-2026")
    await play.settle()

    metadata = play.cluster.get(DATASET_PLURAL, "alice", "plate")["metadata"]
    status = play.status("alice", "plate")
    assert (status["state"], status["uuid"], status["name"]) == ("Proto", metadata["uid"], "plate-2026")
    assert play.condition("alice", "plate")["status"] == "True"
    assert play.condition("alice", "plate", "Frozen")["status"] == "False"
    assert FINALIZER not in metadata.get("finalizers", [])
    layout = layout_of(play, "plate")
    assert play.server.read("lab-data", layout.readme_key).body == b"description: a plate\n"
    assert play.server.read("lab-data", layout.registration_key).body == b"u/alice/"


async def test_rule_14_a_proto_that_others_filled_is_frozen_by_an_edit() -> None:
    play = await Play.start(freeze_quiet_period=QUIET)
    play.dataset("alice", "plate", tags=["ours"])
    await play.settle()
    fill(play, layout_of(play, "plate"))

    play.cluster.update_spec(DATASET_PLURAL, "alice", "plate", freeze=True)
    await play.settle()

    status = play.status("alice", "plate")
    assert (status["state"], status["items"]) == ("Frozen", 3)
    assert play.condition("alice", "plate", "Verified")["status"] == "True"
    assert play.condition("alice", "plate", "MetadataSynced")["status"] == "True"
    await play.stop()


async def test_a_proto_that_vanished_is_missing_and_not_created_again(play: Play) -> None:
    play.dataset("alice", "plate")
    await play.settle()
    layout = layout_of(play, "plate")
    for key in play.server.keys("lab-data"):
        if layout.uuid in key:
            play.server.remove("lab-data", key)

    play.cluster.set_annotations(DATASET_PLURAL, "alice", "plate", {"dtool.dev/reconcileRequestedAt": "1"})
    await play.settle()

    assert play.condition("alice", "plate")["reason"] == "DatasetMissing"
    assert not [key for key in play.server.keys("lab-data") if layout.uuid in key]


async def test_rule_11_after_a_restore_the_label_leads_to_the_dataset(play: Play) -> None:
    play.dataset("alice", "plate")
    await play.settle()
    uuid = play.status("alice", "plate")["uuid"]
    play.cluster.delete(DATASET_PLURAL, "alice", "plate")
    await play.settle()

    ref = {"name": "lab", "namespace": "dtool-system"}
    play.cluster.create(DATASET_PLURAL, "alice", "plate", spec={"bucketRef": ref}, labels={LABEL_UUID: uuid})
    await play.settle()

    metadata = play.cluster.get(DATASET_PLURAL, "alice", "plate")["metadata"]
    assert metadata["uid"] != uuid
    assert (play.status("alice", "plate")["uuid"], metadata["labels"][LABEL_UUID]) == (uuid, uuid)


async def test_rule_11_a_label_that_is_not_registered_here_means_nothing(play: Play) -> None:
    ref = {"name": "lab", "namespace": "dtool-system"}
    play.cluster.create(DATASET_PLURAL, "alice", "plate", spec={"bucketRef": ref}, labels={LABEL_UUID: UUID})
    await play.settle()

    metadata = play.cluster.get(DATASET_PLURAL, "alice", "plate")["metadata"]
    assert play.status("alice", "plate")["uuid"] == metadata["uid"] == metadata["labels"][LABEL_UUID]


async def test_a_derived_dataset_has_an_identity_of_its_own(play: Play) -> None:
    await play.store_dataset()

    play.dataset("alice", "derived", source={"uri": SOURCE}, identity="New", name="filtered")
    await play.settle()

    metadata = play.cluster.get(DATASET_PLURAL, "alice", "derived")["metadata"]
    status = play.status("alice", "derived")
    assert (status["state"], status["uuid"], status["name"]) == ("Frozen", metadata["uid"], "filtered")
    assert "derived_from" in str(play.server.keys("lab-data"))


async def test_another_objects_dataset_is_copied_once_it_is_frozen(play: Play) -> None:
    play.bucket(
        "shared",
        bucket="instrument-data",
        readAccess="Bucket",
        allowedNamespaces={"from": "All"},
        credentials={"secretRef": {"name": "instruments-s3"}},
        prefixTemplate="d/{namespace}/",
    )
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    play.dataset("alice", "copy", source={"dataset": {"name": "raw", "namespace": "bob"}})
    await play.settle()
    assert play.condition("alice", "copy")["reason"] == "SourceDatasetNotFound"

    await play.store_dataset(prefix="d/bob/")
    play.dataset("bob", "raw", uuid=UUID, bucketRef={"name": "shared", "namespace": "dtool-system"})
    await play.settle()

    assert play.status("bob", "raw")["state"] == "Frozen"
    assert (play.status("alice", "copy")["state"], play.status("alice", "copy")["uuid"]) == ("Frozen", UUID)


async def test_plain_objects_become_a_new_dataset(play: Play) -> None:
    play.server.write("instrument-data", "run-17/a.txt", b"alpha")
    play.server.write("instrument-data", "run-17/sub/b.txt", b"beta")

    origin = {"bucketRef": {"name": "instruments", "namespace": "dtool-system"}, "prefix": "run-17/"}
    play.dataset("alice", "run-17", source={"objects": origin}, readme="description: run 17\n")
    await play.settle()

    status = play.status("alice", "run-17")
    assert (status["state"], status["items"], status["sizeBytes"]) == ("Frozen", 2, 9)
    assert status["creatorUsername"] == "alice"


async def test_rule_18_delete_removes_the_dataset_with_its_object(play: Play) -> None:
    await play.store_dataset()
    play.dataset("alice", "raw", source={"uri": SOURCE}, deletionPolicy="Delete")
    await play.settle()
    assert FINALIZER in play.cluster.get(DATASET_PLURAL, "alice", "raw")["metadata"]["finalizers"]

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert play.server.keys("lab-data") == ["u/alice/.dtool-owner"]


async def test_rule_11_of_two_copies_of_one_object_one_is_made(play: Play) -> None:
    play.cluster.update_spec("dtoolbuckets", "dtool-system", "lab", readAccess="Bucket")
    play.bucket(
        "shared",
        bucket="instrument-data",
        readAccess="Bucket",
        allowedNamespaces={"from": "All"},
        credentials={"secretRef": {"name": "instruments-s3"}},
        prefixTemplate="d/{namespace}/",
    )
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    for name in ("first", "second"):
        play.dataset("alice", name, source={"dataset": {"name": "raw", "namespace": "bob"}})
    await play.store_dataset(prefix="d/bob/")
    play.dataset("bob", "raw", uuid=UUID, bucketRef={"name": "shared", "namespace": "dtool-system"})
    await play.settle()

    reasons = [play.condition("alice", name)["reason"] for name in ("first", "second")]
    assert sorted(reasons) == ["ClaimedByAnother", "Succeeded"]
    copied = [r.key for r in play.server.requests if r.operation == "copy"]
    assert len(copied) == len(set(copied)) == len(ITEMS)


async def test_rule_11_a_dataset_is_not_copied_onto_itself(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.cluster.update_spec("dtoolbuckets", "dtool-system", "lab", readAccess="Bucket")
    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()
    play.server.requests.clear()

    play.dataset("alice", "copy", source={"dataset": {"name": "raw"}})
    await play.settle()

    # of one second the smaller uid owns
    reasons = {play.condition("alice", name)["reason"] for name in ("raw", "copy")}
    assert reasons == {"ClaimedByAnother", "Succeeded"}
    moved = [r for r in play.server.requests if r.operation in {"copy", "put"} and "/data/" in r.key]
    assert moved == []


async def test_rule_18_a_proto_dataset_stays_when_its_object_goes(play: Play) -> None:
    play.dataset("alice", "plate")
    await play.settle()
    keys = play.server.keys("lab-data")

    play.cluster.delete(DATASET_PLURAL, "alice", "plate")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "plate")
    assert play.server.keys("lab-data") == keys


async def test_rule_14_a_proto_is_not_frozen_while_somebody_uploads_into_it() -> None:
    play = await Play.start(freeze_quiet_period=QUIET)
    play.dataset("alice", "plate")
    await play.settle()
    layout = layout_of(play, "plate")
    fill(play, layout)
    await play.server.store("lab-data").start_upload(layout.item_key(item_identifier("late.bin")), {})

    play.cluster.update_spec(DATASET_PLURAL, "alice", "plate", freeze=True)
    await play.settle()

    assert play.condition("alice", "plate")["reason"] == "WrittenWhileFreezing"
    assert play.condition("alice", "plate", "Frozen")["status"] == "False"
    await play.stop()
