"""The functions over URIs: from the URI to the right store and prefix, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dtool_s3 import api
from dtool_s3.catalog import EntryState
from dtool_s3.errors import (
    BucketUnreachable,
    ContentDiffers,
    DatasetMissing,
    FrozenDataset,
    InvalidURI,
    SettingsError,
    SourceNotFound,
    SourceNotFrozen,
    UUIDTaken,
)
from dtool_s3.store.faults import Fault
from dtool_s3.transfer.progress import Phase, Progress
from tests.support.datasets import ITEMS, UUID, DatasetFixture, md5
from tests.support.two_buckets import TwoBuckets

URI = f"s3://source/{UUID}"
OTHER_UUID = "2d21877d-d5ba-4b5a-8c6e-1e6a1f2d8b22"


@pytest.fixture
def lab() -> TwoBuckets:
    return TwoBuckets()


async def test_a_copy_lies_under_the_configured_prefix_of_its_bucket(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture(prefix="old/"))

    copied = await api.copy(URI, "s3://target", configure=lab.configure)

    assert copied.uri == f"s3://target/{UUID}"
    assert copied.result.moved == len(ITEMS)
    assert lab.server.read("target", f"dtool-{UUID}").body == b"u/alice/"
    assert f"u/alice/{UUID}/dtool" in lab.list_keys()


async def test_a_copy_that_is_there_is_found_not_made_again(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    await api.copy(URI, "s3://target", configure=lab.configure)
    lab.server.requests.clear()

    again = await api.copy(URI, "s3://target/", configure=lab.configure)

    assert again.result.moved == 0
    assert {"copy", "delete"}.isdisjoint(r.operation for r in lab.server.requests)


async def test_an_interrupted_copy_goes_on_where_it_was(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    lab.server.faults.append(Fault("copy", skip=1, error=BucketUnreachable("no answer"), times=None))
    with pytest.raises(BucketUnreachable):
        await api.copy(URI, "s3://target", configure=lab.configure, concurrency=1)
    lab.server.faults.clear()

    copied = await api.copy(URI, "s3://target", configure=lab.configure)

    assert 0 < copied.result.moved < len(ITEMS)


async def test_a_copy_tells_how_far_it_is(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    told: list[Progress] = []

    await api.copy(URI, "s3://target", configure=lab.configure, on_progress=told.append)

    assert (told[0].items, told[-1].items) == (0, len(ITEMS))
    assert told[-1].phase is Phase.FREEZING


async def test_a_uuid_that_is_registered_elsewhere_in_the_bucket_is_named(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    await lab.write(DatasetFixture(prefix="u/bob/"), "target")
    before = lab.list_keys()

    with pytest.raises(UUIDTaken, match=r"u/bob/.*u/alice/"):
        await api.copy(URI, "s3://target", configure=lab.configure)

    assert lab.list_keys() == before


@pytest.mark.parametrize(
    ("dataset", "error"),
    [(None, SourceNotFound), (DatasetFixture(is_frozen=False), SourceNotFrozen)],
    ids=["none", "proto"],
)
async def test_only_a_frozen_dataset_is_copied(
    lab: TwoBuckets, dataset: DatasetFixture | None, error: type[Exception]
) -> None:
    if dataset is not None:
        await lab.write(dataset)

    with pytest.raises(error):
        await api.copy(URI, "s3://target", configure=lab.configure)

    assert lab.list_keys() == []


async def test_nothing_is_copied_under_an_unsafe_prefix(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    lab.prefixes["target"] = "u/../bob/"

    with pytest.raises(SettingsError):
        await api.copy(URI, "s3://target", configure=lab.configure)

    assert lab.list_keys() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda lab: api.copy(URI, f"s3://target/{UUID}", configure=lab.configure),
        lambda lab: api.copy("s3://source", "s3://target", configure=lab.configure),
        lambda lab: api.list_datasets(URI, configure=lab.configure),
        lambda lab: api.verify("s3://source", configure=lab.configure),
        lambda lab: api.remove("s3://source", configure=lab.configure),
        lambda lab: api.remove(f"s3://source/u/alice/{UUID}", configure=lab.configure),
    ],
)
async def test_a_bucket_and_a_dataset_are_not_mistaken_for_each_other(
    lab: TwoBuckets, call: Callable[[TwoBuckets], object]
) -> None:
    await lab.write(DatasetFixture())

    with pytest.raises(InvalidURI):
        await call(lab)  # type: ignore[misc]


async def test_datasets_of_a_bucket_are_listed_with_their_state(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    await lab.write(DatasetFixture(uuid=OTHER_UUID, is_frozen=False, prefix="u/bob/"))

    catalog = await api.list_datasets("s3://source", configure=lab.configure)

    states = {uuid: entry.state for uuid, entry in catalog.entries.items()}
    assert states == {UUID: EntryState.FROZEN, OTHER_UUID: EntryState.PROTO}


async def test_nothing_is_outside_where_no_place_was_named(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture(prefix="u/alice/"))
    await lab.write(DatasetFixture(uuid=OTHER_UUID, prefix="u/bob/"))

    blind = await api.list_datasets("s3://source", configure=lab.configure)
    named = await api.list_datasets("s3://source", configure=lab.configure, prefixes=["u/bob/"])

    assert [entry.uuid for entry in blind.all_entries if entry.is_outside] == []
    assert [entry.uuid for entry in named.all_entries if entry.is_outside] == [UUID]


async def test_a_whole_dataset_is_verified(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture(prefix="u/bob/"))

    verified = await api.verify(URI, configure=lab.configure)

    assert verified.verification.items == len(ITEMS)
    assert verified.verification.is_proven


async def test_a_hole_is_found(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture(stored={"a.txt": None}))

    verified = await api.verify(URI, configure=lab.configure)

    assert [m.relpath for m in verified.verification.mismatches] == ["a.txt"]


async def test_a_proto_dataset_is_frozen_as_dtool_would(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture(is_frozen=False, prefix="u/bob/"))
    told: list[Progress] = []

    frozen = await api.freeze(URI, configure=lab.configure, on_progress=told.append)

    assert frozen.admin.is_frozen
    assert frozen.verification.items == len(ITEMS)
    assert told[-1] == Progress(Phase.FREEZING, len(ITEMS), len(ITEMS), 0, told[0].bytes_total)


async def test_a_frozen_dataset_is_not_frozen_again(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())

    with pytest.raises(FrozenDataset):
        await api.freeze(URI, configure=lab.configure)


async def test_what_is_no_item_is_not_frozen(lab: TwoBuckets) -> None:
    layout = await lab.write(DatasetFixture(is_frozen=False))
    lab.server.write("source", f"{layout.data_prefix}thumbs.db", b"!")

    with pytest.raises(ContentDiffers, match=r"thumbs\.db"):
        await api.freeze(URI, configure=lab.configure)


@pytest.mark.parametrize("is_frozen", [True, False])
async def test_a_dataset_is_removed_with_its_registration(lab: TwoBuckets, is_frozen: bool) -> None:
    await lab.write(DatasetFixture(is_frozen=is_frozen, prefix="u/bob/"))

    removed = await api.remove(URI, configure=lab.configure)

    assert removed > len(ITEMS)
    assert lab.list_keys("source") == []


async def test_a_removal_goes_on_from_the_registration_key_alone(lab: TwoBuckets) -> None:
    lab.server.write("source", f"dtool-{UUID}", b"u/bob/")
    lab.server.write("source", f"u/bob/{UUID}/data/{md5(b'')}", b"left")

    assert await api.remove(URI, configure=lab.configure) == 2
    assert lab.list_keys("source") == []


async def test_a_frozen_dataset_is_kept_where_only_a_proto_dataset_is_meant(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())
    before = lab.list_keys("source")

    with pytest.raises(FrozenDataset):
        await api.remove(URI, only_proto=True, configure=lab.configure)

    assert lab.list_keys("source") == before


async def test_what_is_not_there_cannot_be_removed_or_verified(lab: TwoBuckets) -> None:
    with pytest.raises(DatasetMissing, match=UUID):
        await api.remove(URI, configure=lab.configure)
    with pytest.raises(DatasetMissing):
        await api.verify(URI, configure=lab.configure)


async def test_unfinished_uploads_of_one_dataset_are_aborted(lab: TwoBuckets) -> None:
    layout = await lab.write(DatasetFixture(is_frozen=False))
    store = lab.server.store("source")
    await store.start_upload(layout.item_key(md5(b"")), {})
    await store.start_upload("elsewhere", {})

    assert await api.abort_uploads(URI, configure=lab.configure) == 1

    assert [upload.key for upload in await store.list_uploads("")] == ["elsewhere"]


async def test_plain_objects_become_a_dataset_under_the_configured_prefix(lab: TwoBuckets) -> None:
    lab.server.write("source", "run-17/a.txt", b"alpha")
    lab.server.write("source", "run-17/sub/b.txt", b"beta")

    made = await api.ingest(
        "s3://source/run-17", "s3://target", name="run-17", uuid=UUID, configure=lab.configure
    )

    assert made.uri == f"s3://target/{UUID}"
    assert lab.server.read("target", f"dtool-{UUID}").body == b"u/alice/"
    assert made.result.verification.items == 2
    again = await api.ingest(
        "s3://source/run-17/", "s3://target", name="run-17", uuid=UUID, configure=lab.configure
    )
    assert again.result.moved == 0


@pytest.mark.parametrize("uri", ["source/run-17", "s3://source//run-17", "s3:///run-17", "file:///run-17"])
async def test_only_a_prefix_of_a_bucket_is_ingested(lab: TwoBuckets, uri: str) -> None:
    with pytest.raises(InvalidURI):
        await api.ingest(uri, "s3://target", name="run-17", configure=lab.configure)


async def test_a_dataset_goes_to_a_directory_and_back(lab: TwoBuckets, tmp_path: Path) -> None:
    await lab.write(DatasetFixture(prefix="old/"))

    down = await api.copy(URI, tmp_path.as_uri(), configure=lab.configure)
    up = await api.copy(down.uri, "s3://target", configure=lab.configure)

    assert down.uri.endswith(f"{tmp_path}/sample")
    assert (tmp_path / "sample" / "data" / "a.txt").read_bytes() == ITEMS["a.txt"]
    assert up.uri == f"s3://target/{UUID}"
    assert f"u/alice/{UUID}/manifest.json" in lab.list_keys()


async def test_a_directory_whose_uuid_is_elsewhere_in_the_bucket_is_refused_naming_the_place(
    lab: TwoBuckets, tmp_path: Path
) -> None:
    await lab.write(DatasetFixture())
    down = await api.copy(URI, tmp_path.as_uri(), configure=lab.configure)
    await lab.write(DatasetFixture(prefix="u/bob/"), "target")

    with pytest.raises(UUIDTaken, match="u/bob/"):
        await api.copy(down.uri, "s3://target", configure=lab.configure)


@pytest.mark.parametrize(
    ("source", "target"), [("file:///a", "file:///b"), (URI, "azure://b"), ("irods://x", "s3://target")]
)
async def test_what_is_not_copied_here_is_an_invalid_uri(lab: TwoBuckets, source: str, target: str) -> None:
    with pytest.raises(InvalidURI, match="nothing is copied here"):
        await api.copy(source, target, configure=lab.configure)


async def test_a_bucket_is_configured_by_its_name(lab: TwoBuckets) -> None:
    await lab.write(DatasetFixture())

    await api.copy(URI, "s3://target", configure=lab.configure)

    assert lab.asked == ["source", "target"]
