"""The registration key is created once, never overwritten, and only its absence counts as absence."""

import pytest

from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES
from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    DatasetMissing,
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
    register_found,
)
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from tests.support.datasets import UUID, DatasetFixture, write_dataset

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
    """Rule 6 of the operator's API, as all that follow."""
    await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).body == b"u/alice/"


async def test_an_equal_key_is_left_alone(server: MemoryServer, store: MemoryStore) -> None:
    """Rule 6."""
    written = server.write(BUCKET, KEY, b"u/alice/")

    await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).info == written


@pytest.mark.parametrize("body", [b"", b"u/bob/", b"u/alice", b"u/alice/\n", b"\xff", b"x" * 5000])
async def test_another_prefix_is_never_overwritten(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    """Rule 6."""
    server.write(BUCKET, KEY, body)

    with pytest.raises(UUIDTaken):
        await ensure_registration(store, LAYOUT)

    assert server.read(BUCKET, KEY).body == body


async def test_a_lost_answer_is_settled_by_reading(server: MemoryServer, store: MemoryStore) -> None:
    """Rule 6."""
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
    """Rule 6."""
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
    """Rule 6."""
    server.write(BUCKET, KEY, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await check_registration(store, LAYOUT)
    with pytest.raises(RegistrationHijacked):
        await recheck_registration(store, LAYOUT)


# --- lost keys -----------------------------------------------------------------------------------------


async def _lose_key(server: MemoryServer, store: MemoryStore, dataset: DatasetFixture) -> DatasetLayout:
    layout = await write_dataset(store, dataset)
    server.remove(BUCKET, layout.registration_key)
    server.requests.clear()
    return layout


@pytest.mark.parametrize("prefix", ["", "u/alice/", "u/olssont", "a b+c/ü/"])
@pytest.mark.parametrize("is_frozen", [True, False])
async def test_the_lost_key_of_a_dataset_is_written_again(
    server: MemoryServer, store: MemoryStore, prefix: str, is_frozen: bool
) -> None:
    layout = await _lose_key(server, store, DatasetFixture(UUID, prefix, is_frozen=is_frozen))

    assert await register_found(store, layout)

    assert server.read(BUCKET, KEY).body.decode() == prefix
    assert [request.operation for request in server.requests] == ["get", "get", "put"]


async def test_a_key_that_is_there_is_not_written_again(server: MemoryServer, store: MemoryStore) -> None:
    layout = await write_dataset(store, DatasetFixture(UUID, "u/alice/"))
    written = server.read(BUCKET, KEY).info

    assert not await register_found(store, layout)

    assert server.read(BUCKET, KEY).info == written


@pytest.mark.parametrize("body", [b"u/bob/", b"", b"\xff"])
async def test_a_key_of_another_prefix_stays_as_it_is(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    layout = await _lose_key(server, store, DatasetFixture(UUID, "u/alice/"))
    server.write(BUCKET, KEY, body)

    with pytest.raises(UUIDTaken):
        await register_found(store, layout)

    assert server.read(BUCKET, KEY).body == body


async def test_nothing_is_registered_where_no_dataset_lies(server: MemoryServer, store: MemoryStore) -> None:
    with pytest.raises(DatasetMissing):
        await register_found(store, LAYOUT)

    assert server.keys(BUCKET) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"dtoolfile", b'{"uuid": "other"}', b"x" * (MAX_ADMIN_METADATA_BYTES + 1)],
    ids=["empty", "lost headers of 0.3", "another uuid", "too large"],
)
async def test_a_dataset_that_cannot_be_read_is_not_registered(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    server.write(BUCKET, LAYOUT.admin_metadata_key, body)

    with pytest.raises(InvalidAdminMetadata):
        await register_found(store, LAYOUT)

    assert server.keys(BUCKET) == [LAYOUT.admin_metadata_key]


@pytest.mark.parametrize("prefix", ["u/alice\n/", "x" * 3000 + "/"], ids=["a line break", "too long"])
async def test_a_prefix_that_no_reader_would_take_is_not_registered(
    server: MemoryServer, store: MemoryStore, prefix: str
) -> None:
    with pytest.raises(InvalidAdminMetadata, match="no prefix"):
        await register_found(store, DatasetLayout(prefix, UUID))

    assert server.requests == []


async def test_of_two_that_register_at_once_only_the_first_prefix_counts(
    server: MemoryServer, store: MemoryStore
) -> None:
    layout = await _lose_key(server, store, DatasetFixture(UUID, "u/alice/"))

    def register_other() -> None:
        server.write(BUCKET, KEY, b"u/bob/")

    server.faults.append(Fault("put", KEY, hook=register_other))

    with pytest.raises(UUIDTaken):
        await register_found(store, layout)

    assert server.read(BUCKET, KEY).body == b"u/bob/"
