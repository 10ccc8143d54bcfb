"""Derived datasets: the content of another under their own identity, killed anywhere and taken up again."""

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dtool_s3.documents import AdminMetadata, DatasetType
from dtool_s3.errors import (
    ContentDiffers,
    DtoolS3Error,
    InvalidManifest,
    QuotaExceeded,
    SettingsError,
    StoreFull,
    UUIDTaken,
)
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.verify import verify_dataset
from tests.support.copying import SOURCE, TARGET, TARGET_PREFIX, CopyScene, make_scene
from tests.support.datasets import ITEMS, UUID, DatasetFixture

DERIVED = "2d21877d-d5ba-4b5a-8c6e-1e6f1f2d8b22"
PLACE = DatasetLayout(TARGET_PREFIX, DERIVED)
RICH = DatasetFixture(
    prefix="u/instrument/",
    tags=("blue", "2026"),
    annotations={"project": "atlas", "derived_from": {"uuid": "of an earlier one", "name": "x"}},
    overlays={"length": {item_identifier("a.txt"): 5}},
)
MODES = pytest.mark.parametrize("server_side", [True, False], ids=["server-side", "streamed"])
FATAL = StoreFull("no room left", code="507")


@dataclass
class Clock:
    """A clock that goes on by a second at each look."""

    now: float = 1_900_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


async def derive(
    scene: CopyScene, clock: Clock | None = None, *, target: Store | None = None, **changes: Any
) -> CopyResult:
    request = CopyRequest(
        scene.dataset.uuid,
        scene.dataset.prefix,
        TARGET_PREFIX,
        target_uuid=DERIVED,
        name="atlas-2",
        creator_username="alice",
        pause_seconds=0.0,
    )
    target = target or scene.target
    return await copy_dataset(scene.source, target, replace(request, **changes), clock=clock or Clock())


def admin(scene: CopyScene) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(scene.objects(TARGET, PLACE)["dtool"][0])
    return document


def documents(scene: CopyScene) -> dict[str, Any]:
    """Everything but what says who the dataset is."""
    own = {"dtool", "structure.json", "annotations/derived_from.json"}
    return {name: body for name, body in scene.objects(TARGET, PLACE).items() if name not in own}


@MODES
async def test_a_derived_dataset_has_the_content_of_its_source_and_an_identity_of_its_own(
    server_side: bool,
) -> None:
    scene, clock = await make_scene(RICH), Clock(1_900_000_000.0)

    result = await derive(scene, clock, server_side=server_side)

    own = {"dtool", "structure.json", "annotations/derived_from.json"}
    assert documents(scene) == {n: b for n, b in scene.original().items() if n not in own}
    assert scene.server.read(TARGET, f"dtool-{DERIVED}").body == TARGET_PREFIX.encode()
    assert f"dtool-{UUID}" not in scene.server.keys(TARGET)
    found = admin(scene)
    assert (found["uuid"], found["name"], found["creator_username"]) == (DERIVED, "atlas-2", "alice")
    assert (found["type"], found["created_at"], found["frozen_at"]) == ("dataset", 1900000001, 1900000002)
    assert result.admin.as_dict() == found
    assert (await verify_dataset(scene.target, PLACE)).verification.is_proven


async def test_the_annotation_derived_from_names_the_source_and_not_the_source_of_that() -> None:
    scene = await make_scene(RICH)

    await derive(scene)

    body = scene.objects(TARGET, PLACE)["annotations/derived_from.json"][0]
    assert json.loads(body) == {"uuid": UUID, "name": "sample"}


async def test_a_dataset_can_be_derived_from_one_in_the_same_bucket_under_the_same_prefix() -> None:
    scene = await make_scene(replace(RICH, prefix=TARGET_PREFIX))
    before = scene.original()

    await derive(scene, target=scene.source)

    assert scene.original() == before
    assert (await verify_dataset(scene.source, PLACE)).verification.items == len(ITEMS)


async def test_a_derived_copy_that_fails_at_any_request_is_taken_up_again_as_what_it_was() -> None:
    clean = await make_scene(RICH)
    await derive(clean)
    count = len(clean.server.requests)
    assert count > 20

    for number in range(count):
        scene, clock = await make_scene(RICH), Clock()
        scene.server.faults.append(Fault(skip=number, error=FATAL))
        with contextlib.suppress(DtoolS3Error):
            await derive(scene, clock)
        proto = scene.objects(TARGET, PLACE).get("dtool")
        scene.server.faults.clear()
        later = Clock(2_000_000_000.0)

        result = await derive(scene, later, name="renamed", creator_username="bob")

        place = f"request {number}: {clean.server.requests[number]}"
        assert documents(scene) == documents(clean), place
        found = admin(scene)
        assert result.admin.as_dict() == found, place
        if proto is not None:
            begun = json.loads(proto[0])
            assert {n: found[n] for n in ("name", "creator_username", "created_at")} == {
                n: begun[n] for n in ("name", "creator_username", "created_at")
            }, place
        assert [k for k in scene.server.keys(TARGET) if k.startswith("dtool-")] == [f"dtool-{DERIVED}"]


