"""Plain objects become the items of a new dataset, on the server, complete or not at all."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dtool_s3.documents import parse_manifest
from dtool_s3.errors import (
    BucketUnreachable,
    ContentDiffers,
    DtoolS3Error,
    ItemArchived,
    QuotaExceeded,
    SettingsError,
    SourceDamaged,
    SourceNotFound,
    UnsafePath,
    UUIDTaken,
)
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.transfer.verify import verify_dataset
from tests.support.datasets import UUID, md5, write_in_parts

SOURCE, TARGET, PREFIX = "instrument-data", "lab-data", "u/alice/"
OBJECTS: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "sub/b c+%.csv": b"1,2\n",
    "\u00fc/empty": b"",
    "z": b"z" * 999,
}
REQUEST = IngestRequest(
    UUID, "run-17/", PREFIX, "run-17", "olssont", readme="description: run 17\n", pause_seconds=0
)
WRITES = {"put", "copy", "copy_part", "put_part", "start_upload", "complete_upload", "delete", "delete_many"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Plain objects in one bucket and a place for the dataset in another."""

    server: MemoryServer
    source: MemoryStore
    target: MemoryStore

    async def ingest(self, **changes: Any) -> CopyResult:
        return await ingest_objects(self.source, self.target, replace(REQUEST, **changes), clock=lambda: 2e9)

    def set_etag(self, key: str, etag: str) -> None:
        """Give an object of the source an ETag that is no MD5, as encryption does."""
        held = self.server.find_bucket(SOURCE).objects
        held[key] = replace(held[key], etag=etag)

    def items(self) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Body and headers by identifier."""
        found = {}
        for key in self.server.keys(TARGET):
            if key.startswith(REQUEST.layout.data_prefix):
                stored = self.server.read(TARGET, key)
                found[key.removeprefix(REQUEST.layout.data_prefix)] = (
                    stored.body,
                    dict(stored.info.metadata),
                )
        return found

    def admin(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            self.server.read(TARGET, REQUEST.layout.admin_metadata_key).body
        )
        return document

    def writes(self) -> list[Request]:
        return [request for request in self.server.requests if request.operation in WRITES]

    def counts(self, bucket: str) -> Counter[str]:
        return Counter(request.operation for request in self.server.requests if request.bucket == bucket)


def make_scene(objects: Mapping[str, bytes] = OBJECTS, **server: Any) -> Scene:
    memory = MemoryServer(**server)
    memory.create_bucket(SOURCE)
    memory.create_bucket(TARGET)
    for relpath, body in objects.items():
        memory.write(SOURCE, f"run-17/{relpath}", body, metadata={"project": "atlas"})
    memory.write(SOURCE, "run-170/other", b"x")
    return Scene(memory, memory.store(SOURCE), memory.store(TARGET))


def expected(objects: Mapping[str, bytes] = OBJECTS) -> dict[str, tuple[bytes, dict[str, str]]]:
    return {item_identifier(r): (body, item_metadata(r, md5(body))) for r, body in objects.items()}


async def test_objects_under_a_prefix_become_a_frozen_dataset() -> None:
    scene = make_scene()

    result = await scene.ingest()

    assert scene.items() == expected()
    manifest = parse_manifest(scene.server.read(TARGET, REQUEST.layout.manifest_key).body)
    assert {i.relpath: (i.hash, i.size_bytes) for i in manifest.items.values()} == {
        relpath: (md5(body), len(body)) for relpath, body in OBJECTS.items()
    }
    for identifier, item in manifest.items.items():
        stored = scene.server.read(TARGET, REQUEST.layout.item_key(identifier)).info
        assert item.utc_timestamp == int(stored.last_modified.timestamp())
    assert scene.server.read(TARGET, REQUEST.layout.readme_key).body == b"description: run 17\n"
    assert scene.server.read(TARGET, REQUEST.layout.registration_key).body == PREFIX.encode()
    admin = scene.admin()
    assert (admin["name"], admin["type"], admin["creator_username"]) == ("run-17", "dataset", "olssont")
    assert (admin["created_at"], admin["frozen_at"]) == (2e9, 2e9)
    assert result.moved == result.verification.items == 4
    assert result.verification.evidence[Evidence.ETAG_MD5] == 4
    assert (await verify_dataset(scene.target, REQUEST.layout)).verification.is_proven
    assert len(scene.server.keys(SOURCE)) == 5


async def test_one_object_is_read_and_all_others_are_copied_on_the_server() -> None:
    objects = {f"{number}.bin": b"x" * (number + 1) for number in range(50)}
    scene = make_scene(objects)

    await scene.ingest()

    assert scene.counts(SOURCE) == {"list": 2, "get_range": 1}
    counted = scene.counts(TARGET)
    assert (counted["copy"], counted["head"]) == (50, 50)
    assert counted["list"] <= 6
    assert set(counted) <= {"copy", "head", "list", "put", "get", "list_uploads"}
    assert counted["put"] + counted["get"] <= 14


async def test_a_whole_bucket_can_be_ingested() -> None:
    scene = make_scene({})

    await scene.ingest(source_prefix="")

    assert set(scene.items()) == {item_identifier("run-170/other")}


async def test_progress_ends_at_all_items() -> None:
    scene = make_scene()
    seen: list[Progress] = []

    await ingest_objects(scene.source, scene.target, REQUEST, on_progress=seen.append)

    size = sum(len(body) for body in OBJECTS.values())
    assert seen[-1] == Progress(Phase.FREEZING, 4, 4, size, size)


# --- what is refused before anything is written ---------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        (["run-17/"], UnsafePath, "'run-17/'"),
        (["run-17/sub/"], UnsafePath, "'run-17/sub/'"),
        (["run-17/../x"], UnsafePath, "leaves"),
        (["run-17//x"], UnsafePath, "absolute"),
        (["run-17/a/\x00"], UnsafePath, "NUL"),
        (["run-17/a/./b"], UnsafePath, "'a/./b'"),
        (["run-17/a//b"], UnsafePath, "'a//b'"),
        (["run-17/a.txt/b"], UnsafePath, "'a.txt/b' (lies below 'a.txt', which is a file)"),
        (["run-17/" + "x" * 300], UnsafePath, "255 bytes"),
    ],
)
async def test_keys_that_cannot_be_items_are_named_before_anything_is_written(
    keys: list[str], error: type[DtoolS3Error], said: str
) -> None:
    scene = make_scene()
    for key in keys:
        scene.server.write(SOURCE, key, b"")

    with pytest.raises(error) as refused:
        await scene.ingest()

    assert said in str(refused.value)
    assert not scene.writes()


async def test_directory_markers_are_left_out_where_that_is_asked_for() -> None:
    scene = make_scene()
    for key in ("run-17/", "run-17/sub/"):
        scene.server.write(SOURCE, key, b"")

    await scene.ingest(skips_markers=True)

    assert scene.items() == expected()


async def test_an_object_with_bytes_whose_key_ends_in_a_slash_is_never_left_out() -> None:
    scene = make_scene()
    scene.server.write(SOURCE, "run-17/sub/", b"bytes")

    with pytest.raises(UnsafePath, match="sub/"):
        await scene.ingest(skips_markers=True)


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
async def test_archived_objects_are_named(storage_class: str) -> None:
    scene = make_scene()
    scene.server.write(SOURCE, "run-17/cold", b"x", storage_class=storage_class)

    with pytest.raises(ItemArchived, match="run-17/cold"):
        await scene.ingest()

    assert not scene.writes()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"source_prefix": "run-18/"}, SourceNotFound),
        ({"source_prefix": "run-17"}, SettingsError),
        ({"name": ""}, SettingsError),
        ({"name": "no/name"}, SettingsError),
        ({"name": "x" * 81}, SettingsError),
    ],
    ids=str,
)
async def test_a_request_that_makes_no_dataset_is_refused(
    changes: dict[str, str], error: type[DtoolS3Error]
) -> None:
    scene = make_scene()

    with pytest.raises(error):
        await scene.ingest(**changes)

    assert not scene.writes()


@pytest.mark.parametrize("source_prefix", ["", "u/", f"{PREFIX}{UUID}/", f"{PREFIX}{UUID}/data/"])
async def test_a_dataset_cannot_be_made_of_what_it_lies_among(source_prefix: str) -> None:
    scene = make_scene()

    with pytest.raises(SettingsError, match="among"):
        await ingest_objects(scene.target, scene.target, replace(REQUEST, source_prefix=source_prefix))

    assert not scene.server.requests


async def test_objects_of_the_same_bucket_beside_it_can_be_ingested() -> None:
    scene = make_scene()

    await ingest_objects(scene.source, scene.source, REQUEST)

    assert (await verify_dataset(scene.source, REQUEST.layout)).verification.items == 4


async def test_a_uuid_that_another_prefix_has_is_refused() -> None:
    scene = make_scene()
    scene.server.write(TARGET, f"dtool-{UUID}", b"u/bob/")

    with pytest.raises(UUIDTaken):
        await scene.ingest()

    assert scene.server.keys(TARGET) == [f"dtool-{UUID}"]


@pytest.mark.parametrize("changes", [{"name": "other"}, {"source_prefix": "run-170/"}], ids=str)
async def test_another_proto_dataset_at_the_place_is_left_alone(changes: dict[str, str]) -> None:
    scene = make_scene()
    scene.server.faults.append(
        Fault("put", "*/manifest.json", error=BucketUnreachable("no answer"), times=None)
    )
    with pytest.raises(BucketUnreachable):
        await scene.ingest()
    scene.server.faults.clear()
    before = scene.items()

    with pytest.raises(ContentDiffers):
        await scene.ingest(**changes)

    assert scene.items() == before


# --- what MD5s rest on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("copies_as_plain", [False, True])
async def test_objects_in_parts_are_read_once(copies_as_plain: bool) -> None:
    scene = make_scene(copies_as_plain=copies_as_plain)
    await write_in_parts(scene.source, "run-17/large", [b"x" * 50, b"y"], {})
    scene.server.requests.clear()

    result = await scene.ingest()

    assert scene.items() == expected({**OBJECTS, "large": b"x" * 50 + b"y"})
    reads = Counter(r.key for r in scene.server.requests if r.operation == "get_range")
    assert reads == {"run-17/large": 1, "run-17/sub/b c+%.csv": 1}
    expected_kind = Evidence.ETAG_MD5 if copies_as_plain else Evidence.SAME_AS_SOURCE
    assert result.verification.evidence[expected_kind] >= 1
    assert scene.admin()["type"] == "dataset"


@pytest.mark.parametrize("copies_as_plain", [False, True])
async def test_etags_that_are_no_md5s_are_never_taken_for_some(copies_as_plain: bool) -> None:
    scene = make_scene(copies_as_plain=copies_as_plain)
    for number, relpath in enumerate(OBJECTS):
        scene.set_etag(f"run-17/{relpath}", f"{number:032x}")

    await scene.ingest()

    assert scene.items() == expected()


async def test_one_encrypted_object_among_others_gets_the_md5_of_its_bytes() -> None:
    scene = make_scene(copies_as_plain=True)
    scene.set_etag("run-17/z", "0" * 32)

    result = await scene.ingest()

    assert scene.items() == expected()
    assert result.verification.evidence[Evidence.ETAG_MD5] == 4


async def test_objects_above_the_size_of_one_copy_are_copied_in_parts() -> None:
    limits = PartLimits(single_copy_bytes=600, copy_part_bytes=300, chunk_bytes=300, min_part_bytes=1)
    scene = make_scene()

    await scene.ingest(limits=limits)

    assert scene.items() == expected()
    assert scene.counts(TARGET)["copy_part"] == 4
    assert scene.counts(TARGET)["put_part"] == 0


async def test_objects_that_the_targets_keys_may_not_read_are_streamed() -> None:
    scene = make_scene(
        allows=lambda identity, _operation, bucket, _key: identity is not None or bucket == TARGET
    )
    scene = replace(scene, source=scene.server.store(SOURCE, "instrument"))

    result = await scene.ingest()

    assert scene.items() == expected()
    assert result.verification.evidence[Evidence.ETAG_MD5] == 4


async def test_objects_of_another_service_are_streamed() -> None:
    here, there = make_scene(), make_scene({})

    await ingest_objects(here.source, there.target, REQUEST)

    assert there.items() == expected()
    assert there.counts(TARGET)["copy"] == 0


# --- interruptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["copy", "head"])
async def test_an_object_that_changes_while_it_is_copied_is_noticed(operation: str) -> None:
    scene = make_scene()

    def change() -> None:
        scene.server.write(SOURCE, "run-17/z", b"y" * 999)

    key = REQUEST.layout.item_key(item_identifier("z"))
    scene.server.faults.append(Fault(operation, key, hook=change))

    with pytest.raises(SourceDamaged, match="z"):
        await scene.ingest()

    assert scene.admin()["type"] == "protodataset"


@pytest.mark.parametrize("change", ["arrives", "goes"])
async def test_an_object_that_comes_or_goes_meanwhile_is_noticed(change: str) -> None:
    scene = make_scene()

    def act() -> None:
        if change == "arrives":
            scene.server.write(SOURCE, "run-17/new", b"")
        else:
            scene.server.remove(SOURCE, "run-17/a.txt")

    scene.server.faults.append(Fault("list", "run-17/", skip=1, hook=act))

    with pytest.raises(SourceDamaged, match="run-17/new" if change == "arrives" else "run-17/a.txt"):
        await scene.ingest()

    assert scene.admin()["type"] == "protodataset"


@pytest.mark.parametrize("after_effect", [False, True])
async def test_interrupted_at_any_write_it_goes_on_when_called_again(after_effect: bool) -> None:
    whole = make_scene()
    await whole.ingest()
    for position in range(len(whole.writes())):
        scene = make_scene()
        scene.server.faults.extend(
            Fault(op, skip=count, error=BucketUnreachable("no answer"), after_effect=after_effect)
            for op, count in _position(whole.writes(), position)
        )

        try:
            await scene.ingest()
        except BucketUnreachable:
            if REQUEST.layout.admin_metadata_key in scene.server.keys(TARGET):
                assert scene.admin()["type"] == "protodataset"
            await scene.ingest()

        assert scene.items() == expected()
        assert scene.admin()["type"] == "dataset"
        assert (await verify_dataset(scene.target, REQUEST.layout)).verification.is_proven


def _position(writes: list[Request], position: int) -> list[tuple[str, int]]:
    """The operation at a position, and how many of its kind pass before."""
    operation = writes[position].operation
    return [(operation, sum(write.operation == operation for write in writes[:position]))]


async def test_called_again_it_moves_and_reads_only_what_is_missing() -> None:
    scene = make_scene()
    await write_in_parts(scene.source, "run-17/large", [b"x" * 50, b"y"], {})
    scene.server.faults.append(Fault("copy", "*/data/*", skip=3, error=BucketUnreachable("no"), times=None))
    with pytest.raises(BucketUnreachable):
        await scene.ingest(concurrency=1)
    scene.server.faults.clear()
    present = set(scene.items())
    scene.server.requests.clear()

    result = await scene.ingest()

    assert result.moved == 5 - len(present)
    copied = {r.key.rpartition("/")[2] for r in scene.server.requests if r.operation == "copy"}
    assert not copied & present
    reads = {r.key for r in scene.server.requests if r.operation == "get_range"}
    assert ("run-17/large" in reads) == (item_identifier("large") not in present)
    assert len(present) == 3


@pytest.mark.parametrize("copies_as_plain", [False, True])
async def test_what_was_read_for_an_earlier_run_is_read_again_only_if_it_changed(
    copies_as_plain: bool,
) -> None:
    scene = make_scene({"a": b"a"}, copies_as_plain=copies_as_plain)
    await write_in_parts(scene.source, "run-17/large", [b"x" * 50, b"y"], {})
    scene.server.faults.append(Fault("put", "*/manifest.json", error=BucketUnreachable("no"), times=None))
    with pytest.raises(BucketUnreachable):
        await scene.ingest()
    scene.server.requests.clear()
    with pytest.raises(BucketUnreachable):
        await scene.ingest()
    assert "run-17/large" not in {r.key for r in scene.server.requests if r.operation == "get_range"}

    scene.server.faults.clear()
    await write_in_parts(scene.source, "run-17/large", [b"y" * 50, b"x"], {})
    await scene.ingest()

    assert scene.items() == expected({"a": b"a", "large": b"y" * 50 + b"x"})


async def test_what_somebody_else_put_in_an_items_place_is_never_taken_for_it() -> None:
    scene = make_scene({"a": b"a"})
    await write_in_parts(scene.source, "run-17/large", [b"x" * 50, b"y"], {})
    wrong = item_metadata("large", md5(b"something else"))
    key = REQUEST.layout.item_key(item_identifier("large"))
    scene.server.write(TARGET, key, b"!" * 51, metadata=wrong)

    await scene.ingest()

    assert scene.items() == expected({"a": b"a", "large": b"x" * 50 + b"y"})


async def test_an_upload_that_nobody_knows_of_does_not_outlive_the_copy() -> None:
    scene = make_scene()
    key = REQUEST.layout.item_key(item_identifier("z"))

    async def start_another() -> None:
        await scene.target.start_upload(key, {})

    scene.server.faults.append(Fault("copy_part", key, hook=start_another))

    await scene.ingest(limits=PartLimits(600, copy_part_bytes=300, chunk_bytes=300, min_part_bytes=1))

    assert not scene.server.find_bucket(TARGET).uploads


async def test_called_again_after_the_end_it_changes_nothing() -> None:
    scene = make_scene()
    await scene.ingest()
    scene.server.requests.clear()

    result = await scene.ingest()

    assert (result.moved, result.verification.items) == (0, 4)
    assert {request.key for request in scene.writes()} <= {REQUEST.layout.registration_key}


@pytest.mark.parametrize("change", ["other bytes", "one more", "one less"])
async def test_a_frozen_dataset_of_other_objects_is_never_touched(change: str) -> None:
    scene = make_scene()
    await scene.ingest()
    if change == "one less":
        scene.server.remove(SOURCE, "run-17/z")
    else:
        scene.server.write(SOURCE, "run-17/z" if change == "other bytes" else "run-17/new", b"y" * 999)
    scene.server.requests.clear()

    with pytest.raises(ContentDiffers):
        await scene.ingest()

    assert not scene.writes()


async def test_objects_that_are_larger_than_allowed_are_refused_before_anything_is_written() -> None:
    scene = make_scene()
    size_bytes = sum(map(len, OBJECTS.values()))

    with pytest.raises(QuotaExceeded, match=f"{size_bytes} bytes"):
        await scene.ingest(max_size_bytes=size_bytes - 1)
    assert scene.server.keys(TARGET) == []

    await scene.ingest(max_size_bytes=size_bytes)
    assert scene.admin()["type"] == "dataset"
    await scene.ingest(max_size_bytes=0)  # it is there already: nothing is written
