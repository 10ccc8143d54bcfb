"""What a copy refuses, and what it leaves behind: a proto dataset or nothing, never something frozen."""

from collections.abc import Callable

import pytest

from dtool_s3.errors import (
    BadDigest,
    ContentDiffers,
    DtoolS3Error,
    InvalidAdminMetadata,
    InvalidManifest,
    ItemArchived,
    ItemMissing,
    NotSupported,
    RequestRefused,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    UnsafePath,
    UUIDTaken,
    WrittenWhileFreezing,
)
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_bucket import Held
from tests.support.copying import SOURCE, TARGET, CopyScene, make_scene
from tests.support.datasets import ITEMS, UUID, DatasetFixture, md5

MODES = pytest.mark.parametrize("server_side", [True, False], ids=["server-side", "streamed"])

# --- before any write ------------------------------------------------------------------------------------

UNUSABLE: dict[str, tuple[DatasetFixture, type[DtoolS3Error], str]] = {
    "a proto dataset": (DatasetFixture(is_frozen=False), SourceNotFrozen, UUID),
    "a manifest that is not JSON": (DatasetFixture(manifest_body=b"{"), InvalidManifest, "JSON"),
    "a manifest with a relpath that leaves the dataset": (
        DatasetFixture(items={"../../escape": b"x"}), UnsafePath, "escape",
    ),
    "an item that is missing": (DatasetFixture(stored={"a.txt": None}), ItemMissing, "'a.txt'"),
    "an item of another size": (DatasetFixture(stored={"a.txt": b"alph"}), SourceDamaged, "'a.txt'"),
    "a tag that leaves the dataset": (DatasetFixture(tags=("../../x",)), UnsafePath, "tags/../../x"),
}  # fmt: skip


@MODES
@pytest.mark.parametrize("case", UNUSABLE)
async def test_a_source_that_cannot_be_copied_is_refused_before_any_write(
    case: str, server_side: bool
) -> None:
    dataset, error, named = UNUSABLE[case]
    scene = await make_scene(dataset)

    with pytest.raises(error, match=named):
        await scene.copy(server_side=server_side)

    assert scene.writes() == []


async def test_nothing_at_the_source_is_refused_before_any_write() -> None:
    scene = await make_scene()
    scene.server.remove(SOURCE, scene.origin.admin_metadata_key)

    with pytest.raises(SourceNotFound):
        await scene.copy()

    assert scene.writes() == []


async def test_an_archived_item_is_refused_before_any_write() -> None:
    scene = await make_scene()
    scene.server.write(SOURCE, scene.source_item_key("a.txt"), b"alpha", storage_class="GLACIER")

    with pytest.raises(ItemArchived, match=r"'a\.txt'"):
        await scene.copy()

    assert scene.writes() == []


