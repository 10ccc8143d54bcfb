"""What a listing tells of a frozen dataset."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dtool_s3.digest import multipart_etag
from dtool_s3.documents import Manifest, ManifestItem
from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    CredentialsRejected,
    DatasetMissing,
    InvalidManifest,
    ItemArchived,
    ItemMissing,
    NotFound,
    NotSupported,
    PreconditionFailed,
    SourceNotFrozen,
    StorageError,
    Throttled,
)
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.transfer.ranges import hash_listed
from dtool_s3.transfer.verify import (
    MAX_MISMATCHES_SHOWN,
    Mismatch,
    Verification,
    VerifyMethod,
    require_complete,
    verify_dataset,
    verify_listing,
)
from tests.support.datasets import ITEMS, DatasetFixture, md5, write_dataset, write_in_parts

MD5 = "0cc175b9c0f1b6a831c399e269772661"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUCKET = "lab-data"
METHODS = pytest.mark.parametrize("method", list(VerifyMethod))


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


@METHODS
async def test_keys_that_are_no_items_are_counted_and_named(method: VerifyMethod) -> None:
    server, layout = await _written(DatasetFixture())
    for number in range(30):
        server.write(BUCKET, layout.item_key(f"stray-{number:02}"), b"x")

    found = (await verify_dataset(server.store(BUCKET), layout, method=method)).verification

    assert (found.extra_count, len(found.extra), found.extra[0]) == (30, 20, "stray-00")
    assert (found.is_complete, found.is_proven, found.mismatch_count) == (False, False, 0)
    with pytest.raises(ContentDiffers, match="30 keys that are no items: 'stray-00'"):
        require_complete(found)


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

    with pytest.raises(SourceNotFrozen, match="proto dataset"):
        await verify_dataset(server.store(BUCKET), layout)


async def test_a_size_that_differs_and_no_item_absent_is_a_difference() -> None:
    manifest = _manifest("a")

    with pytest.raises(ContentDiffers, match=r"'a' \(3 bytes\)"):
        require_complete(verify_listing(manifest, {i: _listed(size_bytes=3) for i in manifest.items}))


async def test_listing_costs_a_request_for_each_thousand_items_and_two() -> None:
    server, layout = await _written(DatasetFixture(items={f"{n}.txt": b"x" for n in range(2100)}))
    server.requests.clear()

    await verify_dataset(server.store(BUCKET), layout)

    counted = Counter(r.operation for r in server.requests)
    assert counted == {"get": 2, "list": 3}


# --- by content ------------------------------------------------------------------------------------------


async def _read(server: MemoryServer, layout: DatasetLayout, **options: Any) -> Verification:
    found = await verify_dataset(server.store(BUCKET), layout, method=VerifyMethod.CONTENT, **options)
    return found.verification


async def test_reading_proves_every_item_also_one_without_bytes() -> None:
    server, layout = await _written(DatasetFixture(items={**ITEMS, "empty": b""}))
    told: list[Progress] = []

    found = await _read(server, layout, on_progress=told.append)

    assert found.evidence == {Evidence.ETAG_MD5: 0, Evidence.READ: 4, Evidence.SAME_AS_SOURCE: 0}
    assert found.is_proven
    assert [p.items for p in told] == [0, 1, 2, 3, 4]
    assert told[-1].bytes == told[-1].bytes_total == found.size_bytes
    assert {p.phase for p in told} == {Phase.VERIFYING}


async def test_reading_finds_a_corruption_of_the_same_size_that_a_listing_does_not_show() -> None:
    server, layout = await _written(DatasetFixture())
    key = layout.item_key(item_identifier("a.txt"))
    objects = server.find_bucket(BUCKET).objects
    objects[key] = replace(objects[key], body=b"aXpha")

    listed = (await verify_dataset(server.store(BUCKET), layout)).verification
    found = await _read(server, layout)

    assert listed.is_proven
    assert found.mismatches == (Mismatch("a.txt", md5(b"alpha"), md5(b"aXpha")),)
    assert found.evidence[Evidence.READ] == len(ITEMS) - 1
    with pytest.raises(ContentDiffers, match=r"'a\.txt'"):
        require_complete(found)


async def test_items_are_hashed_by_the_manifests_own_function() -> None:
    dataset = DatasetFixture()
    body = dataset.manifest().replace(b"md5sum_hexdigest", b"sha256sum_hexdigest")
    for content in ITEMS.values():
        body = body.replace(md5(content).encode(), hashlib.sha256(content).hexdigest().encode())
    server, layout = await _written(replace(dataset, manifest_body=body))

    assert (await _read(server, layout)).is_proven


@pytest.mark.parametrize(
    ("parts", "evidence", "unproven"), [([b"al", b"pha"], 1, 0), ([b"alp", b"ha"], 0, 1)]
)
async def test_reading_does_not_compare_bytes_with_a_hash_that_was_the_etag_of_parts(
    parts: list[bytes], evidence: int, unproven: int
) -> None:
    etag = multipart_etag(hashlib.md5(part, usedforsecurity=False).digest() for part in (b"al", b"pha"))
    dataset = DatasetFixture(items={"a.txt": b"alpha"})
    old = dataset.manifest().replace(md5(b"alpha").encode(), etag.encode())
    server, layout = await _written(replace(dataset, manifest_body=old))
    store = server.store(BUCKET)
    await write_in_parts(store, layout.item_key(item_identifier("a.txt")), parts, {"handle": "a.txt"})

    found = (await verify_dataset(store, layout, method=VerifyMethod.CONTENT)).verification

    assert found.is_complete
    assert (found.evidence[Evidence.ETAG_MD5], found.unproven) == (evidence, unproven)


async def test_a_hash_function_that_nobody_knows_is_refused() -> None:
    body = DatasetFixture().manifest().replace(b"md5sum_hexdigest", b"crc7_hexdigest")
    server, layout = await _written(DatasetFixture(manifest_body=body))

    with pytest.raises(NotSupported, match="crc7"):
        await _read(server, layout)


UNREADABLE: dict[str, tuple[StorageError, str]] = {
    "denied": (AccessDenied("no"), "unreadable: AccessDenied"),
    "archived": (ItemArchived("cold"), "unreadable: ItemArchived"),
    "gone": (NotFound("gone"), "vanished while the dataset was verified"),
    "replaced": (PreconditionFailed("other"), "changed while the dataset was verified"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_an_item_that_cannot_be_read_hides_no_other(case: str) -> None:
    error, said = UNREADABLE[case]
    server, layout = await _written(DatasetFixture(stored={"sub/b.csv": b"1,3\n"}))
    server.faults.append(Fault("get_range", layout.item_key(item_identifier("a.txt")), error=error))

    found = await _read(server, layout)

    assert set(found.mismatches) == {
        Mismatch("a.txt", md5(b"alpha"), said),
        Mismatch("sub/b.csv", md5(b"1,2\n"), md5(b"1,3\n")),
    }
    assert found.evidence[Evidence.READ] == 1


@pytest.mark.parametrize(
    "error", [BucketUnreachable("down"), CredentialsRejected("expired"), Throttled("slow")]
)
async def test_an_outage_is_no_mismatch(error: StorageError) -> None:
    server, layout = await _written(DatasetFixture())
    server.faults.append(Fault("get_range", times=None, error=error))

    with pytest.raises(type(error)):
        await _read(server, layout)


async def test_absent_and_resized_items_are_not_read() -> None:
    server, layout = await _written(DatasetFixture(stored={"a.txt": None, "sub/b.csv": b"1"}))
    server.requests.clear()

    found = await _read(server, layout, concurrency=0)

    assert {m.found for m in found.mismatches} == {"absent", "1 bytes"}
    assert (found.absent_count, found.mismatch_count) == (1, 2)
    assert len([r for r in server.requests if r.operation == "get_range"]) == 1


async def test_a_large_item_is_read_in_ranges_that_give_one_digest() -> None:
    body = bytes(range(256)) * 300
    limits = PartLimits(chunk_bytes=10_000)
    server, layout = await _written(DatasetFixture(items={"large.bin": body}))
    listed = (await server.store(BUCKET).list(layout.data_prefix)).objects[0]

    found = await hash_listed(server.store(BUCKET), listed, budget=ByteBudget(25_000), limits=limits)

    assert found == md5(body)
    assert len([r for r in server.requests if r.operation == "get_range"]) == 8
