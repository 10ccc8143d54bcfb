"""Copies of datasets published over http: everything arrives, and no server, however hostile, gets far."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    CredentialsRejected,
    DtoolS3Error,
    InvalidAdminMetadata,
    InvalidManifest,
    InvalidURI,
    NotSupported,
    QuotaExceeded,
    SettingsError,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    Throttled,
    UnsafePath,
)
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.publication.published import PublishedStore
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import ListedObject, Part, Store, Upload
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.inventory import read_source
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.plan import Evidence
from sandbox.certificates import Authority, create_authority
from tests.support.datasets import ITEMS, UUID, DatasetFixture, write_dataset
from tests.support.http_site import Answer, Exchange, Site, open_site

TARGET, PREFIX = "lab-data", "u/alice/"
PLACE = DatasetLayout(PREFIX, UUID)
LARGE = {"large.bin": bytes(range(256)) * 40}
RICH = DatasetFixture(
    items={**ITEMS, "empty": b""},
    tags=("blue", "2026"),
    annotations={"project": "atlas", "v1.2": {"a": [1]}},
    overlays={"length": {item_identifier("a.txt"): 5}},
)
DOCUMENTS = ["http_manifest.json", "manifest.json", "README.yml", "annotations/project.json"]
A_ITEM = f"data/{item_identifier('a.txt')}"


@dataclass
class Scene:
    """A site that publishes a dataset, a bucket for its copy, and the store between them."""

    site: Site
    server: MemoryServer
    opened: list[PublishedStore]
    dataset: DatasetFixture = RICH

    def publish(self, dataset: DatasetFixture = RICH, **changes: Any) -> str:
        self.dataset = dataset
        return self.site.publish(dataset, **changes)

    def open(self, url: str, **options: Any) -> PublishedStore:
        options = {"patience_seconds": 5.0, "attempts": 1, **options}
        self.opened.append(PublishedStore(url, **options))
        return self.opened[-1]

    async def copy(self, url: str, *, options: dict[str, Any] | None = None, **changes: Any) -> CopyResult:
        source = self.open(url, **(options or {}))
        limits = PartLimits(chunk_bytes=changes.pop("chunk_bytes", 16 * 1024**2), min_part_bytes=1)
        request = CopyRequest(source.uuid, "", PREFIX, limits=limits, pause_seconds=0.0, **changes)
        return await copy_dataset(source, self.server.store(TARGET), request)

    def misbehave(self, name: str, answer: bytes | Answer) -> None:
        self.site.pages[f"/published/{self.dataset.uuid}/{name}"] = answer

    def copied(self) -> dict[str, bytes]:
        keys = self.server.keys(TARGET)
        return {k.removeprefix(PLACE.root): self.server.read(TARGET, k).body for k in keys}

    def is_frozen(self) -> bool:
        return b'"dataset"' in self.copied().get("dtool", b"")


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as opened:
        yield opened


@pytest.fixture
async def scene(site: Site) -> AsyncIterator[Scene]:
    server = MemoryServer()
    server.create_bucket(TARGET)
    made = Scene(site, server, [])
    yield made
    for store in made.opened:
        await asyncio.to_thread(store.close)


async def expected(dataset: DatasetFixture) -> dict[str, bytes]:
    """What a copy between buckets would have brought."""
    server = MemoryServer()
    server.create_bucket(TARGET)
    await write_dataset(server.store(TARGET), dataset)
    layout = DatasetLayout("", dataset.uuid)
    keys = [key for key in server.keys(TARGET) if key.startswith(layout.root)]
    return {key.removeprefix(layout.root): server.read(TARGET, key).body for key in keys}


async def test_everything_that_is_published_arrives_proven(scene: Scene) -> None:
    url = scene.publish()

    result = await scene.copy(url)

    assert {n: b for n, b in scene.copied().items() if n != f"dtool-{UUID}"} == await expected(RICH)
    assert result.verification.evidence[Evidence.ETAG_MD5] == 4
    assert result.verification.is_proven
    assert (result.admin.uuid, result.admin.frozen_at, result.moved) == (UUID, 1795329300.25, 4)


async def test_copying_again_adopts_what_is_frozen_and_reads_no_item(scene: Scene) -> None:
    url = scene.publish()
    await scene.copy(url)
    scene.site.requests.clear()

    assert (await scene.copy(url)).moved == 0

    assert [path for path, _ in scene.site.requests if "/data/" in path] == []


async def test_items_that_arrived_before_are_not_read_again(scene: Scene) -> None:
    url = scene.publish()
    first, *_, last = sorted(map(item_identifier, RICH.items))  # the manifest's order
    scene.misbehave(f"data/{last}", lambda exchange: exchange.send(503, b""))
    with pytest.raises(BucketUnreachable):
        await scene.copy(url, concurrency=1)
    assert f"data/{first}" in scene.copied()
    scene.publish()
    scene.site.requests.clear()

    await scene.copy(url)

    asked = {path.rpartition("/data/")[2] for path, _ in scene.site.requests}
    assert last in asked
    assert first not in asked
    assert scene.is_frozen()


async def test_large_items_are_read_in_ranges(scene: Scene) -> None:
    url = scene.publish(DatasetFixture(items=LARGE))

    result = await scene.copy(url, chunk_bytes=1000)

    ranges = [asked for path, asked in scene.site.requests if "/data/" in path]
    assert len(ranges) == 11
    assert "bytes=10000-10239" in ranges
    assert result.verification.evidence[Evidence.READ] == 1
    assert scene.is_frozen()


async def test_a_derived_dataset_can_be_made_of_a_published_one(scene: Scene) -> None:
    url, derived = scene.publish(), "2d21877d-d5ba-4b5a-8c6e-1e6f1f2d8b22"

    result = await scene.copy(url, target_uuid=derived, name="atlas-2", creator_username="alice")

    found = scene.server.read(TARGET, f"{PREFIX}{derived}/annotations/derived_from.json")
    assert json.loads(found.body) == {"uuid": UUID, "name": "sample"}
    assert (result.admin.uuid, result.verification.is_proven) == (derived, True)


async def test_the_query_of_the_url_is_sent_and_kept_out_of_messages(scene: Scene) -> None:
    url = f"{scene.publish()}/?signature=secret"

    await scene.copy(url)
    scene.site.pages.clear()
    with pytest.raises(SourceNotFound) as failure:
        await scene.copy(url)

    asked = [path for path, _ in scene.site.requests]
    assert f"/published/{UUID}/http_manifest.json?signature=secret" in asked
    assert "secret" not in str(failure.value)
    assert "secret" not in repr(scene.opened[-1].endpoint_url)


async def test_older_publications_without_tags_and_annotations_are_read(scene: Scene) -> None:
    url = scene.publish(tags=None, annotations=None, overlays=None)

    await scene.copy(url)

    assert not [name for name in scene.copied() if name.startswith(("tags/", "annotations/"))]
    assert scene.is_frozen()


async def test_a_readme_that_is_not_published_is_not_copied(scene: Scene) -> None:
    await scene.copy(scene.publish(readme_url=None))

    assert "README.yml" not in scene.copied()


async def refused(scene: Scene, url: str, kind: type[DtoolS3Error], **more: Any) -> str:
    """Copy, which must fail so, with nothing frozen; return the message."""
    with pytest.raises(kind) as failure:
        await scene.copy(url, **more)
    assert not scene.is_frozen()
    assert "leak" not in str(failure.value)
    return str(failure.value)


async def test_wrong_bytes_are_damage_of_the_source(scene: Scene) -> None:
    url = scene.publish()
    scene.misbehave(A_ITEM, b"ALPHA")

    assert "a.txt" in await refused(scene, url, SourceDamaged)


async def test_wrong_bytes_of_a_large_item_are_damage_and_leave_no_upload(scene: Scene) -> None:
    url = scene.publish(DatasetFixture(items=LARGE))
    scene.misbehave(f"data/{item_identifier('large.bin')}", LARGE["large.bin"][:-1] + b"?")

    await refused(scene, url, SourceDamaged, chunk_bytes=1000)

    assert not scene.server.find_bucket(TARGET).uploads


@pytest.mark.parametrize("body", [b"alp", b"alphabet"])
async def test_items_of_another_size_are_damage(scene: Scene, body: bytes) -> None:
    url = scene.publish()
    scene.misbehave(A_ITEM, body)

    await refused(scene, url, SourceDamaged)


async def test_large_items_of_another_size_are_damage(scene: Scene) -> None:
    url = scene.publish(DatasetFixture(items=LARGE))
    scene.misbehave(f"data/{item_identifier('large.bin')}", LARGE["large.bin"][:-300])

    await refused(scene, url, SourceDamaged, chunk_bytes=1000)


@pytest.mark.parametrize("status", [404, 410])
async def test_items_that_are_not_there_are_damage(scene: Scene, status: int) -> None:
    url = scene.publish()
    scene.misbehave(A_ITEM, lambda exchange: exchange.send(status, b"leak"))

    await refused(scene, url, SourceDamaged)


async def test_items_without_a_url_are_damage_and_named(scene: Scene) -> None:
    url = scene.publish(item_urls={})

    assert "a.txt" in await refused(scene, url, SourceDamaged)
    assert scene.server.keys(TARGET) == []


async def test_a_server_without_ranges_is_refused_where_they_are_needed(scene: Scene) -> None:
    scene.site.has_ranges = False
    url = scene.publish(DatasetFixture(items=LARGE))

    assert "ranges" in await refused(scene, url, NotSupported, chunk_bytes=1000)


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("elsewhere", ["http://127.0.0.2:1/", "/other", "file:///etc/passwd"])
async def test_redirects_are_refused(scene: Scene, document: str, elsewhere: str) -> None:
    url = scene.publish()
    scene.misbehave(document, lambda exchange: exchange.send(302, b"leak", {"Location": elsewhere}))

    assert "redirects" in await refused(scene, url, AccessDenied)


async def test_redirects_of_items_are_refused(scene: Scene) -> None:
    url = scene.publish()
    answer = {"Location": f"{scene.site.url}/other"}
    scene.misbehave(A_ITEM, lambda exchange: exchange.send(307, b"leak", answer))

    await refused(scene, url, AccessDenied)


FOREIGN = [
    "http://elsewhere.example/x",
    "http://127.0.0.1:1/x",
    "http://127.0.0.1/x",
    "https://127.0.0.1:444/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "//127.0.0.1/x",
    "http://127.0.0.1:1@elsewhere.example/",
    "http://elsewhere.example\\@127.0.0.1/",
    "gopher://127.0.0.1",
    "",
    7,
    None,
    ["http://127.0.0.1/"],
]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("field", ["item_urls", "overlays", "annotations", "manifest_url"])
async def test_urls_on_other_hosts_and_schemes_are_refused_before_anything_else_is_read(
    scene: Scene, field: str, foreign: object
) -> None:
    url = scene.publish()
    path = f"/published/{UUID}/http_manifest.json"
    page = scene.site.pages[path]
    assert isinstance(page, bytes)
    document = json.loads(page)
    document[field] = foreign if field == "manifest_url" else {**document[field], "x": foreign}
    scene.site.pages[path] = json.dumps(document).encode()

    await refused(scene, url, AccessDenied)

    assert [asked for asked, _ in scene.site.requests] == [path]
    assert scene.server.keys(TARGET) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"leak <html>",
        b"[]",
        b"null",
        b"{}",
        b'{"admin_metadata": [], "manifest_url": "x"}',
        b'{"admin_metadata": {}}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe\x00",
        b'{"admin_metadata": {"name": "\\ud800"}, "manifest_url": "x"}',
    ],
)
async def test_an_http_manifest_that_cannot_be_read_is_an_invalid_manifest(scene: Scene, body: bytes) -> None:
    url = scene.publish()
    scene.misbehave("http_manifest.json", body)

    await refused(scene, url, InvalidManifest)


@pytest.mark.parametrize(
    "changes",
    [
        {"item_urls": []},
        {"overlays": "x"},
        {"annotations": 3},
        {"tags": {"a": 1}},
        {"tags": [1]},
        {"tags": [""]},
        {"tags": ["a\nb"]},
        {"tags": ["\ud800"]},
        {"tags": ["x" * 2000]},
    ],
)
async def test_fields_of_other_types_are_an_invalid_manifest(scene: Scene, changes: dict[str, Any]) -> None:
    await refused(scene, scene.publish(**changes), InvalidManifest)


@pytest.mark.parametrize("body", [b"leak", b"[]", b'{"items": {}}', b'{"items": 1, "hash_function": "x"}'])
async def test_a_manifest_that_cannot_be_read_is_invalid(scene: Scene, body: bytes) -> None:
    url = scene.publish()
    scene.misbehave("manifest.json", body)

    await refused(scene, url, InvalidManifest)


async def test_a_manifest_that_is_not_there_is_invalid(scene: Scene) -> None:
    url = scene.publish()
    del scene.site.pages[f"/published/{UUID}/manifest.json"]

    await refused(scene, url, InvalidManifest)


@pytest.mark.parametrize("tag", ["../../escape", "a//b", "."])
async def test_tags_that_leave_the_dataset_are_refused(scene: Scene, tag: str) -> None:
    await refused(scene, scene.publish(tags=[tag]), UnsafePath)

    assert scene.server.keys(TARGET) == []


async def test_another_dataset_than_the_url_names_is_refused(scene: Scene) -> None:
    admin = RICH.admin() | {"uuid": "2d21877d-d5ba-4b5a-8c6e-1e6f1f2d8b22"}

    await refused(scene, scene.publish(admin_metadata=admin), InvalidAdminMetadata)


async def test_a_proto_dataset_is_refused(scene: Scene) -> None:
    await refused(
        scene, scene.publish(admin_metadata=RICH.admin() | {"type": "protodataset"}), SourceNotFrozen
    )


async def test_a_pin_and_a_quota_hold_for_published_datasets_too(scene: Scene) -> None:
    url = scene.publish()

    await refused(scene, url, InvalidManifest, manifest_sha256="0" * 64)
    await refused(scene, url, QuotaExceeded, max_size_bytes=10)

    assert scene.server.keys(TARGET) == []
    assert [path for path, _ in scene.site.requests if "/data/" in path] == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, CredentialsRejected),
        (403, AccessDenied),
        (404, SourceNotFound),
        (429, Throttled),
        (418, InvalidManifest),
        (500, BucketUnreachable),
        (503, BucketUnreachable),
        (204, InvalidManifest),
    ],
)
async def test_answers_are_named_and_their_bodies_are_not_shown(
    scene: Scene, status: int, kind: type[DtoolS3Error]
) -> None:
    url = scene.publish()
    scene.misbehave("http_manifest.json", lambda exchange: exchange.send(status, b"leak"))

    await refused(scene, url, kind)


async def test_a_server_that_stumbles_is_asked_again(scene: Scene) -> None:
    url, stumbled = scene.publish(), []
    body = RICH.items["a.txt"]

    def stumble(exchange: Exchange) -> None:
        stumbled.append(exchange.path)
        match len(stumbled):
            case 1:
                exchange.send(503, b"")
            case 2:  # cut off
                exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalp")
                exchange.close_connection = True
            case _:
                exchange.send(200, body)

    scene.misbehave(A_ITEM, stumble)

    await scene.copy(url, options={"attempts": 3})

    assert scene.is_frozen()
    assert len(stumbled) == 3


def head(exchange: Exchange, length: int | None = None) -> None:
    told = "" if length is None else f"Content-Length: {length}\r\n"
    exchange.write(f"HTTP/1.1 200 OK\r\n{told}Connection: close\r\n\r\n".encode())
    exchange.close_connection = True


def endless(exchange: Exchange) -> None:
    """Send without end, as fast as it goes."""
    head(exchange)
    while not exchange.site.is_closing.is_set():
        exchange.write(b"leak" * 16_384)


def claimed(exchange: Exchange) -> None:
    """Claim a huge body."""
    head(exchange, 10**15)
    exchange.write(b"leak" * 1000)


@pytest.mark.parametrize("huge", [endless, claimed])
@pytest.mark.parametrize(("document", "kind"), [("README.yml", NotSupported), (A_ITEM, SourceDamaged)])
async def test_bodies_without_end_are_cut_off(
    scene: Scene, document: str, kind: type[DtoolS3Error], huge: Answer
) -> None:
    url = scene.publish()
    scene.misbehave(document, huge)

    await refused(scene, url, kind, options={"patience_seconds": 30.0})


def mute(exchange: Exchange) -> None:
    """Take the request and say nothing."""
    exchange.site.is_closing.wait()


def slow_body(exchange: Exchange) -> None:
    """Send a byte of the body now and then."""
    head(exchange, 5)
    exchange.drip(b" ", every_seconds=0.2)


def slow_chunks(exchange: Exchange) -> None:
    """Send the length of a chunk, digit by digit."""
    exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    exchange.drip(b"0", every_seconds=0.01)


def slow_headers(exchange: Exchange) -> None:
    """Send a header, letter by letter."""
    exchange.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    exchange.drip(b"x", every_seconds=0.01)


def always_continue(exchange: Exchange) -> None:
    """Announce an answer again and again."""
    exchange.drip(b"HTTP/1.1 100 Continue\r\n\r\n", every_seconds=0.01)


SLOW = pytest.mark.parametrize("slow", [mute, slow_body, slow_chunks, slow_headers, always_continue])


@SLOW
@pytest.mark.parametrize("document", [*DOCUMENTS, A_ITEM])
async def test_answers_that_drip_are_given_up_in_time(scene: Scene, document: str, slow: Answer) -> None:
    url = scene.publish()
    scene.misbehave(document, slow)
    began = time.monotonic()

    message = await refused(scene, url, BucketUnreachable, options={"patience_seconds": 0.3})

    assert "slowly" in message
    assert time.monotonic() - began < 10  # it drips until the test ends
    await asyncio.to_thread(scene.opened[-1].close)  # no thread is left waiting
    assert not [t for t in threading.enumerate() if t.name.startswith("dtool-http")]


async def test_a_slow_server_that_keeps_sending_enough_is_heard_out(scene: Scene) -> None:
    url = scene.publish(DatasetFixture(readme="x" * 40_000))

    def steady(exchange: Exchange) -> None:
        head(exchange, 40_000)
        for _ in range(40):
            exchange.site.is_closing.wait(0.06)
            exchange.write(b"x" * 1000)

    scene.misbehave("README.yml", steady)

    await scene.copy(url, options={"patience_seconds": 1.5, "bytes_per_second": 10_000})

    assert scene.copied()["README.yml"] == b"x" * 40_000


@SLOW
async def test_a_copy_that_is_cancelled_ends_at_once_whatever_the_server_does(
    scene: Scene, slow: Answer
) -> None:
    url, loop, reached = scene.publish(), asyncio.get_running_loop(), asyncio.Event()

    def tell(exchange: Exchange) -> None:
        loop.call_soon_threadsafe(reached.set)
        slow(exchange)

    scene.misbehave(A_ITEM, tell)
    copying = asyncio.create_task(scene.copy(url, options={"patience_seconds": 60.0}))
    await reached.wait()
    began = time.monotonic()

    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await asyncio.to_thread(scene.opened[-1].close)

    assert time.monotonic() - began < 10
    assert not scene.is_frozen()


async def test_nothing_listens(scene: Scene) -> None:
    await refused(scene, f"http://127.0.0.1:1/{UUID}", BucketUnreachable)


async def test_compressed_bytes_are_not_unpacked(scene: Scene) -> None:
    import gzip

    url, bomb = scene.publish(), gzip.compress(b"0" * 10**7)
    scene.misbehave("README.yml", lambda exchange: exchange.send(200, bomb, {"Content-Encoding": "gzip"}))

    await scene.copy(url)

    assert scene.copied()["README.yml"] == bomb


async def test_a_readme_above_its_limit_is_refused(scene: Scene) -> None:
    url = scene.publish(DatasetFixture(readme="x" * (16 * 1024**2 + 1)))

    assert "README.yml" in await refused(scene, url, NotSupported)


async def test_a_copy_of_something_else_in_the_place_is_not_touched(scene: Scene) -> None:
    await scene.copy(scene.publish())
    before = scene.copied()

    with pytest.raises(ContentDiffers):
        await scene.copy(scene.publish(DatasetFixture(items={"b": b"b"})))

    assert scene.copied() == before


async def test_the_store_shows_a_source_without_etags(scene: Scene) -> None:
    store: Store = scene.open(scene.publish())

    found = await read_source(store, DatasetLayout("", UUID))

    assert {listed.etag for listed in found.listing.items.values()} == {""}
    assert set(found.listing.documents) == {
        "README.yml",
        "tags/blue",
        "tags/2026",
        "annotations/project.json",
        "annotations/v1.2.json",
        "overlays/length.json",
    }
    assert await store.part_sizes(f"{UUID}/{A_ITEM}") == ()
    assert len((await store.list(f"{UUID}/data/", limit=2)).objects) == 2
    await store.check_bucket()


async def test_everything_that_writes_is_refused(scene: Scene) -> None:
    store: Store = scene.open(scene.publish())
    upload, listed = Upload("k", "1"), next(iter((await store.list("")).objects))

    attempts: list[Callable[[], Any]] = [
        lambda: store.head("k"),
        lambda: store.put("k", b""),
        lambda: store.copy("b", listed, "k"),
        lambda: store.copy_many("b", [(listed, "k")]),
        lambda: store.delete("k"),
        lambda: store.delete_many(["k"]),
        lambda: store.list_uploads(""),
        lambda: store.start_upload("k", {}),
        lambda: store.put_part(upload, 1, b""),
        lambda: store.copy_part(upload, 1, "b", _listed(), first_byte=0, size_bytes=1),
        lambda: store.complete_upload(upload, [Part(1, "e")]),
        lambda: store.abort_upload(upload),
    ]
    for attempt in attempts:
        with pytest.raises(NotSupported):
            await attempt()
    with pytest.raises(NotSupported):
        store.stream("k")


def _listed() -> ListedObject:
    from datetime import UTC, datetime

    return ListedObject("k", 1, "e", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def secure_site(authority: Authority) -> Iterator[Site]:
    with open_site(authority.issue_server("published", "127.0.0.1")) as opened:
        yield opened


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "authority")


async def test_a_server_whose_certificate_is_known_is_read_over_https(
    scene: Scene, secure_site: Site, authority: Authority
) -> None:
    url = secure_site.publish(RICH)

    await scene.copy(url, options={"ca_bundle": str(authority.certificate_file)})

    assert scene.is_frozen()


async def test_a_server_whose_certificate_nobody_vouches_for_is_refused(
    scene: Scene, secure_site: Site
) -> None:
    url = secure_site.publish(RICH)

    assert "certificate" in await refused(scene, url, AccessDenied)

    assert secure_site.requests == []


@SLOW
async def test_answers_that_drip_over_https_are_given_up_in_time(
    scene: Scene, secure_site: Site, authority: Authority, slow: Answer
) -> None:
    url = secure_site.publish(RICH)
    secure_site.pages[f"/published/{UUID}/README.yml"] = slow
    options = {"ca_bundle": str(authority.certificate_file), "patience_seconds": 0.5}
    began = time.monotonic()

    await refused(scene, url, BucketUnreachable, options=options)
    await asyncio.to_thread(scene.opened[-1].close)

    assert time.monotonic() - began < 10


async def test_the_proxy_of_the_environment_is_used(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, scene.site.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    scene.publish()
    # a proxy is asked for whole URLs
    local, remote = scene.site.url, "http://data.example"
    pages = {f"{remote}{path}": page for path, page in scene.site.pages.items()}
    scene.site.pages = {
        path: page.replace(local.encode(), remote.encode()) if isinstance(page, bytes) else page
        for path, page in pages.items()
    }

    await scene.copy(f"{remote}/published/{UUID}")

    assert scene.is_frozen()


async def test_certificates_that_cannot_be_read_are_a_matter_of_the_settings(scene: Scene) -> None:
    await refused(scene, scene.publish(), SettingsError, options={"ca_bundle": "/nonexistent.pem"})


def test_a_url_without_a_uuid_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InvalidURI):
        PublishedStore("https://example.org/data")
