"""Copies of datasets that were really published, by our dtool and by upstream's, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_s3.errors import AccessDenied, NotFound
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.publication.published import PublishedStore
from dtool_s3.publication.publishing import publish, unpublish
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.parts import PartLimits
from sandbox.identity import create_identity
from tests.support.datasets import ITEMS, DatasetFixture, write_dataset
from tests.support.upstream import Dtool, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore
    from tests.support.moto import MotoServer
    from tests.support.s3_place import S3Place

TARGET, PREFIX = "lab-data", "u/alice/"
LARGE = bytes(range(256)) * 8192
FIELDS: dict[str, Any] = {
    "items": {**ITEMS, "empty": b"", "large.bin": LARGE},
    "tags": ("blue", "2026"),
    "annotations": {"project": "atlas", "v1.2": "x"},
    "overlays": {"length": {item_identifier("a.txt"): 5}},
}
#: What is not published.
UNPUBLISHED = {"http_manifest.json", "structure.json", "README.txt"}


async def written(store: Store, prefix: str, uuid: str, **changes: Any) -> DatasetLayout:
    return await write_dataset(store, DatasetFixture(uuid, prefix, **{**FIELDS, **changes}))


async def bodies(store: Store, layout: DatasetLayout) -> dict[str, bytes]:
    """Everything of a dataset that is published, by key relative to its root."""
    names = [o.key.removeprefix(layout.root) for o in (await store.list(layout.root)).objects]
    kept = [name for name in names if name not in UNPUBLISHED]
    return {n: (await store.get(f"{layout.root}{n}", max_bytes=10**8)).body for n in kept}


async def check_copy(url: str, origin: Store, layout: DatasetLayout) -> None:
    """Copy what is published at a URL; compare it with the original."""
    server = MemoryServer()
    server.create_bucket(TARGET)
    target = server.store(TARGET)
    async with PublishedStore(url) as source:
        limits = PartLimits(chunk_bytes=300_000, min_part_bytes=1)
        request = CopyRequest(source.uuid, "", PREFIX, limits=limits, pause_seconds=0)
        result = await copy_dataset(source, target, request)
    assert result.verification.is_proven
    assert await bodies(target, DatasetLayout(PREFIX, layout.uuid)) == await bodies(origin, layout)


async def test_a_dataset_with_signed_urls_is_copied(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    layout = await written(store, s3_place.prefix, s3_place.new_uuid())

    url = await publish(store, layout, expires_seconds=600)

    await check_copy(url, store, layout)


async def test_without_its_signature_a_dataset_is_not_copied(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    layout = await written(store, s3_place.prefix, s3_place.new_uuid())
    url = await publish(store, layout, expires_seconds=600)

    async with PublishedStore(url.partition("?")[0]) as source:
        with pytest.raises(AccessDenied):
            await source.check_bucket()


async def test_a_dataset_that_upstream_published_is_copied(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    # upstream fails at annotations with dots in their names
    layout = await written(store, s3_place.prefix, s3_place.new_uuid(), annotations={"project": "atlas"})
    environment = {**s3_place.environment, "DTOOL_S3_PUBLISH_EXPIRY": "600"}
    upstream = Dtool(await asyncio.to_thread(ensure_upstream) / "bin", environment)

    uri = f"s3://{s3_place.bucket}/{layout.uuid}"
    url = await asyncio.to_thread(upstream.run, "publish", "--quiet", uri)

    await check_copy(url, store, layout)


@pytest.fixture
def everybody(object_store: ObjectStore, s3_place: S3Place) -> Iterator[None]:
    """Let everybody read the test's bucket."""
    before = object_store.identities
    object_store.replace_identities([*before, create_identity("anonymous", f"Read:{s3_place.bucket}")])
    yield
    object_store.replace_identities(before)


@pytest.mark.usefixtures("everybody")
async def test_a_dataset_that_everybody_may_read_is_copied(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    layout = await written(store, s3_place.prefix, s3_place.new_uuid())

    url = await publish(store, layout)

    assert "?" not in url
    await check_copy(url, store, layout)


async def test_a_dataset_made_public_by_acl_is_copied_until_it_is_withdrawn(
    moto_server: MotoServer, tmp_path: Path
) -> None:
    bucket = await asyncio.to_thread(moto_server.create_bucket)
    async with S3Store(moto_server.endpoint, bucket, lambda: moto_server.credentials) as store:
        layout = await written(store, PREFIX, "1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11")
        url = await publish(store, layout)
        await check_copy(url, store, layout)

        await unpublish(store, layout)

        async with PublishedStore(url) as source:
            with pytest.raises((AccessDenied, NotFound)):
                await source.get(layout.admin_metadata_key, max_bytes=10**6)
