"""One suite for every implementation of the Store protocol: its docstrings are the promises tested here."""

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    CredentialsRejected,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    StorageError,
)
from dtool_s3.store.protocol import IF_ABSENT, ListedObject, Store, Upload, UrlStore, if_match
from tests.support.services import LIMITED, SHARED, STRANGER, UNKNOWN, Service

MIB = 1024 * 1024

ODD_NAMES = [
    "a b",
    "ü",
    "日本",
    "a+b",
    "100%",
    "%41",
    ".hidden",
    "..twice",
    "q?x=1&y",
    "<x>&'\"",
    "semi;colon:at@",
    "~tilde*star!",
    "a#b",
    "e\u0301 combining",
]


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


async def keys(store: Store, prefix: str = "") -> list[str]:
    return [listed.key for listed in (await store.list(prefix)).objects]


async def listed(store: Store, key: str) -> ListedObject:
    return next(found for found in (await store.list(key)).objects if found.key == key)


def test_an_implementation_fulfils_the_protocol(store: Store) -> None:
    assert isinstance(store, UrlStore)


async def test_an_object_is_read_back_as_it_was_put(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)

    written = await store.put("a/b", b"content", metadata={"Handle": "aGk=", "creator_username": "x"})

    found = await store.get("a/b", max_bytes=100)
    assert found.body == b"content"
    assert found.info == replace(written, last_modified=found.info.last_modified)
    assert found.info.etag == md5(b"content")
    assert dict(found.info.metadata) == {"handle": "aGk=", "creator_username": "x"}
    assert before < found.info.last_modified < before + timedelta(minutes=10)
    assert found.info.last_modified.utcoffset() == timedelta(0)
    assert await store.head("a/b") == found.info


async def test_an_empty_object_is_an_object(store: Store) -> None:
    await store.put("tags/green", b"")

    assert (await store.get("tags/green", max_bytes=0)).body == b""
    assert (await store.head("tags/green")).size_bytes == 0
    async with store.stream("tags/green") as stream:
        assert [chunk async for chunk in stream.chunks] == []


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.head("missing")
    with pytest.raises(NotFound):
        await store.get("missing", max_bytes=10)
    with pytest.raises(NotFound):
        async with store.stream("missing"):
            pass


async def test_an_object_above_the_limit_is_refused(store: Store) -> None:
    await store.put("large", b"x" * 11)

    with pytest.raises(RequestRefused, match="11 bytes") as caught:
        await store.get("large", max_bytes=10)

    assert caught.value.code == "EntityTooLarge"
    assert (await store.get("large", max_bytes=11)).body == b"x" * 11


async def test_metadata_that_is_not_ascii_is_refused(store: Store) -> None:
    with pytest.raises(RequestRefused):
        await store.put("key", b"", metadata={"name": "Müller"})

    assert await keys(store) == []


async def test_a_create_over_something_is_refused(store: Store) -> None:
    await store.put("key", b"first", precondition=IF_ABSENT)

    for body in (b"second", b"first"):  # somebody else's, also where it is the same
        with pytest.raises(PreconditionFailed):
            await store.put("key", body, precondition=IF_ABSENT)

    assert (await store.get("key", max_bytes=10)).body == b"first"


async def test_of_concurrent_creates_exactly_one_wins(service: Service) -> None:
    stores = [service.as_admin() for _ in range(4)]
    for number in range(10):
        key = f"dtool-{number}"

        outcomes = await asyncio.gather(
            *(s.put(key, f"u/{i}/".encode(), precondition=IF_ABSENT) for i, s in enumerate(stores)),
            return_exceptions=True,
        )

        winners = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
        assert len(winners) == 1
        assert {type(o) for o in outcomes if isinstance(o, BaseException)} == {PreconditionFailed}
        assert (await stores[0].get(key, max_bytes=10)).body == f"u/{winners[0]}/".encode()


async def test_a_write_over_another_state_than_the_expected_is_refused(store: Store) -> None:
    first = await store.put("key", b"first")
    second = await store.put("key", b"second", precondition=if_match(first.etag))

    with pytest.raises(PreconditionFailed):
        await store.put("key", b"third", precondition=if_match(first.etag))
    with pytest.raises(PreconditionFailed):
        await store.put("absent", b"", precondition=if_match(first.etag))

    assert (await store.head("key")).etag == second.etag
    assert await keys(store) == ["key"]


