"""Brings the files of a volume into a proto dataset; owns which are sent and what the manifest then claims.

    look at all files -> list the target -> items, hashed on the way -> documents -> look again -> manifest

Never frozen here, and only keys of items, documents and the manifest are written: the store may be one that
signs nothing else. What the manifest claims is proven by `dtool_s3.volume.publishing`. Killed anywhere and
called again it sends what is missing or different. Where the store encrypts, ETags tell nothing of content,
and all is sent again.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import MD5_HASH_FUNCTION, Manifest, build_manifest_body
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    FrozenDataset,
    NotFound,
    NotSupported,
    SourceDamaged,
    SourceNotFound,
)
from dtool_s3.files.pace import DEFAULT_PACE, Pace
from dtool_s3.files.thread import in_thread
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout, decode_handle, item_identifier
from dtool_s3.naming import name_few
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.derivation import DERIVED_FROM, derived_from_body
from dtool_s3.transfer.inventory import TargetInventory, read_admin_metadata, sort_listing
from dtool_s3.transfer.plan import check_no_extra_documents, check_nothing_extra, check_size
from dtool_s3.transfer.progress import ProgressSink, no_progress
from dtool_s3.transfer.shared_budget import shared_budget
from dtool_s3.transfer.target import put_document
from dtool_s3.volume.dataset import VolumeDataset, check_files, read_volume_dataset
from dtool_s3.volume.faults import using_volume
from dtool_s3.volume.items import VolumeFile, VolumeUpload
from dtool_s3.volume.walk import NO_LIMITS, FoundFile, VolumeLimits, list_files


@dataclass(frozen=True, slots=True)
class UploadedFiles:
    """What lies in the proto dataset now, as far as this side can tell; `moved` items were sent by this run.

    `manifest_sha256`: of the manifest that was written, in hex digits.
    """

    items: int
    size_bytes: int
    manifest_sha256: str
    moved: int


async def upload_directory(
    tree: Tree,
    target: Store,
    layout: DatasetLayout,
    *,
    limits: VolumeLimits = NO_LIMITS,
    pace: Pace = DEFAULT_PACE,
    on_progress: ProgressSink = no_progress,
) -> UploadedFiles:
    """Make all files of a directory the items of the proto dataset at `layout`.

    Items that an earlier upload left and that are no files any more are removed again.

    Raises, with nothing written: SourceNotFound, UnsafePath, SourceTooLarge, QuotaExceeded, NotSupported (a
    file above 5 TiB), FrozenDataset; then SourceDamaged where files change meanwhile, ContentDiffers for keys
    under `data/` that no dtool wrote, VolumeUnavailable, StorageError.
    """
    with using_volume(tree):
        files = await asyncio.to_thread(list_files, tree, limits)
        if not files:
            raise SourceNotFound(f"there are no files in the directory {str(tree)!r}")
        place = await _look_at(target, layout)
        await _remove_stale(target, place, files)
        upload = VolumeUpload(target, layout, place.listing.items, pace)
        await upload.place(
            (VolumeFile(tree.file(f.relpath), f.relpath, f.size_bytes, f.mtime_ns / 1e9) for f in files),
            items=len(files),
            size_bytes=sum(f.size_bytes for f in files),
            on_progress=on_progress,
        )
        await asyncio.to_thread(_check_unchanged, tree, limits, files)
        manifest = Manifest(MD5_HASH_FUNCTION, upload.items)
        body = await asyncio.to_thread(build_manifest_body, manifest, dtoolcore_version=version("dtoolcore"))
        return await _claim(target, place, manifest, body, upload.moved)


async def upload_dataset_directory(
    tree: Tree,
    target: Store,
    layout: DatasetLayout,
    *,
    new: bool,
    manifest_sha256: str | None = None,
    limits: VolumeLimits = NO_LIMITS,
    pace: Pace = DEFAULT_PACE,
    on_progress: ProgressSink = no_progress,
) -> UploadedFiles:
    """Bring items, documents and manifest of a frozen dataset on a volume into the proto dataset at `layout`.

    `new`: that one is derived, and gets the annotation that names its source; else their uuids are equal.
    `manifest_sha256`: the only manifest that is accepted, as `inspect_directory` tells it.

    Raises, with nothing written, what `inspect_directory` raises, QuotaExceeded, FrozenDataset and
    ContentDiffers (another uuid; items or documents that the source does not have); SourceDamaged or
    ItemMissing, naming the item, where a file is not what its manifest says; VolumeUnavailable, StorageError.
    """
    with using_volume(tree):
        source = await asyncio.to_thread(_read_dataset, tree, layout, manifest_sha256, new)
        check_size(source.manifest.size_bytes, limits.max_size_bytes)
        place = await _look_at(target, layout)
        added = {DERIVED_FROM: derived_from_body(source.admin)} if new else {}
        check_nothing_extra(source.manifest, place.listing.items, place=layout.root)
        check_no_extra_documents({*source.documents, *added}, place.listing, place=layout.root)
        upload = VolumeUpload(target, layout, place.listing.items, pace)
        manifest = source.manifest
        await upload.place(
            (
                VolumeFile(
                    source.item_file(item), item.relpath, item.size_bytes, item.utc_timestamp, item.hash
                )
                for item in manifest.items.values()
            ),
            items=len(manifest.items),
            size_bytes=manifest.size_bytes,
            on_progress=on_progress,
        )
        await _put_documents(target, place, source, added)
        return await _claim(target, place, source.manifest, source.manifest_body, upload.moved)


def _read_dataset(
    tree: Tree, layout: DatasetLayout, manifest_sha256: str | None, is_new: bool
) -> VolumeDataset:
    source = read_volume_dataset(tree)
    found = hashlib.sha256(source.manifest_body).hexdigest()
    if manifest_sha256 is not None and found != manifest_sha256.lower():
        raise SourceDamaged(f"the manifest in {str(tree)!r} has SHA-256 {found}, not the one asked for")
    if not is_new and source.admin.uuid != layout.uuid:
        raise ContentDiffers(f"{str(tree)!r} holds dataset {source.admin.uuid}, not {layout.uuid}")
    check_files(source)
    return source


async def _look_at(target: Store, layout: DatasetLayout) -> TargetInventory:
    """List the place; refuse a frozen dataset, as far as this store lets anybody see that."""
    with suppress(AccessDenied, NotSupported):
        admin = await read_admin_metadata(target, layout)
        if admin is not None and admin.is_frozen:
            raise FrozenDataset(f"{layout.root!r} in bucket {target.bucket!r} is frozen already")
    listing = await target.list(layout.root)
    return TargetInventory(layout, None, sort_listing(layout, listing.objects))


async def _claim(
    target: Store, place: TargetInventory, manifest: Manifest, body: bytes, moved: int
) -> UploadedFiles:
    """Write what the dataset should hold."""
    await target.put(place.layout.manifest_key, body)
    return UploadedFiles(len(manifest.items), manifest.size_bytes, hashlib.sha256(body).hexdigest(), moved)


async def _remove_stale(target: Store, place: TargetInventory, files: Iterable[FoundFile]) -> None:
    """Remove items that an earlier upload wrote and whose files are gone since; nothing else."""
    stale = {**place.listing.items}
    for found in files:
        stale.pop(item_identifier(found.relpath), None)

    async def remove(entry: tuple[str, ListedObject]) -> str | None:
        identifier, listed = entry
        with suppress(NotFound):
            info = await target.head(listed.key)
            if decode_handle(info.metadata.get("handle", ""), identifier) is None:
                return listed.key
            await target.delete(listed.key)
        return None

    foreign = [key for key in await map_bounded(remove, stale.items()) if key is not None]
    if foreign:
        raise ContentDiffers(f"{place.layout.data_prefix!r} holds what no dtool wrote: {name_few(foreign)}")


def _check_unchanged(tree: Tree, limits: VolumeLimits, before: list[FoundFile]) -> None:
    """Raise SourceDamaged, naming files, unless a second look shows the same ones."""
    now = list_files(tree, limits)
    if now != before:
        changed = sorted({found.relpath for found in {*before} ^ {*now}})
        raise SourceDamaged(f"files of {str(tree)!r} changed while they were uploaded: {name_few(changed)}")


async def _put_documents(
    target: Store, place: TargetInventory, source: VolumeDataset, added: dict[str, bytes]
) -> None:
    """Write README, tags, overlays and annotations; a README always: upstream cannot work without one."""

    async def put(name: str) -> None:
        async with shared_budget().take(source.documents.get(name, 0)):
            body = added.get(name, b"")
            if name not in added and name in source.documents:
                body = await in_thread(source.read_document, name)
            await put_document(target, place, name, body)

    await map_bounded(put, {"README.yml": None} | dict.fromkeys(source.documents) | dict.fromkeys(added))
