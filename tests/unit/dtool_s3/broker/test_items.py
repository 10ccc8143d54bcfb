"""An item is in the store with the bytes that were hashed, or put_item raises and nothing is frozen."""

from pathlib import Path

import pytest

from dtool_s3.blocking import run
from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    DatasetMissing,
    FrozenDataset,
    ItemMissing,
    StorageError,
    StoreFull,
    UnsafePath,
)
from dtool_s3.layout import DatasetLayout, decode_handle, item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_bucket import plain_etag
from tests.support.broker import Bench
from tests.support.datasets import UUID, DatasetFixture, write_dataset

BUCKET = "lab-data"
LAYOUT = DatasetLayout("u/alice/", UUID)
KEY = LAYOUT.item_key(item_identifier("sub/ü.txt"))
REFUSALS = [AccessDenied("403"), StoreFull("507"), BadDigest("400"), BucketUnreachable("503")]


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def bench(server: MemoryServer, tmp_path: Path) -> Bench:
    bench = Bench(server.store(BUCKET), tmp_path)
    bench.proto().create()
    server.requests.clear()
    return bench


def test_an_item_carries_its_path_and_its_md5(server: MemoryServer, bench: Bench) -> None:
    handle = bench.proto().put_item(str(bench.file(b"alpha")), "sub/ü.txt")

    stored = server.read(BUCKET, KEY)
    assert handle == "sub/ü.txt"
    assert stored.body == b"alpha"
    assert stored.info.metadata["checksum"] == plain_etag(b"alpha")
    assert decode_handle(stored.info.metadata["handle"], item_identifier("sub/ü.txt")) == "sub/ü.txt"


@pytest.mark.parametrize("error", REFUSALS)
def test_a_failed_upload_raises_and_the_broker_refuses_to_freeze(
    server: MemoryServer, bench: Bench, error: StorageError
) -> None:
    proto = bench.proto()
    proto.put_item(bench.file(b"alpha"), "a.txt")
    server.faults.append(Fault("put", KEY, error=error))

    with pytest.raises(type(error)):
        proto.put_item(bench.file(b"beta"), "sub/ü.txt")
    with pytest.raises(ItemMissing, match="sub/ü"):
        proto.freeze()

    assert bench.broker().get_admin_metadata()["type"] == "protodataset"


def test_every_step_of_freezing_refuses_after_a_failed_upload(server: MemoryServer, bench: Bench) -> None:
    broker = bench.broker()
    with pytest.raises(FileNotFoundError):
        broker.put_item(bench.directory / "missing", "a.txt")

    with pytest.raises(ItemMissing):
        broker.put_manifest({})
    with pytest.raises(ItemMissing):
        broker.put_admin_metadata(bench.admin_metadata(type="dataset"))


def test_a_failed_upload_that_is_repeated_is_forgotten(server: MemoryServer, bench: Bench) -> None:
    proto = bench.proto()
    server.faults.append(Fault("put", KEY, error=StoreFull("507")))
    with pytest.raises(StoreFull):
        proto.put_item(bench.file(b"beta"), "sub/ü.txt")

    proto.put_item(bench.file(b"beta"), "sub/ü.txt")
    proto.freeze()

    assert bench.frozen().generate_manifest()["items"][item_identifier("sub/ü.txt")]["size_in_bytes"] == 4


def test_an_older_object_of_the_same_name_is_not_taken_for_success(
    server: MemoryServer, bench: Bench
) -> None:
    bench.proto().put_item(bench.file(b"old"), "sub/ü.txt")
    server.faults.append(Fault("put", KEY, error=StoreFull("507")))

    with pytest.raises(StoreFull):
        bench.proto().put_item(bench.file(b"new"), "sub/ü.txt")


@pytest.mark.parametrize("relpath", ["", "../x", "a/../../x", "/etc/passwd", "a\x00b", "ü" * 800, "\ud800"])
def test_an_unsafe_path_is_refused_before_any_byte_moves(
    server: MemoryServer, bench: Bench, relpath: str
) -> None:
    with pytest.raises(UnsafePath):
        bench.proto().put_item(bench.file(b"x"), relpath)

    assert not [r for r in server.requests if r.operation == "put"]


def test_a_frozen_dataset_takes_no_item(server: MemoryServer, bench: Bench) -> None:
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/")))
    before = server.keys(BUCKET)

    with pytest.raises(FrozenDataset):
        bench.broker().put_item(bench.file(b"x"), "a.txt")
    with pytest.raises(FrozenDataset):
        bench.broker().add_item_metadata("a.txt", "key", 1)

    assert server.keys(BUCKET) == before


def test_an_item_of_no_dataset_is_refused(server: MemoryServer, tmp_path: Path) -> None:
    bench = Bench(server.store(BUCKET), tmp_path)

    with pytest.raises(DatasetMissing):
        bench.broker().put_item(bench.file(b"x"), "a.txt")

    assert server.keys(BUCKET) == []
