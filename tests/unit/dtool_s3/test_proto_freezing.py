"""A proto dataset that others filled is frozen once they are done (rule 14), wherever a freeze is killed."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ContentDiffers,
    DatasetMissing,
    DtoolS3Error,
    NotSupported,
    RegistrationHijacked,
    StorageError,
    UUIDTaken,
    WrittenWhileFreezing,
)
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.proto_freezing import freeze_dataset
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.transfer.inventory import read_admin_metadata
from dtool_s3.transfer.progress import Phase, Progress, ProgressSink, no_progress
from dtool_s3.transfer.verify import VerifiedDataset
from tests.support.datasets import ITEMS, DatasetFixture, md5, write_dataset

FIXTURE = DatasetFixture(prefix="u/alice/", is_frozen=False)
LAYOUT = FIXTURE.layout
ITEM = LAYOUT.item_key(item_identifier("a.txt"))


@dataclass
class Lab:
    """A bucket with a proto dataset, and what happens while it is waited for its quiet."""

    server: MemoryServer
    store: MemoryStore
    while_waiting: Callable[[], None] = lambda: None
    waited: list[float] = field(default_factory=list)

    async def freeze(self, on_progress: ProgressSink = no_progress) -> VerifiedDataset:
        """Freeze without losing time."""
        return await freeze_dataset(
            self.store, LAYOUT, quiet_seconds=30, on_progress=on_progress, sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.while_waiting()

    async def is_frozen(self) -> bool:
        """Tell what the dataset is now."""
        admin = await read_admin_metadata(self.store, LAYOUT)
        assert admin is not None
        return admin.is_frozen

    def write_item(self, relpath: str, body: bytes) -> None:
        """Do what another client's `dtool add item` does."""
        key, metadata = LAYOUT.item_key(item_identifier(relpath)), item_metadata(relpath, md5(body))
        self.server.write("lab", key, body, metadata=metadata)

    def contents(self) -> dict[str, bytes]:
        """All bytes by key, but what tells the time."""
        timed = (LAYOUT.admin_metadata_key, LAYOUT.manifest_key)
        return {k: self.server.read("lab", k).body for k in self.server.keys("lab") if k not in timed}


async def make_lab(*, with_fragments: bool = True) -> Lab:
    server = MemoryServer()
    server.create_bucket("lab")
    lab = Lab(server, server.store("lab"))
    await write_dataset(lab.store, FIXTURE)
    if with_fragments:
        for relpath in ITEMS:
            server.write("lab", LAYOUT.fragment_key(item_identifier(relpath), "kind"), b'"raw"')
    server.requests.clear()
    return lab


@pytest.fixture
async def lab() -> Lab:
    return await make_lab()


async def test_a_quiet_proto_dataset_is_frozen_and_verified(lab: Lab) -> None:
    told: list[Progress] = []

    frozen = await lab.freeze(told.append)
    await asyncio.sleep(0)

    assert frozen.admin.is_frozen
    assert frozen.verification.is_proven
    assert frozen.verification.items == len(ITEMS)
    assert lab.waited == [30]
    size_bytes = sum(map(len, ITEMS.values()))
    assert told[0] == Progress(Phase.FREEZING, 0, len(ITEMS), 0, size_bytes)
    assert [progress.phase for progress in told if progress.items == 0][-1] is Phase.VERIFYING
    assert max(progress.items for progress in told) == len(ITEMS)
    overlay = json.loads(lab.server.read("lab", LAYOUT.overlay_key("kind")).body)
    assert overlay == {item_identifier(relpath): "raw" for relpath in ITEMS}
    assert not [key for key in lab.server.keys("lab") if key.startswith(LAYOUT.fragments_prefix)]


async def test_freezing_costs_four_listings_and_one_head_an_item() -> None:
    lab = await make_lab(with_fragments=False)

    await lab.freeze()

    counted = Counter(request.operation for request in lab.server.requests)
    # listings: twice for the quiet, before the flip, for the verification; puts: manifest and dtool
    assert counted == {"list": 4, "list_uploads": 2, "head": len(ITEMS), "get": 9, "put": 2}


