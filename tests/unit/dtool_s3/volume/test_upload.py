"""Files of a volume become items of a proto dataset that is never frozen by who uploads them."""

import asyncio
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dtool_s3.documents import parse_manifest
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    DtoolS3Error,
    FrozenDataset,
    InvalidAdminMetadata,
    InvalidManifest,
    ItemMissing,
    NotSupported,
    QuotaExceeded,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    SourceTooLarge,
    UnsafePath,
)
from dtool_s3.files.pace import Pace
from dtool_s3.files.tree import Tree
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.volume.inspection import inspect_directory, inspect_stored
from dtool_s3.volume.upload import upload_directory
from dtool_s3.volume.walk import VolumeLimits, list_files
from tests.support.datasets import md5
from tests.support.disk import ITEMS, make_dataset, make_proto
from tests.support.volume import BUCKET, FILES, VolumeScene, make_volume_scene

LARGE = "sub dir/deep/large.bin"
#: What a worker may write, relative to the dataset's root.
ALLOWED = ("data/", "tags/", "overlays/", "annotations/", "README.yml", "manifest.json")


@pytest.fixture
async def scene(tmp_path: Path) -> VolumeScene:
    scene = make_volume_scene(tmp_path / "volume")
    await scene.create()
    scene.server.requests.clear()
    return scene


@pytest.fixture
async def dataset_scene(tmp_path: Path) -> VolumeScene:
    """A frozen dataset lies in the directory."""
    root = tmp_path / "datasets"
    make_dataset(root).rename(root / "run-17")
    found = inspect_directory(Tree(root, "run-17"))
    scene = VolumeScene(root, uuid=found.uuid)
    scene.server.create_bucket(BUCKET)
    await scene.create()
    scene.server.requests.clear()
    return scene


def written(scene: VolumeScene) -> set[str]:
    """Keys that were written, relative to the dataset's root."""
    operations = {"put", "start_upload", "put_part", "complete_upload", "delete"}
    keys = {request.key for request in scene.server.requests if request.operation in operations}
    return {key.removeprefix(scene.layout.root) for key in keys}


async def test_files_become_items_with_headers_and_a_claimed_manifest(scene: VolumeScene) -> None:
    told = await scene.upload()

    for relpath, body in FILES.items():
        item = scene.server.read(BUCKET, scene.key(relpath))
        assert item.body == body
        assert dict(item.info.metadata) == item_metadata(relpath, md5(body))
    body = scene.stored()["manifest.json"]
    manifest = parse_manifest(body)
    assert {i.relpath: (i.size_bytes, i.hash) for i in manifest.items.values()} == {
        relpath: (len(content), md5(content)) for relpath, content in FILES.items()
    }
    assert body == json.dumps(json.loads(body), indent=2, sort_keys=True).encode()
    assert (told.items, told.size_bytes, told.moved) == (4, sum(map(len, FILES.values())), 4)
    assert told.manifest_sha256 == hashlib.sha256(body).hexdigest()


async def test_nothing_but_items_documents_and_manifest_is_ever_written(
    scene: VolumeScene, dataset_scene: VolumeScene
) -> None:
    await scene.upload()
    await dataset_scene.upload_dataset()

    for one in (scene, dataset_scene):
        assert written(one)
        assert all(key.startswith(ALLOWED) for key in written(one))
        assert json.loads(one.stored()["dtool"])["type"] == "protodataset"


async def test_an_item_costs_one_request(scene: VolumeScene) -> None:
    await scene.upload(pace=Pace(4, 1000))

    counted = [request.operation for request in scene.server.requests]
    assert sorted(counted) == ["get", "list", *["put"] * (len(FILES) + 1)]


async def test_a_store_that_shows_neither_dtool_nor_uploads_is_enough(scene: VolumeScene) -> None:
    scene.server.faults.append(Fault("get", "*/dtool", error=AccessDenied("403"), times=None))
    scene.server.faults.append(Fault("list_uploads", error=AccessDenied("403"), times=None))

    assert (await scene.upload()).moved == len(FILES)


