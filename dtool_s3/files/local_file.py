"""Regular files read by position, in threads; owns that a file which changes while it is read is noticed."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dtool_s3.digest import md5_digest, read_exactly
from dtool_s3.errors import NotSupported, SourceDamaged
from dtool_s3.files.thread import in_thread
from dtool_s3.files.tree import TreeFile
from dtool_s3.transfer.parts import PartRange
from dtool_s3.transfer.ranges import hash_ranges
from dtool_s3.transfer.shared_budget import shared_budget

#: By a path, or below a directory that is never left.
AnyFile = Path | TreeFile


@dataclass(frozen=True, slots=True)
class PartDigests:
    """The MD5 of a file as hex digits, and that of each of its parts (16 bytes each)."""

    md5: str
    parts: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file read into memory, with its MD5 as hex digits."""

    body: bytes
    md5: str


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An open file and the size that it had when it was opened."""

    path: AnyFile
    size_bytes: int
    descriptor: int

    async def read(self, part: PartRange) -> bytes:
        """Read a part. Raises OSError, SourceDamaged where the file ends before."""
        body = await in_thread(read_exactly, self.descriptor, part.first_byte, part.size_bytes)
        if len(body) != part.size_bytes:
            raise self.changed()
        return body

    async def hash_parts(self, ranges: Sequence[PartRange]) -> PartDigests:
        """Read the file once and hash it, whole and by parts. Raises OSError, SourceDamaged."""
        digests: dict[int, bytes] = {}

        async def note(part: PartRange, body: bytes) -> None:
            digests[part.number] = await in_thread(md5_digest, body)

        md5 = await hash_ranges(ranges, self.read, budget=shared_budget(), use=note)
        self.check_size()
        return PartDigests(md5, [digests[part.number] for part in ranges])

    def check_size(self) -> None:
        """Raise SourceDamaged if the file has another size now."""
        if os.fstat(self.descriptor).st_size != self.size_bytes:
            raise self.changed()

    def changed(self) -> SourceDamaged:
        """Return the error that says so."""
        return SourceDamaged(f"{str(self.path)!r} changed while it was read")


@contextmanager
def open_file(path: AnyFile) -> Iterator[LocalFile]:
    """Open a regular file. Blocks; raises OSError, NotSupported for pipes, devices and directories.

    UnsafePath for a file of a tree that is reached by a link only.
    """
    if isinstance(path, TreeFile):
        descriptor = path.open()
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a pipe would wait
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotSupported(f"{str(path)!r} is no regular file")
        yield LocalFile(path, status.st_size, descriptor)
    finally:
        os.close(descriptor)


def read_small(path: AnyFile, limit_bytes: int) -> WholeFile | None:
    """Read and hash a file of at most `limit_bytes`; None if it has more. Blocks.

    Raises OSError, NotSupported, SourceDamaged.
    """
    with open_file(path) as file:
        if file.size_bytes > limit_bytes:
            return None
        body = read_exactly(file.descriptor, 0, file.size_bytes + 1)  # one more, to see whether it grows
        if len(body) != file.size_bytes:
            raise file.changed()
        return WholeFile(body, md5_digest(body).hex())
