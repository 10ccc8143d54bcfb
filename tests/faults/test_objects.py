"""What people do to objects, namespaces and sources in the middle of a copy."""

import json
from contextlib import closing

from dtool_s3 import blocking
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from tests.support.datasets import UUID, md5
from tests.support.eventually import eventually
from tests.support.fault_lab import ITEMS, FaultLab
from tests.support.lab import ADMIN_NAMESPACE, find_condition


def test_an_edit_in_the_middle_of_a_copy_starts_no_second_one(lab: FaultLab) -> None:
    lab.start_copy()

    lab.patch("dtooldataset", "raw", {"spec": {"tags": ["later"], "verify": {"interval": "240h"}}})
    eventually(lambda: _assert_generation(lab, 2), within=30)
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)
    eventually(lambda: _assert_synced(lab), within=20)

    assert set(lab.copies().values()) == {1}
    assert f"u/{lab.alice}/{UUID}/tags/later" in lab.keys(lab.bucket)


def test_a_copy_that_is_suspended_in_its_middle_goes_on_where_it_was(lab: FaultLab) -> None:
    done = lab.start_copy()

    lab.patch("dtooldataset", "raw", {"spec": {"suspend": True}})
    lab.wait_state("raw", "Suspended")
    lab.let_go()
    lab.patch("dtooldataset", "raw", {"spec": {"suspend": False}})
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)


def test_a_copy_that_is_deleted_in_its_middle_is_removed(lab: FaultLab) -> None:
    lab.start_copy()

    lab.delete("dtooldataset", "raw", wait=False)
    eventually(lambda: _assert_gone(lab, "raw"), within=40)  # before the copy could end
    lab.let_go()

    assert list(lab.lasting_keys()) == [f"u/{lab.alice}/.dtool-owner"]
    assert f"{UUID}/dtool" in lab.keys(lab.instruments)


def test_an_object_that_is_recreated_in_the_middle_of_a_copy_copies_all(lab: FaultLab) -> None:
    lab.start_copy()
    first = lab.get("dtooldataset", "raw")["metadata"]["uid"]

    lab.delete("dtooldataset", "raw", wait=False)
    lab.let_go()
    eventually(lambda: _assert_gone(lab, "raw"), within=40)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen", within=60)

    assert lab.get("dtooldataset", "raw")["metadata"]["uid"] != first
    lab.assert_resumed({})


def test_of_two_objects_with_one_uuid_in_a_namespace_the_older_owns(lab: FaultLab) -> None:
    done = lab.start_copy()

    lab.dataset("twin", source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "twin", "ClaimedByAnother")
    lab.delete("dtooldataset", "twin")
    lab.dataset("adopter", uuid=UUID)
    lab.wait_reason("dtooldataset", "adopter", "ClaimedByAnother")
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)
    assert set(lab.copies().values()) == {1}


def test_of_two_namespaces_with_one_uuid_the_registered_one_keeps_it(lab: FaultLab) -> None:
    bob = f"bob-{lab.suffix}"
    lab.namespace(bob)
    done = lab.start_copy()

    lab.dataset("raw", namespace=bob, source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "raw", "AlreadyInBucket", namespace=bob)
    lab.delete("dtooldataset", "raw", bob)
    lab.dataset("adopter", namespace=bob, uuid=UUID)
    lab.wait_reason("dtooldataset", "adopter", "UUIDTaken", namespace=bob)
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)
    assert lab.data(bob) == {}
    body = lab.object_store.client().get_object(Bucket=lab.bucket, Key=f"dtool-{UUID}")["Body"].read()
    assert body.decode() == f"u/{lab.alice}/"


def test_a_namespace_that_another_team_creates_again_gets_nothing_of_the_first(lab: FaultLab) -> None:
    lab.start_copy()

    lab.delete("namespace", lab.alice)
    lab.let_go()
    before = lab.keys(lab.bucket)
    lab.namespace(lab.alice)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "raw", "PrefixOwnedByOther")

    assert lab.keys(lab.bucket) == before
    assert lab.data() == {}


def test_a_source_that_is_deleted_in_the_middle_of_a_copy(lab: FaultLab) -> None:
    lab.start_copy()

    for key in lab.keys(lab.instruments):
        lab.object_store.client().delete_object(Bucket=lab.instruments, Key=key)
    lab.let_go()

    eventually(lambda: _assert_reason(lab, {"SourceNotFound", "SourceDamaged", "ItemMissing"}), within=40)
    _assert_not_frozen_in_s3(lab)


