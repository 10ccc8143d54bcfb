"""The servers that the memory store can play, its bulk deletes under faults, and the URLs it answers."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    NotFound,
    NotSupported,
    SettingsError,
    Throttled,
)
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.store.protocol import ListedObject, UrlStore

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    now = EPOCH

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> MemoryServer:
    server = MemoryServer(clock=clock)
    server.create_bucket("lab")
    return server


@pytest.fixture
def store(server: MemoryServer) -> MemoryStore:
    return server.store("lab")


def content_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def source_of(server: MemoryServer, key: str) -> ListedObject:
    info = server.read("lab", key).info
    return ListedObject(key, info.size_bytes, info.etag, info.last_modified)


async def put_in_parts(store: MemoryStore) -> None:
    upload = await store.start_upload("large", {})
    parts = [await store.put_part(upload, number, body) for number, body in enumerate((b"ab", b"c"), 1)]
    await store.complete_upload(upload, parts)


def test_its_objects_have_urls(store: MemoryStore) -> None:
    assert isinstance(store, UrlStore)


# Other servers


async def test_an_encrypting_server_gives_etags_that_prove_nothing(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.encrypts = True

    first, second = await store.put("key", b"content"), await store.put("key", b"content")
    await put_in_parts(store)
    copied = await store.copy("lab", source_of(server, "key"), "copy")

    plain = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
    assert len({plain, first.etag, second.etag, copied}) == 4
    assert len(first.etag) == 32
    assert server.read("lab", "large").body == b"abc"


async def test_a_server_may_tell_no_parts(server: MemoryServer, store: MemoryStore) -> None:
    await put_in_parts(store)

    assert list(await store.part_sizes("large")) == [2, 1]
    server.tells_part_sizes = False
    assert list(await store.part_sizes("large")) == []


async def test_a_copy_that_gets_a_plain_etag_has_no_parts(server: MemoryServer, store: MemoryStore) -> None:
    await put_in_parts(store)
    await store.copy("lab", source_of(server, "large"), "kept")
    server.copies_as_plain = True
    await store.copy("lab", source_of(server, "large"), "plain")

    assert list(await store.part_sizes("kept")) == [2, 1]
    assert list(await store.part_sizes("plain")) == []


async def test_a_bucket_may_have_no_acls(server: MemoryServer, store: MemoryStore) -> None:
    await store.put("key", b"")
    server.has_acls = False

    for request in (store.make_public("key"), store.make_private("key")):
        with pytest.raises(NotSupported, match="ACLs"):
            await request


async def test_an_object_that_is_written_again_is_private_again(
    server: MemoryServer, store: MemoryStore
) -> None:
    await store.put("key", b"first")
    await store.make_public("key")
    await store.copy("lab", source_of(server, "key"), "copy")
    await store.put("key", b"second")

    for key in ("key", "copy"):
        with pytest.raises(AccessDenied):
            await store.fetch_unsigned(store.public_url(key), max_bytes=10)


# Bulk deletes


async def test_a_bulk_delete_is_one_request_for_each_thousand_keys(
    server: MemoryServer, store: MemoryStore
) -> None:
    names = [f"{number:04}" for number in range(2001)]
    for name in names:
        server.write("lab", name, b"")

    await store.delete_many(names)

    assert server.requests == [Request("delete_many", "lab", key) for key in ("0000", "1000", "2000")]
    assert server.keys("lab") == []


async def test_a_fault_hits_a_bulk_delete_before_or_after_its_effect(
    server: MemoryServer, store: MemoryStore
) -> None:
    for name in ("a", "b"):
        server.write("lab", name, b"")
    early = Fault("delete_many", error=Throttled("slow down"))
    late = Fault("delete_many", error=BucketUnreachable("lost"), after_effect=True)

    server.faults.append(early)
    with pytest.raises(Throttled):
        await store.delete_many(["a", "b"])
    assert server.keys("lab") == ["a", "b"]

    server.faults.append(late)
    with pytest.raises(BucketUnreachable):
        await store.delete_many(["a", "b"])
    assert server.keys("lab") == []


# URLs


async def test_a_signed_url_expires(server: MemoryServer, store: MemoryStore, clock: Clock) -> None:
    server.write("lab", "key", b"content")
    url = await store.presign("GET", "key", expires_seconds=60)

    clock.now += timedelta(seconds=59)
    assert server.receive("GET", url) == b"content"
    clock.now += timedelta(seconds=2)
    with pytest.raises(AccessDenied):
        server.receive("GET", url)


async def test_a_signed_write_is_of_the_signed_bytes_and_headers(
    server: MemoryServer, store: MemoryStore
) -> None:
    headers = {"Content-MD5": content_md5(b"content"), "x-amz-meta-Handle": "aGk="}
    url = await store.presign("PUT", "key", expires_seconds=60, headers=headers)

    with pytest.raises(AccessDenied):
        server.receive("PUT", url, body=b"content")
    with pytest.raises(AccessDenied):
        server.receive("PUT", url, headers={**headers, "x-amz-meta-more": "1"}, body=b"content")
    with pytest.raises(AccessDenied):
        server.receive("GET", url, headers=headers)
    with pytest.raises(BadDigest):
        server.receive("PUT", url, headers=headers, body=b"others!")
    assert server.keys("lab") == []

    server.receive("PUT", url, headers=headers, body=b"content")

    assert server.read("lab", "key").body == b"content"
    assert dict(server.read("lab", "key").info.metadata) == {"handle": "aGk="}


async def test_a_signed_url_gives_no_more_rights_than_its_signer_has() -> None:
    server = MemoryServer(allows=lambda identity, operation, _, __: identity != "bob" or operation != "get")
    server.create_bucket("lab")
    server.write("lab", "key", b"content")
    url = await server.store("lab", "bob").presign("GET", "key", expires_seconds=60)

    with pytest.raises(AccessDenied):
        server.receive("GET", url)


async def test_urls_are_no_requests_but_fetching_is(server: MemoryServer, store: MemoryStore) -> None:
    url = await store.presign("GET", "u/ü", expires_seconds=60)
    store.public_url("u/ü")
    assert server.requests == []

    with pytest.raises(NotFound):
        await store.fetch_unsigned(url, max_bytes=10)

    assert server.requests == [Request("fetch_unsigned", "lab", "u/ü")]
    with pytest.raises(BucketUnreachable):
        await store.fetch_unsigned("https://example.org/lab/key", max_bytes=10)
    with pytest.raises(SettingsError):
        await store.presign("POST", "key", expires_seconds=60)
