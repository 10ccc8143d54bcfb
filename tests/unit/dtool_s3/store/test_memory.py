"""What the store in memory offers to tests beyond the contract: faults, counts, identities, a clock."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnreachable,
    CredentialsRejected,
    ItemArchived,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    Throttled,
)
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.store.protocol import IF_ABSENT, Part, Store, if_match

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer(clock=lambda: EPOCH)
    server.create_bucket("lab")
    return server


@pytest.fixture
def store(server: MemoryServer) -> MemoryStore:
    return server.store("lab")


def test_it_is_a_store(store: MemoryStore) -> None:
    assert isinstance(store, Store)


async def test_the_test_has_a_hand_on_the_content_without_a_request(server: MemoryServer) -> None:
    server.write("lab", "b", b"2", metadata={"Handle": "x"})
    server.write("lab", "a", b"1")
    server.remove("lab", "a")
    server.remove("lab", "a")

    assert server.keys("lab") == ["b"]
    assert server.read("lab", "b").body == b"2"
    assert dict(server.read("lab", "b").info.metadata) == {"handle": "x"}
    assert server.requests == []
    with pytest.raises(NotFound):
        server.read("lab", "a")


async def test_requests_are_recorded_in_order(server: MemoryServer, store: MemoryStore) -> None:
    await store.put("key", b"")
    await store.list("k")
    with pytest.raises(NotFound):
        await store.head("other")

    assert server.requests == [
        Request("put", "lab", "key"),
        Request("list", "lab", "k"),
        Request("head", "lab", "other"),
    ]


@pytest.mark.parametrize(("entries", "pages"), [(0, 1), (1000, 1), (1001, 2), (2001, 3)])
async def test_a_listing_counts_one_request_per_page(
    server: MemoryServer, store: MemoryStore, entries: int, pages: int
) -> None:
    for number in range(entries):
        server.write("lab", f"{number}", b"")

    await store.list("")

    assert len(server.requests) == pages


async def test_times_strictly_increase_though_the_clock_stands(server: MemoryServer) -> None:
    first, second = server.write("lab", "a", b""), server.write("lab", "b", b"")

    assert first.last_modified == EPOCH
    assert second.last_modified == EPOCH + timedelta(milliseconds=1)


async def test_a_fault_hits_matching_requests_only(server: MemoryServer, store: MemoryStore) -> None:
    fault = Fault("put", "*/data/*", error=Throttled("slow down", code="SlowDown"))
    server.faults.append(fault)

    await store.put("u/README.yml", b"")
    with pytest.raises(Throttled, match="slow down") as caught:
        await store.put("u/data/1", b"")
    await store.put("u/data/1", b"")

    assert caught.value.code == "SlowDown"
    assert fault.hits == 1
    assert server.keys("lab") == ["u/README.yml", "u/data/1"]


async def test_a_fault_can_skip_requests_and_last_for_ever(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("head", skip=1, times=None, error=BucketUnreachable("gone")))
    server.write("lab", "key", b"")

    await store.head("key")

    for _ in range(3):
        with pytest.raises(BucketUnreachable):
            await store.head("key")


async def test_a_lost_answer_leaves_the_effect(server: MemoryServer, store: MemoryStore) -> None:
    lost = BucketUnreachable("no answer")
    server.faults += [
        Fault("put", error=lost, after_effect=True),
        Fault("delete", error=lost, after_effect=True),
    ]

    with pytest.raises(BucketUnreachable):
        await store.put("key", b"content")
    assert server.read("lab", "key").body == b"content"
    with pytest.raises(BucketUnreachable):
        await store.delete("key")
    assert server.keys("lab") == []


async def test_a_stream_can_be_cut_in_the_middle(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", "key", b"0123456789")
    server.faults.append(Fault("stream", error=BucketUnreachable("cut"), after_effect=True))
    received: list[bytes] = []

    async def read() -> None:
        async with store.stream("key") as stream:
            received.append(await anext(stream.chunks))
            await anext(stream.chunks)

    with pytest.raises(BucketUnreachable, match="cut"):
        await read()

    assert received == [b"01234"]


async def test_a_hook_plays_another_writer(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("put", "dtool-*", hook=lambda: _write(server, "dtool-1")))

    with pytest.raises(PreconditionFailed):
        await store.put("dtool-1", b"ours", precondition=IF_ABSENT)

    assert server.read("lab", "dtool-1").body == b"theirs"


async def test_a_hook_may_be_a_coroutine(server: MemoryServer, store: MemoryStore) -> None:
    async def write() -> None:
        await server.store("lab").put("theirs", b"")

    server.faults.append(Fault("put", "ours", hook=write))

    await store.put("ours", b"")

    assert server.keys("lab") == ["ours", "theirs"]


def _write(server: MemoryServer, key: str) -> None:
    server.write("lab", key, b"theirs")


async def test_a_request_can_be_held(server: MemoryServer, store: MemoryStore) -> None:
    hold = asyncio.Event()
    server.faults.append(Fault("put", hold=hold))
    put = asyncio.create_task(store.put("key", b""))
    await asyncio.wait([put], timeout=0.01)
    assert server.keys("lab") == []

    hold.set()
    await put

    assert server.keys("lab") == ["key"]


async def test_identities_may_do_what_the_rule_says(server: MemoryServer) -> None:
    server.allows = lambda identity, operation, _bucket, key: (
        identity == "alice" and (operation == "get" or key.startswith("u/alice/"))
    )
    server.create_bucket("other")
    server.write("other", "source", b"x")
    source = server.find_bucket("other").find("source").listed("source")
    alice, bob = server.store("lab", "alice"), server.store("lab", "bob")

    await alice.put("u/alice/key", b"")
    await alice.copy("other", source, "u/alice/copy")

    with pytest.raises(AccessDenied):
        await alice.put("u/bob/key", b"")
    with pytest.raises(AccessDenied):
        await bob.get("u/alice/key", max_bytes=1)
    server.rejected_identities.add("alice")
    with pytest.raises(CredentialsRejected):
        await alice.get("u/alice/key", max_bytes=1)


async def test_a_copy_needs_the_right_to_read_its_source(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", "source", b"x")
    source = (await store.list("source")).objects[0]
    server.allows = lambda _identity, operation, _bucket, _key: operation != "get"

    with pytest.raises(AccessDenied):
        await store.copy("lab", source, "target")


async def test_buckets_come_and_go(server: MemoryServer, store: MemoryStore) -> None:
    server.create_bucket("lab")
    await store.check_bucket()

    server.delete_bucket("lab")

    with pytest.raises(BucketNotFound, match="lab"):
        await store.check_bucket()


async def test_servers_are_endpoints_of_their_own(server: MemoryServer, store: MemoryStore) -> None:
    assert store.endpoint_url == server.store("other").endpoint_url
    assert store.endpoint_url != MemoryServer().endpoint_url


async def test_a_store_can_ignore_preconditions(server: MemoryServer) -> None:
    bad = MemoryServer(honours_preconditions=False)
    bad.create_bucket("lab")
    store = bad.store("lab")

    await store.put("key", b"first", precondition=IF_ABSENT)
    await store.put("key", b"second", precondition=IF_ABSENT)
    await store.delete("key", precondition=if_match("other"))

    assert bad.keys("lab") == []


@pytest.mark.parametrize("is_plain", [False, True])
async def test_a_copy_of_a_multipart_object_has_the_etag_of_its_kind_of_server(is_plain: bool) -> None:
    server = MemoryServer(copies_as_plain=is_plain)
    server.create_bucket("lab")
    store = server.store("lab")
    upload = await store.start_upload("key", {})
    etag = await store.complete_upload(upload, [await store.put_part(upload, 1, b"x")])
    source = (await store.list("key")).objects[0]

    copied = await store.copy("lab", source, "copy")

    assert (copied == etag) is not is_plain


async def test_unfinished_uploads_are_listed_and_given_up(store: MemoryStore) -> None:
    uploads = [await store.start_upload(key, {}) for key in ("p/b", "p/a", "q")]

    assert [upload.key for upload in await store.list_uploads("p/")] == ["p/a", "p/b"]
    for upload in (*uploads, uploads[0]):
        await store.abort_upload(upload)
    assert await store.list_uploads("") == ()
    with pytest.raises(NotFound):
        await store.put_part(uploads[0], 1, b"")


async def test_a_source_that_changed_is_not_copied(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", "source", b"old")
    source = (await store.list("source")).objects[0]
    server.write("lab", "source", b"new")

    with pytest.raises(PreconditionFailed):
        await store.copy("lab", source, "target", metadata={})


async def test_a_write_needs_the_expected_state(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", "key", b"new")

    with pytest.raises(PreconditionFailed):
        await store.put("key", b"", precondition=if_match("0" * 32))
    with pytest.raises(RequestRefused):
        await store.get("key", max_bytes=2)
    assert (await store.get("key", max_bytes=3)).body == b"new"


async def test_a_listing_gathers_and_stops_as_asked(server: MemoryServer, store: MemoryStore) -> None:
    for key in ("a/1", "a/2", "b", "c"):
        server.write("lab", key, b"")

    listing = await store.list("", delimiter="/", limit=2)

    assert (listing.common_prefixes, [found.key for found in listing.objects]) == (("a/",), ["b"])


async def test_a_copy_has_a_limit_of_size(server: MemoryServer, store: MemoryStore) -> None:
    server.max_copy_bytes = 3
    server.write("lab", "key", b"four")

    with pytest.raises(NotSupported):
        await store.copy("lab", (await store.list("key")).objects[0], "copy")


async def test_an_archived_object_cannot_be_read(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", "key", b"x", storage_class="GLACIER")

    assert (await store.list("")).objects[0].storage_class == "GLACIER"
    assert (await store.head("key")).size_bytes == 1
    with pytest.raises(ItemArchived):
        await store.get("key", max_bytes=1)


@pytest.mark.parametrize("key", ["", "x" * 1025, "ü" * 513])
async def test_a_key_that_s3_would_not_take_is_refused(store: MemoryStore, key: str) -> None:
    with pytest.raises(RequestRefused):
        await store.put(key, b"")


async def test_metadata_that_s3_would_not_take_are_refused(store: MemoryStore) -> None:
    with pytest.raises(RequestRefused, match="2048"):
        await store.put("key", b"", metadata={"handle": "x" * 2048})
    with pytest.raises(RequestRefused, match="ASCII"):
        await store.start_upload("key", {"name": "ü"})


async def test_parts_are_completed_in_order_or_not_at_all(store: MemoryStore) -> None:
    upload = await store.start_upload("key", {})
    first, second = [await store.put_part(upload, number, b"x") for number in (1, 2)]

    for parts in ([], [second, first], [first, first], [Part(1, "0" * 32)], [Part(3, first.etag)]):
        with pytest.raises(RequestRefused):
            await store.complete_upload(upload, parts)

    assert await store.complete_upload(upload, [first, second])
