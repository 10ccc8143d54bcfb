"""What is read of source and target before anything is decided."""

import json

import pytest

from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, MAX_STRUCTURE_BYTES
from dtool_s3.errors import (
    AccessDenied,
    InvalidAdminMetadata,
    InvalidManifest,
    RequestRefused,
    SourceNotFound,
    SourceNotFrozen,
    UnsafePath,
)
from dtool_s3.layout import item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.inventory import read_source, read_target, writes_base64_handles
from tests.support.copying import SOURCE, TARGET, make_scene
from tests.support.datasets import ITEMS, DatasetFixture


@pytest.mark.parametrize(
    ("version", "is_base64"),
    [
        ("0.14.0", True),
        ("0.14.1", True),
        ("1.0", True),
        ("0.13.0", False),
        ("0.4.1", False),
        ("0.14.0.dev1", False),
        ("0.1.dev12", False),
        ("main-abc", False),
        (None, False),
    ],
)
def test_handles_are_base64_from_format_0_14_0_on(version: str | None, is_base64: bool) -> None:
    assert writes_base64_handles(version) is is_base64


async def test_a_source_is_read_with_three_documents_and_one_listing() -> None:
    scene = await make_scene()

    found = await read_source(scene.source, scene.origin)

    assert {item.relpath for item in found.manifest.items.values()} == set(ITEMS)
    assert set(found.listing.items) == {item_identifier(relpath) for relpath in ITEMS}
    assert sorted(found.listing.documents) == ["README.yml", "annotations/project.json", "tags/blue"]
    assert found.has_base64_handles
    assert [r.operation for r in scene.server.requests] == ["get", "get", "get", "list"]


async def test_markers_and_other_keys_are_neither_items_nor_documents() -> None:
    scene = await make_scene(DatasetFixture(tags=(), annotations={}, readme=None))
    for name in ("data/", "tags/", "annotations/", "overlays/", "fragments/x.y.json", "http_manifest.json"):
        scene.server.write(SOURCE, f"{scene.origin.root}{name}", b"")

    found = await read_source(scene.source, scene.origin)

    assert len(found.listing.items) == len(ITEMS)
    assert found.listing.documents == {}


async def test_nothing_at_the_source_is_said_so() -> None:
    scene = await make_scene()
    scene.server.remove(SOURCE, scene.origin.admin_metadata_key)

    with pytest.raises(SourceNotFound, match=SOURCE):
        await read_source(scene.source, scene.origin)


async def test_a_proto_dataset_is_no_source() -> None:
    scene = await make_scene(DatasetFixture(is_frozen=False))

    with pytest.raises(SourceNotFrozen):
        await read_source(scene.source, scene.origin)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{not json", InvalidManifest),
        (b"[]", InvalidManifest),
        (json.dumps({"hash_function": "md5sum_hexdigest", "items": {"x": {}}}).encode(), InvalidManifest),
        (DatasetFixture(items={"../escape": b"x"}).manifest(), UnsafePath),
    ],
    ids=["not JSON", "no object", "an item without fields", "a relpath with .."],
)
async def test_a_manifest_that_cannot_be_trusted_is_refused(body: bytes, error: type[Exception]) -> None:
    scene = await make_scene(DatasetFixture(manifest_body=body))

    with pytest.raises(error):
        await read_source(scene.source, scene.origin)


async def test_a_frozen_source_without_manifest_is_refused() -> None:
    scene = await make_scene()
    scene.server.remove(SOURCE, scene.origin.manifest_key)

    with pytest.raises(InvalidManifest, match="does not exist"):
        await read_source(scene.source, scene.origin)


@pytest.mark.parametrize(
    "body", [None, b"x" * (MAX_STRUCTURE_BYTES + 1), b"not json", b'{"storage_broker_version": "0.13.0"}']
)
async def test_without_a_readable_structure_the_handles_count_as_raw(body: bytes | None) -> None:
    scene = await make_scene()
    if body is None:
        scene.server.remove(SOURCE, scene.origin.structure_key)
    else:
        scene.server.write(SOURCE, scene.origin.structure_key, body)

    assert not (await read_source(scene.source, scene.origin)).has_base64_handles


async def test_documents_above_their_bound_are_what_is_wrong_with_the_dataset() -> None:
    scene = await make_scene()
    fault = Fault("get", "*/manifest.json", error=RequestRefused("too large", code="EntityTooLarge"))
    scene.server.faults.append(fault)

    with pytest.raises(InvalidManifest, match="larger than"):
        await read_source(scene.source, scene.origin)

    scene.server.write(SOURCE, scene.origin.admin_metadata_key, b"x" * (MAX_ADMIN_METADATA_BYTES + 1))
    with pytest.raises(InvalidAdminMetadata, match="larger than"):
        await read_source(scene.source, scene.origin)


@pytest.mark.parametrize("document", ["dtool", "manifest.json", "structure.json"])
async def test_other_refusals_of_the_store_are_raised_as_they_are(document: str) -> None:
    scene = await make_scene()
    refusal = RequestRefused("no", code="InvalidRequest")
    scene.server.faults.append(Fault("get", f"*/{document}", error=refusal))

    with pytest.raises(RequestRefused):
        await read_source(scene.source, scene.origin)


async def test_no_right_to_read_is_never_taken_for_absence() -> None:
    server = MemoryServer(allows=lambda _identity, operation, _bucket, _key: operation != "get")
    scene = await make_scene(server=server)

    with pytest.raises(AccessDenied):
        await read_source(scene.source, scene.origin)
    with pytest.raises(AccessDenied):
        await read_target(scene.target, scene.place)


async def test_an_empty_place_has_no_admin_metadata_and_no_keys() -> None:
    scene = await make_scene()

    place = await read_target(scene.target, scene.place)

    assert place.admin is None
    assert (place.listing.items, place.listing.documents) == ({}, {})
    assert TARGET in scene.server.requests[-1].bucket
