"""Empty protos, freezing in place, and metadata of frozen datasets, on a real server with real dtools.

What the library begins is filled and frozen by upstream's `dtool`; what `dtool` filled is frozen by the
library; and what it writes beside a frozen dataset is what `dtool` reads.
"""

import asyncio
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dtool_s3.creation import create_proto
from dtool_s3.errors import ContentDiffers, UUIDTaken, WrittenWhileFreezing
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.metadata import Metadata, apply_change, find_change
from dtool_s3.ownership import Owner, ensure_owner, read_owner, replace_owner
from dtool_s3.proto_freezing import freeze_dataset
from dtool_s3.settings import ConditionalWrites
from dtool_s3.store.protocol import Store
from dtool_s3.store.s3 import S3Store
from tests.support.s3_place import S3Place
from tests.support.upstream import Dtool, ensure_upstream

README = "---\ndescription: begun by the operator, ü\n"
FILES: Mapping[str, bytes] = {"a.txt": b"alpha", "sub/ünï.csv": b"1,2\n", "empty": b""}


@pytest.fixture(params=["ours", "upstream"])
def dtool(request: pytest.FixtureRequest, s3_place: S3Place) -> Dtool:
    """Each of the two dtools, configured for the place."""
    programs = Path(sys.executable).parent if request.param == "ours" else ensure_upstream() / "bin"
    return Dtool(programs, s3_place.environment)


def uri_of(place: S3Place, layout: DatasetLayout) -> str:
    return f"{place.base_uri}/{layout.uuid}"


async def begin(store: Store, layout: DatasetLayout, readme: str | None = README) -> None:
    await create_proto(store, layout, name="run-17", creator_username="olssont", readme=readme)


async def run_all(dtool: Dtool, *commands: tuple[str, ...]) -> list[str]:
    """Run dtool commands in one process; return what they printed, once all succeeded."""
    results = await asyncio.to_thread(dtool.commands, [{"arguments": list(command)} for command in commands])
    failed = [(command, r) for command, r in zip(commands, results, strict=True) if r["exit_code"]]
    assert not failed
    return [result["stdout"] for result in results]


def adding(directory: Path, uri: str) -> list[tuple[str, ...]]:
    """`dtool add item` for every file, and metadata of items."""
    commands: list[tuple[str, ...]] = []
    for relpath, body in FILES.items():
        path = directory / item_identifier(relpath)
        path.write_bytes(body)
        commands += [
            ("add", "item", str(path), uri, relpath),
            ("add", "metadata", uri, relpath, "kind", "raw"),
        ]
    return commands


@pytest.mark.parametrize("readme", [README, None])
async def test_an_empty_proto_dataset_is_filled_and_frozen_by_dtool(
    s3_place: S3Place, dtool: Dtool, tmp_path: Path, readme: str | None
) -> None:
    store, layout = s3_place.open_store(), s3_place.layout()
    uri = uri_of(s3_place, layout)
    await begin(store, layout, readme)

    status, shown, *_, verified, summary, items = await run_all(
        dtool,
        ("status", uri),
        ("readme", "show", uri),
        *adding(tmp_path, uri),
        ("freeze", uri),
        ("verify", "--full", uri),
        ("summary", uri),
        ("ls", uri),
    )

    assert (status, shown, verified) == ("proto", (readme or "").strip(), "All good :)")
    assert {"name: run-17", "creator_username: olssont", "number_of_items: 3"} <= set(summary.split("\n"))
    assert {line.partition("\t")[2] for line in items.split("\n")} == FILES.keys()


async def test_what_dtool_filled_is_frozen_in_place(s3_place: S3Place, dtool: Dtool, tmp_path: Path) -> None:
    store, layout = s3_place.open_store(), s3_place.layout()
    uri = uri_of(s3_place, layout)
    await begin(store, layout)
    await run_all(dtool, *adding(tmp_path, uri))

    frozen = await freeze_dataset(store, layout, quiet_seconds=0.1)

    assert frozen.verification.is_proven
    again = await freeze_dataset(store, layout, quiet_seconds=0.1)
    assert (again.admin, again.verification) == (frozen.admin, frozen.verification)
    identifier = item_identifier("a.txt")
    status, verified, overlay = await run_all(
        dtool, ("status", uri), ("verify", "--full", uri), ("item", "overlay", "kind", uri, identifier)
    )
    assert (status, verified, overlay) == ("frozen", "All good :)", "raw")


