"""Whole copies in memory: what arrives, with which evidence, read with whose credentials."""

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from dtool_s3.errors import BadDigest, WrittenWhileFreezing
from dtool_s3.layout import MAX_RELPATH_BYTES, encode_handle, item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.transfer.verify import verify_dataset
from tests.support.copying import SOURCE, TARGET, CopyScene, make_scene
from tests.support.datasets import ITEMS, DatasetFixture, md5, write_in_parts

MODES = pytest.mark.parametrize("server_side", [True, False], ids=["server-side", "streamed"])
RICH = DatasetFixture(
    prefix="u/instrument/",
    items={**ITEMS, "empty": b"", "with space+plus.txt": b"x"},
    tags=("blue", "2026"),
    annotations={"project": "atlas", "v1.2": {"a": [1]}},
    overlays={"length": {item_identifier("a.txt"): 5}},
)


def _counts(**evidence: int) -> dict[Evidence, int]:
    return {kind: evidence.get(kind.name.lower(), 0) for kind in Evidence}


@MODES
async def test_everything_arrives_byte_for_byte_and_header_for_header(server_side: bool) -> None:
    scene = await make_scene(RICH)

    result = await scene.copy(server_side=server_side)

    assert scene.copied() == scene.original()
    assert scene.server.read(TARGET, scene.place.registration_key).body == b"u/alice/"
    assert scene.server.keys(TARGET) == sorted(
        [scene.place.registration_key, *(f"{scene.place.root}{name}" for name in scene.original())]
    )
    assert (result.moved, result.verification.items) == (5, 5)
    assert result.verification.is_proven
    assert result.admin.is_frozen


async def test_the_flip_is_the_last_write() -> None:
    """Rule 14."""
    scene = await make_scene(RICH)

    await scene.copy()

    assert scene.writes()[-1].key == scene.place.admin_metadata_key
    assert scene.writes()[0].key == scene.place.registration_key


async def test_a_server_side_copy_costs_one_copy_and_one_head_for_each_item() -> None:
    scene = await make_scene(DatasetFixture(items={f"{n}.txt": b"x" for n in range(40)}))

    await scene.copy()

    counted = Counter(r.operation for r in scene.server.requests)
    assert (counted["copy"], counted["head"], counted["list"], counted["stream"]) == (40, 40, 4, 0)
    assert sum(counted.values()) <= 40 + 40 + 30


@MODES
async def test_copying_again_adopts_what_is_frozen_and_writes_nothing(server_side: bool) -> None:
    scene = await make_scene(RICH)
    first = await scene.copy(server_side=server_side)
    before = scene.copied()
    scene.server.requests.clear()

    second = await scene.copy(server_side=server_side)

    assert [r for r in scene.writes() if r.key != scene.place.registration_key] == []
    assert scene.copied() == before
    assert (second.moved, second.admin) == (0, first.admin)
    assert second.verification == first.verification


async def test_an_adopted_dataset_gets_the_registration_key_that_it_lacks() -> None:
    scene = await make_scene()
    await scene.copy()
    scene.server.remove(TARGET, scene.place.registration_key)

    await scene.copy()

    assert scene.server.read(TARGET, scene.place.registration_key).body == b"u/alice/"


async def test_a_source_without_readme_is_copied_without() -> None:
    scene = await make_scene(DatasetFixture(readme=None))

    await scene.copy()

    assert scene.copied() == scene.original()
    assert "README.yml" not in scene.copied()


async def test_directory_markers_are_tolerated_at_both_ends() -> None:
    scene = await make_scene()
    for bucket, layout in ((SOURCE, scene.origin), (TARGET, scene.place)):
        for name in ("data/", "tags/", "overlays/", "annotations/"):
            scene.server.write(bucket, f"{layout.root}{name}", b"")

    result = await scene.copy()

    assert result.verification.is_proven
    assert scene.is_frozen()


@MODES
async def test_a_dataset_without_items_becomes_a_frozen_one_without_items(server_side: bool) -> None:
    scene = await make_scene(DatasetFixture(items={}))

    result = await scene.copy(server_side=server_side)

    assert (result.verification.items, scene.is_frozen()) == (0, True)


@MODES
async def test_no_worker_at_all_still_proves_every_item(server_side: bool) -> None:
    scene = await make_scene()

    assert (await scene.copy(server_side=server_side, concurrency=0)).moved == len(ITEMS)


@MODES
async def test_the_longest_relpath_that_fits_its_header_is_copied(server_side: bool) -> None:
    relpath = "d/" + "x" * (MAX_RELPATH_BYTES - 2)
    scene = await make_scene(DatasetFixture(items={relpath: b"x"}))

    await scene.copy(server_side=server_side)

    assert scene.copied() == scene.original()


