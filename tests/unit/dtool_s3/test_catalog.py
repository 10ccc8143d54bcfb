"""Which datasets a bucket registers, what they are, and how many requests it takes to know."""

from collections import Counter

import pytest

from dtool_s3.catalog import EMPTY_CATALOG, Catalog, CatalogEntry, EntryState, list_datasets
from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, MAX_REGISTRATION_BYTES
from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnreachable,
    CredentialsRejected,
    ItemArchived,
    RequestRefused,
    StorageError,
    Throttled,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from tests.support.datasets import DatasetFixture, md5, write_dataset

BUCKET = "lab-data"


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


async def _bucket(*datasets: DatasetFixture) -> tuple[MemoryServer, MemoryStore]:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    store = server.store(BUCKET)
    for dataset in datasets:
        await write_dataset(store, dataset)
    server.requests.clear()
    return server, store


def _dataset(number: int, *, prefix: str = "u/alice/", is_frozen: bool = True) -> DatasetFixture:
    items = {"a.txt": b"alpha"}
    return DatasetFixture(_uuid(number), prefix, f"sample-{number}", items=items, is_frozen=is_frozen)


async def test_an_empty_bucket_has_an_empty_catalog() -> None:
    server, store = await _bucket()

    assert await list_datasets(store) == EMPTY_CATALOG
    assert len(server.requests) == 1


async def test_frozen_proto_unreadable_and_dangling_datasets_are_told_apart() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2, is_frozen=False), _dataset(3), _dataset(4))
    server.write(BUCKET, DatasetLayout("u/alice/", _uuid(3)).admin_metadata_key, b"no json")
    server.remove(BUCKET, DatasetLayout("u/alice/", _uuid(4)).admin_metadata_key)

    catalog = await list_datasets(store)

    etag = md5(b"u/alice/")
    assert catalog.entries == {
        _uuid(1): CatalogEntry(_uuid(1), "u/alice/", EntryState.FROZEN, etag, "sample-1", "olssont"),
        _uuid(2): CatalogEntry(_uuid(2), "u/alice/", EntryState.PROTO, etag, "sample-2", "olssont"),
        _uuid(3): CatalogEntry(
            _uuid(3), "u/alice/", EntryState.UNREADABLE, etag,
            detail="uuid is missing in header and body",
        ),
        _uuid(4): CatalogEntry(_uuid(4), "u/alice/", EntryState.DANGLING, etag),
    }  # fmt: skip
    assert catalog.counts() == dict.fromkeys(EntryState, 1)


async def test_counts_name_every_state() -> None:
    assert EMPTY_CATALOG.counts() == dict.fromkeys(EntryState, 0)


@pytest.mark.parametrize("key", ["dtool.json", "dtool-notauuid", "dtool-", "dtool-/x", "dtool/a", "dtoolkit"])
async def test_foreign_keys_that_look_like_registrations_are_ignored(key: str) -> None:
    server, store = await _bucket(_dataset(1))
    server.write(BUCKET, key, b"u/bob/")

    assert list((await list_datasets(store)).entries) == [_uuid(1)]


@pytest.mark.parametrize("prefix", ["", "u/olssont", "a b+c/ü/", "deep/er/and/deeper/", "dtool-x/"])
async def test_a_dataset_is_found_under_any_printable_prefix(prefix: str) -> None:
    _, store = await _bucket(_dataset(1, prefix=prefix))

    entry = (await list_datasets(store)).entries[_uuid(1)]

    assert (entry.prefix, entry.state) == (prefix, EntryState.FROZEN)


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"u/alice/\n", b"\x00", b"x" * (MAX_REGISTRATION_BYTES + 1)],
    ids=["not UTF-8", "a line break", "NUL", "too large"],
)
async def test_a_registration_key_that_holds_no_prefix_is_unreadable_and_hides_nothing(body: bytes) -> None:
    server, store = await _bucket(_dataset(1))
    server.write(BUCKET, f"dtool-{_uuid(2)}", body)

    catalog = await list_datasets(store)

    assert catalog.entries[_uuid(1)].state is EntryState.FROZEN
    assert catalog.entries[_uuid(2)].state is EntryState.UNREADABLE
    assert "registration key" in catalog.entries[_uuid(2)].detail


@pytest.mark.parametrize(
    ("body", "metadata", "detail"),
    [
        (DatasetFixture(_uuid(1), is_frozen=False), DatasetFixture(_uuid(1)), "type is 'dataset'"),
        (DatasetFixture(_uuid(2)), DatasetFixture(_uuid(1)), "uuid is"),
        (DatasetFixture(_uuid(2)), DatasetFixture(_uuid(2)), "lies under the key of"),
    ],
    ids=["type", "uuid", "uuid and key"],
)
async def test_header_body_and_key_that_disagree_are_never_called_frozen(
    body: DatasetFixture, metadata: DatasetFixture, detail: str
) -> None:
    server, store = await _bucket(_dataset(1, prefix=""), _dataset(9))
    scratch, written = await _bucket(body)
    stored = scratch.read(BUCKET, (await write_dataset(written, body)).admin_metadata_key)
    headers = scratch.read(BUCKET, (await write_dataset(written, metadata)).admin_metadata_key)
    key = DatasetLayout("", _uuid(1)).admin_metadata_key
    server.write(BUCKET, key, stored.body, metadata=headers.info.metadata)

    catalog = await list_datasets(store)

    assert catalog.entries[_uuid(1)].state is EntryState.UNREADABLE
    assert detail in catalog.entries[_uuid(1)].detail
    assert catalog.entries[_uuid(9)].state is EntryState.FROZEN