async def test_a_proto_dataset_that_is_written_to_stays_one(s3_place: S3Place, tmp_path: Path) -> None:
    store, layout = s3_place.open_store(), s3_place.layout()
    uri = uri_of(s3_place, layout)
    ours = Dtool(Path(sys.executable).parent, s3_place.environment)
    await begin(store, layout)
    await run_all(ours, *adding(tmp_path, uri))

    async def write_meanwhile(_: float) -> None:
        await store.put(layout.readme_key, b"---\ndescription: better\n")

    with pytest.raises(WrittenWhileFreezing, match=r"README\.yml"):
        await freeze_dataset(store, layout, quiet_seconds=0.1, sleep=write_meanwhile)
    upload = await store.start_upload(layout.item_key(item_identifier("large.bin")), {})
    with pytest.raises(WrittenWhileFreezing, match="not finished"):
        await freeze_dataset(store, layout, quiet_seconds=0.1)
    await store.abort_upload(upload)
    await store.put(f"{layout.data_prefix}thumbs.db", b"!")
    with pytest.raises(ContentDiffers, match=r"thumbs\.db"):
        await freeze_dataset(store, layout, quiet_seconds=0.1)

    assert await run_all(ours, ("status", uri)) == ["proto"]
    await store.delete(f"{layout.data_prefix}thumbs.db")
    assert (await freeze_dataset(store, layout, quiet_seconds=0.1)).verification.items == len(FILES)


async def test_metadata_of_a_frozen_dataset_is_what_dtool_reads(
    s3_place: S3Place, dtool: Dtool, tmp_path: Path
) -> None:
    store, layout = s3_place.open_store(), s3_place.layout()
    uri = uri_of(s3_place, layout)
    await begin(store, layout)
    await run_all(
        dtool,
        *adding(tmp_path, uri),
        ("tag", "set", uri, "theirs"),
        ("tag", "set", uri, "old"),
        ("annotation", "set", "--type", "json", uri, "numbers", '{"pi": [3, 1.5, null]}'),
        ("freeze", uri),
    )
    better = "---\ndescription: better\n"
    wanted = Metadata(
        readme=better,
        tags=frozenset({"blue", "2026"}),
        annotations={"numbers": {"pi": [3, 1.5, None]}, "project": "atlas"},
        removed_tags=frozenset({"old"}),
    )

    change = await find_change(store, layout, wanted)
    await apply_change(store, layout, change, is_frozen=True)

    assert (change.put_tags, change.delete_tags) == (("2026", "blue"), ("old",))
    assert list(change.put_annotations) == ["project"]
    assert (await find_change(store, layout, wanted)).is_empty
    (kept,) = (await store.list(f"{layout.readme_key}-")).objects
    assert (await store.get(kept.key, max_bytes=1000)).body == README.encode()
    shown, tags, project, numbers, verified = await run_all(
        dtool,
        ("readme", "show", uri),
        ("tag", "ls", uri),
        ("annotation", "get", uri, "project"),
        ("annotation", "get", uri, "numbers"),
        ("verify", "--full", uri),
    )
    assert (shown, tags.split("\n"), verified) == (better.strip(), ["2026", "blue", "theirs"], "All good :)")
    assert (project, numbers) == ("atlas", "{'pi': [3, 1.5, None]}")


async def test_what_dtool_wrote_of_the_same_content_is_no_difference(s3_place: S3Place, dtool: Dtool) -> None:
    store, layout = s3_place.open_store(), s3_place.layout()
    uri = uri_of(s3_place, layout)
    await begin(store, layout)
    await run_all(
        dtool,
        ("tag", "set", uri, "blue"),
        ("annotation", "set", uri, "project", "atlas"),
        ("annotation", "set", "--type", "json", uri, "numbers", '{"b": 1, "a": "ü"}'),
    )
    wanted = Metadata(
        readme=README,
        tags=frozenset({"blue"}),
        annotations={"project": "atlas", "numbers": {"a": "ü", "b": 1}},
    )

    assert (await find_change(store, layout, wanted)).is_empty


async def test_a_uuid_that_lies_elsewhere_is_not_created_again(s3_place: S3Place) -> None:
    store, layout = s3_place.open_store(), s3_place.layout()
    await begin(store, layout)

    await begin(store, layout)
    with pytest.raises(UUIDTaken):
        await begin(store, DatasetLayout(f"{s3_place.prefix}elsewhere/", layout.uuid))

    assert (await store.list(f"{s3_place.prefix}elsewhere/")).objects == ()


@pytest.mark.parametrize("writes", list(ConditionalWrites))
async def test_an_owner_is_replaced_by_whom_the_administrator_names(
    s3_place: S3Place, writes: ConditionalWrites
) -> None:
    endpoint = dataclasses.replace(s3_place.endpoint, conditional_writes=writes)
    prefix = f"{s3_place.prefix}owned/"
    before, ours, other = (Owner("cluster", uid, "alice", prefix) for uid in ("before", "ours", "other"))
    async with S3Store(endpoint, s3_place.bucket, s3_place.credentials) as store:
        await ensure_owner(store, prefix, before)

        assert await replace_owner(store, prefix, expected=other, new=ours) == before
        assert await replace_owner(store, prefix, expected=before, new=ours) == ours
        assert await replace_owner(store, prefix, expected=before, new=other) == ours

        assert await read_owner(store, prefix) == ours