async def test_two_derived_copies_at_once_end_in_one_dataset_that_both_report() -> None:
    scene = await make_scene(RICH)

    outcomes = await asyncio.gather(derive(scene, Clock(1.8e9)), derive(scene, Clock(1.9e9)))

    found = admin(scene)
    assert [outcome.admin.as_dict() for outcome in outcomes] == [found, found]


async def test_a_derived_dataset_that_is_frozen_already_is_adopted_whatever_the_quota() -> None:
    scene = await make_scene(RICH)
    first = await derive(scene)
    scene.server.requests.clear()

    second = await derive(scene, max_size_bytes=0)

    assert (second.admin, second.moved) == (first.admin, 0)
    assert [r for r in scene.writes() if r.key != PLACE.registration_key] == []


async def test_another_frozen_dataset_in_the_place_is_not_touched() -> None:
    scene = await make_scene(RICH)
    await derive(await _with_other_content(scene))
    before = scene.objects(TARGET, PLACE)

    with pytest.raises(ContentDiffers):
        await derive(scene)

    assert scene.objects(TARGET, PLACE) == before


async def _with_other_content(scene: CopyScene) -> CopyScene:
    """The same target, a source with other items."""
    other = await make_scene(DatasetFixture(items={"other.txt": b"other"}))
    return replace(scene, dataset=other.dataset, source=other.source)


async def test_a_uuid_that_is_taken_is_refused() -> None:
    scene = await make_scene(RICH)
    scene.server.write(TARGET, f"dtool-{DERIVED}", b"u/bob/")

    with pytest.raises(UUIDTaken):
        await derive(scene)

    assert scene.objects(TARGET, PLACE) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_uuid": UUID}, "another uuid"),
        ({"target_uuid": None}, "keeps its name"),
        ({"target_uuid": None, "name": None}, "keeps its name"),
        ({"name": None}, "needs a name"),
        ({"creator_username": None}, "needs a name"),
        ({"name": "no spaces"}, "cannot be the name"),
        ({"name": ""}, "cannot be the name"),
    ],
)
async def test_half_an_identity_is_refused_before_anything_is_read(
    changes: dict[str, Any], message: str
) -> None:
    scene = await make_scene(RICH)

    with pytest.raises(SettingsError, match=message):
        await derive(scene, **changes)

    assert scene.server.requests == []


async def test_only_the_manifest_that_is_pinned_is_copied() -> None:
    scene = await make_scene(RICH)
    pin = hashlib.sha256(scene.original()["manifest.json"][0]).hexdigest()

    with pytest.raises(InvalidManifest, match="SHA-256"):
        await scene.copy(manifest_sha256="0" * 64)
    assert scene.writes() == []

    await scene.copy(manifest_sha256=pin.upper())
    assert scene.is_frozen()


async def test_a_pin_holds_for_a_copy_that_is_there_already() -> None:
    scene = await make_scene(RICH)
    await scene.copy()

    with pytest.raises(InvalidManifest):
        await scene.copy(manifest_sha256="0" * 64)


@MODES
async def test_a_source_larger_than_allowed_is_refused_before_anything_is_written(server_side: bool) -> None:
    scene = await make_scene(RICH)
    size_bytes = sum(map(len, ITEMS.values()))

    with pytest.raises(QuotaExceeded, match=f"{size_bytes} bytes"):
        await scene.copy(server_side=server_side, max_size_bytes=size_bytes - 1)
    assert scene.server.keys(TARGET) == []

    await scene.copy(server_side=server_side, max_size_bytes=size_bytes)
    assert scene.is_frozen()


async def test_a_plain_copy_keeps_the_identity_of_its_source() -> None:
    scene = await make_scene(RICH)

    result = await scene.copy()

    assert result.admin == AdminMetadata(
        UUID, DatasetType.FROZEN, "sample", "olssont", "3.19.0", 1795329207.5, 1795329300.25
    )
    assert scene.server.read(SOURCE, scene.origin.admin_metadata_key).body == scene.copied()["dtool"][0]