async def test_progress_tells_all_items_and_bytes(scene: VolumeScene) -> None:
    told: list[Progress] = []

    await scene.upload(on_progress=told.append)

    size = sum(map(len, FILES.values()))
    assert told[0] == Progress(Phase.COPYING, 0, 4, 0, size)
    assert told[-1] == Progress(Phase.VERIFYING, 4, 4, size, size)


@pytest.mark.parametrize("operation", ["put*", "complete_upload"])
async def test_a_killed_upload_goes_on_where_it_was(scene: VolumeScene, operation: str) -> None:
    scene.interrupt(operation, skip=0 if operation == "complete_upload" else 2)
    with pytest.raises(AccessDenied):
        await scene.upload(pace=Pace(1, 64))
    scene.server.faults.clear()
    there = {key for key in scene.stored() if key.startswith("data/")}

    told = await scene.upload()

    assert told.moved == len(FILES) - len(there)
    assert (await scene.upload()).moved == 0


async def test_a_cancelled_upload_goes_on(scene: VolumeScene) -> None:
    begun, never = asyncio.Event(), asyncio.Event()
    scene.server.faults.append(Fault("put", "*/data/*", skip=1, hook=begun.set))
    scene.server.faults.append(Fault("put", "*/data/*", skip=1, hold=never))
    work = asyncio.create_task(scene.upload())
    await begun.wait()

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    scene.server.faults.clear()

    await scene.upload()
    assert {key for key in scene.stored() if key.startswith("data/")} == {
        f"data/{item_identifier(relpath)}" for relpath in FILES
    }


async def test_what_differs_is_sent_again_and_what_is_gone_is_removed(scene: VolumeScene) -> None:
    await scene.upload()
    (scene.run / "a.txt").write_bytes(b"ALPHA")
    (scene.run / LARGE).write_bytes(bytes(range(199, -1, -1)))
    (scene.run / "empty").rename(scene.run / "nothing")

    told = await scene.upload()

    assert told.moved == 3
    stored = scene.stored()
    assert stored[f"data/{item_identifier('a.txt')}"] == b"ALPHA"
    assert stored[f"data/{item_identifier(LARGE)}"] == bytes(range(199, -1, -1))
    assert f"data/{item_identifier('empty')}" not in stored


async def test_a_key_that_no_dtool_wrote_is_named_and_stays(scene: VolumeScene) -> None:
    await scene.store.put(f"{scene.layout.data_prefix}foreign", b"x")

    with pytest.raises(ContentDiffers, match="foreign"):
        await scene.upload()

    assert "data/foreign" in scene.stored()


async def test_nothing_is_written_into_a_frozen_dataset(scene: VolumeScene) -> None:
    await scene.upload()
    await scene.publish()
    scene.server.requests.clear()
    (scene.run / "a.txt").write_bytes(b"ALPHA")

    with pytest.raises(FrozenDataset):
        await scene.upload()

    assert not written(scene)


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have some 100 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "'sub dir/odd' (a symbolic link)"),
        (lambda path: path.symlink_to("a.txt"), "'sub dir/odd' (a symbolic link)"),
        (lambda path: path.symlink_to("/etc"), "'sub dir/odd' (a symbolic link)"),
        (os.mkfifo, "'sub dir/odd' (a pipe)"),
        (make_socket, "'sub dir/odd' (a socket)"),
        (
            lambda path: Path(os.fsdecode(os.fsencode(path) + b"\xe9\n")).touch(),
            r"'sub dir/odd\xe9\n' (a name that is not UTF-8)",
        ),
    ],
    ids=["link-out", "link-inside", "link-to-a-directory", "pipe", "socket", "not-utf-8"],
)
async def test_what_is_no_plain_file_is_named_and_refused(
    scene: VolumeScene, make: Callable[[Path], None], said: str
) -> None:
    make(scene.run / "sub dir" / "odd")

    with pytest.raises(UnsafePath) as caught:
        await scene.upload()

    assert said in str(caught.value)
    assert not written(scene)


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
async def test_a_device_is_refused_unopened(scene: VolumeScene) -> None:
    os.mknod(scene.run / "zero", 0o20666, os.makedev(1, 5))

    with pytest.raises(UnsafePath, match=r"'zero' \(a device"):
        await scene.upload()