async def test_deleting_is_final_and_may_be_repeated(store: Store) -> None:
    await store.put("key", b"")

    await store.delete("key")
    await store.delete("key")

    assert await keys(store) == []


async def test_a_delete_of_another_state_than_the_expected_is_refused(store: Store) -> None:
    written = await store.put("key", b"first")
    await store.put("key", b"second")

    with pytest.raises(PreconditionFailed):
        await store.delete("key", precondition=if_match(written.etag))

    assert (await store.get("key", max_bytes=10)).body == b"second"


async def test_a_conditional_delete_deletes_and_may_be_repeated(store: Store) -> None:
    written = await store.put("key", b"first")

    await store.delete("key", precondition=if_match(written.etag))
    await store.delete("key", precondition=if_match(written.etag))

    assert await keys(store) == []


async def test_a_copy_keeps_bytes_and_metadata(store: Store) -> None:
    await store.put("source", b"content", metadata={"handle": "aGk="})

    told = await store.copy(store.bucket, await listed(store, "source"), "target")

    found = await store.get("target", max_bytes=10)
    assert (found.body, dict(found.info.metadata)) == (b"content", {"handle": "aGk="})
    assert found.info.etag == md5(b"content")
    assert told in {None, found.info.etag}


async def test_a_copy_can_replace_metadata(store: Store) -> None:
    await store.put("source", b"content", metadata={"handle": "raw", "extra": "1"})

    await store.copy(store.bucket, await listed(store, "source"), "target", metadata={"handle": "cmF3"})
    await store.copy(store.bucket, await listed(store, "source"), "bare", metadata={})

    assert dict((await store.head("target")).metadata) == {"handle": "cmF3"}
    assert dict((await store.head("bare")).metadata) == {}


async def test_a_copy_goes_from_bucket_to_bucket(service: Service) -> None:
    source, target = service.as_admin(), service.as_admin(SHARED)
    key = f"u/alice/{service.bucket}"
    await source.put("ü +%/key", b"content", metadata={"checksum": "1"})
    assert source.endpoint_url == target.endpoint_url

    await target.copy(source.bucket, await listed(source, "ü +%/key"), key)

    found = await target.get(key, max_bytes=10)
    assert (found.body, dict(found.info.metadata)) == (b"content", {"checksum": "1"})


async def test_a_source_that_changed_is_not_copied(store: Store) -> None:
    await store.put("source", b"old")
    before = await listed(store, "source")
    await store.put("source", b"new")

    with pytest.raises(PreconditionFailed):
        await store.copy(store.bucket, before, "target", metadata={})
    await store.delete("source")
    replacements: list[dict[str, str] | None] = [{}, None]
    for metadata in replacements:
        with pytest.raises(NotFound):
            await store.copy(store.bucket, before, "target", metadata=metadata)

    assert await keys(store) == []


async def test_a_plain_copy_of_a_source_that_changed_is_told_by_its_etag(store: Store) -> None:
    await store.put("source", b"old")
    before = await listed(store, "source")
    await store.put("source", b"new")

    try:
        await store.copy(store.bucket, before, "target")
    except PreconditionFailed:
        assert await keys(store, "target") == []
    else:
        assert (await store.head("target")).etag == md5(b"new") != before.etag


async def test_a_copy_above_5_gib_is_not_supported(store: Store) -> None:
    await store.put("source", b"")
    large = replace(await listed(store, "source"), size_bytes=5 * 1024**3 + 1)

    with pytest.raises(NotSupported):
        await store.copy(store.bucket, large, "target")

    assert await keys(store) == ["source"]


async def test_a_listing_has_the_keys_that_start_with_the_prefix_in_order(store: Store) -> None:
    for key in ["p/ab/2", "p/ab/1", "p/a", "p/abc", "p/ac/3", "q"]:
        await store.put(key, key.encode(), metadata={"a": "b"})

    listing = await store.list("p/ab")

    assert [found.key for found in listing.objects] == ["p/ab/1", "p/ab/2", "p/abc"]
    assert listing.common_prefixes == ()
    first = listing.objects[0]
    assert (first.size_bytes, first.etag, first.storage_class) == (6, md5(b"p/ab/1"), "STANDARD")
    assert first.last_modified.utcoffset() == timedelta(0)
    assert await keys(store) == ["p/a", "p/ab/1", "p/ab/2", "p/abc", "p/ac/3", "q"]
    assert await keys(store, "nothing") == []