# --- headers -------------------------------------------------------------------------------------------


def _age(scene: CopyScene, era: str) -> None:
    """Make the source one that an earlier version wrote."""
    match era:
        case "0.3, raw handles and no checksum":
            scene.server.remove(SOURCE, scene.origin.structure_key)
            headers = {relpath: {"handle": relpath} for relpath in ITEMS if relpath.isascii()}
        case "0.13, raw handles":
            scene.server.write(SOURCE, scene.origin.structure_key, b'{"storage_broker_version": "0.13.0"}')
            headers = {
                relpath: {"handle": relpath, "checksum": md5(body)}
                for relpath, body in ITEMS.items()
                if relpath.isascii()
            }
        case _:
            headers = {relpath: {} for relpath in ITEMS}
    for relpath, metadata in headers.items():
        scene.server.write(SOURCE, scene.source_item_key(relpath), ITEMS[relpath], metadata=metadata)


@MODES
@pytest.mark.parametrize(
    "era", ["0.3, raw handles and no checksum", "0.13, raw handles", "0.14.1, headers lost by a proxy"]
)
async def test_items_get_the_headers_that_upstream_reads(era: str, server_side: bool) -> None:
    scene = await make_scene()
    _age(scene, era)

    result = await scene.copy(server_side=server_side)

    copied = scene.copied()
    for relpath, body in ITEMS.items():
        headers = item_metadata(relpath, md5(body))
        assert copied[f"data/{item_identifier(relpath)}"] == (body, headers)
    assert copied["structure.json"][0] == scene.place.structure_document()
    assert result.verification.is_proven


async def test_an_old_source_costs_one_copy_for_each_item_too() -> None:
    scene = await make_scene()
    _age(scene, "0.13, raw handles")

    await scene.copy()

    counted = Counter(r.operation for r in scene.server.requests)
    assert (counted["copy"], counted["head"]) == (len(ITEMS), len(ITEMS))


async def test_headers_of_items_that_are_there_already_are_repaired_without_a_second_copy() -> None:
    scene = await make_scene()
    scene.server.write(TARGET, scene.item_key("a.txt"), b"alpha", metadata={"handle": "a.txt"})

    result = await scene.copy()

    assert result.moved == len(ITEMS) - 1
    assert scene.copied()["data/" + item_identifier("a.txt")][1]["handle"] == encode_handle("a.txt")


@pytest.mark.parametrize(
    "stale", [b'{"storage_broker_version": "0.13.0"}', b"{}", b'{"storage_broker_version": "main-abc"}']
)
async def test_an_older_structure_document_at_the_place_is_replaced(stale: bytes) -> None:
    scene = await make_scene()
    scene.server.write(TARGET, scene.place.structure_key, stale)

    await scene.copy()

    assert scene.copied()["structure.json"][0] == scene.place.structure_document()


async def test_a_structure_document_that_another_writes_first_is_looked_at_again() -> None:
    scene = await make_scene()
    key = scene.place.structure_key
    scene.server.write(TARGET, key, b"{}")
    newer = b'{"storage_broker_version": "0.15.0"}'

    def write() -> None:
        scene.server.write(TARGET, key, newer)

    scene.server.faults.append(Fault("put", key, skip=1, hook=write))

    await scene.copy()

    assert scene.copied()["structure.json"][0] == newer


async def test_a_structure_document_that_somebody_keeps_writing_stops_the_copy() -> None:
    scene = await make_scene()
    key, numbers = scene.place.structure_key, iter(range(1000))
    scene.server.write(TARGET, key, b"{}")

    def write_again() -> None:
        scene.server.write(TARGET, key, b"%d" % next(numbers))

    scene.server.faults.append(Fault("put", key, times=None, hook=write_again))

    with pytest.raises(WrittenWhileFreezing, match="structure"):
        await scene.copy()

    assert not scene.is_frozen()


async def test_a_newer_structure_document_at_the_place_stays() -> None:
    scene = await make_scene()
    newer = b'{"storage_broker_version": "0.15.0"}'
    scene.server.write(TARGET, scene.place.structure_key, newer)

    await scene.copy()

    assert scene.copied()["structure.json"][0] == newer


# --- evidence ------------------------------------------------------------------------------------------


async def _in_parts(scene: CopyScene, bucket: str, key: str, relpath: str, size: int) -> None:
    body = ITEMS[relpath]
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    metadata = item_metadata(relpath, md5(body))
    await write_in_parts(scene.server.store(bucket), key, parts, metadata)


