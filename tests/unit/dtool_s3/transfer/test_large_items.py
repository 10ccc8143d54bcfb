"""Items in parts: copied on the server with the source's boundaries, or streamed; nothing is left behind."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dtool_s3.errors import NotSupported, SourceDamaged, StoreFull, WrittenWhileFreezing
from dtool_s3.layout import item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store, Upload
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.plan import Evidence
from tests.support.copying import SOURCE, TARGET, CopyScene, make_scene
from tests.support.datasets import DatasetFixture, md5, write_in_parts

BODY = bytes(range(256)) * 10
LARGE = DatasetFixture(items={"large.bin": BODY, "a.txt": b"alpha"})
UNEVEN = [BODY[:700], BODY[700:2000], BODY[2000:]]
IN_PARTS = {"single_copy_bytes": 1000, "copy_part_bytes": 1000}


async def _scene(server: MemoryServer | None = None, *, headers: bool = True) -> CopyScene:
    """A source with one item that was uploaded in three uneven parts."""
    scene = await make_scene(LARGE, server=server)
    metadata = item_metadata("large.bin", md5(BODY)) if headers else {"handle": "lost"}
    await write_in_parts(scene.server.store(SOURCE), scene.source_item_key("large.bin"), UNEVEN, metadata)
    scene.server.requests.clear()
    return scene


async def _copy(scene: CopyScene, **changes: Any) -> CopyResult:
    return await scene.copy(**{**IN_PARTS, **changes})


def _count(scene: CopyScene) -> Counter[str]:
    return Counter(r.operation for r in scene.server.requests)


def _etag(scene: CopyScene, bucket: str, key: str) -> str:
    return scene.server.read(bucket, key).info.etag


async def test_a_copy_in_parts_has_the_sources_boundaries_and_so_its_etag() -> None:
    scene = await _scene()

    result = await _copy(scene)

    source = _etag(scene, SOURCE, scene.source_item_key("large.bin"))
    assert source.endswith("-3")
    assert _etag(scene, TARGET, scene.item_key("large.bin")) == source
    assert result.verification.evidence[Evidence.SAME_AS_SOURCE] == 1
    assert scene.copied() == scene.original()
    counted = _count(scene)
    assert (counted["copy"], counted["part_sizes"], counted["copy_part"]) == (1, 1, 3)
    assert (counted["get_range"], counted["put_part"]) == (0, 0)


async def test_without_the_boundaries_parts_are_equal_and_the_item_is_read() -> None:
    scene = await _scene()
    scene.server.tells_part_sizes = False

    result = await _copy(scene)

    assert result.verification.evidence[Evidence.READ] == 1
    assert scene.copied() == scene.original()
    assert _count(scene)["copy_part"] == 3


async def test_an_object_that_was_put_whole_is_not_asked_for_its_parts() -> None:
    scene = await make_scene(LARGE)

    result = await _copy(scene)

    assert result.verification.evidence[Evidence.READ] == 1
    assert _count(scene)["part_sizes"] == 0


async def test_an_item_of_exactly_the_limit_is_copied_in_one_request() -> None:
    scene = await _scene()

    await _copy(scene, single_copy_bytes=len(BODY))

    assert (_count(scene)["copy"], _count(scene)["copy_part"]) == (2, 0)


async def test_a_copy_in_parts_gets_right_headers_whatever_the_source_has() -> None:
    scene = await _scene(headers=False)

    await _copy(scene)

    metadata = scene.server.read(TARGET, scene.item_key("large.bin")).info.metadata
    assert metadata == item_metadata("large.bin", md5(BODY))


async def test_headers_of_a_large_item_at_the_place_are_repaired_in_parts() -> None:
    scene = await _scene()
    key = scene.item_key("large.bin")
    await write_in_parts(scene.server.store(TARGET), key, UNEVEN, {"handle": "lost"})
    before = _etag(scene, TARGET, key)

    result = await _copy(scene)

    assert (result.moved, _etag(scene, TARGET, key)) == (1, before)
    assert scene.copied() == scene.original()


async def test_where_the_target_may_not_read_the_source_large_items_are_streamed() -> None:
    def allows(identity: str | None, _operation: str, bucket: str, _key: str) -> bool:
        return identity is None or {"instrument": SOURCE, "alice": TARGET}[identity] == bucket

    scene = await _scene()
    scene.server.allows = allows

    result = await _copy(scene, chunk_bytes=1000)

    assert scene.copied() == scene.original()
    assert result.verification.is_proven
    assert scene.unfinished_uploads() == 0


async def test_a_source_that_changes_between_two_parts_is_damaged_and_nothing_stays_behind() -> None:
    scene = await _scene()
    key = scene.source_item_key("large.bin")

    def change() -> None:
        scene.server.write(SOURCE, key, BODY[::-1])

    scene.server.faults.append(Fault("copy_part", skip=1, hook=change))

    with pytest.raises(SourceDamaged, match=r"'large\.bin' of the source changed"):
        await _copy(scene)

    assert scene.unfinished_uploads() == 0
    assert scene.item_key("large.bin") not in scene.server.keys(TARGET)


@pytest.mark.parametrize("operation", ["copy_part", "put_part", "complete_upload"])
async def test_an_upload_that_somebody_else_gives_up_is_begun_again(operation: str) -> None:
    scene = await _scene()
    scene.server.faults.append(Fault(operation, hook=scene.server.find_bucket(TARGET).uploads.clear))

    await _copy(scene, server_side=operation != "put_part", chunk_bytes=1000)

    assert scene.copied() == scene.original()
    assert (_count(scene)["start_upload"], scene.unfinished_uploads()) == (2, 0)


@pytest.mark.parametrize("operation", ["copy_part", "put_part", "complete_upload"])
async def test_an_upload_that_somebody_else_gives_up_each_time_is_named(operation: str) -> None:
    scene = await _scene()
    uploads = scene.server.find_bucket(TARGET).uploads
    scene.server.faults.append(Fault(operation, times=None, hook=uploads.clear))

    with pytest.raises(WrittenWhileFreezing, match=r"'large\.bin'"):
        await _copy(scene, server_side=operation != "put_part", chunk_bytes=1000)


async def test_bytes_that_differ_end_an_upload_before_it_becomes_an_object() -> None:
    scene = await _scene()
    key = scene.source_item_key("large.bin")
    scene.server.write(SOURCE, key, BODY[:-1] + b"!", metadata=item_metadata("large.bin", md5(BODY)))

    with pytest.raises(SourceDamaged):
        await _copy(scene, server_side=False, chunk_bytes=1000)

    assert (scene.unfinished_uploads(), _count(scene)["complete_upload"]) == (0, 0)


async def test_no_more_parts_are_sent_after_one_has_failed() -> None:
    scene = await make_scene(DatasetFixture(items={"large.bin": BODY * 10}))
    scene.server.faults.append(Fault("put_part", skip=2, error=StoreFull("no room", code="507")))

    with pytest.raises(StoreFull):
        await _copy(scene, server_side=False, chunk_bytes=100)

    assert _count(scene)["put_part"] < 20
    assert scene.unfinished_uploads() == 0


@pytest.mark.parametrize(
    ("operation", "server_side"),
    [
        ("start_upload", True),
        ("start_upload", False),
        ("copy_part", True),
        ("put_part", False),
        ("complete_upload", True),
        ("complete_upload", False),
    ],
)
async def test_a_request_that_arrives_after_the_cancellation_leaves_no_upload(
    operation: str, server_side: bool
) -> None:
    scene = await _scene()
    scene.server.allows = lambda _who, asked, _bucket, _key: asked != "list_uploads"
    reached, gate = asyncio.Event(), asyncio.Event()
    scene.server.faults.append(Fault(operation, hook=reached.set))
    scene.server.faults.append(Fault(operation, hold=gate))
    copying = asyncio.create_task(_copy(scene, server_side=server_side, chunk_bytes=1000, grace_seconds=60))
    await reached.wait()

    copying.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await copying

    assert scene.unfinished_uploads() == 0
    assert not scene.is_frozen()


class _Threaded:
    """A store whose requests cannot be taken back: a thread has sent them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        return await asyncio.shield(asyncio.ensure_future(self._store.start_upload(key, metadata)))


