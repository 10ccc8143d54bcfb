"""Which datasets a bucket registers, what they are, and how many requests it takes to know."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from dtool_s3.catalog import EMPTY_CATALOG, Catalog, CatalogEntry, EntryState, list_datasets
from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, MAX_REGISTRATION_BYTES, dump_admin_metadata
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

    catalog = await list_datasets(store)

    assert (catalog.all_entries, catalog.unlisted, catalog.looks) == ((), (), 1)
    assert [request.operation for request in server.requests] == ["list", "list"]


async def test_frozen_proto_unreadable_and_dangling_datasets_are_told_apart() -> None:
    datasets = (_dataset(1), _dataset(2, is_frozen=False), _dataset(3), _dataset(4), _dataset(5))
    server, store = await _bucket(*datasets)
    keys = [DatasetLayout("u/alice/", _uuid(number)).admin_metadata_key for number in range(6)]
    server.write(BUCKET, keys[3], b"no json")
    server.remove(BUCKET, keys[4])
    server.remove(BUCKET, f"dtool-{_uuid(5)}")

    catalog = await list_datasets(store, prefixes=["u/alice/"])

    etag, created_at, frozen_at = md5(b"u/alice/"), 1795329207.5, 1795329300.25
    etags = ["", *(server.read(BUCKET, keys[number]).info.etag for number in (1, 2))]
    frozen = CatalogEntry(
        _uuid(1), "u/alice/", EntryState.FROZEN, etag, "sample-1", "olssont",
        etag=etags[1], created_at=created_at, frozen_at=frozen_at,
    )  # fmt: skip
    assert catalog.entries == {
        _uuid(1): frozen,
        _uuid(2): CatalogEntry(
            _uuid(2), "u/alice/", EntryState.PROTO, etag, "sample-2", "olssont",
            etag=etags[2], created_at=created_at,
        ),
        _uuid(3): CatalogEntry(
            _uuid(3), "u/alice/", EntryState.UNREADABLE, etag,
            detail="uuid is missing in header and body",
        ),
        _uuid(4): CatalogEntry(_uuid(4), "u/alice/", EntryState.DANGLING, etag),
    }  # fmt: skip
    assert [(e.uuid, e.state, e.detail) for e in catalog.unregistered] == [
        (_uuid(5), EntryState.UNREGISTERED, "a frozen dataset without registration key")
    ]
    assert catalog.counts() == dict.fromkeys(EntryState, 1)


async def test_counts_name_every_state() -> None:
    assert EMPTY_CATALOG.counts() == dict.fromkeys(EntryState, 0)


UPPER = "1C10766C-C4A9-4A4F-9B5D-0D5F0E1C7A11"


@pytest.mark.parametrize(
    "key",
    [
        *("dtool.json", "dtool-notauuid", "dtool-", "dtool-/x", "dtool/a", "dtoolkit", f"dtool-{UPPER}"),
        *(f"dtool-{_uuid(2)}/", f"dtool-{_uuid(2)}/dtool", f"{UPPER}/dtool", "u/alice/", "u/alice//x", "/"),
        *("u/alice/dtool", f"u/alice/{UPPER}/dtool", f"u/alice/{_uuid(2)}", f"u/alice/{_uuid(2)}/", "data/x"),
        *(f"{_uuid(2)}/README.yml", f"{_uuid(2)}/dtool/", f"{_uuid(2)}x/dtool"),
    ],
)
async def test_foreign_keys_that_look_like_a_dataset_are_ignored(key: str) -> None:
    server, store = await _bucket(_dataset(1))
    server.write(BUCKET, key, b"")

    for prefixes in (None, ["", "u/alice/", "nowhere/"]):
        catalog = await list_datasets(store, prefixes=prefixes)

        assert [entry.uuid for entry in catalog.all_entries] == [_uuid(1)]


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


async def test_the_head_of_a_proto_dataset_that_is_refused_makes_it_unreadable() -> None:
    server, store = await _bucket(_dataset(1, is_frozen=False))
    first = await list_datasets(store)
    server.faults.append(Fault("*", "u/alice/*/dtool", error=AccessDenied("no right"), times=None))

    entry = (await list_datasets(store, previous=first)).entries[_uuid(1)]

    assert (entry.state, entry.detail) == (EntryState.UNREADABLE, "no right")


async def test_headers_that_a_proxy_lost_are_made_up_for_by_the_body() -> None:
    server, store = await _bucket(_dataset(1))
    key = DatasetLayout("u/alice/", _uuid(1)).admin_metadata_key
    server.write(BUCKET, key, server.read(BUCKET, key).body)

    entry = (await list_datasets(store)).entries[_uuid(1)]

    assert (entry.state, entry.name) == (EntryState.FROZEN, "sample-1")


async def test_a_name_beyond_ascii_is_the_one_in_the_body() -> None:
    _, store = await _bucket(DatasetFixture(_uuid(1), name="mätning"))

    assert (await list_datasets(store)).entries[_uuid(1)].name == "mätning"


# --- prefixes -------------------------------------------------------------------------------------------


async def test_a_dataset_is_outside_only_where_prefixes_are_named_and_it_is_under_none_of_them() -> None:
    _, store = await _bucket(_dataset(1), _dataset(2, prefix="u/bob/"), _dataset(3, prefix=""))

    blind = await list_datasets(store)
    named = await list_datasets(store, prefixes=["u/alice/"])
    later = await list_datasets(store, prefixes=["u/bob/", ""], previous=named)

    assert not any(entry.is_outside for entry in blind.all_entries)
    assert [entry.uuid for entry in named.all_entries if entry.is_outside] == [_uuid(2), _uuid(3)]
    assert [entry.uuid for entry in later.all_entries if entry.is_outside] == [_uuid(1)]


@pytest.mark.parametrize("prefix", ["", "u/olssont", "a b+c/ü/"])
async def test_a_dataset_without_registration_key_is_found_under_a_known_prefix_only(prefix: str) -> None:
    server, store = await _bucket(_dataset(1, prefix=prefix, is_frozen=False))
    server.remove(BUCKET, f"dtool-{_uuid(1)}")

    (found,) = (await list_datasets(store, prefixes=[prefix])).unregistered
    elsewhere = await list_datasets(store, prefixes=["u/other/"])

    assert (found.prefix, found.uuid, found.name) == (prefix, _uuid(1), "sample-1")
    assert found.detail == "a proto dataset without registration key"
    assert not elsewhere.all_entries


async def test_a_dataset_whose_registration_key_names_another_prefix_is_unregistered_where_it_lies() -> None:
    server, store = await _bucket(_dataset(1))
    server.write(BUCKET, f"dtool-{_uuid(1)}", b"u/mallory/")

    catalog = await list_datasets(store, prefixes=["u/alice/"])

    assert catalog.entries[_uuid(1)].state is EntryState.DANGLING
    assert [e.prefix for e in catalog.unregistered] == ["u/alice/"]
    assert "registered under 'u/mallory/'" in catalog.unregistered[0].detail


async def test_an_unregistered_dataset_that_cannot_be_read_is_named_with_what_is_wrong() -> None:
    server, store = await _bucket(_dataset(1))
    server.remove(BUCKET, f"dtool-{_uuid(1)}")
    server.write(BUCKET, DatasetLayout("u/alice/", _uuid(1)).admin_metadata_key, b"no json")

    (found,) = (await list_datasets(store, prefixes=["u/alice/"])).unregistered

    assert found.detail == "uuid is missing in header and body"


async def test_a_registration_key_that_may_not_be_read_hides_no_unregistered_dataset() -> None:
    server, store = await _bucket(_dataset(1))
    server.remove(BUCKET, f"dtool-{_uuid(1)}")
    server.faults.append(Fault("get", f"dtool-{_uuid(1)}", error=AccessDenied("no"), times=None))

    catalog = await list_datasets(store, prefixes=["u/alice/"])

    assert [entry.state for entry in catalog.all_entries] == [EntryState.UNREGISTERED]


async def test_a_dataset_that_is_registered_while_the_bucket_is_listed_is_not_called_unregistered() -> None:
    server, store = await _bucket(_dataset(1))
    key = f"dtool-{_uuid(1)}"
    server.remove(BUCKET, key)

    def register() -> None:
        server.write(BUCKET, key, b"u/alice/")

    server.faults.append(Fault("list", "u/alice/", hook=register))

    catalog = await list_datasets(store, prefixes=["u/alice/"])

    assert catalog.entries[_uuid(1)].state is EntryState.FROZEN
    assert not catalog.unregistered


async def test_a_prefix_that_may_not_be_listed_is_named_and_hides_nothing() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2, prefix="u/bob/"))
    server.faults.append(Fault("list", "u/bob/", error=AccessDenied("no"), times=None))

    catalog = await list_datasets(store, prefixes=["u/alice/", "u/bob/"])

    assert catalog.unlisted == ("u/bob/",)
    assert catalog.counts()[EntryState.FROZEN] == 2


# --- requests ------------------------------------------------------------------------------------------


async def _costs(
    server: MemoryServer, store: MemoryStore, previous: Catalog = EMPTY_CATALOG, **options: Any
) -> tuple[Catalog, Counter[str]]:
    server.requests.clear()
    catalog = await list_datasets(store, previous=previous, **{"refresh_every": 0, **options})
    return catalog, Counter(
        "registration" if r.operation == "get" and "/" not in r.key else r.operation for r in server.requests
    )


async def test_the_first_look_reads_each_dataset_once_and_unknown_prefixes_too() -> None:
    datasets = [_dataset(n, prefix="u/alice/" if n % 2 else "u/bob/") for n in range(10)]
    server, store = await _bucket(*datasets)

    blind, without = await _costs(server, store, prefixes=())
    known, with_prefix = await _costs(server, store, prefixes=("u/alice/",))
    _, with_both = await _costs(server, store, prefixes=("u/alice/", "u/bob/"))
    _, registered_only = await _costs(server, store, prefixes=("u/alice/",), finds_unregistered=False)

    assert without == {"list": 1, "registration": 10, "get": 10}
    assert with_prefix == {"list": 2, "registration": 5, "get": 10}
    assert with_both == {"list": 3, "get": 10}
    assert registered_only == {"list": 1, "registration": 5, "get": 10}
    assert blind.counts() == known.counts()


async def test_no_registration_key_of_before_prefixes_is_read() -> None:
    server, store = await _bucket(*(_dataset(n, prefix="") for n in range(10)))

    _, counted = await _costs(server, store)

    assert counted == {"list": 2, "get": 10}


async def test_the_second_look_asks_for_protos_and_what_is_new_only() -> None:
    protos = [_dataset(n, is_frozen=False) for n in (3, 4, 5)]
    server, store = await _bucket(_dataset(1), _dataset(2), *protos)
    first, _ = await _costs(server, store, prefixes=("u/alice/",))
    await write_dataset(store, _dataset(6))
    await write_dataset(store, _dataset(5))

    second, counted = await _costs(server, store, first, prefixes=("u/alice/",))

    assert counted == {"list": 2, "head": 3, "get": 2}
    assert second.counts() == {**dict.fromkeys(EntryState, 0), EntryState.FROZEN: 4, EntryState.PROTO: 2}


async def test_a_bucket_of_thousands_costs_lists_alone_at_the_second_look() -> None:
    server, store = await _bucket()
    for number in range(2500):
        fixture = _dataset(number)
        body, headers = dump_admin_metadata(fixture.admin())
        server.write(BUCKET, fixture.layout.registration_key, b"u/alice/")
        server.write(BUCKET, fixture.layout.admin_metadata_key, body, metadata=headers)

    first, cold = await _costs(server, store, prefixes=("u/alice/", "u/bob/"))
    second, again = await _costs(server, store, first, prefixes=("u/alice/", "u/bob/"))

    assert cold == {"list": 3 + 3 + 1, "get": 2500}
    assert again == {"list": 3 + 3 + 1}
    assert second.entries == first.entries


async def test_what_lies_below_a_prefix_that_looks_like_a_registration_is_not_looked_through() -> None:
    server, store = await _bucket(_dataset(1, prefix="dtool-x/"))
    for number in range(2000):
        server.write(BUCKET, f"dtool-x/{_uuid(1)}/data/{number}", b"")

    _, counted = await _costs(server, store, prefixes=("dtool-x/",))

    assert counted == {"list": 2, "get": 1}


async def test_every_frozen_dataset_is_looked_at_again_in_its_turn() -> None:
    server, store = await _bucket(*(_dataset(n) for n in range(20)))
    catalog, _ = await _costs(server, store)
    renamed = replace(_dataset(7), name="renamed")
    await write_dataset(store, renamed)
    asked: Counter[str] = Counter()

    for _ in range(10):
        catalog, counted = await _costs(server, store, catalog, refresh_every=10)
        asked += counted

    assert (asked["head"], asked["get"]) == (20, 1)
    assert catalog.entries[_uuid(7)].name == "renamed"


async def test_what_is_dangling_or_vacant_is_not_asked_for_again_while_nothing_changed() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2), _dataset(3, is_frozen=False))
    for number in (1, 2):
        for key in server.keys(BUCKET):
            if _uuid(number) in key and ("/" in key if number == 1 else not key.endswith("/tags/blue")):
                server.remove(BUCKET, key)
    server.remove(BUCKET, f"dtool-{_uuid(3)}")

    first, _ = await _costs(server, store, prefixes=("u/alice/",))
    second, counted = await _costs(server, store, first, prefixes=("u/alice/",))

    assert counted == {"list": 2, "head": 1}
    assert second.all_entries == first.all_entries
    assert [e.state for e in second.all_entries] == [EntryState.DANGLING, EntryState.UNREGISTERED]


async def test_a_frozen_dataset_whose_folder_is_gone_is_seen_to_dangle() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    first, _ = await _costs(server, store, prefixes=("u/alice/",))
    for key in server.keys(BUCKET):
        if key.startswith(DatasetLayout("u/alice/", _uuid(1)).root):
            server.remove(BUCKET, key)

    second, counted = await _costs(server, store, first, prefixes=("u/alice/",))

    assert counted == {"list": 2, "get": 1}
    assert second.entries[_uuid(1)].state is EntryState.DANGLING


async def test_a_frozen_dataset_is_looked_at_again_when_its_registration_key_changed() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    first, _ = await _costs(server, store)
    server.write(BUCKET, f"dtool-{_uuid(1)}", b"u/mallory/")

    second, _ = await _costs(server, store, first)

    assert second.entries[_uuid(1)].state is EntryState.DANGLING
    assert second.entries[_uuid(1)].prefix == "u/mallory/"


async def test_a_dataset_whose_registration_key_is_gone_leaves_the_catalog() -> None:
    server, store = await _bucket(_dataset(1), _dataset(2))
    first, _ = await _costs(server, store)
    server.remove(BUCKET, f"dtool-{_uuid(1)}")

    second, _ = await _costs(server, store, first)

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
    server, store = await _bucket(*(_dataset(n) for n in range(400)))
    server.faults.append(Fault(operation, error=error))

    with pytest.raises(type(error)):
        await list_datasets(store)

    assert len(server.requests) < 400


async def test_no_right_to_list_the_registration_keys_is_raised() -> None:
    server, store = await _bucket(_dataset(1))
    server.faults.append(Fault("list", "dtool-", error=AccessDenied("no", code="AccessDenied")))

    with pytest.raises(AccessDenied):
        await list_datasets(store)