@pytest.mark.parametrize(
    ("copies_as_plain", "evidence"),
    [(False, _counts(etag_md5=2, same_as_source=1)), (True, _counts(etag_md5=3))],
    ids=["ETag carried over", "ETag made anew"],
)
async def test_a_multipart_item_is_proven_by_sameness_or_by_its_new_etag(
    copies_as_plain: bool, evidence: dict[Evidence, int]
) -> None:
    scene = await make_scene(server=MemoryServer(copies_as_plain=copies_as_plain))
    await _in_parts(scene, SOURCE, scene.source_item_key("a.txt"), "a.txt", 2)

    result = await scene.copy()

    assert result.verification.evidence == evidence
    assert result.verification.is_proven is copies_as_plain
    assert scene.server.read(TARGET, scene.item_key("a.txt")).body == ITEMS["a.txt"]


async def test_what_sameness_proved_is_unproven_when_it_is_adopted_later() -> None:
    scene = await make_scene()
    await _in_parts(scene, SOURCE, scene.source_item_key("a.txt"), "a.txt", 2)
    await scene.copy()

    adopted = await scene.copy()

    assert (adopted.verification.unproven, adopted.verification.evidence[Evidence.ETAG_MD5]) == (1, 2)


async def test_an_etag_as_encryption_makes_it_is_read_and_not_taken_for_damage() -> None:
    """Rule 13: an unequal ETag is a reason to read."""
    scene = await make_scene()
    scene.set_etag(SOURCE, scene.source_item_key("a.txt"), "0" * 32)

    result = await scene.copy()

    assert result.verification.evidence == _counts(etag_md5=2, read=1)
    assert result.verification.is_proven


async def test_an_item_of_the_right_size_at_the_place_is_read_and_kept_if_it_is_right() -> None:
    scene = await make_scene()
    await _in_parts(scene, TARGET, scene.item_key("a.txt"), "a.txt", 3)

    result = await scene.copy(server_side=False)

    assert result.verification.evidence == _counts(etag_md5=2, read=1)
    assert result.moved == len(ITEMS) - 1


async def test_sameness_is_no_evidence_for_what_no_server_side_copy_made() -> None:
    scene = await make_scene(DatasetFixture(items={"a.txt": b"alpha"}))
    key = scene.item_key("a.txt")
    await _in_parts(scene, SOURCE, scene.source_item_key("a.txt"), "a.txt", 2)
    scene.server.write(TARGET, key, b"alpha")

    async def replace() -> None:
        await _in_parts(scene, TARGET, key, "a.txt", 2)

    scene.server.faults.append(Fault("head", key, hook=replace))

    result = await scene.copy(server_side=False)

    assert result.verification.evidence == _counts(read=1)


@MODES
async def test_an_item_of_the_right_size_at_the_place_is_copied_again_if_it_is_wrong(
    server_side: bool,
) -> None:
    scene = await make_scene()
    scene.server.write(TARGET, scene.item_key("a.txt"), b"omega")

    result = await scene.copy(server_side=server_side)

    assert scene.copied() == scene.original()
    assert result.moved == len(ITEMS)


