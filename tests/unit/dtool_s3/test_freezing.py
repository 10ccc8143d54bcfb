"""Freezing publishes exactly what it looked at, or nothing: every lost race and failure leaves a proto."""

from collections.abc import Callable

import pytest

from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, DatasetType, parse_admin_metadata, parse_manifest
from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    DatasetMissing,
    DtoolS3Error,
    FrozenDataset,
    InvalidAdminMetadata,
    ItemMissing,
    PreconditionFailed,
    RegistrationHijacked,
    RequestRefused,
    StorageError,
    StoreFull,
    UUIDTaken,
    WrittenWhileFreezing,
)
from dtool_s3.freezing import find_extra, publish_frozen, read_admin_metadata, remove_extra
from dtool_s3.layout import item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.store.protocol import Listing
from tests.support.datasets import DatasetFixture, write_dataset

BUCKET = "lab-data"
PROTO = DatasetFixture(prefix="u/alice/", is_frozen=False)
FROZEN = DatasetFixture(prefix="u/alice/")
LAYOUT = PROTO.layout
ITEM = LAYOUT.item_key(item_identifier("a.txt"))
EXTRA = LAYOUT.item_key(item_identifier("extra.txt"))

Change = Callable[[MemoryServer], object]


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
async def store(server: MemoryServer) -> MemoryStore:
    store = server.store(BUCKET)
    await write_dataset(store, PROTO)
    server.requests.clear()
    return store


async def freeze(store: MemoryStore, dataset: DatasetFixture = PROTO, seen: Listing | None = None) -> bool:
    return await publish_frozen(
        store,
        LAYOUT,
        admin_metadata={**FROZEN.admin(), "type": "protodataset"},
        manifest=parse_manifest(dataset.manifest()),
        manifest_body=dataset.manifest(),
        seen=seen,
    )


def type_of(server: MemoryServer) -> DatasetType:
    stored = server.read(BUCKET, LAYOUT.admin_metadata_key)
    return parse_admin_metadata(stored.body, stored.info.metadata, uuid=LAYOUT.uuid).type


def rewrite(server: MemoryServer, key: str, body: bytes) -> None:
    server.write(BUCKET, key, body, metadata=server.read(BUCKET, key).info.metadata)


async def test_a_proto_becomes_a_frozen_dataset_in_seven_requests(
    server: MemoryServer, store: MemoryStore
) -> None:
    assert await freeze(store) is True

    assert type_of(server) is DatasetType.FROZEN
    assert server.read(BUCKET, LAYOUT.manifest_key).body == PROTO.manifest()
    assert server.read(BUCKET, LAYOUT.admin_metadata_key).info.metadata["frozen_at"] == "1795329300.25"
    assert [(r.operation, r.key) for r in server.requests] == [
        ("get", LAYOUT.registration_key),
        ("list", LAYOUT.root),
        ("get", LAYOUT.admin_metadata_key),
        ("put", LAYOUT.manifest_key),
        ("list", LAYOUT.root),
        ("put", LAYOUT.admin_metadata_key),
        ("get", LAYOUT.registration_key),
    ]


async def test_freezing_again_writes_nothing(server: MemoryServer, store: MemoryStore) -> None:
    await freeze(store)
    server.requests.clear()

    assert await freeze(store) is False

    assert {r.operation for r in server.requests} == {"get", "list"}


async def test_the_directory_marker_is_no_item(server: MemoryServer, store: MemoryStore) -> None:
    server.write(BUCKET, LAYOUT.data_prefix, b"")

    assert await freeze(store) is True


