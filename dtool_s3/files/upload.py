"""One local file becomes one item object; owns that the stored bytes are those that were hashed.

The MD5 is a header of the request that starts an upload, so it must be known before the bytes are sent:

    up to one chunk      read once into memory, hashed, put
    larger, MD5 unknown  one read for the file's MD5 and that of each part, a second one sends the parts with
                         their MD5s, so that the server itself compares what is sent with what was hashed
    larger, MD5 known    (from a manifest) one read hashes and sends; other bytes are never made an object

Every failure raises, and an unfinished multipart upload is given up. Whether the dataset may be written to
is the caller's question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dtool_s3.concurrency import map_bounded, see_through
from dtool_s3.digest import md5_digest, multipart_etag
from dtool_s3.errors import BadDigest, NotSupported, SourceDamaged
from dtool_s3.files.local_file import AnyFile, LocalFile, WholeFile, open_file, read_small
from dtool_s3.files.thread import in_thread
from dtool_s3.layout import DatasetLayout, check_relpath, item_identifier, item_metadata
from dtool_s3.store.protocol import Part, Store, Upload
from dtool_s3.transfer.multipart import GRACE_SECONDS, upload_in_parts
from dtool_s3.transfer.parts import PartRange, cut_evenly
from dtool_s3.transfer.ranges import hash_ranges
from dtool_s3.transfer.shared_budget import shared_budget

_MIB = 1024 * 1024
#: Files up to this size are read once, into memory, and put in one request; larger ones in such parts.
CHUNK_BYTES = 16 * _MIB
#: What S3 holds in one object, and in how many parts it takes it.
MAX_ITEM_BYTES = 5 * 1024**4
MAX_PARTS = 10_000
#: Most files are smaller and need less room; that is found out by reading them.
_SMALL_BYTES = 256 * 1024
_PARTS_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """What a file must be by a manifest: its size in bytes and its MD5 as hex digits."""

    size_bytes: int
    md5: str


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """What was stored, and the ETag that it has."""

    etag: str
    md5: str
    size_bytes: int


async def upload_file(
    store: Store,
    layout: DatasetLayout,
    path: AnyFile,
    relpath: str,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    expected: ExpectedFile | None = None,
    read: WholeFile | None = None,
) -> UploadedFile:
    """Upload the file at `path` as the item `relpath`; nothing is stored unless it is as `expected`.

    `read`: its bytes, where the caller has read them. Raises UnsafePath and NotSupported (more than 5 TiB)
    before any byte moves, OSError from reading, SourceDamaged if the file changes meanwhile or is not as
    expected, BadDigest, and what the store raises.
    """
    check_relpath(relpath)
    key = layout.item_key(item_identifier(relpath))
    upload = _FileUpload(store, key, path, relpath, chunk_bytes, expected)
    if read is not None and len(read.body) <= chunk_bytes:
        return await upload.put(read)
    for limit_bytes in sorted({min(_SMALL_BYTES, chunk_bytes), chunk_bytes}):
        async with shared_budget().take(limit_bytes):
            whole = await in_thread(read_small, path, limit_bytes)
            if whole is not None:
                return await upload.put(whole)
    return await upload.send_parts()


def part_bytes_for(size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Return the size of the parts of a file: `chunk_bytes`, or whole MiB so that 10,000 parts suffice."""
    needed = -(-size_bytes // MAX_PARTS)
    return chunk_bytes if needed <= chunk_bytes else -(-needed // _MIB) * _MIB


def cut_file(size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> tuple[PartRange, ...]:
    """Return the parts that a file of more than one chunk is uploaded in."""
    return cut_evenly(size_bytes, part_bytes_for(size_bytes, chunk_bytes))


@dataclass(frozen=True, slots=True)
class _FileUpload:
    """One file on its way to one key."""

    store: Store
    key: str
    path: AnyFile
    relpath: str
    chunk_bytes: int
    expected: ExpectedFile | None

    async def put(self, whole: WholeFile) -> UploadedFile:
        """Put a file that was read whole; the server compares the bytes with a checksum of them."""
        self._check(len(whole.body), whole.md5)
        metadata = item_metadata(self.relpath, whole.md5)
        stored = await self.store.put(self.key, whole.body, metadata=metadata)
        return UploadedFile(stored.etag, whole.md5, len(whole.body))

    async def send_parts(self) -> UploadedFile:
        """Upload a file in parts."""
        with open_file(self.path) as file:
            if file.size_bytes > MAX_ITEM_BYTES:
                raise NotSupported(f"{str(self.path)!r} has {file.size_bytes} bytes; S3 holds at most 5 TiB")
            if file.size_bytes <= self.chunk_bytes:  # it was larger a moment ago
                raise file.changed()
            ranges = cut_file(file.size_bytes, self.chunk_bytes)
            if self.expected is None:
                known = await file.hash_parts(ranges)
                md5, digests = known.md5, list(known.parts)
            else:
                self._check(file.size_bytes, self.expected.md5)
                md5, digests = self.expected.md5, []

            async def produce(upload: Upload) -> Sequence[Part]:
                if digests:
                    parts = await self._send_hashed(file, upload, ranges, digests)
                else:
                    parts = await self._hash_and_send(file, upload, ranges, digests)
                file.check_size()
                return parts

            etag = await upload_in_parts(self.store, self.key, item_metadata(self.relpath, md5), produce)
        if etag != multipart_etag(digests):  # encryption gives others; then only the size is left to compare
            await self._check_size(file.size_bytes)
        return UploadedFile(etag, md5, file.size_bytes)

    async def _send_hashed(
        self, file: LocalFile, upload: Upload, ranges: Sequence[PartRange], digests: Sequence[bytes]
    ) -> Sequence[Part]:
        """Second read: send parts that were hashed before; one that changed is refused by the server."""

        async def send(part: PartRange) -> Part:
            async with shared_budget().take(part.size_bytes):
                body, md5 = await file.read(part), digests[part.number - 1]
                try:
                    sent = await self._put_part(upload, part, body, md5)
                except BadDigest as error:
                    if await in_thread(md5_digest, body) == md5:
                        raise
                    raise file.changed() from error
                # encrypted, or by a server that compares nothing
                if sent.etag != md5.hex() and await in_thread(md5_digest, body) != md5:
                    raise file.changed()
                return sent

        return await map_bounded(send, ranges, limit=_PARTS_AT_ONCE)

    async def _hash_and_send(
        self, file: LocalFile, upload: Upload, ranges: Sequence[PartRange], digests: list[bytes]
    ) -> Sequence[Part]:
        """Only read: send parts while the whole is hashed, and compare before anything becomes an object."""
        parts: dict[int, Part] = {}
        found = dict[int, bytes]()

        async def send(part: PartRange, body: bytes) -> None:
            md5 = found[part.number] = await in_thread(md5_digest, body)
            parts[part.number] = await self._put_part(upload, part, body, md5)

        whole = await hash_ranges(ranges, file.read, budget=shared_budget(), use=send)
        self._check(file.size_bytes, whole)
        digests += [found[part.number] for part in ranges]
        return [parts[part.number] for part in ranges]

    async def _put_part(self, upload: Upload, part: PartRange, body: bytes, md5: bytes) -> Part:
        request = self.store.put_part(upload, part.number, body, md5=md5)
        return await see_through(request, grace_seconds=GRACE_SECONDS)

    def _check(self, size_bytes: int, md5: str) -> None:
        """Raise SourceDamaged unless a file is what the manifest says."""
        if self.expected is not None and (size_bytes, md5) != (self.expected.size_bytes, self.expected.md5):
            raise SourceDamaged(
                f"item {self.relpath[:80]!r}: the manifest says {self.expected.size_bytes} bytes with MD5 "
                f"{self.expected.md5}, the file has {size_bytes} bytes"
                + (f" with MD5 {md5}" if md5 != self.expected.md5 else "")
            )

    async def _check_size(self, size_bytes: int) -> None:
        stored = await self.store.head(self.key)
        if stored.size_bytes != size_bytes:
            raise BadDigest(f"{self.key!r} has {stored.size_bytes} bytes after an upload of {size_bytes}")
