"""Publishing and unpublishing: what is public, in which order, and that a failure leaves nothing public."""

import asyncio
import json

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    DatasetMissing,
    ItemMissing,
    NotFound,
    NotSupported,
    SettingsError,
    SourceNotFrozen,
    StorageError,
)
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.publication.publishing import publish, unpublish
from dtool_s3.publication.signing import MAX_EXPIRY_SECONDS
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_store import MemoryStore
from tests.support.datasets import ITEMS, DatasetFixture, write_dataset

BUCKET = "lab-data"
PREFIX = "u/alice/"
LAYOUT = DatasetLayout(PREFIX, DatasetFixture().uuid)
ITEM_KEYS = [LAYOUT.item_key(item_identifier(relpath)) for relpath in ITEMS]
OVERLAYS = {"my.key": dict.fromkeys(map(item_identifier, ITEMS), 1)}
READABLE = {
    LAYOUT.readme_key,
    LAYOUT.manifest_key,
    LAYOUT.overlay_key("my.key"),
    LAYOUT.annotation_key("project"),
    *ITEM_KEYS,
}


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
async def store(server: MemoryServer) -> MemoryStore:
    store = server.store(BUCKET)
    await write_dataset(store, DatasetFixture(prefix=PREFIX, overlays=OVERLAYS))
    server.requests.clear()
    return store


def public_keys(server: MemoryServer) -> set[str]:
    """Keys that a stranger can read."""
    found = set()
    for key in server.keys(BUCKET):
        try:
            server.receive("GET", server.store(BUCKET).public_url(key))
        except AccessDenied:
            continue
        found.add(key)
    return found


def made(server: MemoryServer, operation: str) -> list[str]:
    return [request.key for request in server.requests if request.operation == operation]


def open_by_policy(server: MemoryServer) -> Fault:
    """A bucket policy: everything is readable as soon as a stranger asks."""

    def hook() -> None:
        for key in server.keys(BUCKET):
            server.find_bucket(BUCKET).set_public(key, is_public=True)

    return Fault("fetch_unsigned", hook=hook, times=None)


async def test_what_a_reader_needs_is_public_and_nothing_else(
    server: MemoryServer, store: MemoryStore
) -> None:
    url = await publish(store, LAYOUT)

    assert url == store.public_url(f"{PREFIX}{LAYOUT.uuid}")
    assert public_keys(server) == READABLE | {LAYOUT.http_manifest_key}
    document = json.loads(server.receive("GET", f"{url}/http_manifest.json"))
    assert list(document) == [
        "admin_metadata", "item_urls", "overlays", "annotations", "tags", "readme_url", "manifest_url"
    ]  # fmt: skip
    assert document["admin_metadata"] == DatasetFixture().admin()
    assert document["tags"] == ["blue"]
    urls = [
        *document["item_urls"].values(),
        *document["overlays"].values(),
        *document["annotations"].values(),
    ]
    assert {*urls, document["readme_url"], document["manifest_url"]} == set(map(store.public_url, READABLE))


async def test_http_manifest_json_is_written_and_made_public_last(
    server: MemoryServer, store: MemoryStore
) -> None:
    await publish(store, LAYOUT)

    writes = [(r.operation, r.key) for r in server.requests if r.operation in {"put", "make_public"}]
    assert {key for _, key in writes[:-2]} == READABLE
    assert [operation for operation, _ in writes[-2:]] == ["put", "make_public"]
    assert {key for _, key in writes[-2:]} == {LAYOUT.http_manifest_key}
    assert len(server.requests) == 3 + len(writes) + 2  # dtool, manifest, listing; two reads as a stranger


async def test_signed_urls_make_nothing_public(server: MemoryServer, store: MemoryStore) -> None:
    url = await publish(store, LAYOUT, expires_seconds=60)

    base, _, query = url.partition("?")
    document = json.loads(server.receive("GET", f"{base}/http_manifest.json?{query}"))
    assert {len(server.receive("GET", u)) for u in document["item_urls"].values()} == {
        len(body) for body in ITEMS.values()
    }
    assert public_keys(server) == set()
    assert made(server, "make_public") == []


@pytest.mark.parametrize("seconds", [MAX_EXPIRY_SECONDS + 1, 0, -1])
async def test_an_expiry_that_cannot_be_signed_is_refused_before_any_request(
    server: MemoryServer, store: MemoryStore, seconds: int
) -> None:
    with pytest.raises(SettingsError, match="7 days"):
        await publish(store, LAYOUT, expires_seconds=seconds)

    assert server.requests == []


