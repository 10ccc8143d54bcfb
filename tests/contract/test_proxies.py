"""What stands between a client and a server: a proxy that changes header names, one that keeps silent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import item_identifier
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.verify import VerifyMethod, verify_dataset
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.fault_proxy import SILENCE, Fault, FaultProxy, fault_proxy

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[FaultProxy]:
    with fault_proxy(object_store.endpoint) as running:
        yield running


@pytest.fixture
async def store(object_store: ObjectStore, proxy: FaultProxy, bucket_name: str) -> AsyncIterator[S3Store]:
    admin = object_store.identity("admin")
    keys = Credentials(admin.access_key, Secret(admin.secret_key))
    async with S3Store(Endpoint(proxy.url), bucket_name, lambda: keys, attempts=2) as opened:
        yield opened


async def test_a_proxy_that_changes_the_case_of_headers_hides_nothing(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.changes_header_case = True
    dataset = DatasetFixture()
    layout = await write_dataset(store, dataset)

    info = await store.head(layout.item_key(item_identifier("ünï/c.bin")))
    admin = await store.get(layout.admin_metadata_key, max_bytes=10_000)
    verified = await verify_dataset(store, layout, method=VerifyMethod.CONTENT)
    copied = await copy_dataset(store, store, CopyRequest(dataset.uuid, "", "", pause_seconds=0.0))

    assert set(info.metadata) == {"handle", "checksum"}
    assert admin.info.metadata["creator_username"] == "olssont"
    assert verified.verification.is_proven
    assert copied.verification.is_complete


async def test_a_server_that_keeps_silent_is_asked_again(store: S3Store, proxy: FaultProxy) -> None:
    proxy.patience_seconds = 0.1
    proxy.faults.append(Fault(SILENCE, "PUT", "*/key"))

    await store.put("key", b"content")

    assert [seen.method for seen in proxy.requests].count("PUT") == 2


async def test_silence_without_end_is_named(store: S3Store, proxy: FaultProxy) -> None:
    proxy.patience_seconds = 0.1
    proxy.faults.append(Fault(SILENCE, target="*/key", times=None))

    with pytest.raises(BucketUnreachable, match="key"):
        await store.put("key", b"content")


async def test_the_client_itself_gives_up_on_a_silent_server(
    object_store: ObjectStore, proxy: FaultProxy, bucket_name: str
) -> None:
    admin = object_store.identity("admin")
    keys = Credentials(admin.access_key, Secret(admin.secret_key))
    proxy.faults.append(Fault(SILENCE, "PUT", "*/key", times=2))  # both clients' first attempts

    async with S3Store(Endpoint(proxy.url), bucket_name, keys, read_timeout_seconds=3) as store:
        await store.put("key", b"content")
        written = await store.get("key", max_bytes=100)

    assert written.body == b"content"
    assert [seen.method for seen in proxy.requests].count("PUT") == 3
