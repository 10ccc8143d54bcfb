"""One object becomes one local file; owns that a file under its name has the bytes of the manifest.

The bytes go into a file of a unique name, are counted and hashed on the way, and only those that are right
get the name. Whatever fails, or is cancelled, leaves nothing behind. Which directory it is, and that nothing
leads out of it, is the caller's question.
"""

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtool_s3.errors import ItemMissing, NotFound, PreconditionFailed, RequestRefused, SourceDamaged
from dtool_s3.files.thread import in_thread
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.parts import PartRange, cut_evenly
from dtool_s3.transfer.ranges import hash_ranges
from dtool_s3.transfer.shared_budget import shared_budget

#: Objects up to this size are read in one request; larger ones in ranges of it, several at a time.
CHUNK_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024

RunWrite = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]

_numbers = itertools.count()  # of unfinished files: with process and time they meet no other


@dataclass(frozen=True, slots=True)
class ExpectedObject:
    """What an object must be by a manifest.

    `algorithm` is hashlib's name, `digest` are hex digits, `etag` (where it is known from a listing) saves a
    HEAD. `mtime_seconds`: time of last change that the file is given, since 1970 in UTC.
    """

    key: str
    relpath: str
    size_bytes: int
    digest: str
    algorithm: str = "md5"
    etag: str | None = None
    mtime_seconds: float | None = None


async def download_file(
    store: Store,
    wanted: ExpectedObject,
    path: Path,
    *,
    temporary_directory: Path | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    run_write: RunWrite = in_thread,
) -> None:
    """Write the object to `path`, whose directory exists, over what may be there.

    `temporary_directory`, on the same file system, is where the unfinished file lies; without it `path`'s.
    `run_write` runs the blocking write of an object that is read whole.

    Raises ItemMissing, SourceDamaged (other size or digest, or it changed while it was read), OSError, and
    what the store raises.
    """
    directory = path.parent if temporary_directory is None else temporary_directory
    temporary = directory / f".{os.getpid()}-{time.time_ns()}-{next(_numbers)}.download"
    with _reading(wanted):
        if wanted.size_bytes <= chunk_bytes:
            async with shared_budget().take(wanted.size_bytes):
                stored = await store.get(wanted.key, max_bytes=wanted.size_bytes)
                await run_write(lambda: _write_whole(stored.body, wanted, temporary, path))
            return
        etag = wanted.etag or await _etag(store, wanted)
        await _write_ranges(store, wanted, etag, temporary, path, chunk_bytes)


def _write_whole(body: bytes, wanted: ExpectedObject, temporary: Path, path: Path) -> None:
    digest = hashlib.new(wanted.algorithm, body, usedforsecurity=False).hexdigest()
    _check(wanted, len(body), digest)
    with _new_file(temporary) as descriptor:
        _write(descriptor, body, 0)
        _give_name(descriptor, wanted, temporary, path)


async def _write_ranges(
    store: Store, wanted: ExpectedObject, etag: str, temporary: Path, path: Path, chunk_bytes: int
) -> None:
    """Read ranges side by side, write each at its place, hash them in order."""

    async def read(part: PartRange) -> bytes:
        return await store.get_range(wanted.key, part.first_byte, part.size_bytes, etag=etag)

    with _new_file(temporary) as descriptor:

        async def write(part: PartRange, chunk: bytes) -> None:
            await in_thread(_write, descriptor, chunk, part.first_byte)

        ranges = cut_evenly(wanted.size_bytes, chunk_bytes)
        digest = await hash_ranges(
            ranges, read, budget=shared_budget(), algorithm=wanted.algorithm, use=write
        )
        _check(wanted, os.fstat(descriptor).st_size, digest)
        await in_thread(_give_name, descriptor, wanted, temporary, path)


async def _etag(store: Store, wanted: ExpectedObject) -> str:
    info = await store.head(wanted.key)
    if info.size_bytes != wanted.size_bytes:
        raise SourceDamaged(
            f"item {wanted.relpath[:80]!r}: the manifest says {wanted.size_bytes} bytes, "
            f"the store holds {info.size_bytes}"
        )
    return info.etag


def _check(wanted: ExpectedObject, size_bytes: int, digest: str) -> None:
    if (size_bytes, digest) != (wanted.size_bytes, wanted.digest):
        raise SourceDamaged(
            f"item {wanted.relpath[:80]!r}: the manifest says {wanted.size_bytes} bytes with "
            f"{wanted.algorithm} {wanted.digest}, the store holds {size_bytes} bytes with {digest}"
        )


@contextmanager
def _new_file(temporary: Path) -> Iterator[int]:
    """Open a new file to write; one that has not got another name in the end is removed."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)


def _write(descriptor: int, body: bytes, first_byte: int) -> None:
    """Write all of `body`, in pieces: beside hashing threads a long write costs twice the time."""
    view, written = memoryview(body), 0
    while written < len(body):  # a full disk writes a part of a piece before it says so
        written += os.pwrite(descriptor, view[written : written + _PIECE_BYTES], first_byte + written)


def _give_name(descriptor: int, wanted: ExpectedObject, temporary: Path, path: Path) -> None:
    if wanted.mtime_seconds is not None:
        with suppress(OverflowError, OSError):  # a time that the file system cannot keep is no loss
            os.utime(descriptor, (wanted.mtime_seconds, wanted.mtime_seconds))
    temporary.replace(path)


@contextmanager
def _reading(wanted: ExpectedObject) -> Iterator[None]:
    """Say what it means for the dataset when an object vanishes, changes or is larger than it should be."""
    try:
        yield
    except NotFound as error:
        raise ItemMissing(f"item {wanted.relpath[:80]!r} is in the manifest, not in the store") from error
    except PreconditionFailed as error:
        raise SourceDamaged(f"item {wanted.relpath[:80]!r} changed in the store while it was read") from error
    except RequestRefused as error:
        if error.code not in {"EntityTooLarge", "InvalidRange"}:
            raise
        raise SourceDamaged(
            f"item {wanted.relpath[:80]!r} has another size in the store than its manifest says"
        ) from error
