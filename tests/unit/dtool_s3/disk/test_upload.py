"""A dataset of a directory is in the bucket complete and frozen, or there is at most a proto dataset."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    ContentDiffers,
    DtoolS3Error,
    InvalidAdminMetadata,
    InvalidManifest,
    ItemMissing,
    NotSupported,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    StorageError,
    UnsafePath,
    UUIDTaken,
    WrittenWhileFreezing,
)
from dtool_s3.store.faults import Fault
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from tests.support.disk import BUCKET, ITEMS, PREFIX, DiskScene, make_disk_scene, make_proto

LARGE = "sub dir/deep/large.bin"


@pytest.fixture
def scene(tmp_path: Path) -> DiskScene:
    return make_disk_scene(tmp_path)


def manifest(scene: DiskScene) -> bytes:
    return (scene.source / ".dtool" / "manifest.json").read_bytes()


def interrupt(scene: DiskScene, skip: int) -> None:
    scene.server.faults.append(Fault("put*", "*/data/*", error=AccessDenied("403"), skip=skip))


async def test_everything_is_copied_and_the_manifest_kept(scene: DiskScene) -> None:
    result = await scene.upload()

    stored = {
        key.removeprefix(scene.layout.root): scene.server.read(BUCKET, key)
        for key in scene.server.keys(BUCKET)
    }
    for relpath, body in ITEMS.items():
        item = stored[scene.item_key(relpath).removeprefix(scene.layout.root)]
        assert item.body == body
    assert stored["manifest.json"].body == manifest(scene)
    assert stored["README.yml"].body == "title: ü\n".encode()
    assert stored["tags/blue"].body == b""
    assert json.loads(stored["annotations/v1.2.json"].body) == {"project": "atlas"}
    assert len(json.loads(stored["overlays/number.json"].body)) == len(ITEMS)
    admin = json.loads((scene.source / ".dtool" / "dtool").read_bytes())
    assert json.loads(stored["dtool"].body) == admin
    assert stored[scene.layout.registration_key].body == PREFIX.encode()
    assert result.moved == result.verification.items == len(ITEMS)
    assert result.verification.evidence == {
        Evidence.ETAG_MD5: 3,
        Evidence.READ: 1,
        Evidence.SAME_AS_SOURCE: 0,
    }
    assert not scene.server.find_bucket(BUCKET).uploads


async def test_an_item_costs_one_request_and_the_dataset_a_few(scene: DiskScene) -> None:
    await scene.upload(chunk_bytes=1000)

    on_items = scene.operations("/data/")
    assert on_items.count("put") == len(ITEMS)
    assert on_items.count("head") == 1, "one item is looked at, to see that no header is lost"
    assert len(on_items) == len(ITEMS) + 2, "and a look for unfinished uploads"
    assert scene.operations().count("list") == 3


async def test_progress_ends_with_everything(scene: DiskScene) -> None:
    seen: list[Progress] = []

    await scene.upload(on_progress=seen.append)

    size_bytes = sum(map(len, ITEMS.values()))
    assert seen[0] == Progress(Phase.COPYING, 0, len(ITEMS), 0, size_bytes)
    assert seen[-1] == Progress(Phase.FREEZING, len(ITEMS), len(ITEMS), size_bytes, size_bytes)


async def test_an_equal_frozen_dataset_is_a_success_without_a_write(scene: DiskScene) -> None:
    await scene.upload()
    before = [scene.server.read(BUCKET, key) for key in scene.server.keys(BUCKET)]
    scene.server.requests.clear()

    result = await scene.upload()

    assert result.moved == 0
    assert [scene.server.read(BUCKET, key) for key in scene.server.keys(BUCKET)] == before
    assert set(scene.operations(scene.layout.root)) <= {"get", "head", "list"}


async def test_another_frozen_dataset_at_the_place_is_left_alone(scene: DiskScene) -> None:
    await scene.upload()
    other = json.loads(manifest(scene))
    next(iter(other["items"].values()))["hash"] = "0" * 32
    scene.server.write(BUCKET, scene.layout.manifest_key, json.dumps(other).encode())
    scene.server.requests.clear()

    with pytest.raises(ContentDiffers):
        await scene.upload()

    assert set(scene.operations()) <= {"get", "head", "list"}


@pytest.mark.parametrize("skip", [0, 1, 3, 5, 6])
async def test_an_interrupted_copy_moves_only_what_is_missing(scene: DiskScene, skip: int) -> None:
    interrupt(scene, skip)
    with pytest.raises(AccessDenied):
        await scene.upload(concurrency=1)
    assert scene.stored_type() == "protodataset"
    there = [key for key in scene.server.keys(BUCKET) if "/data/" in key]
    scene.server.faults.clear()
    scene.server.requests.clear()

    result = await scene.upload()

    assert scene.stored_type() == "dataset"
    assert result.moved == len(ITEMS) - len(there)
    writes = [
        r for r in scene.server.requests if r.operation in {"put", "start_upload"} and "/data/" in r.key
    ]
    assert len(writes) == result.moved
    assert not {r.key for r in writes} & set(there)


async def test_a_large_item_is_kept_by_its_etag_of_parts_without_reading_the_object(scene: DiskScene) -> None:
    scene.server.faults.append(Fault("put", "*/manifest.json", error=AccessDenied("403")))
    with pytest.raises(AccessDenied):
        await scene.upload()
    scene.server.requests.clear()

    result = await scene.upload()

    assert result.moved == 0
    assert scene.operations("/data/").count("get_range") == 0
    assert scene.operations("/data/").count("head") == len(ITEMS)


async def test_where_etags_tell_nothing_what_is_there_is_read(scene: DiskScene) -> None:
    scene.server.encrypts = True
    scene.server.faults.append(Fault("put", "*/manifest.json", error=AccessDenied("403")))
    with pytest.raises(AccessDenied):
        await scene.upload()
    wrong = scene.item_key("a.txt")
    metadata = scene.server.read(BUCKET, wrong).info.metadata
    scene.server.write(BUCKET, wrong, b"Alpha", metadata=metadata)

    result = await scene.upload()

    assert result.moved == 1
    assert scene.server.read(BUCKET, wrong).body == b"alpha"
    assert result.verification.evidence[Evidence.READ] == len(ITEMS)


@pytest.mark.parametrize("stored", [b"Alpha", b"alph", b""])
async def test_other_bytes_in_a_proto_dataset_are_replaced(scene: DiskScene, stored: bytes) -> None:
    interrupt(scene, 0)
    with pytest.raises(AccessDenied):
        await scene.upload()
    scene.server.faults.clear()
    scene.server.write(BUCKET, scene.item_key("a.txt"), stored)

    await scene.upload()

    assert scene.server.read(BUCKET, scene.item_key("a.txt")).body == b"alpha"


async def test_an_item_that_lost_its_headers_is_put_again(scene: DiskScene) -> None:
    interrupt(scene, 0)
    with pytest.raises(AccessDenied):
        await scene.upload()
    scene.server.faults.clear()
    scene.server.write(BUCKET, scene.item_key("a.txt"), b"alpha")

    await scene.upload()

    assert scene.server.read(BUCKET, scene.item_key("a.txt")).info.metadata["checksum"]


async def test_a_way_that_loses_headers_is_noticed(scene: DiskScene) -> None:
    def lose() -> None:
        for key in scene.server.keys(BUCKET):
            if "/data/" in key:
                scene.server.write(BUCKET, key, scene.server.read(BUCKET, key).body)

    scene.server.faults.append(Fault("head", "*/data/*", hook=lose))

    with pytest.raises(BadDigest, match="headers"):
        await scene.upload()

    assert scene.stored_type() == "protodataset"


@pytest.mark.parametrize("key", ["data/" + "0" * 40, "tags/red", "overlays/x.json", "annotations/y.json"])
async def test_what_the_source_does_not_have_is_named_and_not_frozen(scene: DiskScene, key: str) -> None:
    interrupt(scene, 0)
    with pytest.raises(AccessDenied):
        await scene.upload()
    scene.server.faults.clear()
    scene.server.write(BUCKET, f"{scene.layout.root}{key}", b"x")

    with pytest.raises(ContentDiffers, match=key.rpartition("/")[2].partition(".")[0]):
        await scene.upload()

    assert scene.stored_type() == "protodataset"


async def test_a_uuid_at_another_prefix_is_refused_before_anything_is_written(scene: DiskScene) -> None:
    scene.server.write(BUCKET, scene.layout.registration_key, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await scene.upload()

    assert scene.server.keys(BUCKET) == [scene.layout.registration_key]


ERRORS = [AccessDenied("403"), BucketUnreachable("503")]


@pytest.mark.parametrize("after_effect", [True, False])
@pytest.mark.parametrize("error", ERRORS)
async def test_after_any_failed_request_a_second_run_completes(
    tmp_path: Path, error: StorageError, after_effect: bool
) -> None:
    reference = make_disk_scene(tmp_path / "reference")
    await reference.upload(concurrency=1)
    for number in range(len(reference.server.requests)):
        scene = DiskScene(reference.source, reference.base)
        scene.server.create_bucket(BUCKET)
        scene.server.faults.append(Fault(error=error, skip=number, after_effect=after_effect))
        try:
            await scene.upload(concurrency=1)
        except StorageError:
            assert scene.stored_type() in {None, "protodataset", "dataset"}
        assert not scene.server.find_bucket(BUCKET).uploads, f"request {number}"

        await scene.upload()

        assert scene.stored_type() == "dataset", f"request {number}"
        assert scene.server.read(BUCKET, scene.layout.manifest_key).body == manifest(scene)


@pytest.mark.parametrize("operation", ["put", "put_part", "list", "complete_upload"])
async def test_a_cancelled_copy_leaves_a_proto_dataset_without_uploads(
    scene: DiskScene, operation: str
) -> None:
    held, reached = asyncio.Event(), asyncio.Event()
    key = "*" if operation == "list" else "*/data/*"
    scene.server.faults += [Fault(operation, key, hook=reached.set), Fault(operation, key, hold=held)]
    task = asyncio.create_task(scene.upload())
    await reached.wait()

    task.cancel()
    await asyncio.sleep(0)
    held.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert scene.stored_type() in {None, "protodataset"}
    assert not scene.server.find_bucket(BUCKET).uploads


def write_manifest(scene: DiskScene, **changes: object) -> None:
    document = json.loads(manifest(scene)) | changes
    (scene.source / ".dtool" / "manifest.json").write_text(json.dumps(document))


BROKEN: dict[str, tuple[Callable[[DiskScene], object], type[DtoolS3Error]]] = {
    "no dataset": (lambda s: shutil.rmtree(s.source), SourceNotFound),
    "no admin metadata": (lambda s: (s.source / ".dtool/dtool").unlink(), SourceNotFound),
    "broken admin metadata": (lambda s: (s.source / ".dtool/dtool").write_text("{"), InvalidAdminMetadata),
    "no manifest": (lambda s: (s.source / ".dtool/manifest.json").unlink(), InvalidManifest),
    "broken manifest": (lambda s: (s.source / ".dtool/manifest.json").write_text("{"), InvalidManifest),
    "other hash": (lambda s: write_manifest(s, hash_function="sha256sum_hexdigest"), NotSupported),
    "item gone": (lambda s: (s.source / "data/a.txt").unlink(), ItemMissing),
    "item is a directory": (
        lambda s: ((s.source / "data/a.txt").unlink(), (s.source / "data/a.txt").mkdir()),
        SourceDamaged,
    ),
    "item shorter": (lambda s: (s.source / "data/a.txt").write_bytes(b"alp"), SourceDamaged),
    "bad name": (lambda s: (s.source / ".dtool/tags" / os.fsdecode(b"\xff")).write_text(""), UnsafePath),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_source_that_cannot_be_copied_is_refused_before_anything_is_written(
    scene: DiskScene, name: str
) -> None:
    break_it, error = BROKEN[name]
    break_it(scene)

    with pytest.raises(error):
        await scene.upload(f"file://{scene.source}")

    assert scene.server.requests == []


@pytest.mark.parametrize("relpath", ["a.txt", LARGE])
async def test_an_item_with_other_bytes_than_its_manifest_says_is_named(
    scene: DiskScene, relpath: str
) -> None:
    path = scene.source / "data" / relpath
    path.write_bytes(b"x" * path.stat().st_size)

    with pytest.raises(SourceDamaged, match=relpath):
        await scene.upload()

    assert scene.stored_type() == "protodataset"
    assert scene.item_key(relpath) not in scene.server.keys(BUCKET)


async def test_an_item_that_vanishes_meanwhile_is_missing(scene: DiskScene) -> None:
    scene.server.faults.append(Fault("put", "*/structure.json", hook=(scene.source / "data" / LARGE).unlink))

    with pytest.raises(ItemMissing, match="large"):
        await scene.upload()

    assert scene.stored_type() == "protodataset"


async def test_a_proto_dataset_is_no_source(tmp_path: Path, scene: DiskScene) -> None:
    proto = make_proto(tmp_path / "proto")

    with pytest.raises(SourceNotFrozen):
        await scene.upload(proto.uri)

    assert scene.server.requests == []


async def test_other_schemes_are_refused(scene: DiskScene) -> None:
    with pytest.raises(NotSupported, match="file"):
        await scene.upload("http://example.org/x")


async def test_a_dataset_of_links_is_copied_with_the_bytes_behind_them(scene: DiskScene) -> None:
    data = scene.source / "data"
    elsewhere = scene.source.parent / "elsewhere"
    data.rename(elsewhere)
    data.symlink_to(elsewhere)

    await scene.upload(f"symlink://{scene.source}")

    assert scene.server.read(BUCKET, scene.item_key("a.txt")).body == b"alpha"
    assert scene.stored_type() == "dataset"


async def test_files_of_other_programs_beside_the_documents_are_left_out(scene: DiskScene) -> None:
    (scene.source / ".dtool" / "overlays" / ".DS_Store").write_text("x")
    (scene.source / ".dtool" / "annotations" / "notes.txt").write_text("x")

    await scene.upload()

    assert not [key for key in scene.server.keys(BUCKET) if "DS_Store" in key or "notes" in key]


async def test_a_dataset_without_readme_gets_an_empty_one(scene: DiskScene) -> None:
    (scene.source / "README.yml").unlink()

    await scene.upload()

    assert scene.server.read(BUCKET, scene.layout.readme_key).body == b""


async def test_of_two_copies_at_once_one_succeeds_and_the_other_can_be_repeated(scene: DiskScene) -> None:
    results = await asyncio.gather(scene.upload(), scene.upload(), return_exceptions=True)

    failures = [result for result in results if isinstance(result, BaseException)]
    assert len(failures) < 2
    assert all(isinstance(error, WrittenWhileFreezing) for error in failures)
    assert scene.stored_type() == "dataset"
    assert (await scene.upload()).moved == 0


async def test_an_upload_that_somebody_keeps_aborting_is_told_as_what_it_is(scene: DiskScene) -> None:
    uploads = scene.server.find_bucket(BUCKET).uploads
    scene.server.faults.append(Fault("put_part", hook=uploads.clear, times=None))

    with pytest.raises(WrittenWhileFreezing, match="large"):
        await scene.upload()

    assert scene.stored_type() == "protodataset"
