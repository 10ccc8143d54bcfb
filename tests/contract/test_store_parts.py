"""Parts of objects: ranges, part sizes, parts copied on the server. One suite for every implementation."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from dtool_s3.errors import BadDigest, NotFound, PreconditionFailed, RequestRefused
from dtool_s3.store.protocol import ListedObject, Store, UrlStore

MIB = 1024 * 1024


def md5(body: bytes | memoryview) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


async def listed(store: Store, key: str) -> ListedObject:
    return next(found for found in (await store.list(key)).objects if found.key == key)


async def upload(store: Store, key: str, bodies: Sequence[bytes]) -> ListedObject:
    """Put an object in parts."""
    unfinished = await store.start_upload(key, {"handle": "aGk="})
    parts = [await store.put_part(unfinished, number, body) for number, body in enumerate(bodies, 1)]
    await store.complete_upload(unfinished, parts)
    return await listed(store, key)


@pytest.mark.parametrize(("first_byte", "size_bytes"), [(0, 1), (0, 7), (2, 3), (6, 1)])
async def test_a_range_has_just_its_bytes(store: UrlStore, first_byte: int, size_bytes: int) -> None:
    written = await store.put("key", b"content")

    found = await store.get_range("key", first_byte, size_bytes, etag=written.etag)

    assert found == b"content"[first_byte : first_byte + size_bytes]


@pytest.mark.parametrize(("first_byte", "size_bytes"), [(0, 8), (6, 2), (7, 1), (100, 1)])
async def test_a_range_beyond_the_end_is_refused(store: UrlStore, first_byte: int, size_bytes: int) -> None:
    written = await store.put("key", b"content")

    with pytest.raises(RequestRefused) as caught:
        await store.get_range("key", first_byte, size_bytes, etag=written.etag)

    assert caught.value.code == "InvalidRange"


async def test_a_range_of_an_object_that_changed_is_refused(store: UrlStore) -> None:
    before = await store.put("key", b"before")
    await store.put("key", b"after!")

    with pytest.raises(PreconditionFailed):
        await store.get_range("key", 0, 3, etag=before.etag)
    with pytest.raises(NotFound):
        await store.get_range("missing", 0, 3, etag=before.etag)


async def test_views_of_memory_are_written_as_they_are(store: UrlStore) -> None:
    whole = memoryview(bytes(range(256)) * 30_000)
    unfinished = await store.start_upload("large", {})

    await store.put("key", whole[100:200])
    parts = [
        await store.put_part(unfinished, 1, whole[: 6 * MIB]),
        await store.put_part(unfinished, 2, whole[6 * MIB :], md5=md5(whole[6 * MIB :])),
    ]
    await store.complete_upload(unfinished, parts)

    assert (await store.get("key", max_bytes=100)).body == whole[100:200]
    assert (await store.get("large", max_bytes=len(whole))).body == whole


async def test_a_part_with_another_md5_than_the_given_is_refused(store: UrlStore) -> None:
    unfinished = await store.start_upload("key", {})

    with pytest.raises(BadDigest):
        await store.put_part(unfinished, 1, b"content", md5=md5(b"others!"))

    await store.abort_upload(unfinished)


@pytest.mark.parametrize(
    "sizes", [[7], [5 * MIB, 7], [5 * MIB, 5 * MIB, 7], [5 * MIB, 6 * MIB, 7], [5 * MIB, 5 * MIB, 5 * MIB]]
)
async def test_the_parts_of_an_object_are_told(store: UrlStore, sizes: list[int]) -> None:
    await upload(store, "large", [bytes(size) for size in sizes])

    assert list(await store.part_sizes("large")) == sizes


async def test_an_object_put_in_one_piece_has_no_parts(store: UrlStore) -> None:
    await store.put("key", b"content")

    assert list(await store.part_sizes("key")) == []
    with pytest.raises(NotFound):
        await store.part_sizes("missing")


async def test_parts_are_copied_from_other_objects(store: UrlStore) -> None:
    bodies = [b"a" * (5 * MIB), b"b" * (5 * MIB), b"end"]
    source = await upload(store, "source ü+", bodies)
    unfinished = await store.start_upload("target", {"handle": "b3RoZXI="})

    parts = [
        await store.copy_part(
            unfinished,
            number,
            store.bucket,
            source,
            first_byte=(number - 1) * 5 * MIB,
            size_bytes=len(bodies[number - 1]),
        )
        for number in (2, 1, 3)
    ]
    await store.complete_upload(unfinished, sorted(parts, key=lambda part: part.number))

    found = await store.get("target", max_bytes=11 * MIB)
    assert found.body == b"".join(bodies)
    assert dict(found.info.metadata) == {"handle": "b3RoZXI="}


async def test_a_copy_in_parts_has_the_etag_of_its_source(store: UrlStore) -> None:
    source = await upload(store, "source", [b"a" * (5 * MIB), b"end"])
    unfinished = await store.start_upload("target", {})

    parts = [
        await store.copy_part(unfinished, 1, store.bucket, source, first_byte=0, size_bytes=5 * MIB),
        await store.copy_part(unfinished, 2, store.bucket, source, first_byte=5 * MIB, size_bytes=3),
    ]

    assert await store.complete_upload(unfinished, parts) == source.etag


async def test_a_part_of_a_source_that_changed_is_not_copied(store: UrlStore) -> None:
    await store.put("source", b"content")
    source = await listed(store, "source")
    unfinished = await store.start_upload("target", {})

    with pytest.raises(PreconditionFailed):
        await store.copy_part(
            unfinished, 1, store.bucket, replace(source, etag="0" * 32), first_byte=0, size_bytes=7
        )
    with pytest.raises(NotFound):
        await store.copy_part(
            unfinished, 1, store.bucket, replace(source, key="missing"), first_byte=0, size_bytes=7
        )
    with pytest.raises(RequestRefused):
        await store.copy_part(unfinished, 1, store.bucket, source, first_byte=0, size_bytes=8)

    await store.abort_upload(unfinished)
