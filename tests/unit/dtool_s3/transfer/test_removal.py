"""Removing a dataset: `dtool` first, registration key last, nothing of anybody else's, from any crash on."""

from collections.abc import Sequence

import pytest

from dtool_s3.documents import MAX_REGISTRATION_BYTES
from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    DtoolS3Error,
    FrozenDataset,
    InvalidAdminMetadata,
    NotSupported,
    RequestRefused,
    StorageError,
    UUIDTaken,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.transfer.removal import _LISTED_KEYS, remove_dataset
from tests.support.datasets import UUID, DatasetFixture, write_dataset

PREFIX = "u/alice/"
LAYOUT = DatasetLayout(PREFIX, UUID)
PROTO = DatasetFixture(prefix=PREFIX, is_frozen=False)
FROZEN = DatasetFixture(prefix=PREFIX)
#: Keys of others that look as much as possible as if they belonged to the dataset.
OTHERS = (
    ".dtool-owner",
    f"dtool-{UUID}0",
    f"u/alice/{UUID}",
    f"u/alice/{UUID}-copy/dtool",
    f"u/bob/{UUID}/dtool",
)


async def _server(dataset: DatasetFixture = PROTO) -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("lab")
    for key in OTHERS:
        server.write("lab", key, b"of others")
    await write_dataset(server.store("lab"), dataset)
    await server.store("lab").start_upload(f"{LAYOUT.data_prefix}unfinished", {})
    server.requests.clear()
    return server


def _deleted(server: MemoryServer) -> list[str]:
    return [request.key for request in server.requests if request.operation == "delete"]


def _uploads(server: MemoryServer) -> Sequence[object]:
    return server.find_bucket("lab").list_uploads("")


async def test_a_proto_dataset_is_removed_with_its_registration_key_and_nothing_else() -> None:
    server = await _server()
    count = len(server.keys("lab")) - len(OTHERS)

    removed = await remove_dataset(server.store("lab"), LAYOUT)

    assert removed == count
    assert server.keys("lab") == sorted(OTHERS)
    assert not _uploads(server)


async def test_dtool_goes_first_and_the_registration_key_last() -> None:
    server = await _server()

    await remove_dataset(server.store("lab"), LAYOUT)

    deleted = _deleted(server)
    assert deleted[0] == LAYOUT.admin_metadata_key
    assert deleted[-1] == LAYOUT.registration_key
    assert len(deleted) == len(set(deleted))


async def test_a_frozen_dataset_is_not_touched() -> None:
    server = await _server(FROZEN)
    before = server.keys("lab")

    with pytest.raises(FrozenDataset):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert server.keys("lab") == before
    assert not _deleted(server)
    assert _uploads(server)


async def test_a_frozen_dataset_is_removed_where_that_is_meant() -> None:
    server = await _server(FROZEN)

    await remove_dataset(server.store("lab"), LAYOUT, only_proto=False)

    assert server.keys("lab") == sorted(OTHERS)
    assert _deleted(server)[0] == LAYOUT.admin_metadata_key


async def test_a_dataset_frozen_between_look_and_deletion_stays() -> None:
    server = await _server()

    async def freeze() -> None:
        await write_dataset(server.store("lab", "another writer"), FROZEN)

    server.faults.append(Fault("delete", LAYOUT.admin_metadata_key, hook=freeze))

    with pytest.raises(FrozenDataset):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert LAYOUT.admin_metadata_key in server.keys("lab")
    assert LAYOUT.registration_key in server.keys("lab")


async def test_a_dataset_frozen_while_its_items_go_keeps_its_dtool_and_its_key() -> None:
    server = await _server()

    async def freeze() -> None:
        await write_dataset(server.store("lab", "another writer"), FROZEN)

    server.faults.append(Fault("delete_many", hook=freeze))

    with pytest.raises(FrozenDataset):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert LAYOUT.admin_metadata_key in server.keys("lab")
    assert LAYOUT.registration_key in server.keys("lab")


async def test_a_dtool_that_does_not_say_what_it_is_stays() -> None:
    server = await _server()
    server.write("lab", LAYOUT.admin_metadata_key, b"dtoolfile")

    with pytest.raises(InvalidAdminMetadata):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert not _deleted(server)


@pytest.mark.parametrize("body", [b"u/bob/", b"", b"u/alice", b"\xff", b"x" * (MAX_REGISTRATION_BYTES + 1)])
async def test_a_uuid_registered_elsewhere_is_not_touched(body: bytes) -> None:
    server = await _server()
    server.write("lab", LAYOUT.registration_key, body)
    before = server.keys("lab")

    with pytest.raises(UUIDTaken):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert server.keys("lab") == before


async def test_a_registration_key_changed_during_the_removal_stays() -> None:
    server = await _server()

    def other_registers() -> None:
        server.write("lab", LAYOUT.registration_key, b"u/bob/")

    server.faults.append(Fault("delete", LAYOUT.registration_key, hook=other_registers))

    await remove_dataset(server.store("lab"), LAYOUT)

    assert server.read("lab", LAYOUT.registration_key).body == b"u/bob/"


async def test_nothing_there_is_fine() -> None:
    server = MemoryServer()
    server.create_bucket("lab")

    assert await remove_dataset(server.store("lab"), LAYOUT) == 0


