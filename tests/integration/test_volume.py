"""Volumes and a real S3 server: workers killed in the middle, a full disk, hostile content (rule 13)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtool_s3.creation import create_proto
from dtool_s3.errors import ContentDiffers
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.shard import Shard
from dtool_s3.transfer.share import copy_items
from dtool_s3.transfer.verify import VerifyMethod, verify_dataset
from dtool_s3.volume.download import download_to_directory
from dtool_s3.volume.publishing import PublishRequest, publish_uploaded
from dtool_s3.volume.upload import upload_directory
from dtool_s3.volume.verification import verify_directory
from tests.support.datasets import DatasetFixture, md5, write_dataset
from tests.support.s3_place import S3Place

SCRIPT = Path(__file__).parents[1] / "support" / "volume_script.py"
MIB = 1024**2
FILES = {f"run/{number:04d}.txt": f"measurement {number}".encode() * 50 for number in range(300)} | {
    "large.bin": bytes(range(256)) * (40 * MIB // 256)
}


@pytest.fixture
def place(make_s3_place: Callable[[], S3Place]) -> S3Place:
    return make_s3_place()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume with files in `in/`."""
    for relpath, body in FILES.items():
        path = tmp_path / "volume" / "in" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return tmp_path / "volume"


def start(
    place: S3Place,
    work: str,
    layout: DatasetLayout,
    root: Path,
    *confined: str,
    dies_at: int | None = None,
) -> subprocess.Popen[str]:
    """Start a worker."""
    keys = place.credentials()
    assert keys is not None
    task: dict[str, Any] = {
        "work": work,
        "endpoint": place.endpoint.url,
        "bucket": place.bucket,
        "access_key": keys.access_key_id,
        "secret_key": keys.secret_access_key.reveal(),
        "prefix": layout.prefix,
        "uuid": layout.uuid,
        "root": str(root),
        "below": "in" if work == "upload" else "out",
        "dies_at": dies_at,
    }
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])}
    worker = subprocess.Popen(
        [*confined, sys.executable, str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(task))
    worker.stdin.close()
    return worker


def die_half_way(place: S3Place, work: str, layout: DatasetLayout, root: Path) -> None:
    """Run a worker that is killed once 100 items have arrived."""
    with start(place, work, layout, root, dies_at=100) as worker:
        assert worker.wait(60) == -signal.SIGKILL


def outcome(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a worker; return its last line."""
    assert worker.stdout is not None
    with worker.stdout:
        lines = worker.stdout.readlines()
    worker.wait(60)
    found: dict[str, Any] = json.loads(lines[-1])
    return found


async def make_proto(place: S3Place, store: S3Store) -> DatasetLayout:
    layout = place.layout()
    await create_proto(store, layout, name="sample", creator_username="olssont")
    return layout


async def test_a_killed_upload_and_a_killed_download_go_on_and_all_is_proven(
    place: S3Place, root: Path
) -> None:
    store = place.open_store()
    layout = await make_proto(place, store)

    die_half_way(place, "upload", layout, root)
    told = outcome(start(place, "upload", layout, root))
    result = await publish_uploaded(store, layout, PublishRequest(0.1))
    die_half_way(place, "download", layout, root)
    assert not (root / "out" / "sample").exists()
    copied = outcome(start(place, "download", layout, root))

    assert told["reason"] is copied["reason"] is None
    assert 0 < told["moved"] <= len(FILES) - 90
    assert 0 < copied["moved"] <= len(FILES) - 90
    assert result.verification.is_proven
    assert not await store.list_uploads(layout.root)
    assert (await verify_dataset(store, layout, method=VerifyMethod.CONTENT)).verification.is_proven
    tree = Tree(root, "out/sample")
    assert (await verify_directory(tree)).verification.is_proven
    data = root / "out" / "sample" / "data"
    assert {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()} == FILES


async def test_a_full_volume_says_so_and_the_copy_succeeds_once_there_is_room(
    place: S3Place, tmp_path: Path
) -> None:
    store, layout = place.open_store(), place.layout()
    body = bytes(3 * MIB)
    items = {"a.bin": body, "b.bin": body, **{f"small-{n}": b"x" for n in range(600)}}
    await write_dataset(store, DatasetFixture(layout.uuid, layout.prefix, items=items))
    disk = tmp_path / "disk"
    disk.mkdir()
    # in a mount namespace of its own: a file system of a few MiB, which ends with the worker
    confine = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]

    def run_on(options: str) -> dict[str, Any]:
        mount = f'mount -t tmpfs -o {options} tmpfs "{disk}" && exec "$@"'
        return outcome(start(place, "download", layout, disk, *confine, "sh", "-c", mount, "sh"))

    too_small = run_on("size=4m")
    too_few_inodes = run_on("size=64m,nr_inodes=300")
    enough = run_on("size=64m")

    assert (too_small["reason"], too_few_inodes["reason"]) == ("VolumeFull", "VolumeFull")
    assert "room for" in too_small["message"]
    assert "ENOSPC" in too_few_inodes["message"]
    assert (enough["reason"], enough["moved"]) == (None, len(items))


async def test_a_hostile_worker_cannot_have_other_bytes_frozen_and_forged_headers_are_put_right(
    place: S3Place, root: Path
) -> None:
    store = place.open_store()
    layout = await make_proto(place, store)
    await upload_directory(Tree(root, "in"), store, layout)
    small, large = "run/0000.txt", "large.bin"
    key, good = layout.item_key(item_identifier(small)), FILES[small]
    await store.put(key, bytes(len(good)), metadata=item_metadata(small, md5(good)))
    with pytest.raises(ContentDiffers, match="0000"):
        await publish_uploaded(store, layout, PublishRequest(0.1))
    await store.put(key, good, metadata={"handle": "Li4vZXZpbA==", "checksum": "0" * 32})
    await store.put(layout.item_key(item_identifier(large)), FILES[large], metadata={})

    result = await publish_uploaded(store, layout, PublishRequest(0.1))

    assert result.verification.is_proven
    for relpath in (small, large):
        info = await store.head(layout.item_key(item_identifier(relpath)))
        assert dict(info.metadata) == item_metadata(relpath, md5(FILES[relpath]))


async def test_shares_at_once_make_one_dataset(place: S3Place, tmp_path: Path) -> None:
    store, layout = place.open_store(), place.layout()
    items = {f"{n}.txt": f"content {n}".encode() for n in range(200)}
    origin = DatasetLayout(f"{place.prefix}from/", layout.uuid)
    await write_dataset(store, DatasetFixture(origin.uuid, origin.prefix, items=items))
    await store.delete(origin.registration_key)
    request = CopyRequest(layout.uuid, origin.prefix, layout.prefix)

    shares = await asyncio.gather(*(copy_items(store, store, request, Shard(i, 4)) for i in range(4)))
    result = await copy_dataset(store, store, request)
    downloaded = await download_to_directory(store, layout, Tree(tmp_path))

    assert [sum(one.moved for one in shares), result.moved, downloaded.moved] == [200, 0, 200]
    assert (await verify_dataset(store, layout)).verification.is_proven
