"""Copies between buckets of a real S3 server, by identities with no more than dtool's policies allow."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dtool_s3.catalog import EntryState, list_datasets
from dtool_s3.errors import AccessDenied, SourceDamaged, UUIDTaken, WrittenWhileFreezing
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.faults import Request
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Progress, ProgressSink, no_progress
from dtool_s3.transfer.verify import VerifyMethod, verify_dataset
from sandbox.identity import Identity, create_identity
from sandbox.seaweedfs import REGION, ObjectStore
from tests.support.datasets import DatasetFixture, md5, write_dataset, write_in_parts

SOURCE, TARGET = "transfer-source", "transfer-target"
PREFIX = "u/alice/"
MIB = 1024 * 1024
MODES = pytest.mark.parametrize("server_side", [True, False], ids=["server-side", "streamed"])

#: Reads the source only; writes below one prefix of the target only, without reading the source; both.
READER = create_identity("transfer-reader", f"Read:{SOURCE}", f"List:{SOURCE}")
OWN = (
    f"Read:{TARGET}",
    f"List:{TARGET}",
    f"Write:{TARGET}/{PREFIX}*",
    f"Write:{TARGET}/dtool-*",
)
WRITER = create_identity("transfer-writer", *OWN)
COPIER = create_identity("transfer-copier", *OWN, f"Read:{SOURCE}", f"List:{SOURCE}")


@pytest.fixture(scope="module")
def server(object_store: ObjectStore) -> Iterator[ObjectStore]:
    """The S3 server with two buckets and three identities of these tests."""
    before = object_store.identities
    for bucket in (SOURCE, TARGET):
        object_store.create_bucket(bucket)
    object_store.replace_identities([*before, READER, WRITER, COPIER])
    yield object_store
    object_store.replace_identities(before)


@dataclass(slots=True)
class Scene:
    """One dataset in the source bucket under a UUID of its own, and stores to copy it with.

    `requests` are those of all stores but the administrator's.
    """

    dataset: DatasetFixture
    admin_source: S3Store
    admin_target: S3Store
    reader: S3Store
    writer: S3Store
    copier: S3Store
    requests: list[Request]
    watchers: list[Callable[[Request], None]]

    @property
    def place(self) -> DatasetLayout:
        return DatasetLayout(PREFIX, self.dataset.uuid)

    def item_key(self, relpath: str) -> str:
        return self.place.item_key(item_identifier(relpath))

    def source_item_key(self, relpath: str) -> str:
        return self.dataset.layout.item_key(item_identifier(relpath))

    async def copy(
        self, *, server_side: bool, on_progress: ProgressSink = no_progress, **changes: Any
    ) -> CopyResult:
        """Copy with the identity that the mode allows: one for both ends, or one for each."""
        request = CopyRequest(self.dataset.uuid, self.dataset.prefix, PREFIX, server_side=server_side)
        target = self.copier if server_side else self.writer
        return await copy_dataset(self.reader, target, replace(request, **changes), on_progress=on_progress)

    async def is_frozen(self) -> bool:
        listed = (await self.admin_target.list(self.place.admin_metadata_key)).objects
        if not listed:
            return False
        return (await self.admin_target.head(listed[0].key)).metadata["type"] == "dataset"

    async def items(self, store: S3Store, layout: DatasetLayout) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Body and headers of all items by identifier."""
        found = {}
        for listed in (await store.list(layout.data_prefix)).objects:
            stored = await store.get(listed.key, max_bytes=listed.size_bytes)
            found[listed.key.removeprefix(layout.data_prefix)] = (stored.body, dict(stored.info.metadata))
        return found

    def expected_items(self) -> dict[str, tuple[bytes, dict[str, str]]]:
        """What upstream would read: body and headers of all items by identifier."""
        return {
            item_identifier(relpath): (body, item_metadata(relpath, md5(body)))
            for relpath, body in self.dataset.items.items()
        }

    def sent(self, operation: str) -> asyncio.Event:
        """An event that is set when such a request is sent."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def watch(request: Request) -> None:
            if request.operation == operation:
                loop.call_soon_threadsafe(event.set)

        self.watchers.append(watch)
        return event

    def count(self, operation: str) -> int:
        return Counter(r.operation for r in self.requests)[operation]


MakeScene = Callable[[DatasetFixture], Any]


@pytest.fixture
async def make_scene(server: ObjectStore) -> AsyncIterator[MakeScene]:
    """A function that writes a dataset under a new UUID and opens the stores."""
    stores: list[S3Store] = []
    requests: list[Request] = []
    watchers: list[Callable[[Request], None]] = []

    def note(request: Request) -> None:
        requests.append(request)
        for watch in watchers:
            watch(request)

    def open_store(identity: Identity, bucket: str) -> S3Store:
        keys = Credentials(identity.access_key, Secret(identity.secret_key))
        endpoint = Endpoint(server.endpoint, REGION)
        log = None if identity.name == "admin" else note
        stores.append(S3Store(endpoint, bucket, lambda: keys, on_request=log))
        return stores[-1]

    async def make(dataset: DatasetFixture) -> Scene:
        admin = server.identity("admin")
        scene = Scene(
            replace(dataset, uuid=str(uuid.uuid4())),
            open_store(admin, SOURCE),
            open_store(admin, TARGET),
            open_store(READER, SOURCE),
            open_store(WRITER, TARGET),
            open_store(COPIER, TARGET),
            requests,
            watchers,
        )
        await write_dataset(scene.admin_source, scene.dataset)
        return scene

    yield make
    for store in stores:
        await asyncio.to_thread(store.close)


SMALL = DatasetFixture(
    items={"a.txt": b"alpha", "sub dir/ünï+%41.csv": b"1,2\n", "empty": b""},
    overlays={"length": {item_identifier("a.txt"): 5}},
    annotations={"project": "atlas", "v1.2": [1, 2]},
    tags=("blue", "2026"),
)
MANY = DatasetFixture(items={f"run/{n:03}.txt": f"item {n}\n".encode() for n in range(300)})


@MODES
async def test_a_dataset_of_300_items_arrives_complete_proven_and_frozen(
    make_scene: MakeScene, server_side: bool
) -> None:
    scene = await make_scene(MANY)

    result = await scene.copy(server_side=server_side)

    assert result.verification.evidence == {
        Evidence.ETAG_MD5: 300, Evidence.READ: 0, Evidence.SAME_AS_SOURCE: 0,
    }  # fmt: skip
    assert (result.moved, await scene.is_frozen()) == (300, True)
    assert scene.count("copy") == (300 if server_side else 0)
    assert scene.count("head") == 300
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()


@MODES
async def test_documents_and_odd_names_arrive_and_the_second_run_adopts_them(
    make_scene: MakeScene, server_side: bool
) -> None:
    scene = await make_scene(SMALL)

    await scene.copy(server_side=server_side)
    scene.requests.clear()
    again = await scene.copy(server_side=server_side)

    assert (again.moved, again.verification.is_proven) == (0, True)
    assert {r.operation for r in scene.requests} <= {"get", "list", "put"}
    assert [r.key for r in scene.requests if r.operation == "put"] == [scene.place.registration_key]
    source = await scene.admin_source.list(scene.dataset.layout.root)
    target = await scene.admin_target.list(scene.place.root)
    assert [(o.key.removeprefix(scene.place.root), o.etag) for o in target.objects] == [
        (o.key.removeprefix(scene.dataset.layout.root), o.etag) for o in source.objects
    ]
    registered = await scene.admin_target.get(scene.place.registration_key, max_bytes=100)
    assert registered.body == PREFIX.encode()


async def test_where_the_target_may_not_read_the_source_each_end_uses_its_own_keys(
    make_scene: MakeScene,
) -> None:
    scene = await make_scene(SMALL)
    request = CopyRequest(scene.dataset.uuid, "", PREFIX, server_side=True)

    result = await copy_dataset(scene.reader, scene.writer, request)

    assert result.verification.evidence[Evidence.ETAG_MD5] == 3
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()


async def test_a_prefix_that_the_keys_may_not_write_is_denied_and_left_empty(make_scene: MakeScene) -> None:
    scene = await make_scene(SMALL)

    with pytest.raises(AccessDenied):
        await scene.copy(server_side=True, target_prefix="u/bob/")

    assert (await scene.admin_target.list(f"u/bob/{scene.dataset.uuid}")).objects == ()


@MODES
async def test_a_cancelled_copy_resumes_where_it_was(make_scene: MakeScene, server_side: bool) -> None:
    """Rule 15: one listing, then only what is missing."""
    scene = await make_scene(MANY)
    halfway = asyncio.Event()

    def watch(progress: Progress) -> None:
        if progress.items >= 100:
            halfway.set()

    copying = asyncio.create_task(scene.copy(server_side=server_side, on_progress=watch, concurrency=8))
    await halfway.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    there = len((await scene.admin_target.list(scene.place.data_prefix)).objects)
    assert 100 <= there < 300
    assert not await scene.is_frozen()
    scene.requests.clear()

    result = await scene.copy(server_side=server_side)

    moves = [r for r in scene.requests if r.operation in {"copy", "put"} and "/data/" in r.key]
    # a request that was under way when the copy was cancelled may have arrived after the listing
    assert 300 - there - 8 <= result.moved <= 300 - there
    assert len(moves) == result.moved
    assert (result.verification.evidence[Evidence.ETAG_MD5], await scene.is_frozen()) == (300, True)
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()


@MODES
@pytest.mark.parametrize("era", ["headers lost", "0.13 with raw handles"])
async def test_wrong_headers_are_replaced_on_the_server(
    make_scene: MakeScene, server_side: bool, era: str
) -> None:
    scene = await make_scene(SMALL)
    store, layout = scene.admin_source, scene.dataset.layout
    for relpath, body in scene.dataset.items.items():
        raw = {"handle": relpath} if relpath.isascii() and era != "headers lost" else {}
        await store.put(scene.source_item_key(relpath), body, metadata=raw)
    if era != "headers lost":
        await store.put(layout.structure_key, b'{"storage_broker_version": "0.13.0"}')

    result = await scene.copy(server_side=server_side)

    assert result.verification.is_proven
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()
    structure = await scene.admin_target.get(scene.place.structure_key, max_bytes=10_000)
    assert structure.body == scene.place.structure_document()


CHUNKS = PartLimits(chunk_bytes=5 * MIB)
#: As if 5 MiB were the most that one request copies.
SPLIT = PartLimits(single_copy_bytes=5 * MIB, copy_part_bytes=5 * MIB)
LARGE = DatasetFixture(items={"large.bin": bytes(range(256)) * (12 * 4096), "a.txt": b"alpha"})


async def _write_source_in_parts(scene: Scene) -> None:
    body = LARGE.items["large.bin"]
    parts = [body[: 5 * MIB], body[5 * MIB : 10 * MIB], body[10 * MIB :]]
    key = scene.source_item_key("large.bin")
    await write_in_parts(scene.admin_source, key, parts, item_metadata("large.bin", md5(body)))


@MODES
async def test_a_large_multipart_item_is_moved_and_its_evidence_told(
    make_scene: MakeScene, server_side: bool
) -> None:
    scene = await make_scene(LARGE)
    await _write_source_in_parts(scene)

    result = await scene.copy(server_side=server_side, limits=CHUNKS)

    told = {kind: count for kind, count in result.verification.evidence.items() if count}
    moved = Evidence.SAME_AS_SOURCE if server_side else Evidence.READ
    assert told == {Evidence.ETAG_MD5: 1, moved: 1}
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()
    assert scene.count("put_part") == (0 if server_side else 3)
    verified = await verify_dataset(scene.copier, scene.place)
    assert (verified.verification.unproven, verified.verification.mismatch_count) == (1, 0)


async def test_a_multipart_item_with_lost_headers_keeps_its_evidence_over_the_repair(
    make_scene: MakeScene,
) -> None:
    scene = await make_scene(LARGE)
    body = LARGE.items["large.bin"]
    key = scene.source_item_key("large.bin")
    await write_in_parts(scene.admin_source, key, [body[: 6 * MIB], body[6 * MIB :]], {})

    result = await scene.copy(server_side=True)

    assert result.verification.evidence[Evidence.ETAG_MD5] >= 1
    assert sum(result.verification.evidence.values()) == 2
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()


async def test_an_item_is_copied_in_the_sources_parts_and_proven(make_scene: MakeScene) -> None:
    scene = await make_scene(LARGE)
    await _write_source_in_parts(scene)

    result = await scene.copy(server_side=True, limits=SPLIT)

    assert (scene.count("copy_part"), scene.count("put_part")) == (3, 0)
    assert await scene.admin_target.part_sizes(scene.item_key("large.bin")) == (5 * MIB, 5 * MIB, 2 * MIB)
    source = await scene.admin_source.head(scene.source_item_key("large.bin"))
    target = await scene.admin_target.head(scene.item_key("large.bin"))
    # equal parts of equal bytes have an equal ETag by the S3 reference; SeaweedFS gives copied parts others
    is_same = target.etag == source.etag
    assert result.verification.evidence[Evidence.SAME_AS_SOURCE if is_same else Evidence.READ] == 1
    assert scene.count("get_range") == (0 if is_same else 1)
    assert target.metadata == source.metadata
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()
    assert await scene.admin_target.list_uploads(scene.place.root) == ()


async def test_an_item_that_was_put_whole_is_copied_in_equal_parts_and_read(make_scene: MakeScene) -> None:
    scene = await make_scene(LARGE)

    result = await scene.copy(server_side=True, limits=SPLIT)

    assert (scene.count("copy_part"), result.verification.evidence[Evidence.READ]) == (3, 1)
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()


async def test_a_copy_in_parts_that_is_cancelled_leaves_no_upload(make_scene: MakeScene) -> None:
    scene = await make_scene(LARGE)
    part_is_under_way = scene.sent("copy_part")

    copying = asyncio.create_task(scene.copy(server_side=True, limits=SPLIT))
    await part_is_under_way.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying

    assert await scene.admin_target.list_uploads(scene.place.root) == ()
    assert not await scene.is_frozen()


async def test_reading_every_byte_finds_a_corruption_of_the_same_size(make_scene: MakeScene) -> None:
    scene = await make_scene(LARGE)
    await scene.copy(server_side=True)
    whole = await verify_dataset(scene.copier, scene.place, method=VerifyMethod.CONTENT)
    body = LARGE.items["large.bin"]
    await scene.admin_target.put(scene.item_key("large.bin"), body[:-1] + b"!")

    found = await verify_dataset(scene.copier, scene.place, method=VerifyMethod.CONTENT)

    assert (whole.verification.is_proven, whole.verification.evidence[Evidence.READ]) == (True, 2)
    assert [(m.relpath, m.expected) for m in found.verification.mismatches] == [("large.bin", md5(body))]
    assert found.verification.evidence[Evidence.READ] == 1


async def test_no_upload_stays_behind_a_cancelled_or_damaged_large_item(make_scene: MakeScene) -> None:
    scene = await make_scene(LARGE)
    await _write_source_in_parts(scene)

    part_is_under_way = scene.sent("put_part")

    copying = asyncio.create_task(scene.copy(server_side=False, limits=CHUNKS))
    await part_is_under_way.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert await scene.admin_target.list_uploads(scene.place.root) == ()

    body = LARGE.items["large.bin"]
    await scene.admin_source.put(scene.source_item_key("large.bin"), body[:-1] + b"!")
    with pytest.raises(SourceDamaged, match=r"'large\.bin'"):
        await scene.copy(server_side=False, limits=CHUNKS)

    assert await scene.admin_target.list_uploads(scene.place.root) == ()
    assert not await scene.is_frozen()


async def test_an_upload_of_a_killed_run_is_removed_by_the_next(make_scene: MakeScene) -> None:
    scene = await make_scene(SMALL)
    await scene.writer.start_upload(scene.item_key("a.txt"), {})

    await scene.copy(server_side=False)

    assert await scene.admin_target.list_uploads(scene.place.root) == ()


@MODES
async def test_an_item_with_other_bytes_than_its_manifest_says_is_named(
    make_scene: MakeScene, server_side: bool
) -> None:
    scene = await make_scene(replace(SMALL, stored={"a.txt": b"omega"}))

    with pytest.raises(SourceDamaged, match=r"'a\.txt'"):
        await scene.copy(server_side=server_side)

    assert not await scene.is_frozen()


async def test_a_registration_key_of_another_prefix_stops_the_copy(make_scene: MakeScene) -> None:
    """Rule 6."""
    scene = await make_scene(SMALL)
    await scene.admin_target.put(scene.place.registration_key, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await scene.copy(server_side=True)

    assert (await scene.admin_target.list(scene.place.root)).objects == ()


@MODES
async def test_two_copies_at_once_end_in_one_frozen_dataset(make_scene: MakeScene, server_side: bool) -> None:
    scene = await make_scene(SMALL)

    outcomes = await asyncio.gather(
        *(scene.copy(server_side=server_side) for _ in range(2)), return_exceptions=True
    )

    assert all(isinstance(o, CopyResult | WrittenWhileFreezing) for o in outcomes)
    await scene.copy(server_side=server_side)
    assert await scene.items(scene.admin_target, scene.place) == scene.expected_items()
    assert await scene.is_frozen()


async def test_the_catalog_tells_what_the_bucket_holds(make_scene: MakeScene) -> None:
    scene, broken = await make_scene(SMALL), await make_scene(SMALL)
    await scene.copy(server_side=True)
    await broken.admin_target.put(broken.place.registration_key, PREFIX.encode())
    scene.requests.clear()

    catalog = await list_datasets(scene.copier, prefixes=[PREFIX])

    assert catalog.entries[scene.dataset.uuid].state is EntryState.FROZEN
    assert catalog.entries[scene.dataset.uuid].prefix == PREFIX
    assert catalog.entries[broken.dataset.uuid].state is EntryState.DANGLING
    assert scene.count("list") == 2