LOOKS: list[tuple[str, Change, type[DtoolS3Error], str]] = [
    ("an item is missing", lambda s: s.remove(BUCKET, ITEM), ItemMissing, "a.txt"),
    ("an item has another size", lambda s: rewrite(s, ITEM, b"alp"), ContentDiffers, "a.txt"),
    ("an extra item lies there", lambda s: s.write(BUCKET, EXTRA, b"x"), ContentDiffers, EXTRA),
    ("the marker has content", lambda s: s.write(BUCKET, LAYOUT.data_prefix, b"x"), ContentDiffers, "data/"),
    ("there is no dataset", lambda s: s.remove(BUCKET, LAYOUT.admin_metadata_key), DatasetMissing, "dtool"),
    (
        "dtool is of another dataset",
        lambda s: s.write(BUCKET, LAYOUT.admin_metadata_key, b"dtoolfile"),
        InvalidAdminMetadata,
        "missing",
    ),
    (
        "the UUID is another prefix's",
        lambda s: s.write(BUCKET, LAYOUT.registration_key, b"u/bob/"),
        UUIDTaken,
        "under another",
    ),
    (
        "the UUID is not registered",
        lambda s: s.remove(BUCKET, LAYOUT.registration_key),
        RegistrationHijacked,
        "is missing",
    ),
]


@pytest.mark.parametrize(("change", "error", "named"), [r[1:] for r in LOOKS], ids=[r[0] for r in LOOKS])
async def test_what_the_first_look_refuses_is_not_written_to(
    server: MemoryServer, store: MemoryStore, change: Change, error: type[DtoolS3Error], named: str
) -> None:
    change(server)

    with pytest.raises(error, match=named):
        await freeze(store)

    assert not [r for r in server.requests if r.operation == "put"]


async def test_at_most_five_extras_are_named(server: MemoryServer, store: MemoryStore) -> None:
    for number in range(7):
        server.write(BUCKET, LAYOUT.item_key(f"extra-{number}"), b"x")

    with pytest.raises(ContentDiffers, match="extra-4' and 2 more"):
        await freeze(store)


async def test_a_frozen_dataset_with_another_manifest_is_refused(
    server: MemoryServer, store: MemoryStore
) -> None:
    await write_dataset(store, DatasetFixture(prefix="u/alice/", items={"a.txt": b"other"}))
    server.requests.clear()

    with pytest.raises(FrozenDataset):
        await freeze(store)

    assert not [r for r in server.requests if r.operation == "put"]


MEANWHILE: list[tuple[str, Change]] = [
    ("an item is added", lambda s: s.write(BUCKET, EXTRA, b"x")),
    ("an item is written with the same size", lambda s: rewrite(s, ITEM, b"ALPHA")),
    ("an item is written with the same bytes", lambda s: rewrite(s, ITEM, b"alpha")),
    ("an item is removed", lambda s: s.remove(BUCKET, ITEM)),
    ("a tag is added", lambda s: s.write(BUCKET, LAYOUT.tag_key("late"), b"")),
    ("the README is written", lambda s: rewrite(s, LAYOUT.readme_key, b"late: 1\n")),
    ("the proto is renamed", lambda s: rewrite(s, LAYOUT.admin_metadata_key, b"{}")),
    ("another manifest is written", lambda s: rewrite(s, LAYOUT.manifest_key, b"{}")),
    ("the manifest is removed", lambda s: s.remove(BUCKET, LAYOUT.manifest_key)),
]


@pytest.mark.parametrize("change", [row[1] for row in MEANWHILE], ids=[row[0] for row in MEANWHILE])
async def test_what_changes_between_the_looks_is_not_frozen(
    server: MemoryServer, store: MemoryStore, change: Change
) -> None:
    """Rule 14."""
    server.faults.append(Fault("list", skip=1, hook=lambda: (change(server), None)[1]))

    with pytest.raises(WrittenWhileFreezing):
        await freeze(store)

    assert type_of(server) is DatasetType.PROTO


async def test_the_callers_look_counts_as_the_first(server: MemoryServer, store: MemoryStore) -> None:
    seen = await store.list(LAYOUT.root)
    rewrite(server, ITEM, b"ALPHA")

    with pytest.raises(WrittenWhileFreezing, match=ITEM):
        await freeze(store, seen=seen)

    assert type_of(server) is DatasetType.PROTO


