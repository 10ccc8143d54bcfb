"""Shares of a copy, several at a time, leave what one copy would have left; the copy itself only freezes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    InvalidManifest,
    NotFound,
    QuotaExceeded,
    SettingsError,
    SourceDamaged,
)
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.progress import Phase, Progress, ProgressSink, no_progress
from dtool_s3.transfer.request import CopyRequest
from dtool_s3.transfer.shard import Shard
from dtool_s3.transfer.share import CopiedItems, copy_items
from tests.support.copying import SOURCE, TARGET, TARGET_PREFIX, WRITES, CopyScene
from tests.support.datasets import DatasetFixture, write_dataset

ITEMS = {f"item-{number}.txt": f"content {number}".encode() for number in range(40)}
LIMITS = PartLimits(min_part_bytes=1)
NEW = "3c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a33"


@pytest.fixture
async def scene() -> CopyScene:
    server = MemoryServer()
    server.create_bucket(SOURCE)
    server.create_bucket(TARGET)
    dataset = DatasetFixture(items=ITEMS)
    await write_dataset(server.store(SOURCE), dataset)
    scene = CopyScene(server, dataset, server.store(SOURCE), server.store(TARGET))
    server.requests.clear()
    return scene


async def share(
    scene: CopyScene,
    index: int,
    count: int = 4,
    *,
    on_progress: ProgressSink = no_progress,
    **changes: Any,
) -> CopiedItems:
    request = CopyRequest(
        scene.dataset.uuid, "", TARGET_PREFIX, limits=LIMITS, grace_seconds=0.01, concurrency=1
    )
    return await copy_items(
        scene.source,
        scene.target,
        replace(request, **changes),
        Shard(index, count),
        on_progress=on_progress,
    )


@given(st.integers(1, 300), st.binary(min_size=20, max_size=20))
def test_every_item_belongs_to_one_share_whose_prefixes_find_it(count: int, digest: bytes) -> None:
    identifier = digest.hex()

    holding = [index for index in range(count) if Shard(index, count).holds(identifier)]

    assert len(holding) == 1
    starts = [p for p in Shard(holding[0], count).prefixes() if identifier.startswith(p)]
    assert len(starts) == 1


@pytest.mark.parametrize(("index", "count"), [(-1, 4), (4, 4), (0, 0)])
def test_a_share_that_there_is_not_is_refused(index: int, count: int) -> None:
    with pytest.raises(SettingsError):
        Shard(index, count)


def test_shares_are_listed_by_few_prefixes() -> None:
    assert Shard(0, 1).prefixes() == ("",)
    assert Shard(1, 4).prefixes() == ("4", "5", "6", "7")
    assert max(len(Shard(index, 7).prefixes()) for index in range(7)) <= 64


@pytest.mark.parametrize("server_side", [True, False])
async def test_shares_at_once_bring_all_items_and_the_copy_only_freezes(
    scene: CopyScene, server_side: bool
) -> None:
    shares = await asyncio.gather(*(share(scene, index, server_side=server_side) for index in range(4)))

    assert sum(one.verification.items for one in shares) == sum(one.moved for one in shares) == len(ITEMS)
    assert all(one.moved for one in shares)
    assert "manifest.json" not in scene.copied()
    assert not [name for name in scene.copied() if name.startswith(("tags/", "annotations/"))]

    result = await scene.copy()

    assert result.moved == 0
    copied, original = scene.copied(), scene.original()
    assert {name: copied[name] for name in original} == original


async def test_a_share_asks_for_its_own_items_only(scene: CopyScene) -> None:
    told = await share(scene, 0)

    mine = {item_identifier(relpath) for relpath in ITEMS if Shard(0, 4).holds(item_identifier(relpath))}
    assert told.verification.items == len(mine)
    touched = {r.key.rpartition("/")[2] for r in scene.server.requests if "/data/" in r.key}
    assert {name for name in touched if len(name) == 40} == mine
    lists = {r.key.rpartition("/")[2] for r in scene.server.requests if r.operation == "list"}
    assert lists == {"0", "1", "2", "3"}


async def test_progress_is_that_of_the_share(scene: CopyScene) -> None:
    told: list[Progress] = []

    result = await share(scene, 2, on_progress=told.append)

    items, size = result.verification.items, result.verification.size_bytes
    assert 0 < items < len(ITEMS)
    assert told[0] == Progress(Phase.COPYING, 0, items, 0, size)
    assert told[-1] == Progress(Phase.COPYING, items, items, size, size)


async def test_a_killed_share_goes_on_alone(scene: CopyScene) -> None:
    scene.server.faults.append(Fault("put", "*/data/*", error=AccessDenied("403"), skip=2, times=None))
    with pytest.raises(AccessDenied):
        await share(scene, 1, server_side=False)
    scene.server.faults.clear()

    told = await share(scene, 1, server_side=False)

    assert told.moved == told.verification.items - 2
    assert (await share(scene, 1)).moved == 0


async def test_what_is_in_place_is_counted_and_left_to_the_whole_copy_to_prove(scene: CopyScene) -> None:
    await share(scene, 1)
    scene.server.requests.clear()
    told: list[Progress] = []

    result = await share(scene, 1, on_progress=told.append)

    assert result.moved == 0
    assert told[-1].items == told[-1].items_total == result.verification.items
    assert told[-1].bytes == told[-1].bytes_total
    assert "head" not in {request.operation for request in scene.server.requests}


async def test_a_share_that_begins_leaves_the_uploads_of_others_alone(scene: CopyScene) -> None:
    await share(scene, 0)
    own = next(i for i in map(item_identifier, ITEMS) if Shard(1, 4).holds(i))
    other = next(i for i in map(item_identifier, ITEMS) if Shard(2, 4).holds(i))
    left = await scene.target.start_upload(scene.place.item_key(own), {})
    going = await scene.target.start_upload(scene.place.item_key(other), {})

    await share(scene, 1)

    assert list(await scene.target.list_uploads(scene.place.data_prefix)) == [going]
    with pytest.raises(NotFound):
        await scene.target.put_part(left, 1, b"x")
    await scene.target.put_part(going, 1, b"x")


async def test_large_items_of_a_share_leave_no_uploads(scene: CopyScene) -> None:
    limits = PartLimits(min_part_bytes=1, chunk_bytes=4)

    await share(scene, 1, server_side=False, limits=limits)

    assert not await scene.target.list_uploads("")
    relpath = next(r for r in ITEMS if Shard(1, 4).holds(item_identifier(r)))
    stored = scene.server.read(TARGET, scene.item_key(relpath))
    assert dict(stored.info.metadata).keys() == item_metadata(relpath, "").keys()


async def test_a_derived_dataset_is_begun_once(scene: CopyScene) -> None:
    identity: dict[str, Any] = {"target_uuid": NEW, "name": "derived", "creator_username": "olssont"}

    await asyncio.gather(*(share(scene, index, **identity) for index in range(4)))
    result = await scene.copy(**identity)

    assert (result.moved, result.admin.uuid, result.admin.name) == (0, NEW, "derived")


async def test_in_a_frozen_dataset_a_late_share_does_nothing(scene: CopyScene) -> None:
    await scene.copy()
    await scene.target.put(
        scene.place.item_key(next(filter(Shard(3, 4).holds, map(item_identifier, ITEMS)))), b"damaged"
    )
    scene.server.requests.clear()

    assert (await share(scene, 3)).moved == 0

    assert not WRITES & {request.operation for request in scene.server.requests}


async def test_what_a_copy_would_refuse_a_share_refuses_first(scene: CopyScene) -> None:
    with pytest.raises(QuotaExceeded):
        await share(scene, 0, max_size_bytes=100)
    with pytest.raises(InvalidManifest):
        await share(scene, 0, manifest_sha256="0" * 64)
    assert not scene.server.keys(TARGET)

    key = next(k for k in scene.server.keys(SOURCE) if "/data/0" in k or "/data/1" in k)
    await scene.source.put(key, b"other size than that")
    with pytest.raises(SourceDamaged):
        await share(scene, 0)
    await scene.target.put(f"{scene.place.data_prefix}0{'0' * 39}", b"x")
    with pytest.raises((ContentDiffers, SourceDamaged)):
        await share(scene, 0)