async def test_a_listing_is_in_the_order_of_utf_8_bytes(store: Store) -> None:
    expected = ["d b", "d-b", "d/a", "d/b/c", "d/ü", "d0", "ü"]
    for key in reversed(expected):
        await store.put(key, b"")

    assert await keys(store) == expected
    assert list((await store.list("", delimiter="b")).common_prefixes) == ["d b", "d-b", "d/b"]


async def test_a_delimiter_gathers_what_lies_deeper(store: Store) -> None:
    for key in ["p/ab/1", "p/ab/2", "p/a", "p/abc", "p/ac/3", "p/marker/"]:
        await store.put(key, b"")

    listing = await store.list("p/", delimiter="/")

    assert [found.key for found in listing.objects] == ["p/a", "p/abc"]
    assert list(listing.common_prefixes) == ["p/ab/", "p/ac/", "p/marker/"]
    assert list((await store.list("p/a", delimiter="/")).common_prefixes) == ["p/ab/", "p/ac/"]


async def test_a_limit_bounds_keys_and_common_prefixes_together(store: Store) -> None:
    for key in ["a/1", "a/2", "b/1", "c", "d"]:
        await store.put(key, b"")

    listing = await store.list("", delimiter="/", limit=3)

    assert len(listing.objects) + len(listing.common_prefixes) == 3
    assert [o.key for o in (await store.list("", limit=2)).objects] == ["a/1", "a/2"]
    assert (await store.list("", limit=0)).objects == ()
    assert len((await store.list("", limit=100)).objects) == 5


async def test_a_listing_says_whether_its_limit_left_something_out(store: Store) -> None:
    for key in ["a/1", "a/2", "b/1", "c"]:
        await store.put(key, b"")

    cut = [(await store.list("", delimiter="/", limit=limit)).is_cut for limit in (1, 2, 4)]

    assert cut == [True, True, False]
    assert (await store.list("", limit=3)).is_cut
    assert not (await store.list("")).is_cut


async def test_keys_that_nobody_wants_are_not_given_and_count_for_the_limit(store: Store) -> None:
    for key in ["a/1", "b/1", "c", "d"]:
        await store.put(key, b"")

    listing = await store.list("", delimiter="/", keeps=lambda key: key in {"b/", "d"})
    cut = await store.list("", delimiter="/", limit=3, keeps=lambda key: key == "d")

    assert ([o.key for o in listing.objects], list(listing.common_prefixes)) == (["d"], ["b/"])
    assert (cut.objects, cut.common_prefixes, cut.is_cut) == ((), (), True)


async def test_a_listing_goes_on_past_a_thousand_keys(store: Store) -> None:
    names = [f"items/{number:04}" for number in range(1003)]
    await asyncio.gather(*(store.put(name, b"") for name in names))

    assert await keys(store, "items/") == names
    assert len((await store.list("items/", limit=1001)).objects) == 1001


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_keys_survive_every_operation(store: Store, name: str) -> None:
    key, target = f"odd/{name}", f"copied/{name}/{name}"

    await store.put(key, b"x", metadata={"handle": "aGk="})
    await store.copy(store.bucket, await listed(store, key), target)

    assert (await store.get(key, max_bytes=1)).body == b"x"
    assert (await store.head(target)).key == target
    assert await keys(store) == [target, key]
    assert list((await store.list("copied/", delimiter="/")).common_prefixes) == [f"copied/{name}/"]
    await store.delete(key)
    assert await keys(store) == [target]


async def test_a_stream_gives_all_bytes_in_chunks_of_at_most_1_mib(store: Store) -> None:
    body = bytes(range(256)) * (10 * 1024) + b"end"
    await store.put("large", body, metadata={"checksum": md5(body)})

    async with store.stream("large") as stream:
        chunks = [chunk async for chunk in stream.chunks]

    assert b"".join(chunks) == body
    assert max(map(len, chunks)) <= MIB
    assert stream.info.size_bytes == len(body)
    assert stream.info.metadata["checksum"] == md5(body)


async def test_a_stream_may_be_left_early(store: Store) -> None:
    await store.put("large", b"x" * (3 * MIB))

    async with store.stream("large") as stream:
        first = await anext(stream.chunks)

    assert 0 < len(first) <= MIB
    assert (await store.head("large")).size_bytes == 3 * MIB