async def test_a_registration_key_of_another_prefix_stops_the_copy_with_nothing_written() -> None:
    scene = await make_scene()
    scene.server.write(TARGET, scene.place.registration_key, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await scene.copy()

    assert scene.server.keys(TARGET) == [scene.place.registration_key]
    assert scene.server.read(TARGET, scene.place.registration_key).body == b"u/bob/"


# --- what is at the place --------------------------------------------------------------------------------


async def test_another_frozen_dataset_at_the_place_is_left_as_it_is() -> None:
    scene = await make_scene()
    await scene.copy()
    before = scene.copied()
    body = DatasetFixture(items={**ITEMS, "more.txt": b"more"}).manifest()
    scene.server.write(SOURCE, scene.origin.manifest_key, body)
    scene.server.write(SOURCE, scene.source_item_key("more.txt"), b"more")
    scene.server.remove(TARGET, scene.place.registration_key)
    scene.server.requests.clear()

    with pytest.raises(ContentDiffers, match="frozen already, with another manifest"):
        await scene.copy()

    assert scene.writes() == []
    assert scene.copied() == before


@pytest.mark.parametrize(
    ("damage", "error"), [(None, ItemMissing), (b"alph", ContentDiffers)], ids=["gone", "shorter"]
)
async def test_a_frozen_copy_that_was_damaged_is_named_and_never_silently_copied_over(
    damage: bytes | None, error: type[DtoolS3Error]
) -> None:
    scene = await make_scene()
    await scene.copy()
    if damage is None:
        scene.server.remove(TARGET, scene.item_key("a.txt"))
    else:
        scene.server.write(TARGET, scene.item_key("a.txt"), damage)
    scene.server.requests.clear()

    with pytest.raises(error, match=r"'a\.txt'"):
        await scene.copy()

    assert scene.writes() == []


@pytest.mark.parametrize("name", ["data/stray", "tags/green", "annotations/x.json"])
async def test_an_extra_key_at_the_place_stops_the_copy(name: str) -> None:
    scene = await make_scene()
    scene.server.write(TARGET, f"{scene.place.root}{name}", b"1")

    with pytest.raises(ContentDiffers, match=name.rpartition("/")[2]):
        await scene.copy()

    assert scene.writes() == []


@pytest.mark.parametrize("name", ["data/stray", "tags/green"])
async def test_an_extra_key_that_appears_during_the_copy_keeps_it_from_freezing(name: str) -> None:
    scene = await make_scene()
    _write_meanwhile(scene, Fault("put", "*/README.yml"), f"{scene.place.root}{name}", b"1")

    with pytest.raises(ContentDiffers, match=name.rpartition("/")[2]):
        await scene.copy()

    assert not scene.is_frozen()


# --- damage at the source --------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("relpath", ["a.txt", "ünï/c.bin"])
async def test_an_item_whose_bytes_are_not_those_of_the_manifest_is_named(
    relpath: str, server_side: bool
) -> None:
    wrong = bytes(reversed(ITEMS[relpath]))
    scene = await make_scene(DatasetFixture(stored={relpath: wrong}))

    with pytest.raises(SourceDamaged) as caught:
        await scene.copy(server_side=server_side)

    assert repr(relpath) in str(caught.value)
    assert md5(wrong) in str(caught.value)
    assert not scene.is_frozen()


async def test_a_damaged_item_is_never_put_when_it_is_streamed() -> None:
    scene = await make_scene(DatasetFixture(stored={"a.txt": b"omega"}))

    with pytest.raises(SourceDamaged):
        await scene.copy(server_side=False)

    assert scene.item_key("a.txt") not in scene.server.keys(TARGET)


LARGE = bytes(range(256)) * 10


async def test_a_damaged_large_item_ends_its_upload_before_it_becomes_an_object() -> None:
    wrong = LARGE[:-1] + b"!"
    scene = await make_scene(DatasetFixture(items={"large.bin": LARGE}, stored={"large.bin": wrong}))

    with pytest.raises(SourceDamaged, match=r"'large\.bin'"):
        await scene.copy(server_side=False, chunk_bytes=1000)

    assert scene.item_key("large.bin") not in scene.server.keys(TARGET)
    assert scene.unfinished_uploads() == 0


async def test_damage_found_stays_the_error_when_the_upload_cannot_be_given_up() -> None:
    wrong = LARGE[:-1] + b"!"
    scene = await make_scene(DatasetFixture(items={"large.bin": LARGE}, stored={"large.bin": wrong}))
    scene.server.faults.append(Fault("abort_upload", error=RequestRefused("no")))

    with pytest.raises(SourceDamaged):
        await scene.copy(server_side=False, chunk_bytes=1000)


@pytest.mark.parametrize(("server_side", "operation"), [(True, "copy"), (False, "get"), (False, "get_range")])
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "grown"])
async def test_a_source_item_that_changes_during_the_copy_is_named(
    server_side: bool, operation: str, is_gone: bool
) -> None:
    relpath = "large.bin" if operation == "get_range" else "a.txt"
    scene = await make_scene(DatasetFixture(items={relpath: LARGE if operation == "get_range" else b"alpha"}))
    key = scene.source_item_key(relpath)

    def change() -> None:
        if is_gone:
            scene.server.remove(SOURCE, key)
        else:
            scene.server.write(SOURCE, key, b"x" * 5000)

    pattern = scene.item_key(relpath) if server_side else key
    scene.server.faults.append(Fault(operation, pattern, hook=change))

    said = {"copy": "changed during", "get": "more bytes than", "get_range": "changed during"}[operation]
    with pytest.raises(ItemMissing if is_gone else SourceDamaged, match=relpath) as caught:
        await scene.copy(server_side=server_side, chunk_bytes=1000)

    assert ("vanished from the source" if is_gone else said) in str(caught.value)

    assert not scene.is_frozen()
    assert scene.unfinished_uploads() == 0