def test_an_item_of_the_source_that_changes_in_the_middle_of_a_copy(lab: FaultLab) -> None:
    lab.start_copy()

    layout = DatasetLayout("", UUID)
    with closing(lab.store(lab.instruments)) as store:
        for relpath, body in ITEMS.items():
            other = bytes(reversed(body))
            key = layout.item_key(item_identifier(relpath))
            blocking.run(store.put(key, other, metadata=item_metadata(relpath, md5(body))))
    lab.let_go()

    lab.wait_reason("dtooldataset", "raw", "SourceDamaged", within=60)
    _assert_not_frozen_in_s3(lab)


def test_a_source_object_that_is_deleted_in_the_middle_of_a_copy(lab: FaultLab) -> None:
    bob = f"bob-{lab.suffix}"
    lab.namespace(bob)
    lab.patch("dtoolbucket", lab.bucket, {"spec": {"readAccess": "Bucket"}}, ADMIN_NAMESPACE)
    lab.write(lab.bucket, prefix=f"u/{bob}/", uuid=OTHER, items=ITEMS)
    lab.dataset("original", namespace=bob, uuid=OTHER)
    lab.wait_state("original", "Frozen", namespace=bob)
    before = len(lab.copies())
    lab.hold_copies()
    source = {"dataset": {"name": "original", "namespace": bob}}
    lab.dataset("derived", source=source, identity="New")
    eventually(lambda: _assert_copying(lab, before), within=30)

    lab.delete("dtooldataset", "original", bob)
    lab.wait_reason("dtooldataset", "derived", "SourceDatasetNotFound")
    lab.let_go()
    lab.dataset("original", namespace=bob, uuid=OTHER)
    status = lab.wait_state("derived", "Frozen", within=60)

    assert status["uuid"] == lab.get("dtooldataset", "derived")["metadata"]["uid"]
    assert status["items"] == len(ITEMS)


def test_somebody_who_writes_while_a_proto_is_frozen_is_waited_for(lab: FaultLab) -> None:
    lab.dataset("new")
    status = lab.wait_state("new", "Proto")
    layout = DatasetLayout(f"u/{lab.alice}/", status["uuid"])
    written: list[str] = []
    lab.patch("dtooldataset", "new", {"spec": {"freeze": True}})

    def write_one_more() -> None:
        relpath = f"{len(written):04}.txt"
        with closing(lab.store(lab.bucket)) as store:
            key = layout.item_key(item_identifier(relpath))
            blocking.run(store.put(key, b"late\n", metadata=item_metadata(relpath, md5(b"late\n"))))
        written.append(relpath)
        _assert_reason(lab, {"WrittenWhileFreezing"}, "new")

    eventually(write_one_more, within=40)
    frozen = lab.wait_state("new", "Frozen", within=60)

    manifest = lab.object_store.client().get_object(Bucket=lab.bucket, Key=layout.manifest_key)["Body"]
    items = json.loads(manifest.read())["items"].values()
    assert sorted(item["relpath"] for item in items) == written
    assert frozen["items"] == len(written)


OTHER = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"


def _assert_generation(lab: FaultLab, generation: int) -> None:
    assert lab.status("raw").get("observedGeneration") == generation


def _assert_gone(lab: FaultLab, name: str) -> None:
    assert not lab.is_there("dtooldataset", name)


def _assert_synced(lab: FaultLab) -> None:
    synced = find_condition(lab.status("raw"), "MetadataSynced")
    assert synced["status"] == "True", synced


def _assert_reason(lab: FaultLab, reasons: set[str], name: str = "raw") -> None:
    ready = find_condition(lab.status(name), "Ready")
    assert ready.get("reason") in reasons, ready


def _assert_copying(lab: FaultLab, before: int) -> None:
    assert len(lab.copies()) > before + 10


def _assert_not_frozen_in_s3(lab: FaultLab) -> None:
    key = f"u/{lab.alice}/{UUID}/dtool"
    metadata = lab.object_store.client().head_object(Bucket=lab.bucket, Key=key)["Metadata"]
    assert metadata["type"] == "protodataset"