async def test_an_upload_in_parts_becomes_one_object(store: Store) -> None:
    parts = [b"a" * (5 * MIB), b"b" * 10]
    upload = await store.start_upload("large", {"Checksum": "abc"})

    second = await store.put_part(upload, 2, parts[1])
    first = await store.put_part(upload, 1, parts[0])
    etag = await store.complete_upload(upload, [first, second])

    info = await store.head("large")
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
    assert info.etag == etag == f"{md5(digests)}-2"
    assert info.size_bytes == 5 * MIB + 10
    assert dict(info.metadata) == {"checksum": "abc"}
    assert (await store.get("large", max_bytes=6 * MIB)).body == b"".join(parts)
    assert await store.list_uploads("") == ()


async def test_a_copy_carries_the_etag_of_a_small_object_in_parts(store: Store) -> None:
    upload = await store.start_upload("source", {})
    part = await store.put_part(upload, 1, b"content")
    await store.complete_upload(upload, [part])

    await store.copy(store.bucket, await listed(store, "source"), "target")

    etag = (await store.head("target")).etag
    assert etag in {(await store.head("source")).etag, md5(b"content")}
    assert (await store.head("target")).etag == etag


async def test_unfinished_uploads_are_listed_and_can_be_given_up(store: Store) -> None:
    uploads = [await store.start_upload(key, {}) for key in ("p/ü +", "p/b", "q")]
    await store.put_part(uploads[0], 1, b"part")
    assert await keys(store) == []
    assert [upload.key for upload in await store.list_uploads("p/")] == ["p/b", "p/ü +"]
    assert uploads[0] in await store.list_uploads("p/")

    for upload in [*uploads, uploads[0]]:
        await store.abort_upload(upload)

    assert await store.list_uploads("") == ()
    with pytest.raises(NotFound):
        await store.put_part(uploads[0], 2, b"late")
    await store.abort_upload(Upload("p/x", "no-such-upload"))


async def test_a_part_that_was_never_uploaded_cannot_be_completed(store: Store) -> None:
    upload = await store.start_upload("key", {})
    part = await store.put_part(upload, 1, b"content")

    with pytest.raises(StorageError):
        await store.complete_upload(upload, [part, replace(part, number=2)])

    assert await keys(store) == []


async def test_a_bucket_that_is_there_passes_the_check(store: Store) -> None:
    told = await store.check_bucket()

    written = (await store.put("key", b"")).last_modified
    assert told.utcoffset() == timedelta(0)
    assert timedelta(seconds=-2) < written - told < timedelta(seconds=30)


async def test_a_missing_bucket_is_named(service: Service) -> None:
    missing = service.as_admin("no-such-bucket")

    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        await missing.check_bucket()
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        await missing.list("")
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        await missing.get("key", max_bytes=1)


async def test_wrong_keys_are_told_from_missing_rights(service: Service) -> None:
    await service.as_admin().put("key", b"content")
    store = service.open(service.bucket, UNKNOWN)

    for request in _each_request(store, "key"):
        with pytest.raises(CredentialsRejected):
            await request


async def test_an_identity_without_rights_is_denied(service: Service) -> None:
    key = f"u/alice/{service.bucket}"
    await service.as_admin(SHARED).put(key, b"content")
    store = service.open(SHARED, STRANGER)

    for request in _each_request(store, key):
        with pytest.raises(AccessDenied):
            await request


def _each_request(store: Store, key: str) -> list[Awaitable[object]]:
    source = ListedObject(key, 7, md5(b"content"), datetime.now(UTC))
    return [
        store.check_bucket(),
        store.head(key),
        store.get(key, max_bytes=10),
        store.put(key, b""),
        store.copy(store.bucket, source, "copy"),
        store.delete(key),
        store.list(""),
        store.start_upload(key, {}),
    ]


async def test_an_identity_limited_to_a_prefix_writes_nowhere_else(service: Service) -> None:
    store = service.open(SHARED, LIMITED)
    key = f"u/alice/{service.bucket}"

    await store.put(key, b"content")
    source = await listed(store, key)
    await store.copy(SHARED, source, f"{key}-copy")

    assert (await store.get(f"{key}-copy", max_bytes=10)).body == b"content"
    for elsewhere in ("u/bob/x", "u/alice", "x"):
        with pytest.raises(AccessDenied, match=elsewhere):
            await store.put(elsewhere, b"")
        with pytest.raises(AccessDenied):
            await store.copy(SHARED, source, elsewhere)
        with pytest.raises(AccessDenied):
            await store.delete(elsewhere)
