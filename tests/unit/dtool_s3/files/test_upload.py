"""A file is in the store with the bytes that were hashed, or uploading it raises and leaves nothing."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dtool_s3.digest import md5_digest, multipart_etag
from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    NotSupported,
    SourceDamaged,
    StorageError,
    StoreFull,
    UnsafePath,
)
from dtool_s3.files.upload import (
    CHUNK_BYTES,
    MAX_ITEM_BYTES,
    ExpectedFile,
    UploadedFile,
    cut_file,
    part_bytes_for,
    upload_file,
)
from dtool_s3.layout import DatasetLayout, decode_handle, item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_bucket import MemoryBucket
from tests.support.datasets import UUID, md5

BUCKET = "lab-data"
LAYOUT = DatasetLayout("u/alice/", UUID)
RELPATH = "sub/ü.txt"
KEY = LAYOUT.item_key(item_identifier(RELPATH))
BODY = b"0123456789"
MIB = 1024 * 1024
REFUSALS = [AccessDenied("403"), StoreFull("507"), BadDigest("400"), BucketUnreachable("503")]
OTHER = ExpectedFile(len(BODY), md5(b"other"))


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(BODY)
    return path


def write(path: Path, body: bytes) -> bytes:
    path.write_bytes(body)
    return body


async def upload(server: MemoryServer, path: Path, *, is_known: bool = False) -> UploadedFile:
    """Upload in parts of four bytes; `is_known`: a manifest says what the file is."""
    expected = ExpectedFile(len(BODY), md5(BODY)) if is_known else None
    return await upload_file(server.store(BUCKET), LAYOUT, path, RELPATH, chunk_bytes=4, expected=expected)


def is_clean(server: MemoryServer) -> bool:
    """Whether neither an object nor an unfinished upload is there."""
    return not server.keys(BUCKET) and not server.find_bucket(BUCKET).uploads


def count(server: MemoryServer, operation: str) -> int:
    return len([request for request in server.requests if request.operation == operation])


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("size", "parts"), [(0, 0), (4, 0), (5, 2), (8, 2), (13, 4), (101, 26)])
async def test_a_file_is_stored_whole_with_its_headers(
    server: MemoryServer, path: Path, size: int, parts: int, is_known: bool
) -> None:
    body = write(path, bytes(range(size)))
    expected = ExpectedFile(size, md5(body)) if is_known else None

    stored = await upload_file(server.store(BUCKET), LAYOUT, path, RELPATH, chunk_bytes=4, expected=expected)

    there = server.read(BUCKET, KEY)
    assert there.body == body
    assert there.info.metadata["checksum"] == md5(body)
    assert decode_handle(there.info.metadata["handle"], item_identifier(RELPATH)) == RELPATH
    assert stored == UploadedFile(there.info.etag, md5(body), size)
    assert (count(server, "put_part"), count(server, "put")) == (parts, 0 if parts else 1)
    assert count(server, "head") == 0


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("operation", ["start_upload", "put_part", "complete_upload"])
@pytest.mark.parametrize("after_effect", [True, False])
@pytest.mark.parametrize("error", REFUSALS)
async def test_a_failure_leaves_no_upload(
    server: MemoryServer, path: Path, operation: str, error: StorageError, after_effect: bool, is_known: bool
) -> None:
    server.faults.append(
        Fault(operation, error=error, skip=1 if operation == "put_part" else 0, after_effect=after_effect)
    )

    with pytest.raises(type(error)):
        await upload(server, path, is_known=is_known)

    assert not server.find_bucket(BUCKET).uploads
    if not (operation == "complete_upload" and after_effect):
        assert KEY not in server.keys(BUCKET)


async def test_the_error_that_ended_an_upload_is_raised_even_if_giving_it_up_fails(
    server: MemoryServer, path: Path
) -> None:
    server.faults += [
        Fault("put_part", error=StoreFull("507")),
        Fault("abort_upload", error=BucketUnreachable("503")),
    ]

    with pytest.raises(StoreFull):
        await upload(server, path)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("operation", ["start_upload", "put_part", "complete_upload"])
async def test_a_cancelled_upload_leaves_nothing(
    server: MemoryServer, path: Path, operation: str, is_known: bool
) -> None:
    held, reached = asyncio.Event(), asyncio.Event()
    server.faults += [Fault(operation, hook=reached.set), Fault(operation, hold=held)]
    task = asyncio.create_task(upload(server, path, is_known=is_known))
    await reached.wait()

    task.cancel()
    await asyncio.sleep(0)
    held.set()  # the server goes on with what it was sent
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not server.find_bucket(BUCKET).uploads
    if operation != "complete_upload":
        assert is_clean(server)


def extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": lambda path: path.write_bytes(b"0123456xyz"),
    "shortened": lambda path: os.truncate(path, 5),
    "emptied": lambda path: os.truncate(path, 0),
    "continued": extend,
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changes_between_hashing_and_sending_is_not_stored(
    server: MemoryServer, path: Path, change: str
) -> None:
    server.faults.append(Fault("start_upload", hook=lambda: (CHANGES[change](path), None)[1]))

    with pytest.raises(SourceDamaged, match="changed"):
        await upload(server, path)

    assert is_clean(server)


@pytest.mark.parametrize("encrypts", [True, False])
async def test_a_file_that_changes_is_noticed_where_the_server_compares_no_part_with_its_md5(
    server: MemoryServer, path: Path, encrypts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_part = MemoryBucket.put_part
    monkeypatch.setattr(
        MemoryBucket, "put_part", lambda self, *given: put_part(self, *given[:-1], None), raising=True
    )
    server.encrypts = encrypts
    server.faults.append(Fault("start_upload", hook=lambda: (CHANGES["rewritten"](path), None)[1]))

    with pytest.raises(SourceDamaged, match="changed"):
        await upload(server, path)

    assert is_clean(server)


async def test_a_file_replaced_while_it_is_sent_is_stored_as_it_was_hashed(
    server: MemoryServer, path: Path
) -> None:
    def replace() -> None:
        other = path.with_name("other")
        other.write_bytes(b"something else")
        other.replace(path)

    server.faults.append(Fault("start_upload", hook=replace))

    await upload(server, path)

    assert server.read(BUCKET, KEY).body == BODY


@pytest.mark.parametrize("change", ["rewritten", "shortened", "emptied", "continued"])
async def test_a_known_file_that_changes_while_it_is_read_is_not_stored(
    server: MemoryServer, path: Path, change: str
) -> None:
    server.faults.append(Fault("start_upload", hook=lambda: (CHANGES[change](path), None)[1]))

    with pytest.raises(SourceDamaged):
        await upload(server, path, is_known=True)

    assert is_clean(server)


@pytest.mark.parametrize("chunk_bytes", [4, 100])
@pytest.mark.parametrize("expected", [OTHER, ExpectedFile(9, md5(BODY))])
async def test_a_file_that_is_not_as_its_manifest_says_is_not_stored(
    server: MemoryServer, path: Path, expected: ExpectedFile, chunk_bytes: int
) -> None:
    with pytest.raises(SourceDamaged, match="manifest says"):
        await upload_file(
            server.store(BUCKET), LAYOUT, path, RELPATH, chunk_bytes=chunk_bytes, expected=expected
        )

    assert is_clean(server)


async def test_a_part_that_is_damaged_on_the_way_is_not_blamed_on_the_file(
    server: MemoryServer, path: Path
) -> None:
    server.faults.append(Fault("put_part", error=BadDigest("400")))

    with pytest.raises(BadDigest):
        await upload(server, path)


async def test_where_encryption_hides_the_etag_the_size_is_compared(server: MemoryServer, path: Path) -> None:
    server.encrypts = True

    await upload(server, path)
    server.faults.append(Fault("head", KEY, hook=lambda: (server.write(BUCKET, KEY, b"x"), None)[1]))
    with pytest.raises(BadDigest, match="1 bytes"):
        await upload(server, path)


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe"])
async def test_what_is_no_file_is_refused(server: MemoryServer, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()

    with pytest.raises(FileNotFoundError if kind == "missing" else NotSupported):
        await upload(server, path)

    assert is_clean(server)


async def test_a_file_above_five_tebibytes_is_refused_before_any_byte_moves(
    server: MemoryServer, path: Path
) -> None:
    with path.open("r+b") as file:
        file.truncate(MAX_ITEM_BYTES + 1)

    with pytest.raises(NotSupported, match="5 TiB"):
        await upload(server, path)

    assert server.requests == []


async def test_an_unsafe_path_is_refused_before_any_byte_moves(server: MemoryServer, path: Path) -> None:
    with pytest.raises(UnsafePath):
        await upload_file(server.store(BUCKET), LAYOUT, path, "../x")

    assert server.requests == []


@pytest.mark.parametrize(
    ("size_bytes", "part_bytes"),
    [
        (CHUNK_BYTES + 1, 16 * MIB),
        (160_000 * MIB, 16 * MIB),
        (160_000 * MIB + 1, 17 * MIB),
        (MAX_ITEM_BYTES, 525 * MIB),
    ],
)
def test_any_file_fits_into_ten_thousand_parts(size_bytes: int, part_bytes: int) -> None:
    ranges = cut_file(size_bytes)

    assert part_bytes_for(size_bytes) == part_bytes
    assert len(ranges) <= 10_000
    assert sum(part.size_bytes for part in ranges) == size_bytes


def test_the_etag_of_parts_is_that_of_s3() -> None:
    # of an object of 10 MiB of zeros in parts of 5 MiB, as S3 gives it
    part = md5_digest(bytes(5 * MIB))

    assert part.hex() == "5f363e0e58a95f06cbe9bbc662c5dfb6"
    assert multipart_etag([part, part]).endswith("-2")
