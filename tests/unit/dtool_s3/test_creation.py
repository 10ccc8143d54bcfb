"""An empty proto dataset: registered first, `dtool` last, finished by whoever comes after an interruption."""

from contextlib import suppress
from itertools import count

import pytest

from dtool_s3.creation import create_proto
from dtool_s3.documents import AdminMetadata, DatasetType
from dtool_s3.errors import AccessDenied, BucketUnreachable, SettingsError, UUIDTaken
from dtool_s3.layout import DTOOL_README_TXT, item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.transfer.inventory import read_admin_metadata
from tests.support.datasets import UUID, DatasetFixture, write_dataset

FIXTURE = DatasetFixture(prefix="u/alice/", is_frozen=False)
LAYOUT = FIXTURE.layout
NOW = 1795329207.5


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("lab")
    return server


@pytest.fixture
def store(server: MemoryServer) -> MemoryStore:
    return server.store("lab")


async def create(store: MemoryStore, name: str = "run-17", readme: str | None = "a: 1\n") -> AdminMetadata:
    return await create_proto(
        store, LAYOUT, name=name, creator_username="olssont", readme=readme, clock=lambda: NOW
    )


def contents(server: MemoryServer) -> dict[str, bytes]:
    return {key: server.read("lab", key).body for key in server.keys("lab")}


async def test_a_proto_dataset_is_registered_first_and_says_what_it_is_last(
    server: MemoryServer, store: MemoryStore
) -> None:
    made = await create(store)

    assert made == await read_admin_metadata(store, LAYOUT)
    assert (made.name, made.creator_username, made.created_at) == ("run-17", "olssont", NOW)
    assert (made.type, made.frozen_at) == (DatasetType.PROTO, None)
    written = [request.key for request in server.requests if request.operation == "put"]
    assert written == [
        LAYOUT.registration_key,
        LAYOUT.structure_key,
        LAYOUT.dtool_readme_key,
        LAYOUT.readme_key,
        LAYOUT.admin_metadata_key,
    ]
    held = contents(server)
    assert held.keys() == set(written)
    assert held[LAYOUT.registration_key] == b"u/alice/"
    assert held[LAYOUT.structure_key] == LAYOUT.structure_document()
    assert held[LAYOUT.dtool_readme_key] == DTOOL_README_TXT.encode()
    assert held[LAYOUT.readme_key] == b"a: 1\n"


async def test_a_creation_costs_six_requests_and_a_look_at_it_two(
    server: MemoryServer, store: MemoryStore
) -> None:
    await create(store)
    assert [request.operation for request in server.requests] == ["get", *["put"] * 5]
    server.requests.clear()

    await create(store)

    assert [request.operation for request in server.requests] == ["get", "put", "get"]


async def test_without_a_readme_an_empty_one_is_written(server: MemoryServer, store: MemoryStore) -> None:
    await create(store, readme=None)

    assert server.read("lab", LAYOUT.readme_key).body == b""


@pytest.mark.parametrize("after_effect", [True, False])
async def test_a_creation_that_fails_at_any_request_is_finished_by_the_next(*, after_effect: bool) -> None:
    undisturbed = MemoryServer()
    undisturbed.create_bucket("lab")
    await create(undisturbed.store("lab"))

    for number in range(len(undisturbed.requests)):
        server = MemoryServer()
        server.create_bucket("lab")
        lost = AccessDenied("denied", code="AccessDenied")  # nothing is tried twice by itself
        fault = Fault(error=lost, skip=number, after_effect=after_effect)
        server.faults.append(fault)
        with suppress(AccessDenied):
            await create(server.store("lab"))
        assert fault.hits == 1

        await create(server.store("lab"))

        assert contents(server) == contents(undisturbed)


@pytest.mark.parametrize("is_frozen", [True, False])
async def test_a_dataset_that_is_there_already_is_returned_as_it_is(
    server: MemoryServer, store: MemoryStore, *, is_frozen: bool
) -> None:
    await write_dataset(store, DatasetFixture(prefix="u/alice/", is_frozen=is_frozen))
    before = contents(server)

    found = await create(store)

    assert (found.name, found.is_frozen) == ("sample", is_frozen)
    assert contents(server) == before


async def test_unfinished_uploads_of_those_who_fill_it_go_on(store: MemoryStore) -> None:
    await create(store)
    await store.start_upload(LAYOUT.item_key(item_identifier("large.bin")), {})

    await create(store)

    assert len(await store.list_uploads(LAYOUT.root)) == 1


async def test_a_uuid_that_is_registered_elsewhere_is_taken_and_nothing_is_written(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write("lab", LAYOUT.registration_key, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await create(store)

    assert server.keys("lab") == [f"dtool-{UUID}"]


async def test_a_dataset_whose_registration_names_another_place_is_not_taken_for_ours(
    server: MemoryServer, store: MemoryStore
) -> None:
    await write_dataset(store, FIXTURE)
    server.write("lab", LAYOUT.registration_key, b"u/bob/")

    with pytest.raises(UUIDTaken):
        await create(store)


async def test_of_two_that_create_one_dataset_the_first_one_decides(
    server: MemoryServer, store: MemoryStore
) -> None:
    times = count(1)

    async def other_creates() -> None:
        if next(times) == 1:
            await create(store, name="theirs")

    server.faults.append(Fault("put", LAYOUT.admin_metadata_key, hook=other_creates))

    assert (await create(store, name="ours")).name == "theirs"


async def test_where_the_store_does_not_answer_the_creation_fails(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.faults.append(Fault("get", error=BucketUnreachable("no answer"), times=None))

    with pytest.raises(BucketUnreachable):
        await create(store)

    assert server.keys("lab") == []


@pytest.mark.parametrize("name", ["", "..", "a b", "x" * 81, "a/b", "run-17\n"])
async def test_a_name_that_dtool_does_not_take_is_refused_before_any_request(
    server: MemoryServer, store: MemoryStore, name: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        await create(store, name=name)

    assert caught.value.reason == "InvalidSpec"
    assert server.requests == []


async def test_a_creator_that_no_header_can_hold_is_refused(store: MemoryStore) -> None:
    with pytest.raises(SettingsError, match="creator"):
        await create_proto(store, LAYOUT, name="run-17", creator_username="eve\r\nx-amz-acl: public-read")
