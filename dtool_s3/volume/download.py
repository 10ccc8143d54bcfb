"""Copies a frozen dataset from a bucket onto a volume, complete or not at all; owns the swap of directories.

    read the bucket -> look at the place -> room -> hidden directory, filled and frozen -> fsync -> rename

Killed anywhere it leaves the hidden directory, and started again it hashes what is there and goes on. Who
mounts the volume sees a complete dataset or none. The filling is `dtool_s3.disk.download`'s.
"""

import asyncio
from pathlib import Path

from dtoolcore.storagebroker import DiskStorageBroker

from dtool_s3.disk.download import fill_place, full_verification, read_copyable
from dtool_s3.disk.place import DiskPlace
from dtool_s3.errors import (
    ContentDiffers,
    InvalidAdminMetadata,
    InvalidManifest,
    ItemMissing,
    SourceNotFound,
    SourceNotFrozen,
    UnsafePath,
)
from dtool_s3.files.pace import DEFAULT_PACE, Pace
from dtool_s3.files.thread import in_thread
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.inventory import SourceInventory
from dtool_s3.transfer.plan import check_size
from dtool_s3.transfer.progress import ProgressSink, no_progress
from dtool_s3.transfer.verify import require_complete
from dtool_s3.volume.dataset import read_volume_dataset
from dtool_s3.volume.faults import using_volume
from dtool_s3.volume.place import VolumePlace, check_room, make_directory, remove_directory
from dtool_s3.volume.sync import give_name, sync_tree
from dtool_s3.volume.verification import verify_directory


async def download_to_directory(
    source: Store,
    layout: DatasetLayout,
    directory: Tree,
    *,
    manifest_sha256: str | None = None,
    max_size_bytes: int | None = None,
    pace: Pace = DEFAULT_PACE,
    on_progress: ProgressSink = no_progress,
) -> CopyResult:
    """Copy the dataset at `layout` to `<directory>/<its name>`; the directory is made if need be.

    An equal dataset that is there already is read and hashed, and is a success without a write.

    Raises SourceNotFound, SourceNotFrozen, SourceDamaged, ItemMissing, ItemArchived, InvalidManifest,
    UnsafePath, NotSupported, QuotaExceeded; ContentDiffers, with nothing touched, where anything else is at
    the place; VolumeFull, VolumeUnavailable, StorageError. There is then no dataset at the place.
    """
    found = await read_copyable(source, layout, manifest_sha256=manifest_sha256)
    check_size(found.manifest.size_bytes, max_size_bytes)
    place = VolumePlace(directory, found.admin.name, found.admin.uuid)
    with using_volume(place.tree):
        base = await in_thread(make_directory, directory)
        base_uri = f"file://{base}"
        if not await in_thread(place.is_free):
            result = await _adopt(place, found, on_progress)
            await in_thread(remove_directory, place)
            return result
        partial = await in_thread(_partial_place, place, base, found)
        result = await fill_place(source, found, partial, base_uri, pace=pace, on_progress=on_progress)
        await in_thread(sync_tree, partial.root)
        await in_thread(give_name, partial.root, base / place.name)
        return result


def _partial_place(place: VolumePlace, base: Path, found: SourceInventory) -> DiskPlace:
    """Return the hidden directory, once it is certain that there is room for it."""
    place.check_partial()
    uri = DiskStorageBroker.generate_uri(place.partial_name, place.uuid, f"file://{base}")
    partial = DiskPlace(uri)
    if partial.root != base / place.partial_name:
        raise UnsafePath(f"{str(base)!r} cannot be written as a URI, which dtool needs")
    present = 0
    if partial.data.is_dir():
        present = sum(status.st_size for status in partial.find_items().values())
    check_room(base, found.manifest.size_bytes, present)
    return partial


async def _adopt(place: VolumePlace, found: SourceInventory, on_progress: ProgressSink) -> CopyResult:
    """Take what is at the place as the copy, if it is the same dataset, after reading every byte of it."""
    where = str(place.tree)
    try:
        there = await asyncio.to_thread(read_volume_dataset, place.tree)
    except (SourceNotFound, SourceNotFrozen, InvalidAdminMetadata, InvalidManifest) as error:
        raise ContentDiffers(f"{where!r} exists and is no frozen dataset: {error}") from error
    if there.admin.uuid != found.admin.uuid:
        raise ContentDiffers(f"{where!r} holds another dataset, {there.admin.uuid}")
    if not there.manifest.is_equal(found.manifest):
        raise ContentDiffers(f"{where!r} is frozen already, with another manifest")
    verified = await verify_directory(place.tree, on_progress=on_progress)
    try:
        require_complete(verified.verification)
    except ItemMissing as error:
        raise ContentDiffers(f"{where!r} is damaged: {error}") from error
    return CopyResult(there.admin, full_verification(found.manifest), moved=0)