async def test_an_upload_whose_start_could_not_be_taken_back_is_given_up() -> None:
    scene = await _scene()
    scene.server.allows = lambda _who, asked, _bucket, _key: asked != "list_uploads"
    reached, gate = asyncio.Event(), asyncio.Event()
    scene.server.faults.append(Fault("start_upload", hook=reached.set))
    scene.server.faults.append(Fault("start_upload", hold=gate))
    threaded = replace(scene, target=_Threaded(scene.target))  # type: ignore[arg-type]
    copying = asyncio.create_task(_copy(threaded, grace_seconds=60))
    await reached.wait()

    copying.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await copying

    assert [r.operation for r in scene.server.requests][-1] == "abort_upload"
    assert scene.unfinished_uploads() == 0


async def test_an_upload_that_a_repeated_start_left_behind_is_removed_before_the_freeze() -> None:
    scene = await _scene()

    async def start_unnoticed() -> None:
        await scene.server.store(TARGET).start_upload(scene.item_key("large.bin"), {})

    scene.server.faults.append(Fault("start_upload", hook=start_unnoticed))

    await _copy(scene)

    assert scene.unfinished_uploads() == 0


async def test_a_server_that_copies_no_parts_is_streamed_around() -> None:
    scene = await _scene()
    scene.server.faults.append(Fault("copy_part", error=NotSupported("no parts")))

    assert (await _copy(scene)).verification.is_proven

    assert scene.unfinished_uploads() == 0