async def test_another_refusal_to_read_an_item_is_raised_as_it_is() -> None:
    scene = await make_scene()
    refusal = RequestRefused("no", code="InvalidRequest")
    scene.server.faults.append(Fault("get", scene.source_item_key("a.txt"), error=refusal))

    with pytest.raises(RequestRefused, match="no"):
        await scene.copy(server_side=False)


async def test_an_annotation_that_vanishes_during_the_copy_is_named() -> None:
    scene = await make_scene()
    key = scene.origin.annotation_key("project")
    scene.server.faults.append(Fault("get", key, hook=lambda: scene.server.remove(SOURCE, key)))

    with pytest.raises(SourceDamaged, match=r"annotations/project\.json"):
        await scene.copy()

    assert not scene.is_frozen()


async def test_a_document_above_the_bound_is_not_supported() -> None:
    scene = await make_scene()
    refusal = RequestRefused("too large", code="EntityTooLarge")
    scene.server.faults.append(Fault("get", scene.origin.readme_key, error=refusal))

    with pytest.raises(NotSupported, match=r"README\.yml"):
        await scene.copy()


# --- other writers at the target -------------------------------------------------------------------------


def _write_meanwhile(scene: CopyScene, when: Fault, key: str, body: bytes | None) -> None:
    """When a request at the target matches `when`, somebody else writes `key` (None: removes it) first."""

    def write() -> None:
        if body is None:
            scene.server.remove(TARGET, key)
        else:
            scene.server.write(TARGET, key, body)

    when.hook, when.bucket = write, TARGET
    scene.server.faults.append(when)


#: Where the writer steps in: after an item was proven, before the final look; between looks; at the flip.
MOMENTS: dict[str, Callable[[CopyScene], Fault]] = {
    "before the final listing": lambda _: Fault("list", skip=1),
    "while the manifest is written": lambda scene: Fault("put", scene.place.manifest_key),
    "before the second look": lambda _: Fault("list", skip=2),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ["item", "tags/blue", "README.yml", "structure.json"])
@pytest.mark.parametrize("body", [None, b"omega"], ids=["removed", "overwritten"])
async def test_a_writer_that_interferes_keeps_the_copy_from_freezing(
    moment: str, name: str, body: bytes | None
) -> None:
    scene = await make_scene()
    key = scene.item_key("a.txt") if name == "item" else f"{scene.place.root}{name}"
    _write_meanwhile(scene, MOMENTS[moment](scene), key, body)

    with pytest.raises((WrittenWhileFreezing, ItemMissing)):
        await scene.copy()

    assert not scene.is_frozen()
    if body is None or name != "structure.json":
        await scene.copy()
        assert scene.copied() == scene.original()


async def test_a_proto_that_somebody_else_rewrites_at_the_flip_stays_a_proto() -> None:
    scene = await make_scene()
    flip = Fault("put", scene.place.admin_metadata_key, skip=1)
    _write_meanwhile(scene, flip, scene.place.admin_metadata_key, b"{}")

    with pytest.raises(InvalidAdminMetadata):
        await scene.copy()

    assert not scene.is_frozen()


@pytest.mark.parametrize("skip", [0, 1], ids=["at the first look", "before the second look"])
async def test_another_dataset_frozen_at_the_place_during_the_copy_is_left_as_it_is(skip: int) -> None:
    scene = await make_scene()
    other = await make_scene(DatasetFixture(items={"other.txt": b"x"}))
    await other.copy()
    foreign = other.copied()

    def freeze() -> None:
        for name in scene.copied():
            scene.server.remove(TARGET, f"{scene.place.root}{name}")
        for name, (body, metadata) in foreign.items():
            scene.server.write(TARGET, f"{scene.place.root}{name}", body, metadata=metadata)

    scene.server.faults.append(Fault("list", bucket=TARGET, skip=1 + skip, hook=freeze))

    with pytest.raises((ContentDiffers, WrittenWhileFreezing)):
        await scene.copy()

    assert scene.copied() == foreign


async def test_equal_items_frozen_with_another_manifest_during_the_copy_are_another_dataset() -> None:
    scene, other = await make_scene(), await make_scene()
    await other.copy()
    done = other.copied()
    manifest = done["manifest.json"][0].replace(b"md5sum_hexdigest", b"sha256sum_hexdigest")

    def freeze() -> None:
        scene.server.write(TARGET, scene.place.manifest_key, manifest)
        body, metadata = done["dtool"]
        scene.server.write(TARGET, scene.place.admin_metadata_key, body, metadata=metadata)

    scene.server.faults.append(Fault("list", bucket=TARGET, skip=1, hook=freeze))

    with pytest.raises(ContentDiffers, match="frozen already"):
        await scene.copy()

    assert scene.copied()["manifest.json"][0] == manifest