async def test_of_many_odd_entries_a_few_are_named(scene: VolumeScene) -> None:
    for number in range(30):
        (scene.run / f"link-{number}").symlink_to("/etc")

    with pytest.raises(UnsafePath, match=r"30 entries .* and 25 more"):
        await scene.upload()


async def test_a_path_too_long_for_its_header_is_refused(scene: VolumeScene) -> None:
    deep = scene.run.joinpath(*["d" * 200] * 7)
    deep.mkdir(parents=True)
    (deep / "x").touch()

    with pytest.raises(UnsafePath, match="at most 1400 fit"):
        await scene.upload()


@pytest.mark.parametrize("below", ["../volume/run-17", "/etc", "run-17/../../x", "link", "link/run-17"])
async def test_a_path_that_leaves_the_volume_is_refused(scene: VolumeScene, below: str) -> None:
    (scene.root / "link").symlink_to(scene.root)

    with pytest.raises(UnsafePath):
        await upload_directory(Tree(scene.root, below), scene.store, scene.layout)


async def test_a_directory_that_becomes_a_link_during_the_upload_leads_nowhere(
    scene: VolumeScene, tmp_path: Path
) -> None:
    secret = tmp_path / "elsewhere"
    shutil.copytree(scene.run / "sub dir", secret)
    (secret / "ünï.csv").write_bytes(b"top secret")
    (secret / "deep" / "large.bin").write_bytes(b"s" * 200)

    def swap() -> None:
        shutil.rmtree(scene.run / "sub dir")
        (scene.run / "sub dir").symlink_to(secret)

    scene.server.faults.append(Fault("list", hook=swap))

    with pytest.raises(UnsafePath, match="may lead away"):
        await scene.upload()

    items = [body for key, body in scene.stored().items() if key.startswith("data/")]
    assert not any(b"secret" in body or b"ss" in body for body in items)


@pytest.mark.parametrize("relpath", ["a.txt", LARGE])
async def test_a_file_that_becomes_a_link_during_the_upload_is_refused(
    scene: VolumeScene, relpath: str
) -> None:
    def swap() -> None:
        (scene.run / relpath).unlink()
        (scene.run / relpath).symlink_to("/etc/hostname")

    scene.server.faults.append(Fault("list", hook=swap))

    with pytest.raises(UnsafePath, match="symbolic link"):
        await scene.upload()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run / "a.txt").write_bytes(b"longer than before"),
        lambda run: (run / "a.txt").unlink(),
        lambda run: (run / LARGE).write_bytes(b"s"),
        lambda run: (run / LARGE).unlink(),
        lambda run: (run / "one more").write_bytes(b"x"),
    ],
    ids=["grows", "vanishes", "large-shrinks", "large-vanishes", "appears"],
)
async def test_files_that_change_meanwhile_are_named_and_nothing_is_claimed(
    scene: VolumeScene, change: Callable[[Path], object]
) -> None:
    def act() -> None:
        change(scene.run)

    scene.server.faults.append(Fault("list", hook=act))

    with pytest.raises(SourceDamaged):
        await scene.upload()

    assert "manifest.json" not in scene.stored()


async def test_a_file_that_changes_after_it_was_sent_is_noticed(scene: VolumeScene) -> None:
    os.utime(scene.run / "a.txt", (1, 1))
    change: Callable[[], None] = lambda: os.utime(scene.run / "a.txt", (2, 2))  # noqa: E731
    scene.server.faults.append(Fault("put", "*/data/*", hook=change))

    with pytest.raises(SourceDamaged, match=r"'a\.txt'"):
        await scene.upload()


async def test_too_many_files_are_refused_before_anything_is_written(scene: VolumeScene) -> None:
    with pytest.raises(SourceTooLarge, match="more than 5 files"):
        await scene.upload(limits=VolumeLimits(max_items=5))
    with pytest.raises(SourceTooLarge, match="manifest of one dataset"):
        await scene.upload(limits=VolumeLimits(manifest_bytes=500))

    assert not scene.server.requests
    await scene.upload(limits=VolumeLimits(max_items=6))


