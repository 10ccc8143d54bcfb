"""Datasets of every era on a real server: our dtool reads them, real upstream 0.14.1 our copies of them.

All are written, read and copied once; the tests look at what was printed. Request counts are in the unit
tests, where every request is known.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_s3.catalog import EntryState, list_datasets
from dtool_s3.concurrency import map_bounded
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.verify import VerifyMethod, verify_dataset
from tests.support.datasets import md5
from tests.support.history import ERAS, write_era
from tests.support.s3_place import S3Place
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

PREFIX = "u/alice/"
#: A dataset of each era has its own UUID, made from the era's name.
UUIDS: Mapping[str, str] = {
    name: f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    for name in ERAS
    for digest in [hashlib.sha256(name.encode()).hexdigest()]
}
every_era = pytest.mark.parametrize("name", ERAS)
SIDES = ("the original, read by ours", "its copy, read by upstream")
#: Upstream cannot list overlays and annotations whose names have dots, whoever wrote them.
UNREADABLE = {(SIDES[1], "dotted names")}
both = pytest.mark.parametrize("side", SIDES)

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Museum:
    """A bucket of originals and one of copies."""

    server: ObjectStore
    originals: str
    copies: str
    directory: Path

    def open(self, bucket: str) -> S3Store:
        admin = self.server.identity("admin")
        keys = Credentials(admin.access_key, Secret(admin.secret_key))
        return S3Store(Endpoint(self.server.endpoint, "us-east-1"), bucket, lambda: keys)

    async def fill(self) -> None:
        """Write a dataset of each era, and copy it to the other bucket."""
        async with self.open(self.originals) as source, self.open(self.copies) as target:
            await source.put("dtool.json", b"{}")
            await source.put("dtool-notauuid", b"")

            async def make(name: str) -> None:
                dataset = ERAS[name].dataset(UUIDS[name], PREFIX)
                await write_era(source, ERAS[name], dataset)
                await copy_dataset(source, target, CopyRequest(dataset.uuid, dataset.prefix, PREFIX))

            await map_bounded(make, ERAS)

    def dtool(self, side: str) -> tuple[Dtool, str]:
        """Return who reads a side, and its bucket."""
        is_original = side.startswith("the original")
        bucket = self.originals if is_original else self.copies
        admin = self.server.identity("admin")
        environment = bucket_environment(
            bucket, self.server.endpoint, admin.access_key, admin.secret_key, self.directory / bucket, PREFIX
        )
        programs = Path(sys.executable).parent if is_original else ensure_upstream() / "bin"
        return Dtool(programs, environment), bucket


def batched(commands: list[dict[str, Any]], size: int = 40) -> Iterator[list[dict[str, Any]]]:
    """Cut a list of commands: upstream needs half a second for some, and a process must end in time."""
    for start in range(0, len(commands), size):
        yield commands[start : start + size]


class Readings:
    """What the readers print; each reads everything at the first question, in a few processes."""

    def __init__(self, museum: Museum) -> None:
        self._museum = museum

    @functools.cache  # noqa: B019 - one a module
    def of(self, side: str) -> Mapping[str, Result]:
        dtool, bucket = self._museum.dtool(side)
        commands = dict(self._commands(side, f"s3://{bucket}", self._museum.directory / f"{bucket}-disk"))
        asked = [{"arguments": list(arguments)} for arguments in commands.values()]
        printed = [answer for some in batched(asked) for answer in dtool.commands(some)]
        return dict(zip(commands, printed, strict=True))

    @staticmethod
    def _commands(side: str, base_uri: str, disk: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield "ls", ("ls", "--quiet", base_uri)
        for name, era in ERAS.items():
            uri = f"{base_uri}/{UUIDS[name]}"
            yield f"{name}: summary", ("summary", uri)
            yield f"{name}: items", ("ls", uri)
            yield f"{name}: verify", ("verify", "--full", uri)
            if (side, name) not in UNREADABLE:
                (disk / UUIDS[name]).mkdir(parents=True)
                yield f"{name}: annotation", ("annotation", "get", uri, era.names)
                yield f"{name}: cp", ("cp", "--quiet", uri, str(disk / UUIDS[name]))
            yield f"{name}: fetch", ("item", "fetch", uri, item_identifier(max(era.items)))


@pytest.fixture(scope="module")
def museum(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Museum:
    originals, copies = (object_store.create_bucket(f"history-{name}") for name in ("originals", "copies"))
    made = Museum(object_store, originals, copies, tmp_path_factory.mktemp("history"))
    asyncio.run(made.fill())
    return made


@pytest.fixture(scope="module")
def readings(museum: Museum) -> Readings:
    return Readings(museum)


@both
def test_all_are_listed(readings: Readings, side: str) -> None:
    result = readings.of(side)["ls"]

    assert result["exit_code"] == 0, result
    listed = {uri.rpartition("/")[2] for uri in result["stdout"].split()}
    assert listed == set(UUIDS.values())


@both
@every_era
def test_a_dataset_is_read(readings: Readings, side: str, name: str) -> None:
    results = readings.of(side)
    era = ERAS[name]

    summary, items = results[f"{name}: summary"], results[f"{name}: items"]
    assert summary["exit_code"] == items["exit_code"] == 0, (summary, items)
    assert f"number_of_items: {len(era.items)}" in summary["stdout"]
    assert all(relpath in items["stdout"] for relpath in era.items)


@both
@every_era
def test_it_verifies_in_full(readings: Readings, side: str, name: str) -> None:
    assert readings.of(side)[f"{name}: verify"]["stdout"] == "All good :)", readings.of(side)[
        f"{name}: verify"
    ]


@both
@every_era
def test_an_item_is_fetched_with_its_bytes(readings: Readings, side: str, name: str) -> None:
    fetched = readings.of(side)[f"{name}: fetch"]

    assert fetched["exit_code"] == 0, fetched
    assert Path(fetched["stdout"]).read_bytes() == ERAS[name].items[max(ERAS[name].items)]


@pytest.mark.parametrize(
    ("side", "name"), [(side, name) for side in SIDES for name in ERAS if (side, name) not in UNREADABLE]
)
def test_its_annotation_is_read_and_it_is_copied_to_disk(
    readings: Readings, museum: Museum, side: str, name: str
) -> None:
    annotation, result = readings.of(side)[f"{name}: annotation"], readings.of(side)[f"{name}: cp"]

    assert annotation["stdout"] == "{'by': 'hand'}"
    assert result["exit_code"] == 0, result
    _, bucket = museum.dtool(side)
    (copied,) = (museum.directory / f"{bucket}-disk" / UUIDS[name]).iterdir()
    data = copied / "data"
    found = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert found == dict(ERAS[name].items)


async def test_the_catalog_knows_them_all(museum: Museum) -> None:
    async with museum.open(museum.originals) as store:
        catalog = await list_datasets(store, prefixes=["", PREFIX])

    assert {entry.uuid: entry.state for entry in catalog.all_entries} == dict.fromkeys(
        UUIDS.values(), EntryState.FROZEN
    )


@every_era
async def test_every_byte_of_it_is_verified_and_its_copy_has_todays_headers(
    museum: Museum, name: str
) -> None:
    era = ERAS[name]
    dataset = era.dataset(UUIDS[name], PREFIX)
    async with museum.open(museum.originals) as source, museum.open(museum.copies) as target:
        read = await verify_dataset(source, dataset.layout, method=VerifyMethod.CONTENT)
        place = DatasetLayout(PREFIX, dataset.uuid)
        heads = {r: await target.head(place.item_key(item_identifier(r))) for r in era.items}

    assert read.verification.is_proven
    assert {r: dict(info.metadata) for r, info in heads.items()} == {
        r: item_metadata(r, md5(body)) for r, body in era.items.items()
    }


async def test_upstream_reads_an_old_proto_dataset_that_ours_added_to_and_froze(
    s3_place: S3Place, tmp_path: Path
) -> None:
    store = s3_place.open_store()
    era, uuid = ERAS["0.13.0"], s3_place.new_uuid()
    await write_era(store, era, era.dataset(uuid, s3_place.prefix, is_frozen=False))
    uri, path = f"{s3_place.base_uri}/{uuid}", tmp_path / "new.txt"
    path.write_bytes(b"new")
    ours = Dtool(Path(sys.executable).parent, s3_place.environment)
    upstream = Dtool(ensure_upstream() / "bin", s3_place.environment)

    await asyncio.to_thread(ours.run, "add", "item", str(path), uri, "new.txt")
    await asyncio.to_thread(ours.run, "freeze", uri)

    assert await asyncio.to_thread(upstream.run, "verify", "--full", uri) == "All good :)"
    listed = await asyncio.to_thread(upstream.run, "ls", uri)
    assert all(relpath in listed for relpath in (*era.items, "new.txt"))