async def test_headers_that_a_proxy_lost_are_made_up_for_by_the_body() -> None:
    server, store = await _bucket(_dataset(1))
    key = DatasetLayout("u/alice/", _uuid(1)).admin_metadata_key
    server.write(BUCKET, key, server.read(BUCKET, key).body)

    entry = (await list_datasets(store)).entries[_uuid(1)]

    assert (entry.state, entry.name) == (EntryState.FROZEN, "sample-1")


async def test_a_name_beyond_ascii_is_the_one_in_the_body() -> None:
    _, store = await _bucket(DatasetFixture(_uuid(1), name="mätning"))

    assert (await list_datasets(store)).entries[_uuid(1)].name == "mätning"


# --- requests ------------------------------------------------------------------------------------------


async def _costs(
    server: MemoryServer, store: MemoryStore, *, prefixes: tuple[str, ...] = (), previous: Catalog
) -> tuple[Catalog, Counter[str]]:
    server.requests.clear()
    catalog = await list_datasets(store, prefixes=prefixes, previous=previous)
    kinds = {"list": "list", "get": "dataset"}
    return catalog, Counter(
        "registration" if r.operation == "get" and r.key.startswith("dtool-") else kinds[r.operation]
        for r in server.requests
    )


async def test_the_first_look_reads_each_dataset_once_and_unknown_prefixes_too() -> None:
    datasets = [_dataset(n, prefix="u/alice/" if n % 2 else "u/bob/") for n in range(10)]
    server, store = await _bucket(*datasets)

    blind, without = await _costs(server, store, previous=EMPTY_CATALOG)
    known, with_prefix = await _costs(server, store, prefixes=("u/alice/",), previous=EMPTY_CATALOG)
    _, with_both = await _costs(server, store, prefixes=("u/alice/", "u/bob/"), previous=EMPTY_CATALOG)

    assert without == {"list": 1, "registration": 10, "dataset": 10}
    assert with_prefix == {"list": 1, "registration": 5, "dataset": 10}
    assert with_both == {"list": 1, "dataset": 10}
    assert blind == known


async def test_the_second_look_reads_protos_and_what_is_new_only() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2), _dataset(3, is_frozen=False))
    first, _ = await _costs(server, store, prefixes=("u/alice/",), previous=EMPTY_CATALOG)
    await write_dataset(store, _dataset(4))

    second, counted = await _costs(server, store, prefixes=("u/alice/",), previous=first)

    assert counted == {"list": 1, "dataset": 2}
    assert second.counts()[EntryState.FROZEN] == 3


async def test_a_frozen_dataset_is_looked_at_again_when_its_registration_key_changed() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    first, _ = await _costs(server, store, previous=EMPTY_CATALOG)
    server.write(BUCKET, f"dtool-{_uuid(1)}", b"u/mallory/")

    second, _ = await _costs(server, store, previous=first)

    assert second.entries[_uuid(1)].state is EntryState.DANGLING
    assert second.entries[_uuid(1)].prefix == "u/mallory/"


async def test_a_dataset_whose_registration_key_is_gone_leaves_the_catalog() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    first, _ = await _costs(server, store, previous=EMPTY_CATALOG)
    server.remove(BUCKET, f"dtool-{_uuid(1)}")

    second, _ = await _costs(server, store, previous=first)

    assert list(second.entries) == [_uuid(2)]


async def test_a_registration_key_that_goes_between_listing_and_reading_is_left_out() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    key = f"dtool-{_uuid(1)}"
    server.faults.append(Fault("get", key, hook=lambda: server.remove(BUCKET, key)))

    assert list((await list_datasets(store)).entries) == [_uuid(2)]


# --- failures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("no right to read it", code="AccessDenied"),
        ItemArchived("in GLACIER", code="InvalidObjectState"),
        RequestRefused("the key is too long", code="KeyTooLongError"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("about", ["registration", "dataset"])
async def test_a_refusal_about_one_dataset_makes_that_entry_unreadable(
    error: StorageError, about: str
) -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    admin_key = DatasetLayout("u/alice/", _uuid(1)).admin_metadata_key
    key = admin_key if about == "dataset" else f"dtool-{_uuid(1)}"
    server.faults.append(Fault("*", key, error=error))

    catalog = await list_datasets(store)

    entry = catalog.entries[_uuid(1)]
    assert (entry.state, entry.detail) == (EntryState.UNREADABLE, str(error))
    assert catalog.entries[_uuid(2)].state is EntryState.FROZEN


async def test_admin_metadata_above_its_bound_is_unreadable() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    key = DatasetLayout("u/alice/", _uuid(1)).admin_metadata_key
    server.write(BUCKET, key, b"x" * (MAX_ADMIN_METADATA_BYTES + 1))

    catalog = await list_datasets(store)

    assert catalog.entries[_uuid(1)].state is EntryState.UNREADABLE
    assert catalog.counts()[EntryState.FROZEN] == 1


@pytest.mark.parametrize(
    "error",
    [
        BucketUnreachable("no answer"),
        Throttled("slow down"),
        CredentialsRejected("unknown key id"),
        BucketNotFound("gone"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("operation", ["list", "get"])
async def test_trouble_with_the_bucket_is_raised_and_never_counted_as_unreadable(
    error: StorageError, operation: str
) -> None:
    server, store = await _bucket(*(_dataset(n) for n in range(40)))
    server.faults.append(Fault(operation, error=error))

    with pytest.raises(type(error)):
        await list_datasets(store)

    assert len(server.requests) < 40


async def test_no_right_to_list_is_raised() -> None:
    server, store = await _bucket(_dataset(1))
    server.faults.append(Fault("list", error=AccessDenied("no", code="AccessDenied")))

    with pytest.raises(AccessDenied):
        await list_datasets(store)