async def test_a_proto_renamed_after_the_callers_look_is_noticed_before_the_first_write(
    server: MemoryServer, store: MemoryStore
) -> None:
    seen = await store.list(LAYOUT.root)
    await write_dataset(store, DatasetFixture(prefix="u/alice/", is_frozen=False, name="renamed"))
    server.requests.clear()

    with pytest.raises(WrittenWhileFreezing):
        await freeze(store, seen=seen)

    assert not [r for r in server.requests if r.operation == "put"]


async def test_a_dataset_changed_right_before_the_flip_is_not_overwritten(
    server: MemoryServer, store: MemoryStore
) -> None:
    """Rule 14: the flip has If-Match on the proto's ETag."""
    key = LAYOUT.admin_metadata_key
    server.faults.append(Fault("put", key, hook=lambda: rewrite(server, key, b'{"by": "somebody"}')))

    with pytest.raises(WrittenWhileFreezing):
        await freeze(store)

    assert server.read(BUCKET, key).body == b'{"by": "somebody"}'


async def test_a_manifest_that_somebody_wrote_first_is_not_overwritten(
    server: MemoryServer, store: MemoryStore
) -> None:
    key = LAYOUT.manifest_key
    server.faults.append(Fault("put", key, hook=lambda: (server.write(BUCKET, key, b"theirs"), None)[1]))

    with pytest.raises(WrittenWhileFreezing):
        await freeze(store)

    assert server.read(BUCKET, key).body == b"theirs"


async def test_a_registration_hijacked_at_the_end_is_an_incident(
    server: MemoryServer, store: MemoryStore
) -> None:
    """Rules 6 and 14."""
    key = LAYOUT.registration_key
    server.faults.append(
        Fault("put", LAYOUT.admin_metadata_key, hook=lambda: (server.write(BUCKET, key, b"u/m/"), None)[1])
    )

    with pytest.raises(RegistrationHijacked):
        await freeze(store)


@pytest.mark.parametrize("key", [LAYOUT.manifest_key, LAYOUT.admin_metadata_key])
@pytest.mark.parametrize(
    "error", [BucketUnreachable("503"), AccessDenied("403"), StoreFull("507"), PreconditionFailed("412")]
)
async def test_a_write_that_fails_leaves_a_proto_and_can_be_repeated(
    server: MemoryServer, store: MemoryStore, key: str, error: StorageError
) -> None:
    server.faults.append(Fault("put", key, error=error))

    with pytest.raises((type(error), WrittenWhileFreezing)):
        await freeze(store)

    assert type_of(server) is DatasetType.PROTO
    assert await freeze(store) is True


@pytest.mark.parametrize("error", [BucketUnreachable("no answer"), PreconditionFailed("412 after a retry")])
async def test_a_flip_whose_answer_was_lost_is_settled_by_reading(
    server: MemoryServer, store: MemoryStore, error: StorageError
) -> None:
    server.faults.append(Fault("put", LAYOUT.admin_metadata_key, error=error, after_effect=True))

    assert await freeze(store) is True

    assert type_of(server) is DatasetType.FROZEN


async def test_a_proto_removed_before_the_flip_is_not_made_anew(
    server: MemoryServer, store: MemoryStore
) -> None:
    key = LAYOUT.admin_metadata_key
    server.faults.append(Fault("put", key, hook=lambda: server.remove(BUCKET, key)))

    with pytest.raises(WrittenWhileFreezing):
        await freeze(store)

    assert key not in server.keys(BUCKET)


async def test_a_manifest_that_is_there_already_is_not_written_again(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, LAYOUT.manifest_key, PROTO.manifest())

    assert await freeze(store) is True

    assert [r.key for r in server.requests if r.operation == "put"] == [LAYOUT.admin_metadata_key]


async def test_an_older_manifest_of_an_interrupted_freeze_is_replaced(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, LAYOUT.manifest_key, b"{}")

    assert await freeze(store) is True

    assert server.read(BUCKET, LAYOUT.manifest_key).body == PROTO.manifest()


