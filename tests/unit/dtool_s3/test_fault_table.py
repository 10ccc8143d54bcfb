"""Every write of every operation, harmed in every way that a store can report, on the memory store.

The same table on a real server, whose requests are repeated, is `tests/contract/test_fault_table.py`.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    ClockSkewed,
    CredentialsRejected,
    DtoolS3Error,
    RequestRefused,
    StorageError,
    StoreFull,
    Throttled,
)
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory import MemoryServer
from tests.support.datasets import UUID
from tests.support.fault_judgement import Kind, Operation, Scene, Snapshot, differences, judge, look
from tests.support.fault_operations import OPERATIONS

READS = frozenset(
    {"head", "get", "stream", "get_range", "part_sizes", "list", "list_uploads", "check_bucket"}
)
BUCKET, SOURCE = "lab-data", "instrument-data"
#: What fails, and whether the write has happened all the same.
FAULTS: dict[str, tuple[StorageError, bool]] = {
    "403": (AccessDenied("injected", code="AccessDenied"), False),
    "keys that ran out": (CredentialsRejected("injected", code="ExpiredToken"), False),
    "clock": (ClockSkewed("injected", code="RequestTimeTooSkewed"), False),
    "500": (BucketUnreachable("injected", code="InternalError"), False),
    "503": (Throttled("injected", code="SlowDown"), False),
    "507": (StoreFull("injected", code="507"), False),
    "quota": (StoreFull("injected", code="QuotaExceeded"), False),
    "bad digest": (BadDigest("injected", code="BadDigest"), False),
    "metadata too large": (RequestRefused("injected", code="MetadataTooLarge"), False),
    "lost answer": (BucketUnreachable("injected", code="ReadTimeoutError"), True),
}
#: One failure, or every one from then on until the operation is repeated.
TIMES: dict[str, int | None] = {"once": 1, "from then on": None}


def _scene(directory: Path) -> tuple[MemoryServer, Scene]:
    server = MemoryServer()
    for bucket in (BUCKET, SOURCE):
        server.create_bucket(bucket)
    target, source = server.store(BUCKET), server.store(SOURCE)
    return server, Scene(UUID, directory, target, target, source, source, part_bytes=1600)


def _record(operation: Operation, directory: Path) -> tuple[list[tuple[Request, int]], Snapshot]:
    """Play the operation in peace: its writes, each with how many like it went before, and its end."""
    server, scene = _scene(directory)
    operation.prepare(scene)
    server.requests.clear()
    operation.act(scene)
    seen: Counter[Request] = Counter()
    writes = []
    for request in [r for r in server.requests if r.operation not in READS]:
        named = Request(request.operation, request.bucket, _without_time(request.key))
        writes.append((named, seen[named]))
        seen[named] += 1
    return writes, look(scene)


def _without_time(key: str) -> str:
    """Pattern of a key: backups of a README are named by the time."""
    start, mark, _ = key.partition("/README.yml-")
    return f"{start}{mark}*" if mark else key


def _play(operation: Operation, fault: Fault, done: Snapshot, directory: Path) -> Iterator[str]:
    """Harm one write; give what is wrong then, and after the operation was repeated in peace."""
    server, scene = _scene(directory)
    operation.prepare(scene)
    before = look(scene)
    server.faults.append(fault)
    raised = _raises(operation, scene)
    server.faults.clear()
    if not fault.hits:
        yield "the fault hit nothing"
    after = look(scene)
    if fault.operation == "start_upload" and fault.after_effect:
        # nobody was told its number: it has no parts, and `dtool-s3 abort-uploads` finds it
        after = replace(after, unfinished_uploads=0)
    if wrong := judge(operation, before, after, done, raised=raised):
        yield f"{wrong} (raised: {raised})"
    if raised:
        operation.act(scene)
    if wrong := differences(look(scene), done):
        yield f"in the end: {wrong}"


def _raises(operation: Operation, scene: Scene) -> bool:
    try:
        operation.act(scene)
    except DtoolS3Error:
        return True
    return False


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_write_that_fails_leaves_the_old_state_or_a_proto_and_can_be_repeated(
    operation: Operation, fault: str, times: str, tmp_path: Path
) -> None:
    error, has_happened = FAULTS[fault]
    writes, done = _record(operation, _new_directory(tmp_path))
    assert writes

    complaints = [
        f"{write.operation} of {write.key} ({skip}): {wrong}"
        for write, skip in writes
        for wrong in _play(
            operation,
            Fault(
                write.operation,
                write.key,
                write.bucket,
                error=error,
                times=TIMES[times],
                skip=skip,
                after_effect=has_happened,
            ),
            done,
            _new_directory(tmp_path),
        )
    ]

    assert complaints == []


_numbers = itertools.count()


def _new_directory(parent: Path) -> Path:
    directory = parent / str(next(_numbers))
    directory.mkdir()
    return directory


def test_the_table_has_every_kind_of_write(tmp_path: Path) -> None:
    written = {
        request.operation for each in OPERATIONS for request, _ in _record(each, _new_directory(tmp_path))[0]
    }

    deletions = {"delete", "delete_many"}
    assert written - deletions >= {
        "put",
        "copy",
        "start_upload",
        "put_part",
        "copy_part",
        "complete_upload",
    }
    assert written & deletions


def test_each_operation_ends_as_it_says(tmp_path: Path) -> None:
    ends = {each.name: _record(each, _new_directory(tmp_path))[1].kind for each in OPERATIONS}

    assert ends["create"] is ends["put a small item"] is Kind.PROTO
    assert ends["freeze"] is ends["copy on the server"] is ends["rename"] is Kind.FROZEN
    assert ends["remove"] is Kind.ABSENT
