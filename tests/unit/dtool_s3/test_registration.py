"""The registration key is created once, never overwritten, and only its absence counts as absence."""

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    InvalidAdminMetadata,
    PreconditionFailed,
    RegistrationHijacked,
    StorageError,
    UUIDTaken,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.registration import (
    check_registration,
    ensure_registration,
    read_registration,
    recheck_registration,
)
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from tests.support.datasets import UUID

BUCKET = "lab-data"
KEY = f"dtool-{UUID}"
LAYOUT = DatasetLayout("u/alice/", UUID)


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def store(server: MemoryServer) -> MemoryStore:
    return server.store(BUCKET)


async def test_a_missing_key_is_created_with_the_prefix(server: MemoryServer, store: MemoryStore) -> None:
    await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).body == b"u/alice/"


async def test_an_equal_key_is_left_alone(server: MemoryServer, store: MemoryStore) -> None:
    written = server.write(BUCKET, KEY, b"u/alice/")

    await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).info == written


@pytest.mark.parametrize("body", [b"", b"u/bob/", b"u/alice", b"u/alice/\n", b"\xff", b"x" * 5000])
async def test_another_prefix_is_never_overwritten(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    server.write(BUCKET, KEY, body)

    with pytest.raises(UUIDTaken):
        await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).body == body


async def test_a_lost_answer_is_settled_by_reading(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("put", error=BucketUnreachable("no answer"), after_effect=True))

    await ensure_registration(store, LAYOUT)

    assert [r.operation for r in server.requests] == ["put", "get"]


async def test_a_request_that_never_arrived_is_made_again(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("put", error=BucketUnreachable("no answer")))

    await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).body == b"u/alice/"


async def test_a_key_that_vanishes_after_the_conflict_is_created_again(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, KEY, b"u/bob/")
    server.faults.append(Fault("get", hook=lambda: server.remove(BUCKET, KEY)))

    await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).body == b"u/alice/"


@pytest.mark.parametrize("error", [BucketUnreachable("no answer"), PreconditionFailed("412")])
async def test_trying_again_is_bounded(server: MemoryServer, store: MemoryStore, error: StorageError) -> None:
    server.faults.append(Fault("put", error=error, times=None))

    with pytest.raises(type(error)):
        await ensure_registration(store, LAYOUT)

    assert len(server.requests) <= 8
    assert server.keys(BUCKET) == []


async def test_a_refusal_is_not_repeated(server: MemoryServer, store: MemoryStore) -> None:
    server.faults.append(Fault("put", error=AccessDenied("no"), times=None))

    with pytest.raises(AccessDenied):
        await ensure_registration(store, LAYOUT)

    assert len(server.requests) == 1


@pytest.mark.parametrize("error", [AccessDenied("403"), BucketUnreachable("503")])
async def test_only_absence_reads_as_none(
    server: MemoryServer, store: MemoryStore, error: StorageError
) -> None:
    assert await read_registration(store, UUID) is None

    server.faults.append(Fault("get", error=error))

    with pytest.raises(type(error)):
        await read_registration(store, UUID)


@pytest.mark.parametrize("body", [b"", b"u/olssont", b"u/olssont/", "ü/".encode()])
async def test_prefixes_of_every_era_are_read_as_they_are(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    server.write(BUCKET, KEY, body)

    assert await read_registration(store, UUID) == body.decode()


@pytest.mark.parametrize("body", [b"\xff\xfe", b"x" * 3000])
async def test_a_body_that_is_no_prefix_is_refused(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    server.write(BUCKET, KEY, body)

    with pytest.raises(InvalidAdminMetadata, match=KEY):
        await read_registration(store, UUID)


async def test_a_missing_key_of_a_dataset_is_a_hijacking(store: MemoryStore) -> None:
    with pytest.raises(RegistrationHijacked):
        await check_registration(store, LAYOUT)


async def test_a_key_that_was_right_before_can_only_have_been_hijacked(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, KEY, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await check_registration(store, LAYOUT)
    with pytest.raises(RegistrationHijacked):
        await recheck_registration(store, LAYOUT)
