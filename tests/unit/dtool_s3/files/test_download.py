"""A downloaded file has the bytes of the manifest, or there is none and nothing is left behind."""

import asyncio
from pathlib import Path

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    ItemMissing,
    SourceDamaged,
    StorageError,
)
from dtool_s3.files.download import ExpectedObject, download_file
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from tests.support.datasets import md5

BUCKET = "lab-data"
KEY = "data/item"
BODY = bytes(range(100))


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    server.write(BUCKET, KEY, BODY)
    return server


def wanted(body: bytes = BODY, etag: str | None = None) -> ExpectedObject:
    return ExpectedObject(KEY, "sub/ü.txt", len(body), md5(body), etag=etag, mtime_seconds=1795329208.25)


async def download(server: MemoryServer, path: Path, chunk_bytes: int = 16) -> None:
    await download_file(server.store(BUCKET), wanted(), path, chunk_bytes=chunk_bytes)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def operations(server: MemoryServer) -> list[str]:
    return [request.operation for request in server.requests]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 100])
async def test_a_file_has_the_bytes_and_the_time_of_the_manifest(
    server: MemoryServer, tmp_path: Path, size: int
) -> None:
    server.write(BUCKET, KEY, BODY[:size])

    await download_file(server.store(BUCKET), wanted(BODY[:size]), tmp_path / "file", chunk_bytes=16)

    assert (tmp_path / "file").read_bytes() == BODY[:size]
    assert (tmp_path / "file").stat().st_mtime == 1795329208.25
    assert names(tmp_path) == ["file"]


async def test_a_small_object_costs_one_request_and_a_large_one_no_head_where_it_was_listed(
    server: MemoryServer, tmp_path: Path
) -> None:
    await download(server, tmp_path / "small", chunk_bytes=100)
    assert operations(server) == ["get"]
    server.requests.clear()

    await download_file(server.store(BUCKET), wanted(etag=md5(BODY)), tmp_path / "large", chunk_bytes=30)

    assert operations(server) == ["get_range"] * 4


async def test_an_older_file_is_replaced_only_by_the_right_bytes(
    server: MemoryServer, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    server.write(BUCKET, KEY, b"x" * 100)

    with pytest.raises(SourceDamaged):
        await download(server, path)
    assert path.read_bytes() == b"old"
    server.write(BUCKET, KEY, BODY)
    await download(server, path)

    assert path.read_bytes() == BODY


async def test_a_symbolic_link_at_the_place_is_replaced_not_followed(
    server: MemoryServer, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    (tmp_path / "file").symlink_to(elsewhere)

    await download(server, tmp_path / "file")

    assert elsewhere.read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == BODY
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("chunk_bytes", [16, 200])
@pytest.mark.parametrize(
    "stored", [BODY[:99], BODY + b"x", b"x" * 100, b""], ids=["shorter", "longer", "other bytes", "empty"]
)
async def test_other_bytes_get_no_name(
    server: MemoryServer, tmp_path: Path, stored: bytes, chunk_bytes: int
) -> None:
    server.write(BUCKET, KEY, stored)

    with pytest.raises(SourceDamaged, match="ü"):
        await download(server, tmp_path / "file", chunk_bytes)

    assert names(tmp_path) == []


@pytest.mark.parametrize("chunk_bytes", [16, 200])
async def test_an_object_that_is_not_there_is_a_missing_item(
    server: MemoryServer, tmp_path: Path, chunk_bytes: int
) -> None:
    server.remove(BUCKET, KEY)

    with pytest.raises(ItemMissing):
        await download(server, tmp_path / "file", chunk_bytes)

    assert names(tmp_path) == []


async def test_an_object_replaced_between_two_ranges_is_noticed(server: MemoryServer, tmp_path: Path) -> None:
    server.faults.append(
        Fault("get_range", skip=2, hook=lambda: (server.write(BUCKET, KEY, bytes(100)), None)[1])
    )

    with pytest.raises(SourceDamaged, match="changed"):
        await download(server, tmp_path / "file")

    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [AccessDenied("403"), BucketUnreachable("503")])
@pytest.mark.parametrize(
    ("operation", "skip", "chunk_bytes"), [("get", 0, 200), ("head", 0, 16), ("get_range", 3, 16)]
)
async def test_a_failure_leaves_nothing_behind(
    server: MemoryServer, tmp_path: Path, operation: str, skip: int, chunk_bytes: int, error: StorageError
) -> None:
    server.faults.append(Fault(operation, error=error, skip=skip))

    with pytest.raises(type(error)):
        await download(server, tmp_path / "file", chunk_bytes)

    assert names(tmp_path) == []


@pytest.mark.parametrize(("operation", "chunk_bytes"), [("get", 200), ("get_range", 16)])
async def test_a_cancelled_download_leaves_nothing_behind(
    server: MemoryServer, tmp_path: Path, operation: str, chunk_bytes: int
) -> None:
    held, reached = asyncio.Event(), asyncio.Event()
    server.faults += [Fault(operation, hook=reached.set), Fault(operation, hold=held)]
    task = asyncio.create_task(download(server, tmp_path / "file", chunk_bytes))
    await reached.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert names(tmp_path) == []


@pytest.mark.parametrize("chunk_bytes", [16, 200])
async def test_a_file_system_that_refuses_is_an_error_and_leaves_nothing(
    server: MemoryServer, tmp_path: Path, chunk_bytes: int
) -> None:
    (tmp_path / "file").mkdir()

    with pytest.raises(IsADirectoryError):
        await download(server, tmp_path / "file", chunk_bytes)

    assert names(tmp_path) == ["file"]
