"""A task document on stores in memory: which lines come, and in which order."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable

import pytest

from dtool_operator.planning.task import (
    ErrorLine,
    Location,
    NewDataset,
    ProgressLine,
    ResultLine,
    Task,
    TaskKind,
    WorkerLine,
)
from dtool_operator.transfers.task_run import run_task
from dtool_operator.transfers.telling import build_internal_error
from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.verify import VerifyMethod
from tests.support.datasets import UUID, DatasetFixture, write_dataset
from tests.support.eventually import eventually_async

PREFIX = "u/alice/"
MIB = 1024 * 1024


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("source")
    server.create_bucket("target")
    return server


def _opener(server: MemoryServer) -> Callable[[Location], Store]:
    return lambda location: server.store(location.bucket)


def _task(kind: TaskKind, *, source: bool = False, server_side: bool = True) -> Task:
    return Task(
        kind=kind,
        key="uid-1",
        namespace="alice",
        fingerprint="f",
        uuid=UUID,
        target=Location(bucket="target", prefix=PREFIX),
        source=Location(bucket="source", prefix="") if source else None,
        server_side=server_side,
        bucket_key="dtool-system/lab",
    )


async def _run(server: MemoryServer, task: Task) -> list[WorkerLine]:
    lines: list[WorkerLine] = []
    await run_task(task, _opener(server), lines.append)
    return lines


async def test_a_copy_tells_its_progress_and_then_its_result(server: MemoryServer) -> None:
    await write_dataset(server.store("source"), DatasetFixture())

    *progress, result = await _run(server, _task(TaskKind.COPY, source=True))

    assert all(isinstance(line, ProgressLine) for line in progress)
    first, last = progress[0], progress[-1]
    assert isinstance(first, ProgressLine)
    assert isinstance(last, ProgressLine)
    assert (first.phase, first.items, first.items_total) == ("Copying", 0, 3)
    assert (last.phase, last.items, last.bytes) == ("Freezing", 3, last.bytes_total)
    assert isinstance(result, ResultLine)
    assert result.facts is not None
    assert (result.facts.items, result.facts.etag_md5, result.facts.moved) == (3, 3, 3)


async def test_progress_of_many_items_is_few_lines(server: MemoryServer) -> None:
    items = {f"{number}.txt": b"x" for number in range(500)}
    await write_dataset(server.store("source"), DatasetFixture(items=items))
    loop = asyncio.get_running_loop()
    began = loop.time()

    lines = await _run(server, _task(TaskKind.COPY, source=True))

    allowed = 2 + 2 * (loop.time() - began)  # the first, two a second, the last
    assert sum(isinstance(line, ProgressLine) for line in lines) <= allowed


async def test_a_copy_without_source_is_an_error_line(server: MemoryServer) -> None:
    lines = await _run(server, _task(TaskKind.COPY))

    assert lines == [
        ErrorLine(reason="InvalidSpec", message="a copy needs a source, and one only", retryable=False)
    ]


async def test_a_verification_says_at_once_what_it_does(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX))

    progress, *_, result = await _run(server, _task(TaskKind.VERIFY))

    assert isinstance(progress, ProgressLine)
    assert progress.phase == "Verifying"
    assert isinstance(result, ResultLine)
    assert result.facts is not None
    assert result.facts.frozen_at == 1795329300.25


async def test_a_verification_that_misses_items_names_them(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX, stored={"a.txt": None}))

    *_, error = await _run(server, _task(TaskKind.VERIFY))

    assert isinstance(error, ErrorLine)
    assert error.reason == "ItemMissing"
    assert "a.txt" in error.message
    assert error.facts is not None
    (mismatch,) = error.facts.mismatches
    assert (error.facts.mismatch_count, mismatch.relpath, mismatch.found) == (1, "a.txt", "absent")


async def test_a_removal_has_a_result_without_facts(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX, is_frozen=False))

    *progress, result = await _run(server, _task(TaskKind.REMOVE))

    assert result == ResultLine()
    assert {line.phase for line in progress if isinstance(line, ProgressLine)} == {"Removing"}
    assert server.keys("target") == []


async def test_a_failure_that_may_pass_is_marked_so_and_its_message_is_bounded(server: MemoryServer) -> None:
    server.faults.append(Fault(error=BucketUnreachable("x" * 10_000), times=None))

    *_, error = await _run(server, _task(TaskKind.VERIFY))

    assert isinstance(error, ErrorLine)
    assert (error.reason, error.retryable, len(error.message)) == ("BucketUnreachable", True, 2000)


async def test_what_nobody_foresaw_is_raised_after_no_further_line(server: MemoryServer) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret-in-a-text")

    server.faults.append(Fault(hook=fail))
    lines: list[WorkerLine] = []

    with pytest.raises(ZeroDivisionError) as caught:
        await run_task(_task(TaskKind.VERIFY), _opener(server), lines.append)

    assert not [line for line in lines if not isinstance(line, ProgressLine)]
    told = build_internal_error(caught.value)
    assert (told.reason, "ZeroDivisionError" in told.message) == ("InternalError", True)
    assert "secret-in-a-text" not in told.message


async def test_a_cancelled_copy_aborts_its_uploads_and_stays_a_proto_dataset(server: MemoryServer) -> None:
    dataset = DatasetFixture(items={"large.bin": bytes(20 * MIB)})
    await write_dataset(server.store("source"), dataset)
    fault = Fault("put_part", hold=asyncio.Event(), times=None)
    server.faults.append(fault)
    task = _task(TaskKind.COPY, source=True, server_side=False)
    run = asyncio.create_task(run_task(task, _opener(server), lambda _: None))

    async def uploading() -> None:
        assert fault.hits

    await eventually_async(uploading, within=10)
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run

    assert run.cancelled()
    assert not server.find_bucket("target").list_uploads("")
    layout = DatasetLayout(PREFIX, UUID)
    assert server.read("target", layout.admin_metadata_key).info.metadata["type"] == "protodataset"


NEW_UUID = "2d21877d-d5ba-4b50-8c6e-1e6f1f2d8b22"
DERIVED = NewDataset(name="derived", creator_username="alice", source_uuid=UUID)


async def test_a_derived_copy_has_an_identity_of_its_own(server: MemoryServer) -> None:
    await write_dataset(server.store("source"), DatasetFixture())
    task = _task(TaskKind.COPY, source=True).model_copy(update={"uuid": NEW_UUID, "new": DERIVED})

    *_, result = await _run(server, task)

    assert isinstance(result, ResultLine), result
    assert result.facts is not None
    assert (result.facts.name, result.facts.creator_username) == ("derived", "alice")
    layout = DatasetLayout(PREFIX, NEW_UUID)
    origin = json.loads(server.read("target", layout.annotation_key("derived_from")).body)
    assert origin == {"uuid": UUID, "name": "sample"}


async def test_a_derived_copy_of_nothing_is_refused(server: MemoryServer) -> None:
    new = DERIVED.model_copy(update={"source_uuid": None})
    task = _task(TaskKind.COPY, source=True).model_copy(update={"new": new})

    (error,) = await _run(server, task)

    assert isinstance(error, ErrorLine)
    assert error.reason == "InvalidSpec"


async def test_another_manifest_than_the_pinned_one_is_refused(server: MemoryServer) -> None:
    dataset = DatasetFixture()
    await write_dataset(server.store("source"), dataset)
    right = hashlib.sha256(dataset.manifest()).hexdigest()
    task = _task(TaskKind.COPY, source=True)

    *_, refused = await _run(server, task.model_copy(update={"manifest_sha256": "0" * 64}))
    written = server.keys("target")
    *_, copied = await _run(server, task.model_copy(update={"manifest_sha256": right}))

    assert isinstance(refused, ErrorLine)
    assert (refused.reason, written) == ("InvalidManifest", [])
    assert isinstance(copied, ResultLine), copied


@pytest.mark.parametrize("kind", [TaskKind.COPY, TaskKind.INGEST])
async def test_a_source_above_the_quota_is_refused_before_anything_is_written(
    server: MemoryServer, kind: TaskKind
) -> None:
    await write_dataset(server.store("source"), DatasetFixture())
    new = NewDataset(name="plain", creator_username="alice") if kind is TaskKind.INGEST else None
    task = _task(kind, source=True).model_copy(update={"max_size_bytes": 10, "new": new})

    *_, error = await _run(server, task)

    assert isinstance(error, ErrorLine)
    assert error.reason == "QuotaExceeded"
    assert server.keys("target") == []


async def test_plain_objects_become_a_dataset(server: MemoryServer) -> None:
    await server.store("source").put("run-17/a.txt", b"alpha")
    await server.store("source").put("run-17/sub/b.txt", b"beta")
    task = _task(TaskKind.INGEST).model_copy(
        update={
            "source": Location(bucket="source", prefix="run-17/"),
            "new": NewDataset(name="run-17", creator_username="alice", readme="description: a run\n"),
            "server_side": True,
        }
    )

    *_, result = await _run(server, task)

    assert isinstance(result, ResultLine), result
    assert result.facts is not None
    assert (result.facts.name, result.facts.creator_username) == ("run-17", "alice")
    assert (result.facts.items, result.facts.size_bytes, result.facts.moved) == (2, 9, 2)
    assert server.read("target", DatasetLayout(PREFIX, UUID).readme_key).body == b"description: a run\n"


async def test_plain_objects_without_a_name_are_refused(server: MemoryServer) -> None:
    (error,) = await _run(server, _task(TaskKind.INGEST, source=True))

    assert isinstance(error, ErrorLine)
    assert error.reason == "InvalidSpec"


async def test_a_published_dataset_is_read_through_its_own_opener(server: MemoryServer) -> None:
    await write_dataset(server.store("source"), DatasetFixture())
    url = f"https://data.example.org/{UUID}"
    task = _task(TaskKind.COPY).model_copy(update={"source_url": url})
    lines: list[WorkerLine] = []
    asked: list[str] = []

    def open_published(at: str) -> Store:
        asked.append(at)
        return server.store("source")

    await run_task(task, _opener(server), lines.append, open_published=open_published)
    *_, refused = await _run(server, task)

    assert isinstance(lines[-1], ResultLine), lines[-1]
    assert asked == [url]
    assert isinstance(refused, ErrorLine)
    assert refused.reason == "InvalidSpec"


async def test_a_proto_dataset_that_is_quiet_is_frozen(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX, is_frozen=False))

    *progress, result = await _run(server, _task(TaskKind.FREEZE).model_copy(update={"quiet_seconds": 0}))

    assert isinstance(progress[0], ProgressLine)
    assert progress[0].phase == "Freezing"
    assert isinstance(result, ResultLine), result
    assert result.facts is not None
    assert (result.facts.name, result.facts.items) == ("sample", 3)
    layout = DatasetLayout(PREFIX, UUID)
    assert server.read("target", layout.admin_metadata_key).info.metadata["type"] == "dataset"


async def test_a_proto_dataset_that_is_written_to_is_not_frozen(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX, is_frozen=False))
    layout = DatasetLayout(PREFIX, UUID)

    async def write() -> None:
        await server.store("target").put(layout.item_key("f" * 40), b"late")

    listings = Fault("list", skip=1, hook=write)
    server.faults.append(listings)

    *_, error = await _run(server, _task(TaskKind.FREEZE).model_copy(update={"quiet_seconds": 0}))

    assert isinstance(error, ErrorLine)
    assert error.reason == "WrittenWhileFreezing"
    assert server.read("target", layout.admin_metadata_key).info.metadata["type"] == "protodataset"


async def test_damage_that_a_freeze_shows_is_said_to_have_been_written_meanwhile(
    server: MemoryServer,
) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX, stored={"a.txt": b"12345678"}))

    *_, error = await _run(server, _task(TaskKind.FREEZE).model_copy(update={"quiet_seconds": 0}))

    assert isinstance(error, ErrorLine)
    assert error.reason == "WrittenWhileFreezing"
    assert error.facts is not None
    assert error.facts.mismatch_count == 1


async def test_a_verification_of_the_content_reads_and_finds_other_bytes_of_equal_size(
    server: MemoryServer,
) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX, stored={"a.txt": b"ALPHA"}))
    task = _task(TaskKind.VERIFY)

    *_, listed = await _run(server, task)
    *_, read = await _run(server, task.model_copy(update={"method": VerifyMethod.CONTENT}))

    assert isinstance(listed, ResultLine), "an unequal ETag is no mismatch"
    assert listed.facts is not None
    assert listed.facts.unproven == 1
    assert isinstance(read, ErrorLine)
    assert read.reason == "ContentDiffers"
    assert read.facts is not None
    assert (read.facts.mismatch_count, read.facts.read) == (1, 2)


async def test_a_frozen_dataset_is_removed_only_where_the_task_says_so(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX))
    task = _task(TaskKind.REMOVE)

    *_, refused = await _run(server, task)
    *_, removed = await _run(server, task.model_copy(update={"only_proto": False}))

    assert isinstance(refused, ErrorLine)
    assert refused.reason == "FrozenDataset"
    assert (removed, server.keys("target")) == (ResultLine(), [])
