"""A dataset of a bucket is on the volume complete, or nothing has its name there."""

import asyncio
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dtoolcore
import pytest

from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    DatasetMissing,
    DtoolS3Error,
    InvalidManifest,
    QuotaExceeded,
    SourceNotFrozen,
    UnsafePath,
    VolumeFull,
    VolumeUnavailable,
)
from dtool_s3.files.pace import Pace
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.verify import VerifyMethod
from dtool_s3.volume.download import download_to_directory
from dtool_s3.volume.inspection import inspect_directory, inspect_stored
from dtool_s3.volume.place import VolumePlace, remove_directory
from dtool_s3.volume.verification import verify_directory
from tests.support.datasets import UUID, DatasetFixture, write_dataset
from tests.support.disk import read_tree

BUCKET = "lab-data"
DATASET = DatasetFixture()
LARGE = "ünï/c.bin"


class Scene:
    """A dataset in a bucket in memory, and an empty volume."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = MemoryServer()
        self.server.create_bucket(BUCKET)
        self.tree = Tree(root, "results/2026/")
        self.base = root / "results" / "2026"
        self.copy = self.base / DATASET.name
        self.place = VolumePlace(self.tree, DATASET.name, UUID)
        self.partial = self.base / self.place.partial_name

    async def write(self, dataset: DatasetFixture = DATASET) -> None:
        await write_dataset(self.server.store(BUCKET), dataset)

    async def download(self, **options: object) -> CopyResult:
        chosen = {"pace": Pace(1, 64)} | options
        layout = DatasetLayout("", UUID)
        return await download_to_directory(self.server.store(BUCKET), layout, self.tree, **chosen)  # type: ignore[arg-type]

    def interrupt(self, skip: int) -> None:
        self.server.faults.append(Fault("get*", "*/data/*", error=AccessDenied("403"), skip=skip, times=None))


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    root = tmp_path / "volume"
    root.mkdir()
    scene = Scene(root)
    await scene.write()
    scene.server.requests.clear()
    return scene


async def test_the_copy_is_a_dataset_that_dtool_reads(scene: Scene) -> None:
    result = await scene.download()

    there = dtoolcore.DataSet.from_uri(f"file://{scene.copy}")
    assert there.uuid == UUID
    assert {there.item_properties(i)["relpath"] for i in there.identifiers} == set(DATASET.items)
    for identifier in there.identifiers:
        relpath = there.item_properties(identifier)["relpath"]
        body = await asyncio.to_thread(Path(there.item_content_abspath(identifier)).read_bytes)
        assert body == DATASET.items[relpath]
    assert there.get_readme_content() == DATASET.readme
    assert there.list_tags() == ["blue"]
    assert there.get_annotation("project") == "atlas"
    assert result.moved == result.verification.evidence[Evidence.READ] == len(DATASET.items)
    assert [path.name for path in scene.base.iterdir()] == [DATASET.name]
    layout = DatasetLayout("", UUID)
    assert inspect_directory(scene.place.tree) == await inspect_stored(scene.server.store(BUCKET), layout)


@pytest.mark.parametrize("skip", range(5))
async def test_until_it_is_complete_nothing_has_the_name_and_it_goes_on(scene: Scene, skip: int) -> None:
    scene.interrupt(skip)
    try:
        await scene.download()
    except AccessDenied:
        assert not scene.copy.exists()
        assert scene.partial.is_dir()
    scene.server.faults.clear()
    scene.server.requests.clear()

    await scene.download()

    read = {r.key for r in scene.server.requests if r.operation.startswith("get") and "/data/" in r.key}
    assert len(read) == len(DATASET.items) - min(skip, 2) or skip > 1
    assert scene.copy.is_dir()
    assert not scene.partial.exists()


async def test_a_cancelled_download_goes_on(scene: Scene) -> None:
    begun, never = asyncio.Event(), asyncio.Event()
    scene.server.faults.append(Fault("get", "*/data/*", skip=1, hook=begun.set))
    scene.server.faults.append(Fault("get", "*/data/*", skip=1, hold=never))
    work = asyncio.create_task(scene.download())
    await begun.wait()

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    scene.server.faults.clear()

    assert not scene.copy.exists()
    assert 0 < (await scene.download()).moved < len(DATASET.items)


async def test_killed_before_the_rename_the_next_run_reads_and_renames(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(errno.EIO))
        with pytest.raises(VolumeUnavailable, match="EIO"):
            await scene.download()
    assert not scene.copy.exists()

    assert (await scene.download()).moved == 0
    assert scene.copy.is_dir()


async def test_what_was_changed_in_the_unfinished_copy_is_downloaded_again(scene: Scene) -> None:
    scene.interrupt(2)
    with pytest.raises(AccessDenied):
        await scene.download()
    scene.server.faults.clear()
    (scene.partial / "data" / "a.txt").write_bytes(b"ALPHA")

    await scene.download()

    assert (scene.copy / "data" / "a.txt").read_bytes() == b"alpha"


async def test_everything_is_synced_before_it_gets_its_name(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    original = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", note)

    await scene.download()

    expected = {str(scene.partial / relpath) for relpath in read_tree(scene.copy)}
    assert expected <= set(synced[:-1])
    assert str(scene.partial) in synced[:-1]
    assert synced[-1] == str(scene.base)


async def test_an_equal_dataset_is_read_and_nothing_written(scene: Scene) -> None:
    await scene.download()
    before = {path: path.stat().st_mtime_ns for path in scene.root.rglob("*")}

    result = await scene.download()

    assert result.moved == 0
    assert {path: path.stat().st_mtime_ns for path in scene.root.rglob("*")} == before


def put_other(copy: Path) -> None:
    (copy / "data" / "a.txt").write_bytes(b"ALPHA")


@pytest.mark.parametrize(
    "change",
    [
        put_other,
        lambda copy: (copy / "data" / "a.txt").unlink(),
        lambda copy: (copy / "data" / "more").touch(),
        lambda copy: shutil.rmtree(copy / ".dtool"),
        lambda copy: (copy / ".dtool" / "manifest.json").unlink(),
        lambda copy: (copy / ".dtool" / "dtool").write_text(
            (copy / ".dtool" / "dtool").read_text().replace(UUID, UUID.replace("1", "2"))
        ),
        lambda copy: (copy / ".dtool" / "dtool").write_text(
            (copy / ".dtool" / "dtool").read_text().replace('"dataset"', '"protodataset"')
        ),
        lambda copy: copy.rename(copy.with_name("x")) and copy.symlink_to("x"),
        lambda copy: copy.rename(copy.with_name("x")) and copy.touch(),
    ],
    ids=[
        "other-bytes", "item-gone", "extra", "no-dataset", "no-manifest", "other-uuid", "proto", "link",
        "file",
    ],
)  # fmt: skip
async def test_anything_else_at_the_place_is_left_alone(
    scene: Scene, change: Callable[[Path], object]
) -> None:
    await scene.download()
    change(scene.copy)
    before = read_tree(scene.root)

    with pytest.raises(ContentDiffers):
        await scene.download()

    assert read_tree(scene.root) == before


@pytest.mark.parametrize("name", ["..", "a/b", "", "x" * 81, "a\n"])
async def test_a_name_that_leads_elsewhere_is_refused(scene: Scene, name: str) -> None:
    await scene.write(DatasetFixture(name=name))

    with pytest.raises(DtoolS3Error):
        await scene.download()

    assert read_tree(scene.root) == {}


@pytest.mark.parametrize("below", ["results", "results/2026", "results/2026/.sample"])
async def test_no_link_leads_out_of_the_volume(scene: Scene, tmp_path: Path, below: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = scene.root / below.replace(".sample", scene.place.partial_name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)

    with pytest.raises(UnsafePath):
        await scene.download()

    assert not list(outside.iterdir())


async def test_a_pin_and_a_bound_are_kept(scene: Scene) -> None:
    with pytest.raises(InvalidManifest, match="SHA-256"):
        await scene.download(manifest_sha256="0" * 64)
    with pytest.raises(QuotaExceeded):
        await scene.download(max_size_bytes=3)

    assert not scene.base.exists()


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, VolumeFull),
        (errno.EDQUOT, VolumeFull),
        (errno.EIO, VolumeUnavailable),
        (errno.ESTALE, VolumeUnavailable),
        (errno.ENOENT, VolumeUnavailable),
        (errno.EROFS, VolumeUnavailable),
        (errno.EACCES, VolumeUnavailable),
        (errno.ENAMETOOLONG, UnsafePath),
    ],
)
async def test_what_the_volume_refuses_is_said_and_it_goes_on_afterwards(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int, error: type[DtoolS3Error]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refusing(number))
        with pytest.raises(error) as caught:
            await scene.download()

    assert errno.errorcode[number] in str(caught.value)
    assert not scene.copy.exists()
    await scene.download()
    assert scene.copy.is_dir()


async def test_a_dataset_that_does_not_fit_is_not_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        f_blocks, f_bavail, f_frsize = 10, 2, 100

    monkeypatch.setattr(os, "statvfs", lambda _: Small())

    with pytest.raises(VolumeFull, match="209 bytes, the volume has room for 200"):
        await scene.download()

    assert not any(scene.base.iterdir())


async def test_a_volume_that_is_gone_is_said(scene: Scene) -> None:
    scene.root.rmdir()

    with pytest.raises(VolumeUnavailable, match="ENOENT"):
        await scene.download()


async def test_a_copy_is_verified_byte_by_byte(scene: Scene) -> None:
    await scene.download()

    found = await verify_directory(scene.place.tree)

    assert found.admin.uuid == UUID
    assert found.verification.is_proven
    listed = await verify_directory(scene.place.tree, method=VerifyMethod.LISTING)
    assert (listed.verification.is_complete, listed.verification.unproven) == (True, len(DATASET.items))


async def test_all_damage_is_told(scene: Scene) -> None:
    await scene.download()
    data = scene.copy / "data"
    (data / "a.txt").write_bytes(b"ALPHA")
    (data / "sub" / "b.csv").write_bytes(b"longer than before")
    (data / LARGE).unlink()
    (data / LARGE).symlink_to("/etc/hostname")
    (data / "more").touch()

    found = (await verify_directory(scene.place.tree)).verification

    assert (found.mismatch_count, found.absent_count, found.extra_count) == (3, 1, 2)
    assert {m.relpath: m.found for m in found.mismatches}["sub/b.csv"] == "18 bytes"
    assert found.extra == (f"'{LARGE}' (a symbolic link)", "more")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (shutil.rmtree, DatasetMissing),
        (lambda copy: (copy / ".dtool" / "manifest.json").unlink(), InvalidManifest),
        (
            lambda copy: (copy / ".dtool" / "dtool").write_text(
                (copy / ".dtool" / "dtool").read_text().replace('"dataset"', '"protodataset"')
            ),
            SourceNotFrozen,
        ),
    ],
)
async def test_what_is_no_dataset_any_more_is_said(
    scene: Scene, change: Callable[[Path], object], error: type[DtoolS3Error]
) -> None:
    await scene.download()
    change(scene.copy)

    with pytest.raises(error):
        await verify_directory(scene.place.tree)


async def test_another_manifest_than_the_known_one_is_said(scene: Scene) -> None:
    await scene.download()

    with pytest.raises(ContentDiffers, match="SHA-256"):
        await verify_directory(scene.place.tree, manifest_sha256="0" * 64)


async def test_only_what_a_copy_left_unfinished_is_removed(scene: Scene) -> None:
    scene.interrupt(1)
    with pytest.raises(AccessDenied):
        await scene.download()
    (scene.base / "mine.txt").touch()
    (scene.base / f".{UUID}.abc.new").mkdir()

    assert remove_directory(scene.place)

    assert [path.name for path in scene.base.iterdir()] == ["mine.txt"]
    assert not remove_directory(scene.place)


async def test_a_dataset_is_removed_only_on_request_and_with_nothing_else(scene: Scene) -> None:
    await scene.download()
    secret = scene.root / "secret"
    secret.mkdir()
    (secret / "kept").touch()
    (scene.copy / "data" / "link").symlink_to(secret)

    assert not remove_directory(scene.place)
    assert scene.copy.exists()
    assert remove_directory(scene.place, only_partial=False)

    assert not any(scene.base.iterdir())
    assert (secret / "kept").exists()
    assert not remove_directory(scene.place, only_partial=False)


async def test_a_killed_removal_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.download()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refusing(errno.EIO))
        with pytest.raises(VolumeUnavailable):
            remove_directory(scene.place, only_partial=False)
    assert not scene.copy.exists()

    assert remove_directory(scene.place, only_partial=False)
    assert not any(scene.base.iterdir())


@pytest.mark.parametrize("change", ["other", "none", "link"])
async def test_what_is_not_this_dataset_is_not_removed(scene: Scene, change: str) -> None:
    await scene.download()
    if change == "other":
        path = scene.copy / ".dtool" / "dtool"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"uuid": UUID.replace("1", "2")}))
    elif change == "none":
        shutil.rmtree(scene.copy / ".dtool")
    else:
        scene.copy.rename(scene.root / "x")
        scene.copy.symlink_to(scene.root / "x")
    before = read_tree(scene.root)

    with pytest.raises(ContentDiffers):
        remove_directory(scene.place, only_partial=False)

    assert read_tree(scene.root) == before


def test_a_place_that_never_was_needs_no_removal(tmp_path: Path) -> None:
    assert not remove_directory(VolumePlace(Tree(tmp_path, "a/b"), "sample", UUID), only_partial=False)
