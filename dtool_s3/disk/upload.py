"""Copies a frozen dataset from a directory into a bucket: owns which items move and why the others may stay.

    read the directory -> proto dataset -> items, each hashed -> documents -> list -> freeze, last

Killed anywhere it leaves a proto dataset; started again it lists the target and moves what is missing or
different. It never writes into a frozen dataset and keeps uuid, name, creator, times and manifest.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dtool_s3.concurrency import map_bounded, run_workers
from dtool_s3.digest import multipart_etag
from dtool_s3.disk.read_ahead import SMALL_BYTES, ReadAhead
from dtool_s3.disk.source import DiskDataset, read_disk_dataset, read_document
from dtool_s3.documents import ManifestItem
from dtool_s3.errors import (
    AccessDenied,
    ItemMissing,
    NotFound,
    NotSupported,
    PreconditionFailed,
)
from dtool_s3.files.local_file import WholeFile, open_file
from dtool_s3.files.upload import CHUNK_BYTES, ExpectedFile, cut_file, upload_file
from dtool_s3.layout import DatasetLayout, item_metadata
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.inventory import TargetInventory, read_target
from dtool_s3.transfer.item_errors import writing_target
from dtool_s3.transfer.items import has_metadata, headers_lost
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.plan import Evidence, check_no_extra_documents, check_nothing_extra
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.ranges import hash_listed
from dtool_s3.transfer.shared_budget import shared_budget
from dtool_s3.transfer.target import (
    Frozen,
    Proven,
    adopt_frozen,
    ensure_proto,
    publish,
    put_document,
    yielding_to_another_copy,
)
from dtool_s3.transfer.verify import Verification

#: Files in flight; what is in memory of them is bounded by itself.
CONCURRENCY = 48


async def upload_dataset(
    source_uri: str,
    target: Store,
    target_prefix: str,
    *,
    concurrency: int = CONCURRENCY,
    chunk_bytes: int = CHUNK_BYTES,
    on_progress: ProgressSink = no_progress,
) -> CopyResult:
    """Copy the dataset at `source_uri` (`file:`, `symlink:`) to `target_prefix`, complete or not at all.

    Raises what `read_disk_dataset` raises; SourceDamaged, naming the item, where a file has other bytes than
    its manifest says or changes meanwhile; UUIDTaken, RegistrationHijacked, ContentDiffers,
    WrittenWhileFreezing, OSError or a StorageError. The target is then a proto dataset or what it was before.
    A dataset that is frozen there already with an equal manifest is a success without a write.
    """
    source = await asyncio.to_thread(read_disk_dataset, source_uri)
    layout = DatasetLayout(target_prefix, source.admin.uuid)
    place = await read_target(target, layout)
    if place.admin is None or not place.admin.is_frozen:
        upload = _DatasetUpload(source, target, place, chunk_bytes)
        async with yielding_to_another_copy(target, layout):
            return await upload.run(concurrency, on_progress)
    verified = await adopt_frozen(target, layout, source.manifest)
    return CopyResult(verified.admin, verified.verification, moved=0)


@dataclass(slots=True)
class _DatasetUpload:
    """One run: what is in place so far (ETags by identifier), and by which evidence."""

    source: DiskDataset
    target: Store
    place: TargetInventory
    chunk_bytes: int
    etags: dict[str, str] = field(default_factory=dict)
    evidence: Counter[Evidence] = field(default_factory=Counter)
    moved: list[str] = field(default_factory=list)

    async def run(self, concurrency: int, on_progress: ProgressSink) -> CopyResult:
        """Do everything from the proto dataset to the frozen one."""
        source, layout = self.source, self.place.layout
        check_nothing_extra(source.manifest, self.place.listing.items, place=layout.root)
        check_no_extra_documents(source.documents, self.place.listing, place=layout.root)
        structure = await ensure_proto(self.target, self.place, source.admin)
        items = source.manifest.items
        counter = ProgressCounter(on_progress, items_total=len(items), bytes_total=source.manifest.size_bytes)

        ahead = ReadAhead(items.items(), self._find_small)

        async def work() -> None:
            while (taken := await ahead.take()) is not None:
                (identifier, item), read = taken
                await self._place_item(identifier, item, read)
                counter.add(items=1, size_bytes=item.size_bytes)

        await run_workers(work, count=min(max(1, concurrency), len(items)))
        documents = structure | await self._put_documents()
        counter.enter(Phase.VERIFYING)
        await self._check_headers()
        counter.enter(Phase.FREEZING)
        frozen = Frozen(source.admin, source.manifest, source.manifest_body)
        await publish(self.target, layout, frozen, Proven(self.etags, documents))
        return self._result()

    def _find_small(self, entry: tuple[str, ManifestItem]) -> Path | None:
        """Return the path of a file that is worth reading ahead."""
        identifier, item = entry
        if item.size_bytes > SMALL_BYTES or identifier in self.place.listing.items:
            return None
        return self.source.item_path(item)

    async def _place_item(self, identifier: str, item: ManifestItem, read: WholeFile | None) -> None:
        """Bring one item into place, or see that it is there."""
        kept = await self._find_kept(identifier, item)
        if kept is None:
            self.moved.append(identifier)
            self.etags[identifier] = await self._upload(item, read)
        else:
            self.etags[identifier] = kept
        is_plain = self.etags[identifier] == item.hash
        self.evidence[Evidence.ETAG_MD5 if is_plain else Evidence.READ] += 1

    async def _upload(self, item: ManifestItem, read: WholeFile | None) -> str:
        try:
            with writing_target(item):  # another copy may abort our upload as a leftover
                uploaded = await upload_file(
                    self.target,
                    self.place.layout,
                    self.source.item_path(item),
                    item.relpath,
                    chunk_bytes=self.chunk_bytes,
                    expected=ExpectedFile(item.size_bytes, item.hash),
                    read=read,
                )
        except FileNotFoundError as error:
            raise ItemMissing(f"item {item.relpath[:80]!r} vanished during the copy") from error
        return uploaded.etag

    async def _find_kept(self, identifier: str, item: ManifestItem) -> str | None:
        """Return the ETag of what an earlier run stored, if it is the item with its headers; else None."""
        there = self.place.listing.items.get(identifier)
        if there is None or there.size_bytes != item.size_bytes or not await self._is_item(item, there):
            return None
        try:
            info = await self.target.head(there.key)
        except NotFound:
            return None
        has_headers = has_metadata(info, item_metadata(item.relpath, item.hash))
        return info.etag if has_headers and info.etag == there.etag else None

    async def _is_item(self, item: ManifestItem, there: ListedObject) -> bool:
        """Tell whether an object of the right size is the item; it is read where nothing else tells."""
        if there.etag == item.hash:
            return True
        if "-" in there.etag and item.size_bytes > self.chunk_bytes:
            with open_file(self.source.item_path(item)) as file:
                digests = await file.hash_parts(cut_file(file.size_bytes, self.chunk_bytes))
            if (digests.md5, multipart_etag(digests.parts)) == (item.hash, there.etag):
                return True
        try:
            return await hash_listed(self.target, there, budget=shared_budget()) == item.hash
        except (NotFound, PreconditionFailed):
            return False

    async def _put_documents(self) -> dict[str, str]:
        """Write README, tags, overlays and annotations; return their ETags by name.

        A README is always written: upstream cannot work without one.
        """

        async def put(name: str) -> str:
            path = self.source.documents.get(name)
            async with shared_budget().take(0 if path is None else path.stat().st_size):
                body = b"" if path is None else await asyncio.to_thread(read_document, path)
                return await put_document(self.target, self.place, name, body)

        names = {"README.yml": None} | dict.fromkeys(self.source.documents)
        return dict(zip(names, await map_bounded(put, names), strict=True))

    async def _check_headers(self) -> None:
        """See at one uploaded item that nothing on the way loses headers, and free what nobody knows of.

        A start of an upload whose answer was lost and that the store repeated is known to nobody.
        """
        if not self.moved:
            return
        item = self.source.manifest.items[self.moved[0]]
        info = await self.target.head(self.place.layout.item_key(self.moved[0]))
        if not has_metadata(info, item_metadata(item.relpath, item.hash)):
            raise headers_lost(self.target, info)
        if any(self.source.manifest.items[i].size_bytes > self.chunk_bytes for i in self.moved):
            with suppress(AccessDenied, NotSupported):
                await abort_uploads(self.target, self.place.layout.data_prefix)

    def _result(self) -> CopyResult:
        """Say what was done."""
        verification = Verification(
            items=len(self.etags),
            size_bytes=self.source.manifest.size_bytes,
            evidence={kind: self.evidence[kind] for kind in Evidence},
        )
        return CopyResult(self.source.admin, verification, moved=len(self.moved))