class _Silent:
    """A store that does not tell the ETag of what it copied, as clients on the fast path do not."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def copy(self, *arguments: Any, **options: Any) -> None:
        await self._store.copy(*arguments, **options)


async def test_a_copy_whose_etag_is_not_told_is_proven_by_the_head() -> None:
    scene = await make_scene(RICH)
    await _in_parts(scene, SOURCE, scene.source_item_key("a.txt"), "a.txt", 2)
    request = CopyRequest(RICH.uuid, RICH.prefix, "u/alice/", pause_seconds=0)

    result = await copy_dataset(scene.source, cast(Store, _Silent(scene.target)), request)

    assert (result.moved, result.verification.evidence) == (5, _counts(etag_md5=4, same_as_source=1))
    assert scene.copied() == scene.original()


@pytest.mark.parametrize("operation", ["head", "list"])
async def test_another_writer_is_noticed_where_the_etag_of_a_copy_is_not_told(operation: str) -> None:
    scene = await make_scene()
    key = scene.item_key("a.txt")

    def overwrite() -> None:
        scene.server.write(TARGET, key, b"omega", metadata=item_metadata("a.txt", md5(b"alpha")))

    is_head = operation == "head"
    fault = Fault(operation, key if is_head else "*", bucket=TARGET, skip=0 if is_head else 1)
    fault.hook = overwrite
    scene.server.faults.append(fault)
    request = CopyRequest(scene.dataset.uuid, "", "u/alice/", pause_seconds=0)

    with pytest.raises(BadDigest if is_head else WrittenWhileFreezing):
        await copy_dataset(scene.source, cast(Store, _Silent(scene.target)), request)

    assert not scene.is_frozen()


# --- whose credentials ---------------------------------------------------------------------------------


def _separated(identity: str | None, operation: str, bucket: str, key: str) -> bool:
    """Each identity may use its own bucket only."""
    return {"instrument": SOURCE, "alice": TARGET}.get(identity or "") == bucket


async def test_where_the_target_may_not_read_the_source_bytes_are_streamed_with_the_sources_keys() -> None:
    """Rule 12."""
    scene = await make_scene(server=MemoryServer(allows=_separated))

    result = await scene.copy(server_side=True)

    assert scene.copied() == scene.original()
    assert result.verification.evidence == _counts(etag_md5=3)


async def test_streaming_never_asks_the_target_to_read_the_source() -> None:
    """Rule 12."""
    scene = await make_scene()
    scene.server.write(TARGET, scene.item_key("a.txt"), b"omega")

    await scene.copy(server_side=False)

    assert [r for r in scene.server.requests if r.operation == "copy"] == []


async def test_a_server_side_copy_is_not_tried_between_two_endpoints() -> None:
    scene, elsewhere = await make_scene(), MemoryServer()
    elsewhere.create_bucket(TARGET)
    request = CopyRequest(scene.dataset.uuid, "", "u/alice/", server_side=True)

    await copy_dataset(scene.source, elsewhere.store(TARGET), request)

    assert [r for r in elsewhere.requests if r.operation == "copy"] == []
    verified = await verify_dataset(elsewhere.store(TARGET), scene.place)
    assert verified.verification.is_proven


async def test_an_object_that_the_server_will_not_copy_is_streamed() -> None:
    server = MemoryServer()
    server.max_copy_bytes = 4
    scene = await make_scene(server=server)

    await scene.copy()

    assert scene.copied() == scene.original()


# --- large items ---------------------------------------------------------------------------------------

LARGE = DatasetFixture(items={"large.bin": bytes(range(256)) * 10, "a.txt": b"alpha"})


@pytest.mark.parametrize(("chunk_bytes", "parts"), [(1000, 3), (1280, 2)])
async def test_a_large_item_is_streamed_in_parts(chunk_bytes: int, parts: int) -> None:
    scene = await make_scene(LARGE)

    result = await scene.copy(server_side=False, chunk_bytes=chunk_bytes)

    assert scene.copied() == scene.original()
    assert len([r for r in scene.server.requests if r.operation == "put_part"]) == parts
    assert result.verification.evidence == _counts(etag_md5=1, read=1)
    assert scene.unfinished_uploads() == 0


async def test_an_item_of_exactly_one_chunk_is_put_whole() -> None:
    scene = await make_scene(LARGE)

    await scene.copy(server_side=False, chunk_bytes=2560)

    assert [r for r in scene.server.requests if r.operation == "start_upload"] == []
    assert scene.copied() == scene.original()


NINE = {f"{n}.bin": bytes([n]) * 1000 for n in range(9)}


@pytest.mark.parametrize("chunk_bytes", [1000, 300], ids=["whole", "in parts"])
async def test_items_take_turns_where_memory_is_short_and_all_arrive(chunk_bytes: int) -> None:
    scene = await make_scene(DatasetFixture(items=NINE))

    result = await scene.copy(server_side=False, memory_bytes=1001, chunk_bytes=chunk_bytes)

    assert (result.moved, scene.copied()) == (9, scene.original())


async def test_no_more_bytes_of_items_are_in_memory_than_are_allowed() -> None:
    items = NINE
    scene = await make_scene(DatasetFixture(items=items))
    gate = asyncio.Event()
    scene.server.faults.append(Fault("get", f"{scene.origin.data_prefix}*", times=None, hold=gate))

    copying = asyncio.create_task(scene.copy(server_side=False, memory_bytes=7999))
    for _ in range(1000):
        await asyncio.sleep(0)
    reading = [r for r in scene.server.requests if r.key.startswith(scene.origin.data_prefix)]
    gate.set()
    await copying

    assert len(reading) == 7


# --- progress ------------------------------------------------------------------------------------------


async def test_progress_counts_up_to_everything_and_names_the_phase() -> None:
    scene = await make_scene()
    told: list[Progress] = []

    await scene.copy(on_progress=told.append)

    size = sum(len(body) for body in ITEMS.values())
    assert told[0] == Progress(Phase.COPYING, 0, 3, 0, size)
    assert [p.items for p in told] == [0, 1, 2, 3, 3, 3]
    assert [p.phase for p in told[-2:]] == [Phase.VERIFYING, Phase.FREEZING]
    assert told[-1].bytes == size
