"""What a listing tells of a frozen dataset."""

from datetime import UTC, datetime

import pytest

from dtool_s3.documents import Manifest, ManifestItem
from dtool_s3.errors import ContentDiffers, DatasetMissing, InvalidManifest, ItemMissing, NotSupported
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.verify import (
    MAX_MISMATCHES_SHOWN,
    Mismatch,
    Verification,
    require_complete,
    verify_dataset,
    verify_listing,
)
from tests.support.datasets import ITEMS, DatasetFixture, write_dataset

MD5 = "0cc175b9c0f1b6a831c399e269772661"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUCKET = "lab-data"


def _manifest(*relpaths: str, hash_function: str = "md5sum_hexdigest") -> Manifest:
    items = {item_identifier(relpath): ManifestItem(relpath, 1, MD5, 0.0) for relpath in relpaths}
    return Manifest(hash_function, items)


def _listed(etag: str = MD5, size_bytes: int = 1) -> ListedObject:
    return ListedObject("key", size_bytes, etag, NOW)


def test_items_with_their_md5_as_etag_are_proven() -> None:
    manifest = _manifest("a", "b")

    found = verify_listing(manifest, {i: _listed() for i in manifest.items})

    assert found == Verification(2, 2, {Evidence.ETAG_MD5: 2, Evidence.READ: 0, Evidence.SAME_AS_SOURCE: 0})
    assert found.is_proven


def test_an_etag_that_is_no_md5_leaves_an_item_unproven_but_not_wrong() -> None:
    manifest = _manifest("a", "b")
    first, second = manifest.items

    found = verify_listing(manifest, {first: _listed(), second: _listed(f"{MD5}-2")})

    assert (found.evidence[Evidence.ETAG_MD5], found.unproven, found.mismatch_count) == (1, 1, 0)
    assert not found.is_proven
    require_complete(found)


def test_another_hash_function_proves_nothing_by_etags() -> None:
    manifest = _manifest("a", hash_function="sha256sum_hexdigest")

    assert verify_listing(manifest, {i: _listed() for i in manifest.items}).unproven == 1


def test_absent_and_resized_items_are_mismatches_with_their_sizes() -> None:
    manifest = _manifest("a", "b")
    first, _ = manifest.items

    found = verify_listing(manifest, {first: _listed(size_bytes=3)})

    assert found.mismatches == (Mismatch("a", "1 bytes", "3 bytes"), Mismatch("b", "1 bytes", "absent"))
    assert not found.is_proven
    with pytest.raises(ItemMissing, match=r"2 items .* 'a' \(3 bytes\), 'b' \(absent\)"):
        require_complete(found)


def test_of_many_mismatches_all_are_counted_and_twenty_shown() -> None:
    found = verify_listing(_manifest(*(str(number) for number in range(50))), {})

    assert (found.mismatch_count, len(found.mismatches)) == (50, MAX_MISMATCHES_SHOWN)


def test_sameness_with_the_source_alone_is_no_proof_of_the_bytes() -> None:
    assert not Verification(1, 1, {Evidence.SAME_AS_SOURCE: 1}).is_proven


async def _written(dataset: DatasetFixture) -> tuple[MemoryServer, DatasetLayout]:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server, await write_dataset(server.store(BUCKET), dataset)


async def test_a_frozen_dataset_is_verified_by_two_reads_and_a_listing() -> None:
    server, layout = await _written(DatasetFixture(prefix="u/alice/"))
    server.requests.clear()

    found = await verify_dataset(server.store(BUCKET), layout)

    assert found.admin.name == "sample"
    assert found.verification.evidence[Evidence.ETAG_MD5] == len(ITEMS)
    assert sorted({r.operation for r in server.requests}) == ["get", "list"]
    assert len(server.requests) == 3


async def test_a_key_that_is_no_item_is_named() -> None:
    server, layout = await _written(DatasetFixture())
    server.write(BUCKET, layout.item_key("stray"), b"x")

    with pytest.raises(ContentDiffers, match="stray"):
        await verify_dataset(server.store(BUCKET), layout)


async def test_the_marker_of_the_data_folder_is_no_item() -> None:
    server, layout = await _written(DatasetFixture())
    server.write(BUCKET, layout.data_prefix, b"")

    assert (await verify_dataset(server.store(BUCKET), layout)).verification.is_proven


async def test_nothing_there_is_a_missing_dataset() -> None:
    server, layout = await _written(DatasetFixture())
    server.remove(BUCKET, layout.admin_metadata_key)

    with pytest.raises(DatasetMissing):
        await verify_dataset(server.store(BUCKET), layout)


async def test_a_frozen_dataset_without_manifest_is_named() -> None:
    server, layout = await _written(DatasetFixture())
    server.remove(BUCKET, layout.manifest_key)

    with pytest.raises(InvalidManifest, match=r"manifest\.json' does not exist"):
        await verify_dataset(server.store(BUCKET), layout)


async def test_verifying_a_proto_dataset_is_refused() -> None:
    server, layout = await _written(DatasetFixture(is_frozen=False))

    with pytest.raises(NotSupported, match="proto dataset"):
        await verify_dataset(server.store(BUCKET), layout)
