"""dtoolcore's freeze over our broker: one look, few requests, and a proto dataset after every failure."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dtoolcore
import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    DtoolS3Error,
    FrozenDataset,
    InvalidManifest,
    ItemMissing,
    StorageError,
    StoreFull,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_bucket import plain_etag
from tests.support.broker import Bench
from tests.support.datasets import UUID

BUCKET = "lab-data"
LAYOUT = DatasetLayout("u/alice/", UUID)
ITEMS = {"a.txt": b"alpha", "sub/b.csv": b"1,2\n", "ünï/c.bin": bytes(range(200))}
ITEM = LAYOUT.item_key(item_identifier("a.txt"))


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def bench(server: MemoryServer, tmp_path: Path) -> Bench:
    bench = Bench(server.store(BUCKET), tmp_path)
    proto = bench.proto()
    proto.create()
    proto.put_readme("description: a sample\n")
    for relpath, body in ITEMS.items():
        proto.put_item(bench.file(body), relpath)
        proto.add_item_metadata(relpath, "my.key", {"length": len(body)})
    server.requests.clear()
    return bench


def type_of(bench: Bench) -> str:
    kind: str = bench.broker().get_admin_metadata()["type"]
    return kind


def count(server: MemoryServer, operation: str) -> int:
    return sum(request.operation == operation for request in server.requests)


def test_a_frozen_dataset_has_manifest_overlays_and_no_fragments(server: MemoryServer, bench: Bench) -> None:
    bench.proto().freeze()

    frozen = bench.frozen()
    assert {i["relpath"]: i["hash"] for i in frozen._manifest["items"].values()} == {
        relpath: plain_etag(body) for relpath, body in ITEMS.items()
    }
    assert frozen.get_overlay("my.key") == {
        item_identifier(relpath): {"length": len(body)} for relpath, body in ITEMS.items()
    }
    assert "frozen_at" in frozen.admin_metadata
    assert not [key for key in server.keys(BUCKET) if key.startswith(LAYOUT.fragments_prefix)]


def test_freezing_costs_one_head_per_item_one_get_per_fragment_and_two_listings(
    server: MemoryServer, bench: Bench
) -> None:
    proto = bench.proto()
    server.requests.clear()

    proto.freeze()

    fixed_gets = 5  # registration key: to find the dataset, before and after; dtool: twice
    assert (count(server, "head"), count(server, "get")) == (len(ITEMS), len(ITEMS) + fixed_gets)
    assert (count(server, "list"), count(server, "put")) == (2, 3)


def test_the_items_of_an_unchanged_listing_are_not_looked_at_again(
    server: MemoryServer, bench: Bench
) -> None:
    proto = bench.proto()
    list(proto._identifiers())
    list(proto._identifiers())

    proto.freeze()

    assert count(server, "head") == len(ITEMS)


def test_freezing_eleven_hundred_items_stays_within_its_budget(server: MemoryServer, tmp_path: Path) -> None:
    bench = Bench(server.store(BUCKET), tmp_path, uuid="2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11")
    proto = bench.proto()
    proto.create()
    layout, items = bench.broker().layout, 1100
    for number in range(items):
        name = f"{number}.txt"
        metadata = item_metadata(name, plain_etag(name.encode()))
        server.write(BUCKET, layout.item_key(item_identifier(name)), name.encode(), metadata=metadata)
    proto = bench.proto()
    server.requests.clear()

    proto.freeze()

    fixed_gets = 5  # registration key: to find the dataset, before and after; dtool: twice
    assert count(server, "head") == items
    assert count(server, "list") == 2 * -(-items // 1000)
    assert (count(server, "get"), count(server, "put")) == (fixed_gets, 2)
    assert len(server.requests) == items + 4 + fixed_gets + 2


def test_item_metadata_of_a_frozen_dataset_goes_in_one_request(server: MemoryServer, bench: Bench) -> None:
    bench.proto().freeze()

    assert (count(server, "delete_many"), count(server, "delete")) == (1, 0)


def test_a_manifest_from_elsewhere_must_have_the_digests_of_the_items(
    server: MemoryServer, bench: Bench
) -> None:
    broker = bench.broker()
    manifest = bench.proto().generate_manifest()
    item = manifest["items"][item_identifier("a.txt")]
    good, item["hash"] = item["hash"], "0" * 32

    with pytest.raises(ContentDiffers, match=good):
        broker.put_manifest(manifest)
    manifest["hash_function"] = "sha256sum_hexdigest"
    with pytest.raises(ContentDiffers):
        broker.put_manifest(manifest)
    assert LAYOUT.manifest_key not in server.keys(BUCKET)
    for identifier, relpath in ((item_identifier(r), r) for r in ITEMS):
        manifest["items"][identifier]["hash"] = hashlib.sha256(ITEMS[relpath]).hexdigest()
    broker.put_manifest(manifest)

    assert json.loads(server.read(BUCKET, LAYOUT.manifest_key).body) == manifest


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_dataset_is_frozen_with_a_manifest_that_a_client_made(bench: Bench, looks_first: bool) -> None:
    """The calls of dtoolcore's `freeze_with_manifest`, which is not in a release yet."""
    proto, broker = bench.proto(), bench.broker()
    manifest = proto.generate_manifest()

    if looks_first:
        broker.pre_freeze_hook()
    assert {item_identifier(handle) for handle in broker.iter_item_handles()} == set(manifest["items"])
    broker.put_manifest(manifest)
    values = {handle: broker.get_item_metadata(handle) for handle in broker.iter_item_handles()}
    assert values["a.txt"] == {"my.key": {"length": 5}}
    broker.put_admin_metadata(broker.get_admin_metadata() | {"type": "dataset", "frozen_at": 1.5})
    broker.post_freeze_hook()

    assert bench.frozen().admin_metadata["frozen_at"] == 1.5