async def test_a_manifest_with_the_same_bytes_that_somebody_wrote_first_is_taken(
    server: MemoryServer, store: MemoryStore
) -> None:
    key = LAYOUT.manifest_key
    server.faults.append(
        Fault("put", key, hook=lambda: (server.write(BUCKET, key, PROTO.manifest()), None)[1])
    )

    assert await freeze(store) is True

    assert type_of(server) is DatasetType.FROZEN


@pytest.mark.parametrize("body", [b"theirs", b"x" * 100_000])
async def test_another_manifest_that_somebody_wrote_first_is_refused(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    key = LAYOUT.manifest_key
    server.faults.append(Fault("put", key, hook=lambda: (server.write(BUCKET, key, body), None)[1]))

    with pytest.raises(WrittenWhileFreezing):
        await freeze(store)

    assert type_of(server) is DatasetType.PROTO


async def test_administrative_metadata_that_is_too_large_is_invalid(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, LAYOUT.admin_metadata_key, b"x" * (MAX_ADMIN_METADATA_BYTES + 1))

    with pytest.raises(InvalidAdminMetadata, match="larger than"):
        await read_admin_metadata(store, LAYOUT)


async def test_another_refusal_to_read_administrative_metadata_is_raised_as_it_is(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.faults.append(Fault("get", error=RequestRefused("no", code="InvalidRequest")))

    with pytest.raises(RequestRefused):
        await read_admin_metadata(store, LAYOUT)


# --- keys that are no items ------------------------------------------------------------------------------

STRAY = LAYOUT.item_key("stray")


def _items(server: MemoryServer) -> list[str]:
    return [key for key in server.keys(BUCKET) if key.startswith(LAYOUT.data_prefix)]


async def test_keys_without_a_fitting_handle_are_found_and_removed_when_asked(
    server: MemoryServer, store: MemoryStore
) -> None:
    before = _items(server)
    server.write(BUCKET, STRAY, b"x")
    server.write(BUCKET, EXTRA, b"x", metadata={"handle": "of-another-item"})
    server.write(BUCKET, LAYOUT.data_prefix, b"")

    found = await find_extra(store, LAYOUT)
    removed = await remove_extra(store, LAYOUT)

    assert {listed.key for listed in found} == set(removed) == {STRAY, EXTRA}
    assert _items(server) == [LAYOUT.data_prefix, *before]
    assert await freeze(store) is True


async def test_an_item_that_a_manifest_names_is_none_whatever_its_headers_say(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, LAYOUT.manifest_key, PROTO.manifest())
    server.write(BUCKET, ITEM, b"alpha")

    assert await find_extra(store, LAYOUT) == []


@pytest.mark.parametrize("body", [None, b"{"], ids=["no manifest", "a broken one"])
async def test_without_a_manifest_the_handle_alone_tells(
    server: MemoryServer, store: MemoryStore, body: bytes | None
) -> None:
    if body is not None:
        server.write(BUCKET, LAYOUT.manifest_key, body)
    server.write(BUCKET, ITEM, b"alpha")

    assert [listed.key for listed in await find_extra(store, LAYOUT)] == [ITEM]


async def test_a_key_that_vanishes_while_it_is_looked_at_is_no_extra(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, STRAY, b"x")
    server.faults.append(Fault("head", STRAY, hook=lambda: server.remove(BUCKET, STRAY)))

    assert await find_extra(store, LAYOUT) == []


async def test_an_extra_key_that_becomes_something_else_meanwhile_stays(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write(BUCKET, STRAY, b"x")
    server.faults.append(
        Fault("delete", STRAY, hook=lambda: (server.write(BUCKET, STRAY, b"other"), None)[1])
    )

    with pytest.raises(PreconditionFailed):
        await remove_extra(store, LAYOUT)

    assert STRAY in _items(server)


async def test_nothing_is_removed_from_a_frozen_dataset(server: MemoryServer, store: MemoryStore) -> None:
    await freeze(store)
    server.write(BUCKET, STRAY, b"x")

    with pytest.raises(FrozenDataset):
        await remove_extra(store, LAYOUT)

    assert STRAY in _items(server)