@pytest.mark.parametrize(
    ("dataset", "error"),
    [
        (DatasetFixture(prefix=PREFIX, is_frozen=False), SourceNotFrozen),
        (DatasetFixture(prefix=PREFIX, stored={"a.txt": None}), ItemMissing),
        (DatasetFixture(prefix=PREFIX, stored={"a.txt": b"longer than alpha"}), ContentDiffers),
        (DatasetFixture(prefix=PREFIX, readme=None), ItemMissing),
        (DatasetFixture(prefix="elsewhere/"), DatasetMissing),
    ],
)
async def test_what_is_not_frozen_and_whole_is_not_published(
    server: MemoryServer, dataset: DatasetFixture, error: type[Exception]
) -> None:
    store = server.store(BUCKET)
    await write_dataset(store, dataset)

    with pytest.raises(error):
        await publish(store, LAYOUT)

    assert made(server, "make_public") == []
    assert LAYOUT.http_manifest_key not in server.keys(BUCKET)


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("error", [AccessDenied("403"), BucketUnreachable("503")])
@pytest.mark.parametrize(
    ("operation", "skip"),
    [
        *(("make_public", skip) for skip in range(1, len(READABLE) + 1)),
        ("put", 0),
        ("fetch_unsigned", 0),
        ("fetch_unsigned", 1),
    ],
)
async def test_a_publication_that_fails_anywhere_leaves_nothing_public(
    server: MemoryServer,
    store: MemoryStore,
    operation: str,
    skip: int,
    error: StorageError,
    after_effect: bool,
) -> None:
    server.faults.append(Fault(operation, error=error, skip=skip, after_effect=after_effect))

    with pytest.raises(type(error)):
        await publish(store, LAYOUT)

    assert server.faults[0].hits == 1
    assert public_keys(server) == set()
    assert LAYOUT.http_manifest_key not in server.keys(BUCKET)


async def test_a_publication_that_is_interrupted_takes_back_what_was_under_way(
    server: MemoryServer, store: MemoryStore
) -> None:
    started, released, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def take_effect() -> None:
        await released.wait()
        server.find_bucket(BUCKET).set_public(LAYOUT.manifest_key, is_public=True)
        ended.set()

    async def hook() -> None:
        """A request in a thread: who waits for it may stop waiting, its effect comes all the same."""
        effect = asyncio.ensure_future(take_effect())
        started.set()
        await asyncio.shield(effect)

    server.faults.append(Fault("make_public", LAYOUT.manifest_key, hook=hook))
    publication = asyncio.ensure_future(publish(store, LAYOUT))
    await started.wait()

    publication.cancel()
    await asyncio.wait({publication}, timeout=0.05)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await publication
    await ended.wait()

    assert public_keys(server) == set()


async def test_a_server_that_ignores_acls_is_noticed(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("fetch_unsigned", error=AccessDenied("403", code="403")))

    with pytest.raises(AccessDenied, match=r"although the server took the ACLs.*EXPIRY.*bucket policy"):
        await publish(store, LAYOUT)


async def test_a_bucket_without_acls_is_told_what_to_do_instead(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.has_acls = False

    with pytest.raises(AccessDenied, match=r"takes no ACLs.*EXPIRY.*bucket policy"):
        await publish(store, LAYOUT)

    assert len(made(server, "make_public")) == 1
    assert LAYOUT.http_manifest_key not in server.keys(BUCKET)


async def test_a_bucket_policy_publishes_where_acls_do_not(server: MemoryServer, store: MemoryStore) -> None:
    server.has_acls = False
    server.faults.append(open_by_policy(server))

    url = await publish(store, LAYOUT)

    assert json.loads(server.receive("GET", f"{url}/http_manifest.json"))["tags"] == ["blue"]


async def test_another_answer_than_what_was_written_is_no_publication(
    server: MemoryServer, store: MemoryStore
) -> None:
    def hook() -> None:
        server.write(BUCKET, LAYOUT.http_manifest_key, b"{}")
        server.find_bucket(BUCKET).set_public(LAYOUT.http_manifest_key, is_public=True)

    server.faults.append(Fault("fetch_unsigned", hook=hook))

    with pytest.raises(ContentDiffers):
        await publish(store, LAYOUT)

    assert public_keys(server) == set()


async def test_a_failure_says_what_may_still_be_public(server: MemoryServer, store: MemoryStore) -> None:
    server.faults += [
        Fault("fetch_unsigned", error=NotFound("404")),
        Fault("make_private", error=BucketUnreachable("503"), times=2),
        Fault("delete", error=BucketUnreachable("503")),
    ]

    with pytest.raises(NotFound) as raised:
        await publish(store, LAYOUT)

    (note,) = raised.value.__notes__
    assert "2 objects may still be public" in note
    assert "http_manifest.json' could not be removed" in note


@pytest.mark.parametrize("expires_seconds", [None, 60])
async def test_what_is_unpublished_is_private_again(
    server: MemoryServer, store: MemoryStore, expires_seconds: int | None
) -> None:
    await publish(store, LAYOUT, expires_seconds=expires_seconds)

    await unpublish(store, LAYOUT)
    await unpublish(store, LAYOUT)

    assert public_keys(server) == set()
    assert LAYOUT.http_manifest_key not in server.keys(BUCKET)


async def test_unpublishing_says_if_a_policy_keeps_a_dataset_public(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.has_acls = False
    await unpublish(store, LAYOUT)
    server.faults.append(open_by_policy(server))

    with pytest.raises(NotSupported, match="bucket policy"):
        await unpublish(store, LAYOUT)


async def test_what_is_not_there_cannot_be_unpublished(server: MemoryServer) -> None:
    with pytest.raises(DatasetMissing):
        await unpublish(server.store(BUCKET), LAYOUT)
