"""A dataset of a bucket is in the directory complete and frozen, or there is at most a proto dataset."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import dtoolcore
import pytest

from dtool_s3.disk.download import download_dataset
from dtool_s3.disk.place import destination_uri, write_whole
from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    DtoolS3Error,
    InvalidAdminMetadata,
    ItemMissing,
    NotSupported,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    StorageError,
    UnsafePath,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.disk import BUCKET, ITEMS, DiskScene, make_dataset, make_disk_scene, read_tree

LARGE = "sub dir/deep/large.bin"


@pytest.fixture
async def scene(tmp_path: Path) -> DiskScene:
    """The dataset is in the bucket."""
    scene = make_disk_scene(tmp_path)
    await scene.upload()
    scene.server.requests.clear()
    return scene


def interrupt(scene: DiskScene, skip: int) -> None:
    scene.server.faults.append(Fault("get*", "*/data/*", error=AccessDenied("403"), skip=skip))


async def interrupted(scene: DiskScene, skip: int = 0) -> DiskScene:
    """Leave a proto dataset behind."""
    interrupt(scene, skip)
    with pytest.raises(AccessDenied):
        await scene.download(concurrency=1)
    scene.server.faults.clear()
    scene.server.requests.clear()
    return scene


async def test_the_copy_is_the_directory_that_it_came_from(scene: DiskScene) -> None:
    result = await scene.download()

    assert read_tree(scene.copy) == read_tree(scene.source)
    assert result.moved == result.verification.items == len(ITEMS)
    assert result.verification.evidence[Evidence.READ] == len(ITEMS)
    assert result.verification.is_proven
    assert [path.name for path in scene.base.iterdir()] == [scene.source.name]


async def test_dtoolcore_reads_the_copy(scene: DiskScene) -> None:
    result = await scene.download()

    dataset = dtoolcore.DataSet.from_uri(destination_uri(result.admin, f"file://{scene.base}"))
    assert dataset.generate_manifest()["items"] == dataset._manifest["items"], "times of files included"
    assert sorted(dataset.list_tags()) == ["blue"]
    assert dataset.get_annotation("v1.2") == {"project": "atlas"}
    assert dataset.get_overlay("number").keys() == dataset._manifest["items"].keys()
    assert dataset.get_readme_content() == "title: ü\n"


async def test_an_item_costs_one_request_and_the_dataset_a_few(scene: DiskScene) -> None:
    await scene.download(chunk_bytes=1000)

    assert scene.operations("/data/") == ["get"] * len(ITEMS)
    assert len(scene.operations()) <= len(ITEMS) + 10


async def test_progress_ends_with_everything(scene: DiskScene) -> None:
    seen: list[Progress] = []

    await scene.download(on_progress=seen.append)

    size_bytes = sum(map(len, ITEMS.values()))
    assert seen[-1] == Progress(Phase.FREEZING, len(ITEMS), len(ITEMS), size_bytes, size_bytes)


async def test_an_equal_frozen_dataset_is_a_success_without_a_write(scene: DiskScene) -> None:
    await scene.download()
    before = {path: path.stat().st_mtime_ns for path in scene.copy.rglob("*")}
    scene.server.requests.clear()

    result = await scene.download()

    assert {path: path.stat().st_mtime_ns for path in scene.copy.rglob("*")} == before
    assert result.moved == 0
    assert result.verification.is_proven
    assert scene.operations("/data/") == ["list"] * 0


@pytest.mark.parametrize("body", [b"Alpha", b"alp", None])
async def test_a_damaged_frozen_dataset_at_the_place_is_told_and_left_alone(
    scene: DiskScene, body: bytes | None
) -> None:
    await scene.download()
    path = scene.copy / "data" / "a.txt"
    path.unlink()
    if body is not None:
        path.write_bytes(body)
    before = read_tree(scene.copy)

    with pytest.raises(ContentDiffers, match=r"a\.txt"):
        await scene.download()

    assert read_tree(scene.copy) == before


@pytest.mark.parametrize("skip", [0, 1, 3, 5])
async def test_an_interrupted_copy_moves_only_what_is_missing(scene: DiskScene, skip: int) -> None:
    await interrupted(scene, skip)
    assert scene.disk_type() == "protodataset"
    there = [p for p in (scene.copy / "data").rglob("*") if p.is_file()]
    assert not list((scene.copy / ".dtool").glob("tmp*"))

    result = await scene.download()

    assert scene.disk_type() == "dataset"
    assert result.moved == len(ITEMS) - len(there)
    assert read_tree(scene.copy) == read_tree(scene.source)


async def test_what_a_killed_run_left_is_removed(scene: DiskScene) -> None:
    await interrupted(scene)
    leftover = scene.copy / ".dtool" / "tmp_download.killed"
    leftover.mkdir()
    (leftover / "unfinished").write_bytes(b"x")

    await scene.download()

    assert read_tree(scene.copy) == read_tree(scene.source)


@pytest.mark.parametrize("body", [b"Alpha", b"alp", b""])
async def test_other_bytes_in_a_proto_dataset_are_replaced(scene: DiskScene, body: bytes) -> None:
    await interrupted(scene)
    (scene.copy / "data" / "a.txt").write_bytes(body)

    await scene.download()

    assert read_tree(scene.copy) == read_tree(scene.source)


@pytest.mark.parametrize(
    "name", ["data/extra", "data/sub dir/extra", ".dtool/tags/red", ".dtool/overlays/extra.json", "extra"]
)
async def test_what_the_source_does_not_have_is_named_and_not_frozen(scene: DiskScene, name: str) -> None:
    await interrupted(scene)
    (scene.copy / name).parent.mkdir(exist_ok=True)
    (scene.copy / name).write_bytes(b"x")

    with pytest.raises(
        ContentDiffers, match=f"'{name.removeprefix('data/').removeprefix('.dtool/')}'|: extra"
    ):
        await scene.download()

    assert scene.disk_type() == "protodataset"
    if name != "extra":
        assert scene.operations("/data/") == [], "refused before anything is downloaded"
    assert (scene.copy / name).read_bytes() == b"x"


async def test_a_file_that_appears_meanwhile_is_not_frozen(scene: DiskScene) -> None:
    def interfere() -> None:
        (scene.copy / "data" / "extra").write_bytes(b"x")

    scene.server.faults.append(Fault("get", "*/tags/*", hook=interfere))

    with pytest.raises(ContentDiffers, match="'extra'"):
        await scene.download()

    assert scene.disk_type() == "protodataset"


PLACES: dict[str, Callable[[DiskScene], object]] = {
    "another dataset": lambda s: make_dataset(s.base),
    "a directory with a file": lambda s: (s.copy.mkdir(), (s.copy / "x").write_text("x")),
    "a file": lambda s: s.copy.write_text("x"),
    "a dangling link": lambda s: s.copy.symlink_to(s.base / "nothing"),
}


@pytest.mark.parametrize("name", PLACES)
async def test_something_else_at_the_place_is_left_alone(scene: DiskScene, name: str) -> None:
    PLACES[name](scene)
    before = read_tree(scene.base)

    with pytest.raises(ContentDiffers):
        await scene.download()

    assert read_tree(scene.base) == before


async def test_another_manifest_frozen_at_the_place_is_left_alone(scene: DiskScene) -> None:
    await scene.download()
    path = scene.copy / ".dtool" / "manifest.json"
    document = json.loads(path.read_bytes())
    next(iter(document["items"].values()))["hash"] = "0" * 32
    path.write_text(json.dumps(document))
    before = read_tree(scene.copy)

    with pytest.raises(ContentDiffers, match="frozen already"):
        await scene.download()

    assert read_tree(scene.copy) == before


async def test_unreadable_metadata_at_the_place_is_left_alone(scene: DiskScene) -> None:
    await scene.download()
    (scene.copy / ".dtool" / "dtool").write_text("{")

    with pytest.raises(InvalidAdminMetadata):
        await scene.download()


@pytest.mark.parametrize("link", ["data", "data/sub dir", ".dtool/tags", ".dtool"])
async def test_nothing_is_written_through_a_symbolic_link(scene: DiskScene, link: str) -> None:
    await interrupted(scene)
    outside = scene.base.parent / "outside"
    path = scene.copy / link
    if path.exists():
        path.rename(outside)
    else:
        outside.mkdir()
    path.symlink_to(outside)
    before = read_tree(outside)

    with pytest.raises(UnsafePath):
        await scene.download()

    assert read_tree(outside) == before


async def test_a_link_in_place_of_an_item_is_replaced_not_followed(scene: DiskScene) -> None:
    await interrupted(scene)
    precious = scene.base.parent / "precious"
    precious.write_bytes(b"alpha")
    (scene.copy / "data" / "a.txt").symlink_to(precious)

    await scene.download()

    assert not (scene.copy / "data" / "a.txt").is_symlink()
    assert precious.read_bytes() == b"alpha"


@pytest.mark.parametrize("error", [AccessDenied("403"), BucketUnreachable("503")])
async def test_after_any_failed_request_a_second_run_completes(scene: DiskScene, error: StorageError) -> None:
    await scene.download(concurrency=1)
    requests = len(scene.server.requests)
    for number in range(requests):
        attempt = DiskScene(scene.source, scene.base.with_name(f"base{number}"), scene.server)
        attempt.base.mkdir()
        scene.server.faults = [Fault(error=error, skip=number)]
        with pytest.raises(type(error)):
            await attempt.download(concurrency=1)
        assert attempt.disk_type() in {None, "protodataset"}
        assert not list(attempt.base.rglob("*.download"))

        await attempt.download()

        assert read_tree(attempt.copy) == read_tree(scene.source), f"request {number}"


@pytest.mark.parametrize("operation", ["get", "get_range"])
async def test_a_cancelled_copy_leaves_a_proto_dataset_and_no_unfinished_file(
    scene: DiskScene, operation: str
) -> None:
    held, reached = asyncio.Event(), asyncio.Event()
    scene.server.faults += [
        Fault(operation, "*/data/*", hook=reached.set),
        Fault(operation, "*/data/*", hold=held),
    ]
    task = asyncio.create_task(scene.download())
    await reached.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert scene.disk_type() == "protodataset"
    assert not list(scene.base.rglob("*.download"))
    assert not list(scene.base.rglob("tmp_download*"))


DAMAGES: dict[str, tuple[Callable[[DiskScene], object], type[DtoolS3Error]]] = {
    "no dataset": (lambda s: s.server.remove(BUCKET, s.layout.admin_metadata_key), SourceNotFound),
    "item gone": (lambda s: s.server.remove(BUCKET, s.item_key("a.txt")), ItemMissing),
    "item shorter": (lambda s: s.server.write(BUCKET, s.item_key("a.txt"), b"alp"), SourceDamaged),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_source_that_cannot_be_copied_is_refused_before_anything_is_written(
    scene: DiskScene, name: str
) -> None:
    damage, error = DAMAGES[name]
    damage(scene)

    with pytest.raises(error):
        await scene.download()

    assert not any(scene.base.iterdir())


@pytest.mark.parametrize("relpath", ["a.txt", LARGE])
async def test_an_item_with_other_bytes_is_named_and_the_dataset_not_frozen(
    scene: DiskScene, relpath: str
) -> None:
    scene.server.write(BUCKET, scene.item_key(relpath), b"x" * len(ITEMS[relpath]))

    with pytest.raises(SourceDamaged, match=relpath):
        await scene.download()

    assert scene.disk_type() == "protodataset"
    assert not (scene.copy / "data" / relpath).exists()


async def download_fixture(tmp_path: Path, dataset: DatasetFixture, extra: tuple[str, ...] = ()) -> Path:
    """Download a dataset that dtool need not have made; return where it lies."""
    server = MemoryServer()
    server.create_bucket(BUCKET)
    layout = await write_dataset(server.store(BUCKET), dataset)
    for name in extra:
        server.write(BUCKET, f"{layout.root}{name}", b"{}")
    await download_dataset(server.store(BUCKET), layout, f"file://{tmp_path}")
    return tmp_path / dataset.name


@pytest.mark.parametrize(
    "relpaths",
    [["a//b"], ["./a"], ["a/./b"], ["a/"], ["a", "a/b"], ["x" * 256], ["../a"], ["/etc/x"]],
    ids=lambda relpaths: relpaths[0][:8],
)
async def test_relpaths_that_no_directory_can_hold_are_refused(tmp_path: Path, relpaths: list[str]) -> None:
    with pytest.raises(UnsafePath):
        await download_fixture(tmp_path, DatasetFixture(items=dict.fromkeys(relpaths, b"x")))

    assert not [name for name in read_tree(tmp_path) if "/data/" in name]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "a b", "../../x", "x" * 81])
async def test_a_name_that_cannot_be_that_of_a_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath, match="name"):
        await download_fixture(tmp_path, DatasetFixture(name=name))

    assert read_tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["tags/a/b", "tags/..", "overlays/../../x.json", "tags/" + "x" * 300])
async def test_names_of_documents_that_lead_away_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath):
        await download_fixture(tmp_path, DatasetFixture(), (name,))

    assert not (tmp_path / "sample" / ".dtool" / "manifest.json").exists()


async def test_other_programs_keys_beside_the_documents_are_left_out(tmp_path: Path) -> None:
    copy = await download_fixture(tmp_path, DatasetFixture(), ("overlays/notes.txt", "annotations/", "tags/"))

    assert not any((copy / ".dtool" / "overlays").iterdir())


async def test_a_dataset_without_readme_gets_an_empty_one(tmp_path: Path) -> None:
    copy = await download_fixture(tmp_path, DatasetFixture(readme=None))

    assert (copy / "README.yml").read_bytes() == b""


async def test_a_proto_dataset_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFrozen):
        await download_fixture(tmp_path, DatasetFixture(is_frozen=False))


async def test_a_dataset_of_nothing_is_copied(tmp_path: Path) -> None:
    copy = await download_fixture(tmp_path, DatasetFixture(items={}, tags=(), annotations={}))

    assert dtoolcore.DataSet.from_uri(str(copy)).generate_manifest()["items"] == {}


@pytest.mark.parametrize("base_uri", ["s3://bucket", "http://x", "symlink:///tmp"])
async def test_other_schemes_are_refused(scene: DiskScene, base_uri: str) -> None:
    with pytest.raises(NotSupported, match="file"):
        await download_dataset(scene.server.store(BUCKET), scene.layout, base_uri)


async def test_a_base_directory_that_is_not_there_is_an_error(scene: DiskScene) -> None:
    with pytest.raises(OSError, match="No such directory"):
        await download_dataset(
            scene.server.store(BUCKET),
            DatasetLayout(scene.layout.prefix, scene.uuid),
            f"file://{scene.base}/x",
        )


async def test_documents_that_a_file_system_takes_for_one_are_not_lost_silently(
    scene: DiskScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.server.write(BUCKET, scene.layout.tag_key("Blue"), b"")

    def write_folded(path: Path, body: bytes) -> None:
        write_whole(path.with_name(path.name.lower()) if path.parent.name == "tags" else path, body)

    monkeypatch.setattr("dtool_s3.disk.download.write_whole", write_folded)

    with pytest.raises(ContentDiffers, match="Blue"):
        await scene.download()

    assert scene.disk_type() == "protodataset"
