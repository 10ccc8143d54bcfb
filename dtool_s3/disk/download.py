"""Copies a frozen dataset from a bucket into a directory: owns which items move and why the others may stay.

    read the bucket -> proto dataset -> items, each hashed on the way -> documents -> look -> freeze, last

Killed anywhere it leaves a proto dataset; started again it hashes what is there and downloads the rest. It
never writes into a frozen dataset. What it leaves could have been copied by dtool itself, except that files
have the manifest's times. Of two at the same place at the same time, the first fails.
"""

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from dtool_s3.concurrency import map_bounded
from dtool_s3.digest import hash_file
from dtool_s3.disk.place import DiskPlace, FoundDataset, destination_uri, is_file_of_size, write_whole
from dtool_s3.disk.read_ahead import SMALL_BYTES
from dtool_s3.disk.write_behind import WriteBehind
from dtool_s3.documents import MAX_OVERLAY_BYTES, MD5_HASH_FUNCTION, Manifest, ManifestItem
from dtool_s3.errors import ContentDiffers, NotFound, NotSupported, SourceDamaged
from dtool_s3.files.download import CHUNK_BYTES, ExpectedObject, download_file
from dtool_s3.files.pace import Pace
from dtool_s3.files.thread import in_thread
from dtool_s3.layout import DatasetLayout
from dtool_s3.naming import name_few
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.inventory import SourceInventory, read_source, refusing_large
from dtool_s3.transfer.plan import Evidence, check_source_items
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.shared_budget import shared_budget
from dtool_s3.transfer.verify import Verification

#: Items in flight; what is in memory of them is bounded by itself.
CONCURRENCY = 48


async def download_dataset(
    source: Store,
    layout: DatasetLayout,
    base_uri: str,
    *,
    concurrency: int = CONCURRENCY,
    chunk_bytes: int = CHUNK_BYTES,
    on_progress: ProgressSink = no_progress,
) -> CopyResult:
    """Copy a dataset to below the directory `base_uri` (`file:///path`), complete or not at all.

    Where it lies then is `destination_uri(result.admin, base_uri)`. Raises SourceNotFound, SourceNotFrozen,
    SourceDamaged, ItemMissing, ItemArchived, InvalidManifest, UnsafePath, NotSupported; ContentDiffers where
    something else is at the place; OSError of the file system, and what the store raises. The place is then a
    proto dataset or what it was before. A dataset that is frozen there already with an equal manifest is read
    and hashed, and is a success without a write.
    """
    found = await read_copyable(source, layout)
    place = DiskPlace(destination_uri(found.admin, base_uri))
    pace = Pace(concurrency, chunk_bytes)
    return await fill_place(source, found, place, base_uri, pace=pace, on_progress=on_progress)


async def read_copyable(
    source: Store, layout: DatasetLayout, *, manifest_sha256: str | None = None
) -> SourceInventory:
    """Read the dataset in the bucket; refuse what no complete copy can be made of. See `download_dataset`."""
    found = await read_source(source, layout, manifest_sha256=manifest_sha256)
    if found.manifest.hash_function != MD5_HASH_FUNCTION:
        raise NotSupported(f"the manifest hashes with {found.manifest.hash_function[:40]!r}, not MD5")
    check_source_items(found.manifest, found.listing.items)
    return found


async def fill_place(
    source: Store,
    found: SourceInventory,
    place: DiskPlace,
    base_uri: str,
    *,
    pace: Pace,
    on_progress: ProgressSink,
) -> CopyResult:
    """Make a dataset that was read the one at `place`, a directory in that of `base_uri`.

    See `download_dataset`.
    """
    there = await in_thread(_find_or_create, place, found, base_uri)
    items = found.manifest.items
    counter = ProgressCounter(on_progress, items_total=len(items), bytes_total=found.manifest.size_bytes)
    if there is not None and there.manifest is not None:
        return await _adopt(place, there, there.manifest, found, counter)
    download = _DatasetDownload(source, found, place, pace.chunk_bytes, counter)
    try:
        return await download.run(pace.concurrency)
    finally:
        await download.small_files.close()
        await in_thread(place.remove_temporary)


def _find_or_create(place: DiskPlace, found: SourceInventory, base_uri: str) -> FoundDataset | None:
    """Return the dataset at the place, made if need be. Raises ContentDiffers for another one."""
    there = place.find_dataset()
    if there is None:
        place.create(found.admin, base_uri)
        return None
    if there.admin.uuid != found.admin.uuid:
        raise ContentDiffers(f"{str(place.root)!r} holds another dataset, {there.admin.uuid}")
    if there.manifest is not None and not there.manifest.is_equal(found.manifest):
        raise ContentDiffers(f"{str(place.root)!r} is frozen already, with another manifest")
    return there