@pytest.mark.parametrize("skip", range(3))
@pytest.mark.parametrize("error", [AccessDenied("403"), StoreFull("507"), BucketUnreachable("503")])
def test_a_freeze_that_fails_at_any_write_leaves_a_proto_and_can_be_repeated(
    server: MemoryServer, bench: Bench, skip: int, error: StorageError
) -> None:
    server.faults.append(Fault("put", error=error, skip=skip))
    proto = bench.proto()

    with pytest.raises(type(error)):
        proto.freeze()
    assert server.faults[0].hits == 1
    assert type_of(bench) == "protodataset"
    bench.proto().freeze()

    assert type_of(bench) == "dataset"
    assert bench.frozen().list_overlay_names() == ["my.key"]


@pytest.mark.parametrize("skip", range(13))
def test_a_freeze_that_fails_at_any_read_can_be_repeated(
    server: MemoryServer, bench: Bench, skip: int
) -> None:
    proto = bench.proto()
    server.faults.append(Fault("[!p]*", error=BucketUnreachable("503"), skip=skip))
    is_after_the_flip = skip == 12

    with pytest.raises(BucketUnreachable):
        proto.freeze()
    was = type_of(bench)
    proto.freeze()

    assert was == ("dataset" if is_after_the_flip else "protodataset")
    assert type_of(bench) == "dataset"


def test_the_same_object_may_freeze_again_after_a_lost_answer(server: MemoryServer, bench: Bench) -> None:
    proto = bench.proto()
    server.faults.append(Fault("get", LAYOUT.registration_key, error=BucketUnreachable("503"), skip=2))
    with pytest.raises(BucketUnreachable):
        proto.freeze()
    assert type_of(bench) == "dataset"
    before = {key: server.read(BUCKET, key).body for key in server.keys(BUCKET) if "fragments" not in key}

    proto.freeze()

    assert {key: server.read(BUCKET, key).body for key in server.keys(BUCKET)} == before


