"""Datasets of every era are listed, read, verified, copied and frozen, in as many requests as today's."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from dtool_s3.broker.old_handles import renew_old_handles
from dtool_s3.catalog import EntryState, list_datasets
from dtool_s3.documents import storage_broker_version
from dtool_s3.errors import ContentDiffers
from dtool_s3.layout import DatasetLayout, encode_handle, item_identifier, item_metadata
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.inventory import writes_base64_handles
from dtool_s3.transfer.verify import VerifyMethod, verify_dataset
from tests.support.broker import Bench
from tests.support.datasets import UUID, md5, write_in_parts
from tests.support.history import ERAS, Era, write_era

BUCKET, TARGET, PREFIX = "lab-data", "archive", "u/alice/"
every_era = pytest.mark.parametrize("name", ERAS)
#: Proto datasets whose items have no handles are nobody's any more: their names are lost.
with_handles = pytest.mark.parametrize("name", [name for name, era in ERAS.items() if era.has_item_headers])


class Scene:
    """One dataset of an era in a bucket of its own."""

    def __init__(self, name: str, directory: Path) -> None:
        self.era: Era = ERAS[name]
        self.server = MemoryServer()
        for bucket in (BUCKET, TARGET):
            self.server.create_bucket(bucket)
        self.store: MemoryStore = self.server.store(BUCKET)
        prefix = "" if self.era.is_at_top else PREFIX
        self.bench = Bench(self.store, directory, UUID, prefix)
        self.layout = DatasetLayout(prefix, UUID)

    async def write(self, *, is_frozen: bool = True) -> "Scene":
        await write_era(self.store, self.era, self.era.dataset(UUID, PREFIX, is_frozen=is_frozen))
        self.server.requests.clear()
        return self

    def counts(self) -> Counter[str]:
        counted = Counter(request.operation for request in self.server.requests)
        self.server.requests.clear()
        return counted

    def expected_items(self) -> dict[str, tuple[str, int, str]]:
        return {item_identifier(r): (r, len(b), md5(b)) for r, b in self.era.items.items()}


def content(manifest: dict[str, dict[str, dict[str, object]]]) -> dict[str, tuple[object, ...]]:
    return {i: (v["relpath"], v["size_in_bytes"], v["hash"]) for i, v in manifest["items"].items()}


@every_era
async def test_it_is_listed(name: str, tmp_path: Path) -> None:
    scene = await Scene(name, tmp_path).write()

    catalog = await list_datasets(scene.store, prefixes=["", PREFIX])

    (entry,) = catalog.all_entries
    assert (entry.state, entry.name, entry.prefix) == (EntryState.FROZEN, "sample", scene.layout.prefix)
    assert entry.creator_username == scene.era.creator_username
    assert scene.counts() == {"list": 3, "get": 1}


@every_era
async def test_its_items_are_read_through_dtoolcore(name: str, tmp_path: Path) -> None:
    scene = await Scene(name, tmp_path).write()

    def read() -> None:
        dataset = scene.bench.frozen()
        assert dataset.name == "sample"
        assert dataset._admin_metadata["creator_username"] == scene.era.creator_username
        scene.server.requests.clear()
        assert content(dataset.generate_manifest()) == scene.expected_items()
        assert scene.counts()["head"] == 0
        bodies = {i: Path(dataset.item_content_abspath(i)).read_bytes() for i in dataset.identifiers}
        assert bodies == {item_identifier(r): body for r, body in scene.era.items.items()}
        assert sorted(dataset.list_tags()) == sorted([scene.era.names, "2026"])
        assert list(dataset.list_overlay_names()) == [scene.era.names]
        assert dataset.get_annotation(scene.era.names) == {"by": "hand"}

    await asyncio.to_thread(read)


@every_era
async def test_opening_it_and_looking_at_all_items_takes_no_request_per_item(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene(name, tmp_path).write()

    def look() -> None:
        broker = scene.bench.broker()
        assert broker.get_admin_metadata()["type"] == "dataset"
        handles = list(broker.iter_item_handles())
        assert {broker.get_relpath(handle) for handle in handles} == set(scene.era.items)
        assert sum(broker.get_size_in_bytes(handle) for handle in handles) == sum(
            len(body) for body in scene.era.items.values()
        )

    await asyncio.to_thread(look)

    counted = scene.counts()
    assert counted["head"] == 0
    assert counted["list"] == 1
    assert counted["get"] <= 4
    assert set(counted) <= {"get", "list"}


@every_era
@pytest.mark.parametrize("method", VerifyMethod)
async def test_it_verifies(name: str, method: VerifyMethod, tmp_path: Path) -> None:
    scene = await Scene(name, tmp_path).write()

    found = await verify_dataset(scene.store, scene.layout, method=method)

    assert found.verification.is_proven
    assert found.verification.items == len(scene.era.items)
    if method is VerifyMethod.LISTING:
        assert scene.counts() == {"get": 2, "list": 1}


@every_era
async def test_its_copy_is_what_is_written_today(name: str, tmp_path: Path) -> None:
    scene = await Scene(name, tmp_path).write()

    await copy_dataset(
        scene.store, scene.server.store(TARGET), CopyRequest(UUID, scene.layout.prefix, "u/bob/")
    )

    # old headers are replaced by the copy itself; lost ones are only seen on the copy
    items = len(scene.era.items)
    assert scene.counts()["copy"] == (items if scene.era.has_item_headers else 2 * items)
    place = DatasetLayout("u/bob/", UUID)
    assert scene.server.read(TARGET, place.structure_key).body == place.structure_document()
    admin = scene.server.read(TARGET, place.admin_metadata_key).info.metadata
    assert (admin["name"], admin["type"], admin["uuid"]) == ("sample", "dataset", UUID)
    for relpath, body in scene.era.items.items():
        stored = scene.server.read(TARGET, place.item_key(item_identifier(relpath)))
        assert stored.body == body
        assert dict(stored.info.metadata) == item_metadata(relpath, md5(body))
    foreign = {f"{place.root}{name}" for name in scene.era.foreign}
    assert not foreign & set(scene.server.keys(TARGET))


@with_handles
async def test_a_proto_dataset_is_read_with_one_head_per_item_and_can_be_frozen(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene(name, tmp_path).write(is_frozen=False)

    def look() -> None:
        broker = scene.bench.broker()
        handles = list(broker.iter_item_handles())
        assert {broker.get_hash(handle) for handle in handles} == {md5(b) for b in scene.era.items.values()}

    await asyncio.to_thread(look)
    counted = scene.counts()

    assert counted["head"] <= len(scene.era.items)
    assert counted["list"] == 1
    await asyncio.to_thread(lambda: scene.bench.proto().freeze())
    assert (await verify_dataset(scene.store, scene.layout)).verification.is_proven


async def test_a_dataset_of_0_4_0_with_an_item_in_parts_is_read_verified_by_listing_and_copied(
    tmp_path: Path,
) -> None:
    scene = await Scene("0.4.0", tmp_path).write()
    key = scene.layout.item_key(item_identifier("a.txt"))
    await write_in_parts(scene.store, key, [b"al", b"pha"], {"handle": "a.txt"})
    etag = scene.server.read(BUCKET, key).info.etag
    stored = scene.server.read(BUCKET, scene.layout.manifest_key).body
    scene.server.write(
        BUCKET, scene.layout.manifest_key, stored.replace(md5(b"alpha").encode(), etag.encode())
    )

    await copy_dataset(scene.store, scene.server.store(TARGET), CopyRequest(UUID, "", PREFIX))

    assert scene.bench.broker().get_manifest()["items"][item_identifier("a.txt")]["hash"] == etag
    for store, prefix in ((scene.store, ""), (scene.server.store(TARGET), PREFIX)):
        found = await verify_dataset(store, DatasetLayout(prefix, UUID))
        assert found.verification.is_proven
    copy = scene.server.read(TARGET, DatasetLayout(PREFIX, UUID).item_key(item_identifier("a.txt")))
    assert (copy.body, copy.info.metadata["checksum"]) == (b"alpha", etag)


@with_handles
async def test_items_added_to_an_old_proto_dataset_are_read_by_upstream_together_with_the_others(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene(name, tmp_path).write(is_frozen=False)

    def add_and_freeze() -> None:
        proto = scene.bench.proto()
        proto.put_item(str(scene.bench.file(b"new")), "new.txt")
        proto.freeze()

    await asyncio.to_thread(add_and_freeze)

    relpaths = [*scene.era.items, "new.txt"]
    structure = scene.server.read(BUCKET, scene.layout.structure_key).body
    assert writes_base64_handles(storage_broker_version(structure))
    for relpath in relpaths:
        headers = scene.server.read(BUCKET, scene.layout.item_key(item_identifier(relpath))).info.metadata
        assert headers["handle"] == encode_handle(relpath)
        assert headers.get("checksum", "") == (
            ""
            if not scene.era.has_checksums and relpath != "new.txt"
            else md5({**scene.era.items, "new.txt": b"new"}[relpath])
        )
    assert (await verify_dataset(scene.store, scene.layout)).verification.items == len(relpaths)


async def test_what_is_frozen_meanwhile_keeps_its_old_headers(tmp_path: Path) -> None:
    scene = await Scene("0.14.0.dev1", tmp_path).write()

    objects = (await scene.store.list(scene.layout.root)).objects

    assert not await renew_old_handles(scene.store, scene.layout, objects)
    assert set(scene.counts()) == {"list", "head", "get"}


@with_handles
async def test_an_old_proto_dataset_of_one_kind_is_frozen_as_it_is_or_as_upstream_reads_it(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene(name, tmp_path).write(is_frozen=False)

    await asyncio.to_thread(lambda: scene.bench.proto().freeze())

    copies = scene.counts()["copy"]
    key = scene.layout.structure_key
    structure = scene.server.read(BUCKET, key).body if key in scene.server.keys(BUCKET) else None
    assert writes_base64_handles(storage_broker_version(structure)) is scene.era.has_base64_handles
    assert copies == 0


async def test_a_proto_dataset_whose_items_lost_their_names_is_not_frozen(tmp_path: Path) -> None:
    scene = await Scene("headers of items lost", tmp_path).write(is_frozen=False)

    with pytest.raises(ContentDiffers, match="no handle"):
        await asyncio.to_thread(lambda: scene.bench.proto().freeze())

    assert (await list_datasets(scene.store)).entries[UUID].state is EntryState.PROTO
