"""Plain objects become a dataset on a real server, and real upstream reads and verifies it."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

from dtool_s3.blocking import run
from dtool_s3.catalog import EntryState, list_datasets
from dtool_s3.errors import SourceDamaged
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.registration import register_found
from dtool_s3.store.faults import Request
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.transfer.verify import VerifyMethod, verify_dataset
from tests.support.datasets import write_in_parts
from tests.support.s3_place import S3Place
from tests.support.upstream import Dtool, ensure_upstream

MIB = 1024**2
OBJECTS = {
    "a.txt": b"alpha",
    "empty": b"",
    "sub dir/b+c %41.csv": b"1,2\n",
    "ünï/cödé 例.bin": bytes(range(256)) * 40,
}
PARTS = [b"x" * 5 * MIB, b"tail"]


async def _write_objects(store: Store, prefix: str) -> None:
    for relpath, body in OBJECTS.items():
        await store.put(f"{prefix}{relpath}", body, metadata={"project": "atlas"})
    await write_in_parts(store, f"{prefix}large.bin", PARTS, {"project": "atlas"})


def _request(place: S3Place) -> IngestRequest:
    return IngestRequest(
        place.new_uuid(), f"{place.prefix}run-17/", place.prefix, "run-17", "olssont", readme="---\nrun: 17\n"
    )


@pytest.mark.parametrize("reader", ["ours", "upstream"])
async def test_a_dataset_of_plain_objects_is_read_like_any_other(
    s3_place: S3Place, reader: str, tmp_path: Path
) -> None:
    requests: list[Request] = []
    store = s3_place.open_store(on_request=requests.append)
    request = _request(s3_place)
    await _write_objects(store, request.source_prefix)
    requests.clear()

    result = await ingest_objects(store, store, request)

    counted = Counter(made.operation for made in requests)
    assert counted["CopyObject"] + counted["copy"] == 5, counted
    assert result.verification.evidence[Evidence.ETAG_MD5] >= 4
    found = await verify_dataset(store, request.layout, method=VerifyMethod.CONTENT)
    assert (found.verification.is_proven, found.verification.items) == (True, 5)
    entry = (await list_datasets(store, prefixes=[s3_place.prefix])).entries[request.uuid]
    assert (entry.state, entry.name) == (EntryState.FROZEN, "run-17")

    programs = Path(sys.executable).parent if reader == "ours" else ensure_upstream() / "bin"
    dtool = Dtool(programs, s3_place.environment)
    await asyncio.to_thread(_check_reading, dtool, f"{s3_place.base_uri}/{request.uuid}", tmp_path)


def _check_reading(dtool: Dtool, uri: str, directory: Path) -> None:
    commands = (["verify", "--full", uri], ["summary", uri], ["cp", "-q", uri, str(directory)])
    verified, summary, copied = dtool.commands([{"arguments": arguments} for arguments in commands])

    assert verified["stdout"] == "All good :)", verified
    said = set(summary["stdout"].split("\n"))
    assert {"name: run-17", "number_of_items: 5", "creator_username: olssont"} <= said
    assert copied["exit_code"] == 0, copied
    (dataset,) = directory.iterdir()
    data = dataset / "data"
    files = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert files == {**OBJECTS, "large.bin": b"".join(PARTS)}


async def test_killed_before_the_end_the_next_call_copies_what_changed_since(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    request = _request(s3_place)
    await _write_objects(store, request.source_prefix)
    pending = [request.source_prefix]

    def change(progress: Progress) -> None:
        if progress.phase is Phase.VERIFYING and pending:
            pending.pop()
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await ingest_objects(store, store, request, on_progress=change)
    await store.put(f"{request.source_prefix}a.txt", b"omega")

    result = await ingest_objects(store, store, request)

    assert result.moved == 1
    found = await verify_dataset(store, request.layout, method=VerifyMethod.CONTENT)
    assert found.verification.is_proven


async def test_an_object_that_arrives_meanwhile_is_noticed(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    writer = s3_place.open_store()
    request = _request(s3_place)
    await _write_objects(store, request.source_prefix)

    def arrive(progress: Progress) -> None:
        if progress.phase is Phase.VERIFYING:
            run(writer.put(f"{request.source_prefix}new", b""))

    with pytest.raises(SourceDamaged, match="new"):
        await ingest_objects(store, store, request, on_progress=arrive)

    entry = (await list_datasets(store, prefixes=[s3_place.prefix])).entries[request.uuid]
    assert entry.state is EntryState.PROTO


async def test_a_lost_registration_key_is_found_and_written_again(s3_place: S3Place) -> None:
    store = s3_place.open_store()
    request = _request(s3_place)
    await _write_objects(store, request.source_prefix)
    await ingest_objects(store, store, request)
    await store.delete(request.layout.registration_key)

    lost = await list_datasets(store, prefixes=[s3_place.prefix])
    assert [entry.uuid for entry in lost.unregistered] == [request.uuid]
    assert await register_found(store, request.layout)

    found = await list_datasets(store, prefixes=[s3_place.prefix], previous=lost)
    assert (found.unregistered, found.entries[request.uuid].state) == ((), EntryState.FROZEN)