def test_fragments_that_cannot_be_removed_do_not_undo_a_freeze(
    server: MemoryServer, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults.append(Fault("delete*", error=AccessDenied("403"), times=None))

    bench.proto().freeze()

    assert type_of(bench) == "dataset"
    assert "fragments_left" in caplog.text


REFUSED: list[tuple[str, Callable[[MemoryServer], object], type[Exception], str]] = [
    (
        "a foreign object lies among the items",
        lambda s: s.write(BUCKET, f"{LAYOUT.data_prefix}notes.txt", b"x"),
        ContentDiffers,
        "notes",
    ),
    (
        "the bytes contradict their checksum",
        lambda s: s.write(BUCKET, ITEM, b"ALPHA", metadata=item_metadata("a.txt", plain_etag(b"alpha"))),
        ContentDiffers,
        "checksum",
    ),
    (
        "only some items have a value",
        lambda s: s.remove(BUCKET, LAYOUT.fragment_key(item_identifier("a.txt"), "my.key")),
        dtoolcore.DtoolCoreValueError,
        "my.key",
    ),
    (
        "a value is for an item that is not there",
        lambda s: s.write(BUCKET, LAYOUT.fragment_key(item_identifier("gone"), "my.key"), b"1"),
        ItemMissing,
        item_identifier("gone"),
    ),
    (
        "a value is not JSON",
        lambda s: s.write(BUCKET, LAYOUT.fragment_key(item_identifier("a.txt"), "my.key"), b"{"),
        ContentDiffers,
        "JSON",
    ),
]


@pytest.mark.parametrize(
    ("change", "error", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_cannot_be_frozen_is_refused_before_anything_is_written(
    server: MemoryServer,
    bench: Bench,
    change: Callable[[MemoryServer], object],
    error: type[Exception],
    named: str,
) -> None:
    change(server)

    with pytest.raises(error, match=named):
        bench.proto().freeze()

    assert count(server, "put") == 0
    assert type_of(bench) == "protodataset"


def test_an_item_added_by_somebody_else_while_freezing_is_not_left_out_silently(
    server: MemoryServer, bench: Bench
) -> None:
    late = LAYOUT.item_key(item_identifier("late.txt"))
    metadata = item_metadata("late.txt", plain_etag(b"x"))
    server.faults.append(
        Fault(
            "put",
            LAYOUT.overlay_key("*"),
            hook=lambda: (server.write(BUCKET, late, b"x", metadata=metadata), None)[1],
        )
    )

    with pytest.raises(WrittenWhileFreezing, match=item_identifier("late.txt")):
        bench.proto().freeze()

    assert type_of(bench) == "protodataset"


def test_an_item_written_between_its_listing_and_its_head_is_noticed(
    server: MemoryServer, bench: Bench
) -> None:
    metadata = item_metadata("a.txt", plain_etag(b"other"))
    server.faults.append(
        Fault("head", ITEM, hook=lambda: (server.write(BUCKET, ITEM, b"other", metadata=metadata), None)[1])
    )

    with pytest.raises(WrittenWhileFreezing):
        bench.proto().freeze()


@pytest.mark.parametrize("metadata", [{}, {"checksum": "none"}])
def test_a_lost_checksum_is_replaced_by_reading(
    server: MemoryServer, bench: Bench, metadata: dict[str, str]
) -> None:
    handle = {"handle": item_metadata("a.txt", "")["handle"]}
    server.write(BUCKET, ITEM, b"alpha", metadata=handle | metadata)

    bench.proto().freeze()

    assert bench.frozen().item_properties(item_identifier("a.txt"))["hash"] == plain_etag(b"alpha")


def test_an_item_of_an_old_writer_is_frozen_under_its_path(server: MemoryServer, bench: Bench) -> None:
    server.write(BUCKET, ITEM, b"alpha", metadata={"handle": "a.txt"})

    bench.proto().freeze()

    assert bench.frozen().item_properties(item_identifier("a.txt"))["relpath"] == "a.txt"


def test_directory_markers_do_not_matter(server: MemoryServer, bench: Bench) -> None:
    for prefix in (LAYOUT.root, LAYOUT.data_prefix, LAYOUT.overlays_prefix, LAYOUT.fragments_prefix):
        server.write(BUCKET, prefix, b"")

    bench.proto().freeze()

    assert len(list(bench.frozen().identifiers)) == len(ITEMS)


def test_an_empty_dataset_can_be_frozen(server: MemoryServer, tmp_path: Path) -> None:
    bench = Bench(server.store(BUCKET), tmp_path)
    bench.proto().create()

    bench.proto().freeze()

    assert list(bench.frozen().identifiers) == []


def test_a_proto_without_manifest_is_not_frozen_by_its_administrative_metadata(bench: Bench) -> None:
    admin = bench.broker().get_admin_metadata()

    with pytest.raises(ItemMissing, match="manifest"):
        bench.broker().put_admin_metadata(admin | {"type": "dataset", "frozen_at": 1.0})


def test_an_interrupted_freeze_is_completed_only_if_the_stored_manifest_fits(
    server: MemoryServer, bench: Bench
) -> None:
    server.faults.append(Fault("put", LAYOUT.admin_metadata_key, error=AccessDenied("403")))
    with pytest.raises(AccessDenied):
        bench.proto().freeze()
    admin = bench.broker().get_admin_metadata() | {"type": "dataset", "frozen_at": 1.0}
    bench.broker().put_item(bench.file(b"x"), "late.txt")

    with pytest.raises(ContentDiffers):
        bench.broker().put_admin_metadata(admin)
    server.remove(BUCKET, LAYOUT.item_key(item_identifier("late.txt")))
    bench.broker().put_admin_metadata(admin)

    assert type_of(bench) == "dataset"


def test_a_manifest_is_written_only_over_what_it_names(server: MemoryServer, bench: Bench) -> None:
    manifest = bench.proto().generate_manifest()
    manifest["items"].pop(item_identifier("a.txt"))

    with pytest.raises(ContentDiffers):
        bench.broker().put_manifest(manifest)
    with pytest.raises(InvalidManifest):
        bench.broker().put_manifest({"items": {}})

    assert LAYOUT.manifest_key not in server.keys(BUCKET)


def test_the_manifest_of_a_frozen_dataset_is_never_written(server: MemoryServer, bench: Bench) -> None:
    bench.proto().freeze()
    manifest: dict[str, Any] = json.loads(server.read(BUCKET, LAYOUT.manifest_key).body)
    server.requests.clear()

    bench.broker().put_manifest(manifest)
    manifest["items"].clear()
    with pytest.raises(FrozenDataset):
        bench.broker().put_manifest(manifest)

    assert count(server, "put") == 0


def test_after_a_failed_freeze_the_same_object_sees_what_is_there_now(
    server: MemoryServer, bench: Bench
) -> None:
    proto = bench.proto()
    server.faults.append(Fault("put", error=BucketUnreachable("503"), skip=1))
    with pytest.raises(DtoolS3Error):
        proto.freeze()
    server.remove(BUCKET, ITEM)

    assert item_identifier("a.txt") not in set(proto._identifiers())


def test_item_metadata_needs_a_name_that_an_overlay_can_have(bench: Bench) -> None:
    with pytest.raises(dtoolcore.DtoolCoreInvalidNameError):
        bench.proto().add_item_metadata("a.txt", "no/name", 1)


def test_item_metadata_can_be_read_back_before_freezing(bench: Bench) -> None:
    broker = bench.broker()

    assert broker.get_item_metadata("a.txt") == {"my.key": {"length": 5}}
    assert broker.get_item_metadata("nothing") == {}