async def test_a_sparse_giant_is_refused_before_anything_is_written(scene: VolumeScene) -> None:
    with (scene.run / "sparse").open("wb") as file:
        file.truncate(1024**4)
    with pytest.raises(QuotaExceeded):
        await scene.upload(limits=VolumeLimits(max_size_bytes=1024**3))

    with (scene.run / "sparse").open("wb") as file:
        file.truncate(6 * 1024**4)
    with pytest.raises(NotSupported, match="5 TiB"):
        await scene.upload()

    assert not scene.server.requests


async def test_the_claimed_manifest_never_exceeds_what_was_reckoned(scene: VolumeScene) -> None:
    await scene.upload()

    reckoned = sum(208 + len(json.dumps(relpath)) for relpath in FILES)
    assert len(scene.stored()["manifest.json"]) <= reckoned + 100


async def test_a_directory_without_files_is_no_source(scene: VolumeScene) -> None:
    shutil.rmtree(scene.run)
    with pytest.raises(SourceNotFound):
        await scene.upload()

    (scene.run / "empty").mkdir(parents=True)
    with pytest.raises(SourceNotFound, match="no files"):
        await scene.upload()


def test_lost_and_found_at_the_root_of_a_volume_is_left_out_where_it_cannot_be_read(
    scene: VolumeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = scene.root / "lost+found"
    lost.mkdir()
    (lost / "#12").touch()
    original = os.open

    def refuse(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == "lost+found":
            raise PermissionError(13, "Permission denied", path)
        return original(path, flags, *rest, dir_fd=dir_fd)

    assert "lost+found/#12" in [found.relpath for found in list_files(Tree(scene.root))]
    monkeypatch.setattr(os, "open", refuse)
    assert len(list_files(Tree(scene.root))) == len(FILES)
    (scene.run / "lost+found").mkdir()
    with pytest.raises(PermissionError):
        list_files(Tree(scene.root))


async def test_a_dataset_is_inspected(dataset_scene: VolumeScene) -> None:
    found = inspect_directory(dataset_scene.tree)

    body = (dataset_scene.run / ".dtool" / "manifest.json").read_bytes()
    admin = json.loads((dataset_scene.run / ".dtool" / "dtool").read_bytes())
    assert (
        found.manifest_sha256
        == hashlib.sha256(json.dumps(json.loads(body), indent=2, sort_keys=True).encode()).hexdigest()
    )
    assert (found.uuid, found.name, found.creator_username) == (admin["uuid"], "sample", "olssont")
    assert (found.created_at, found.frozen_at) == (admin["created_at"], admin["frozen_at"])
    assert (found.items, found.size_bytes) == (len(ITEMS), sum(map(len, ITEMS.values())))


async def test_a_dataset_is_brought_with_documents_and_manifest_as_they_are(
    dataset_scene: VolumeScene,
) -> None:
    scene, known = dataset_scene, inspect_directory(dataset_scene.tree)

    told = await scene.upload_dataset(manifest_sha256=known.manifest_sha256)
    await scene.publish(manifest_sha256=told.manifest_sha256)

    stored = scene.stored()
    assert stored["README.yml"] == "title: ü\n".encode()
    assert stored["tags/blue"] == b""
    assert json.loads(stored["annotations/v1.2.json"]) == {"project": "atlas"}
    assert len(json.loads(stored["overlays/number.json"])) == len(ITEMS)
    assert json.loads(stored["manifest.json"]) == json.loads(
        (scene.run / ".dtool" / "manifest.json").read_bytes()
    )
    admin = json.loads(stored["dtool"])
    frozen = replace(known, created_at=admin["created_at"], frozen_at=admin["frozen_at"])
    assert await inspect_stored(scene.store, scene.layout) == frozen
    with pytest.raises(FrozenDataset):
        await scene.upload_dataset()


async def test_a_derived_dataset_names_its_source(dataset_scene: VolumeScene, tmp_path: Path) -> None:
    scene = VolumeScene(dataset_scene.root, server=dataset_scene.server)
    await scene.create("derived")

    await scene.upload_dataset(new=True)

    told = json.loads(scene.stored()["annotations/derived_from.json"])
    assert told == {"uuid": dataset_scene.uuid, "name": "sample"}
    with pytest.raises(ContentDiffers, match=dataset_scene.uuid):
        await scene.upload_dataset()


async def test_a_killed_upload_of_a_dataset_goes_on(dataset_scene: VolumeScene) -> None:
    dataset_scene.interrupt("put", skip=1)
    with pytest.raises(AccessDenied):
        await dataset_scene.upload_dataset(pace=Pace(1, 64))
    dataset_scene.server.faults.clear()

    assert 0 < (await dataset_scene.upload_dataset()).moved < len(ITEMS)
    assert (await dataset_scene.upload_dataset()).moved == 0


def replace_with_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda run: shutil.rmtree(run / ".dtool"), SourceNotFound),
        (lambda run: (run / ".dtool" / "manifest.json").unlink(), InvalidManifest),
        (lambda run: (run / ".dtool" / "manifest.json").write_bytes(b"{}"), InvalidManifest),
        (lambda run: (run / "data" / "a.txt").unlink(), ItemMissing),
        (lambda run: (run / "data" / "a.txt").write_bytes(b"other"), SourceDamaged),
        (lambda run: (run / "data" / "a.txt").write_bytes(b"longer"), SourceDamaged),
        (lambda run: (run / "data" / LARGE).write_bytes(bytes(200)), SourceDamaged),
        (lambda run: replace_with_link(run / "data" / "a.txt"), UnsafePath),
        (lambda run: replace_with_link(run / "README.yml"), UnsafePath),
        (lambda run: replace_with_link(run / ".dtool" / "dtool"), UnsafePath),
        (lambda run: replace_with_link(run / ".dtool" / "manifest.json"), UnsafePath),
        (lambda run: replace_with_link(run / ".dtool" / "tags" / "blue"), UnsafePath),
        (lambda run: os.mkfifo(run / ".dtool" / "annotations" / "p.json"), UnsafePath),
        (lambda run: (run / ".dtool" / "tags" / os.fsdecode(b"\xe9")).touch(), UnsafePath),
    ],
)
async def test_a_dataset_that_is_not_what_it_says_is_refused_and_never_claimed(
    dataset_scene: VolumeScene, change: Callable[[Path], object], error: type[DtoolS3Error]
) -> None:
    change(dataset_scene.run)

    with pytest.raises(error):
        await dataset_scene.upload_dataset()

    assert "manifest.json" not in dataset_scene.stored()


@pytest.mark.parametrize(
    ("field", "text"), [("name", "my data"), ("creator_username", "a\tb"), ("creator_username", "x" * 300)]
)
async def test_names_that_a_dataset_in_a_bucket_cannot_have_are_told_by_the_look_at_it(
    dataset_scene: VolumeScene, field: str, text: str
) -> None:
    path = dataset_scene.run / ".dtool" / "dtool"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: text}))

    with pytest.raises(InvalidAdminMetadata, match="cannot be the name"):
        inspect_directory(dataset_scene.tree)


async def test_a_proto_dataset_is_no_source(tmp_path: Path) -> None:
    make_proto(tmp_path / "volume")

    with pytest.raises(SourceNotFrozen):
        inspect_directory(Tree(tmp_path / "volume", "sample"))


async def test_another_manifest_than_the_pinned_one_and_a_larger_dataset_are_refused(
    dataset_scene: VolumeScene,
) -> None:
    with pytest.raises(SourceDamaged, match="SHA-256"):
        await dataset_scene.upload_dataset(manifest_sha256="0" * 64)
    with pytest.raises(QuotaExceeded):
        await dataset_scene.upload_dataset(limits=VolumeLimits(max_size_bytes=3))

    assert not dataset_scene.server.requests