async def test_a_frozen_dataset_is_verified_and_nothing_is_written(lab: Lab) -> None:
    await lab.freeze()
    lab.server.requests.clear()

    found = await lab.freeze()

    assert found.verification.is_proven
    counted = Counter(request.operation for request in lab.server.requests)
    assert counted == {"get": 4, "list": 2}
    assert lab.waited == [30]


def change_readme(lab: Lab) -> None:
    lab.server.write("lab", LAYOUT.readme_key, b"description: later\n")


def add_item(lab: Lab) -> None:
    lab.write_item("late.txt", b"late")


def rewrite_item(lab: Lab) -> None:
    lab.write_item("a.txt", ITEMS["a.txt"])


def remove_item(lab: Lab) -> None:
    lab.server.remove("lab", ITEM)


def add_fragment(lab: Lab) -> None:
    lab.server.write("lab", LAYOUT.fragment_key(item_identifier("a.txt"), "late"), b"1")


CHANGES = [change_readme, add_item, rewrite_item, remove_item, add_fragment]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_written_in_the_quiet_period_keeps_it_a_proto_dataset(
    lab: Lab, change: Callable[[Lab], None]
) -> None:
    lab.while_waiting = lambda: change(lab)

    with pytest.raises(WrittenWhileFreezing, match="within 30 seconds"):
        await lab.freeze()

    assert not await lab.is_frozen()
    assert not [request for request in lab.server.requests if request.operation in {"put", "delete"}]


async def test_what_was_written_names_itself(lab: Lab) -> None:
    lab.while_waiting = lambda: change_readme(lab)

    with pytest.raises(WrittenWhileFreezing, match=r"README\.yml"):
        await lab.freeze()


async def test_an_hour_later_it_is_frozen_with_what_was_written() -> None:
    lab = await make_lab(with_fragments=False)
    lab.while_waiting = lambda: add_item(lab)
    with suppress(WrittenWhileFreezing):
        await lab.freeze()
    lab.while_waiting = lambda: None

    assert (await lab.freeze()).verification.items == len(ITEMS) + 1


@pytest.mark.parametrize("change", CHANGES)
async def test_whoever_writes_between_the_first_look_and_the_last_one_keeps_it_a_proto_dataset(
    change: Callable[[Lab], None],
) -> None:
    undisturbed = await make_lab(with_fragments=False)
    await undisturbed.freeze()
    asked = [request.operation for request in undisturbed.server.requests]
    first, _, last, _ = (number for number, operation in enumerate(asked) if operation == "list")

    for number in range(first + 1, last + 1):
        lab = await make_lab(with_fragments=False)
        lab.server.faults.append(Fault(skip=number, hook=lambda lab=lab: change(lab)))  # type: ignore[misc]

        with pytest.raises(WrittenWhileFreezing):
            await lab.freeze()

        assert not await lab.is_frozen()


async def test_what_is_written_after_the_last_look_is_in_the_result() -> None:
    lab = await make_lab(with_fragments=False)
    lab.server.faults.append(Fault("put", LAYOUT.admin_metadata_key, hook=lambda: add_item(lab)))

    assert (await lab.freeze()).verification.extra == (item_identifier("late.txt"),)


async def test_an_upload_under_way_is_waited_for(lab: Lab) -> None:
    upload = await lab.store.start_upload(LAYOUT.item_key(item_identifier("large.bin")), {})

    with pytest.raises(WrittenWhileFreezing, match="not finished"):
        await lab.freeze()
    assert lab.waited == []
    await lab.store.abort_upload(upload)

    assert (await lab.freeze()).admin.is_frozen


async def test_an_upload_that_begins_in_the_quiet_period_is_waited_for(lab: Lab) -> None:
    async def begin() -> None:
        await lab.store.start_upload(LAYOUT.item_key(item_identifier("large.bin")), {})

    lab.server.faults.append(Fault("list", skip=1, hook=begin))

    with pytest.raises(WrittenWhileFreezing, match="not finished"):
        await lab.freeze()
    assert not await lab.is_frozen()


