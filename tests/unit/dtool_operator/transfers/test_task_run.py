"""A task document on stores in memory: which lines come, and in which order."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from dtool_operator.planning.task import (
    ErrorLine,
    Location,
    ProgressLine,
    ResultLine,
    Task,
    TaskKind,
    WorkerLine,
)
from dtool_operator.transfers.task_run import build_internal_error, run_task
from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
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

    assert lines == [ErrorLine(reason="InvalidSpec", message="a copy needs a source", retryable=False)]


async def test_a_verification_says_at_once_what_it_does(server: MemoryServer) -> None:
    await write_dataset(server.store("target"), DatasetFixture(prefix=PREFIX))

    progress, result = await _run(server, _task(TaskKind.VERIFY))

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