async def test_an_equal_dataset_frozen_by_somebody_else_during_the_copy_is_the_copy() -> None:
    scene, other = await make_scene(), await make_scene()
    await other.copy()
    done = other.copied()

    def freeze() -> None:
        for name in ("manifest.json", "dtool"):
            body, metadata = done[name]
            scene.server.write(TARGET, f"{scene.place.root}{name}", body, metadata=metadata)

    scene.server.faults.append(Fault("list", bucket=TARGET, skip=1, hook=freeze))

    result = await scene.copy()

    assert result.verification.is_proven
    assert scene.copied() == scene.original()


@pytest.mark.parametrize(
    ("operation", "skip", "body"),
    [
        ("head", 0, None),
        ("head", 0, b"omega"),
        ("copy", 1, b"omega"),
        ("head", 1, b"omega"),
        ("get_range", 0, None),
        ("get_range", 0, b"omega"),
    ],
)
async def test_an_item_that_changes_at_the_target_while_it_is_proven_is_named(
    operation: str, skip: int, body: bytes | None
) -> None:
    scene = await make_scene(DatasetFixture(items={"a.txt": b"alpha"}))
    key = scene.source_item_key("a.txt")
    scene.server.write(SOURCE, key, b"alpha", metadata={"handle": "lost"})
    if operation == "get_range":
        scene.set_etag(SOURCE, key, "0" * 32)
    target_key = scene.item_key("a.txt")
    _write_meanwhile(scene, Fault(operation, target_key, skip=skip), target_key, body)

    with pytest.raises(WrittenWhileFreezing, match=r"'a\.txt'"):
        await scene.copy()

    assert not scene.is_frozen()


async def test_an_item_that_vanishes_before_it_is_read_for_proof_is_named() -> None:
    scene = await make_scene()
    scene.server.write(TARGET, scene.item_key("a.txt"), b"omega")
    key = scene.item_key("a.txt")
    _write_meanwhile(scene, Fault("get_range", key), key, None)

    with pytest.raises(WrittenWhileFreezing):
        await scene.copy()


async def test_an_upload_that_somebody_else_keeps_giving_up_is_named() -> None:
    scene = await make_scene(DatasetFixture(items={"large.bin": LARGE}))
    uploads = scene.server.find_bucket(TARGET).uploads
    scene.server.faults.append(Fault("put_part", times=None, hook=uploads.clear))

    with pytest.raises(WrittenWhileFreezing, match=r"'large\.bin'"):
        await scene.copy(server_side=False, chunk_bytes=1000)


async def test_a_server_that_copies_other_bytes_than_the_source_has_is_found_out() -> None:
    scene = await make_scene()
    key = scene.item_key("a.txt")
    objects = scene.server.find_bucket(TARGET).objects
    headers = item_metadata("a.txt", md5(b"alpha"))

    def garble() -> None:
        held = objects[key]
        objects[key] = Held(b"omega", held.etag, held.last_modified, headers)

    scene.set_etag(SOURCE, scene.source_item_key("a.txt"), "0" * 32)
    scene.server.faults.append(Fault("head", key, hook=garble))

    with pytest.raises(BadDigest, match=item_identifier("a.txt")):
        await scene.copy()

    assert not scene.is_frozen()


async def test_a_store_that_loses_headers_every_time_is_found_out() -> None:
    scene = await make_scene()
    key = scene.item_key("a.txt")
    objects = scene.server.find_bucket(TARGET).objects

    def lose() -> None:
        held = objects[key]
        objects[key] = Held(held.body, held.etag, held.last_modified)

    scene.server.faults.append(Fault("head", key, times=None, hook=lose))

    with pytest.raises(BadDigest, match="handle and checksum"):
        await scene.copy()

    assert not scene.is_frozen()


async def test_a_store_that_ignores_preconditions_does_not_unfreeze_what_is_frozen() -> None:
    scene = await make_scene(server=MemoryServer(honours_preconditions=False))
    await scene.copy()

    await scene.copy()

    assert scene.is_frozen()