async def test_uploads_elsewhere_are_nobodys_business(lab: Lab) -> None:
    await lab.store.start_upload("u/alice/other/data/x", {})

    assert (await lab.freeze()).admin.is_frozen


@pytest.mark.parametrize(
    "error", [AccessDenied("403", code="AccessDenied"), NotSupported("501", code="NotImplemented")]
)
async def test_without_the_right_to_list_uploads_the_listings_decide(lab: Lab, error: StorageError) -> None:
    lab.server.faults.append(Fault("list_uploads", error=error, times=None))

    assert (await lab.freeze()).admin.is_frozen


async def test_where_uploads_cannot_be_listed_for_another_reason_it_is_not_frozen(lab: Lab) -> None:
    lab.server.faults.append(Fault("list_uploads", error=BucketUnreachable("no answer")))

    with pytest.raises(BucketUnreachable):
        await lab.freeze()


async def test_keys_that_are_no_items_are_named_and_stay(lab: Lab) -> None:
    for name in ("thumbs.db", "notes.txt"):
        lab.server.write("lab", f"{LAYOUT.data_prefix}{name}", b"!")
    lab.server.write("lab", LAYOUT.data_prefix, b"")  # a directory marker is no obstacle

    with pytest.raises(ContentDiffers, match=r"notes\.txt.*thumbs\.db"):
        await lab.freeze()

    assert not await lab.is_frozen()
    assert f"{LAYOUT.data_prefix}thumbs.db" in lab.server.keys("lab")


@pytest.mark.parametrize(("name", "relpaths"), [("kind2", ["a.txt"]), ("bad name", list(ITEMS))])
async def test_metadata_of_items_that_cannot_become_an_overlay_is_said_so(
    lab: Lab, name: str, relpaths: list[str]
) -> None:
    for relpath in relpaths:
        lab.server.write("lab", LAYOUT.fragment_key(item_identifier(relpath), name), b"1")

    with pytest.raises(ContentDiffers, match="overlay"):
        await lab.freeze()

    assert not await lab.is_frozen()


@pytest.mark.parametrize("after_effect", [True, False])
async def test_a_freeze_that_fails_at_any_request_is_finished_by_the_next(*, after_effect: bool) -> None:
    undisturbed = await make_lab()
    await undisturbed.freeze()

    for number in range(len(undisturbed.server.requests)):
        lab = await make_lab()
        lost = BucketUnreachable("lost")
        fault = Fault(error=lost, skip=number, after_effect=after_effect)
        lab.server.faults.append(fault)
        with suppress(DtoolS3Error):
            await lab.freeze()
        assert fault.hits == 1

        found = await lab.freeze()

        assert found.admin.is_frozen
        assert found.verification.is_proven
        assert lab.contents() == undisturbed.contents()


async def test_what_is_missing_or_somebody_elses_is_not_frozen(lab: Lab) -> None:
    lab.server.write("lab", LAYOUT.registration_key, b"u/bob/")
    with pytest.raises(UUIDTaken):
        await lab.freeze()
    lab.server.remove("lab", LAYOUT.registration_key)
    with pytest.raises(RegistrationHijacked):
        await lab.freeze()
    lab.server.write("lab", LAYOUT.registration_key, b"u/alice/")
    lab.server.remove("lab", LAYOUT.admin_metadata_key)
    with pytest.raises(DatasetMissing):
        await lab.freeze()


async def test_a_registration_that_is_taken_over_in_the_quiet_period_stops_it(lab: Lab) -> None:
    def take_over() -> None:
        lab.server.write("lab", LAYOUT.registration_key, b"u/bob/")

    lab.while_waiting = take_over

    with pytest.raises(UUIDTaken):
        await lab.freeze()

    assert not await lab.is_frozen()


async def test_damage_of_a_frozen_dataset_is_in_the_result(lab: Lab) -> None:
    await lab.freeze()
    lab.server.remove("lab", ITEM)

    assert (await lab.freeze()).verification.absent_count == 1
