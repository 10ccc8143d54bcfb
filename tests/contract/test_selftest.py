"""The self-test on a real S3 server."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from dtool_s3.errors import AccessDenied, BucketNotFound, BucketUnreachable, CredentialsRejected, NotFound
from dtool_s3.selftest import Probe, check_store
from dtool_s3.settings import ConditionalWrites, Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from sandbox.identity import Identity
from sandbox.port import find_free_ports
from sandbox.seaweedfs import ADMIN, ObjectStore

PREFIX = "u/alice/"
SHARED = "lab-data"

OpenStore = Callable[..., S3Store]


@pytest.fixture
async def open_store(object_store: ObjectStore) -> AsyncIterator[OpenStore]:
    """A function that opens a bucket with an identity's keys; all are closed after the test."""
    opened: list[S3Store] = []

    def open_(bucket: str, identity: Identity, endpoint: Endpoint | None = None) -> S3Store:
        keys = Credentials(identity.access_key, Secret(identity.secret_key))
        where = endpoint or Endpoint(object_store.endpoint, region="us-east-1")
        opened.append(S3Store(where, bucket, lambda: keys, attempts=2))
        return opened[-1]

    yield open_
    for store in opened:
        await asyncio.to_thread(store.close)


@pytest.mark.parametrize("writes", list(ConditionalWrites))
async def test_the_server_passes_everything(
    open_store: OpenStore, object_store: ObjectStore, bucket_name: str, writes: ConditionalWrites
) -> None:
    endpoint = Endpoint(object_store.endpoint, region="us-east-1", conditional_writes=writes)
    store = open_store(bucket_name, object_store.identity(ADMIN), endpoint)

    result = await check_store(store, prefix=PREFIX, conditional_writes=writes)

    assert result.passed == tuple(Probe)
    assert not (await store.list("")).objects


async def test_an_identity_limited_to_its_prefix_passes_there_and_nowhere_else(
    open_store: OpenStore, object_store: ObjectStore
) -> None:
    await asyncio.to_thread(object_store.create_bucket, SHARED)
    alice = open_store(SHARED, object_store.identity("alice"))

    result = await check_store(alice, prefix=PREFIX, conditional_writes=ConditionalWrites.REQUIRED)

    assert result.has_written
    with pytest.raises(AccessDenied):
        await check_store(alice, prefix="u/bob/", conditional_writes=ConditionalWrites.REQUIRED)


async def test_wrong_keys_a_missing_bucket_and_a_wrong_endpoint_are_told_apart(
    open_store: OpenStore, object_store: ObjectStore, bucket_name: str
) -> None:
    admin = object_store.identity(ADMIN)
    wrong = Identity("wrong", admin.access_key, secrets.token_hex(20), ())
    nowhere = Endpoint(f"http://127.0.0.1:{find_free_ports(1)[0]}", region="us-east-1")
    cases = [
        (open_store(bucket_name, wrong), (CredentialsRejected,)),
        (open_store("no-such-bucket", admin), (BucketNotFound, NotFound)),
        (open_store(bucket_name, admin, nowhere), (BucketUnreachable,)),
    ]

    for store, expected in cases:
        with pytest.raises(expected):
            await check_store(store, prefix=PREFIX, conditional_writes=ConditionalWrites.REQUIRED)