async def _adopt(
    place: DiskPlace,
    there: FoundDataset,
    manifest: Manifest,
    found: SourceInventory,
    counter: ProgressCounter,
) -> CopyResult:
    """Take a frozen dataset at the place as the copy, after reading every byte of it."""
    await in_thread(place.check_items, manifest)

    async def check(item: ManifestItem) -> None:
        if await asyncio.to_thread(hash_file, place.data / item.relpath) != item.hash:
            raise ContentDiffers(f"item {item.relpath[:80]!r} in {str(place.root)!r} has other bytes")
        counter.add(items=1, size_bytes=item.size_bytes)

    counter.enter(Phase.VERIFYING)
    await map_bounded(check, manifest.items.values(), limit=os.cpu_count() or 1)
    return CopyResult(there.admin, full_verification(found.manifest), moved=0)


@dataclass(slots=True)
class _DatasetDownload:
    """One run; `moved` counts the items that it downloaded."""

    source: Store
    found: SourceInventory
    place: DiskPlace
    chunk_bytes: int
    counter: ProgressCounter
    present: dict[str, os.stat_result] = field(default_factory=dict)
    moved: int = 0
    small_files: WriteBehind = field(default_factory=WriteBehind)

    async def run(self, concurrency: int) -> CopyResult:
        """Do everything from the proto dataset to the frozen one."""
        manifest, place = self.found.manifest, self.place
        documents = self._plan_documents()
        await in_thread(place.prepare, [item.relpath for item in manifest.items.values()])
        self.present = await in_thread(place.find_items)
        place.check_nothing_extra(manifest, self.present)
        await map_bounded(self._place_item, manifest.items.items(), limit=concurrency)
        await map_bounded(self._put_document, documents.items())
        self.counter.enter(Phase.VERIFYING)
        await in_thread(place.check_items, manifest)
        await in_thread(place.check_documents, documents)
        self.counter.enter(Phase.FREEZING)
        await in_thread(place.freeze, self.found.admin, self.found.manifest_body)
        return CopyResult(self.found.admin, full_verification(manifest), self.moved)

    async def _place_item(self, entry: tuple[str, ManifestItem]) -> None:
        """Bring one item into place, or see that it is there."""
        identifier, item = entry
        path = self.place.data / item.relpath
        if not await self._is_there(path, item):
            listed = self.found.listing.items[identifier]
            wanted = ExpectedObject(
                listed.key,
                item.relpath,
                item.size_bytes,
                item.hash,
                etag=listed.etag,
                mtime_seconds=item.utc_timestamp,
            )
            await download_file(
                self.source,
                wanted,
                path,
                temporary_directory=self.place.temporary,
                chunk_bytes=self.chunk_bytes,
                run_write=self.small_files.write if item.size_bytes <= SMALL_BYTES else in_thread,
            )
            self.moved += 1
        self.counter.add(items=1, size_bytes=item.size_bytes)

    async def _is_there(self, path: Path, item: ManifestItem) -> bool:
        if not is_file_of_size(self.present.get(item.relpath), item.size_bytes):
            return False
        return await asyncio.to_thread(hash_file, path) == item.hash

    def _plan_documents(self) -> dict[Path, ListedObject | None]:
        """Return where each document goes, and what it comes from.

        A README is always written: dtool cannot work without one. Raises UnsafePath, and ContentDiffers for
        documents at the place that the source does not have.
        """
        names = {"README.yml": None, **self.found.listing.documents}
        planned = {self.place.document_path(name): listed for name, listed in names.items()}
        there = self.place.find_documents()
        extra = sorted(name for name, path in there.items() if path not in planned)
        if extra:
            raise ContentDiffers(
                f"{str(self.place.root)!r} holds what the source does not: {name_few(extra)}"
            )
        return {path: listed for path, listed in planned.items() if path is not None}

    async def _put_document(self, document: tuple[Path, ListedObject | None]) -> None:
        path, listed = document
        async with shared_budget().take(0 if listed is None else listed.size_bytes):
            body = b"" if listed is None else await self._read_document(listed.key)
            await in_thread(write_whole, path, body)

    async def _read_document(self, key: str) -> bytes:
        try:
            with refusing_large(NotSupported(f"{key!r} is larger than {MAX_OVERLAY_BYTES} bytes")):
                return (await self.source.get(key, max_bytes=MAX_OVERLAY_BYTES)).body
        except NotFound as error:
            raise SourceDamaged(f"{key!r} vanished from the source during the copy") from error


def full_verification(manifest: Manifest) -> Verification:
    """Every byte of every item was read and hashed."""
    evidence = dict.fromkeys(Evidence, 0) | {Evidence.READ: len(manifest.items)}
    return Verification(items=len(manifest.items), size_bytes=manifest.size_bytes, evidence=evidence)
