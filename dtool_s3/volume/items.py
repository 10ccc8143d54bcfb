"""Sends files of a volume as items, each hashed on the way; owns which of them are there already.

A file is there if the listing shows its size and the ETag that its bytes would have: nothing of the target is
read. Nothing is removed, and no other key is written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dtool_s3.concurrency import run_workers
from dtool_s3.digest import md5_hexdigest, multipart_etag
from dtool_s3.disk.read_ahead import SMALL_BYTES, ReadAhead
from dtool_s3.documents import ManifestItem
from dtool_s3.errors import ItemMissing, SourceDamaged
from dtool_s3.files.local_file import WholeFile, open_file
from dtool_s3.files.pace import Pace
from dtool_s3.files.tree import TreeFile
from dtool_s3.files.upload import ExpectedFile, cut_file, upload_file
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.item_errors import writing_target
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A file that becomes an item; `md5`, where a manifest says what it must have."""

    file: TreeFile
    relpath: str
    size_bytes: int
    timestamp: float
    md5: str | None = None


@dataclass(slots=True)
class VolumeUpload:
    """One run: the items that are in place so far; `there`: what lay there before, by identifier."""

    target: Store
    layout: DatasetLayout
    there: Mapping[str, ListedObject]
    pace: Pace
    items: dict[str, ManifestItem] = field(default_factory=dict)
    moved: int = 0

    async def place(
        self, files: Iterable[VolumeFile], *, items: int, size_bytes: int, on_progress: ProgressSink
    ) -> None:
        """Bring all files into place, so many `items`; the first failure stops the rest.

        They are asked for one by one: of very many, only those under way are held.
        """
        counter = ProgressCounter(on_progress, items_total=items, bytes_total=size_bytes)
        ahead = ReadAhead(files, self._find_small)

        async def work() -> None:
            while (taken := await ahead.take()) is not None:
                await self._place_one(*taken)
                counter.add(items=1, size_bytes=taken[0].size_bytes)

        await run_workers(work, count=min(max(1, self.pace.concurrency), items))
        counter.enter(Phase.VERIFYING)

    def _find_small(self, entry: VolumeFile) -> TreeFile | None:
        return entry.file if entry.size_bytes <= min(SMALL_BYTES, self.pace.chunk_bytes) else None

    async def _place_one(self, entry: VolumeFile, read: WholeFile | None) -> None:
        """Bring one file into place, or see that it is there."""
        identifier = item_identifier(entry.relpath)
        try:
            md5 = await self._kept_md5(entry, self.there.get(identifier), read)
            if md5 is None:
                md5 = await self._send(entry, read)
                self.moved += 1
        except FileNotFoundError as error:
            missing = ItemMissing if entry.md5 is not None else SourceDamaged
            raise missing(f"file {entry.relpath[:120]!r} vanished during the upload") from error
        self.items[identifier] = ManifestItem(entry.relpath, entry.size_bytes, md5, entry.timestamp)

    async def _send(self, entry: VolumeFile, read: WholeFile | None) -> str:
        expected = None if entry.md5 is None else ExpectedFile(entry.size_bytes, entry.md5)
        item = ManifestItem(entry.relpath, entry.size_bytes, entry.md5 or "", entry.timestamp)
        with writing_target(item):
            sent = await upload_file(
                self.target,
                self.layout,
                entry.file,
                entry.relpath,
                chunk_bytes=self.pace.chunk_bytes,
                expected=expected,
                read=read,
            )
        if sent.size_bytes != entry.size_bytes:
            raise SourceDamaged(f"file {entry.relpath[:120]!r} changed while it was uploaded")
        return sent.md5

    async def _kept_md5(
        self, entry: VolumeFile, there: ListedObject | None, read: WholeFile | None
    ) -> str | None:
        """Return the MD5 of a file whose bytes are there already, by the ETag of what is there; else None."""
        if there is None or there.size_bytes != entry.size_bytes:
            return None
        if read is not None:
            md5, etags = read.md5, {read.md5}
        else:
            md5, etags = await self._hash(entry)
        if entry.md5 is not None and md5 != entry.md5:
            return None  # the upload that follows says so
        return md5 if there.etag in etags else None

    async def _hash(self, entry: VolumeFile) -> tuple[str, set[str]]:
        """Return the MD5 of a file and the ETags that an upload of it may have got."""
        with open_file(entry.file) as file:
            if file.size_bytes != entry.size_bytes:
                raise file.changed()
            if file.size_bytes == 0:
                return md5_hexdigest(b""), {md5_hexdigest(b"")}
            digests = await file.hash_parts(cut_file(file.size_bytes, self.pace.chunk_bytes))
        return digests.md5, {digests.md5, multipart_etag(digests.parts)}