async def test_a_creation_that_only_registered_is_removed() -> None:
    server = MemoryServer()
    server.create_bucket("lab")
    server.write("lab", LAYOUT.registration_key, PREFIX.encode())

    assert await remove_dataset(server.store("lab"), LAYOUT) == 1

    assert server.keys("lab") == []


async def test_items_that_arrive_during_the_removal_go_too() -> None:
    server = await _server()

    def late_item() -> None:
        server.write("lab", f"{LAYOUT.data_prefix}late", b"late")

    server.faults.append(Fault("delete_many", hook=late_item))

    await remove_dataset(server.store("lab"), LAYOUT)

    assert server.keys("lab") == sorted(OTHERS)


async def test_a_writer_that_does_not_stop_ends_the_removal_before_the_registration_key() -> None:
    server = await _server()

    def write_again() -> None:
        server.write("lab", f"{LAYOUT.data_prefix}again", b"again")

    server.faults.append(Fault("list", hook=write_again, times=None))

    with pytest.raises(WrittenWhileFreezing):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert LAYOUT.registration_key in server.keys("lab")


@pytest.mark.parametrize("error", [AccessDenied("no"), NotSupported("never heard of")])
async def test_uploads_that_may_not_be_listed_do_not_stop_the_removal(error: StorageError) -> None:
    server = await _server()
    server.faults.append(Fault("list_uploads", error=error, times=None))

    await remove_dataset(server.store("lab"), LAYOUT)

    assert server.keys("lab") == sorted(OTHERS)


@pytest.mark.parametrize("dataset", [PROTO, FROZEN], ids=["proto", "frozen"])
@pytest.mark.parametrize("after_effect", [False, True], ids=["refused", "answer-lost"])
async def test_a_removal_cut_at_any_request_is_finished_by_the_next(
    dataset: DatasetFixture, *, after_effect: bool
) -> None:
    whole = await _server(dataset)
    await remove_dataset(whole.store("lab"), LAYOUT, only_proto=False)
    cuts = len(whole.requests)
    assert cuts > 8

    for cut in range(cuts):
        server = await _server(dataset)
        all_keys = set(server.keys("lab"))
        lost = BucketUnreachable("cut")
        server.faults.append(Fault(error=lost, skip=cut, after_effect=after_effect))
        with pytest.raises(DtoolS3Error, match="cut"):
            await remove_dataset(server.store("lab"), LAYOUT, only_proto=False)
        left = set(server.keys("lab")) & {key for key in all_keys if key not in OTHERS}
        if left and left != all_keys - set(OTHERS):
            assert LAYOUT.admin_metadata_key not in left, f"cut {cut}: a dataset with holes shows"
            assert LAYOUT.registration_key in left, f"cut {cut}: registered no longer, data left"

        await remove_dataset(server.store("lab"), LAYOUT, only_proto=False)

        assert server.keys("lab") == sorted(OTHERS), f"cut {cut}"
        assert not _uploads(server)


async def test_many_keys_go_a_thousand_at_a_time() -> None:
    server = await _server()
    for number in range(2100):
        server.write("lab", f"{LAYOUT.data_prefix}{number:04}", b"x")

    await remove_dataset(server.store("lab"), LAYOUT)

    assert len([r for r in server.requests if r.operation == "delete_many"]) == 3
    assert server.keys("lab") == sorted(OTHERS)


async def test_a_proto_that_somebody_keeps_writing_is_not_removed() -> None:
    server = await _server()
    key = LAYOUT.admin_metadata_key

    def write_again() -> None:
        stored = server.read("lab", key)
        body = stored.body + b" "
        server.write("lab", key, body, metadata=stored.info.metadata)

    server.faults.append(Fault("delete", key, hook=write_again, times=None))

    with pytest.raises(WrittenWhileFreezing, match="dtool"):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert LAYOUT.registration_key in server.keys("lab")


async def test_a_registration_key_that_may_not_be_read_stops_the_removal() -> None:
    server = await _server()
    refusal = RequestRefused("no", code="InvalidRequest")
    server.faults.append(Fault("get", LAYOUT.registration_key, error=refusal))

    with pytest.raises(RequestRefused):
        await remove_dataset(server.store("lab"), LAYOUT)

    assert not _deleted(server)


async def test_progress_counts_keys_and_bytes() -> None:
    server = await _server()
    seen: list[Progress] = []

    removed = await remove_dataset(server.store("lab"), LAYOUT, on_progress=seen.append)

    assert seen[0].items == 0
    assert {progress.phase for progress in seen} == {Phase.REMOVING}
    assert seen[-1].items == seen[-1].items_total == removed - 2
    assert seen[-1].bytes == seen[-1].bytes_total > 0


async def test_more_keys_than_are_held_at_a_time_are_removed_in_turns() -> None:
    server = await _server()
    for number in range(3 * _LISTED_KEYS // 2):
        server.write("lab", f"{LAYOUT.root}foreign/{number:06}", b"")

    removed = await remove_dataset(server.store("lab"), LAYOUT)

    assert removed > 3 * _LISTED_KEYS // 2
    assert set(server.keys("lab")) == set(OTHERS)
