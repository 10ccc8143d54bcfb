"""The place that a dataset is written to, whatever its items come from; owns the order of writes around them.

    ensure_proto -> (items and their evidence, by the caller) -> put_document -> publish, last

It never writes into a frozen dataset, never overwrites a registration key, and publishes only what its own
listing shows as it was proven. `adopt_frozen` takes what is frozen there already.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from dtool_s3.creation import prepare_place, put_first_admin_metadata
from dtool_s3.digest import md5_hexdigest
from dtool_s3.documents import AdminMetadata, Manifest
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    DatasetMissing,
    FrozenDataset,
    NotSupported,
    WrittenWhileFreezing,
)
from dtool_s3.freezing import publish_frozen
from dtool_s3.layout import DatasetLayout
from dtool_s3.registration import ensure_registration
from dtool_s3.store.protocol import ListedObject, Listing, Store
from dtool_s3.transfer.inventory import (
    TargetInventory,
    read_admin_metadata,
    read_manifest,
    sort_listing,
)
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.plan import check_no_extra_documents
from dtool_s3.transfer.verify import VerifiedDataset, require_complete, verify_manifest

#: How often a freeze is tried anew that another writer of the same content interrupted.
_PUBLISH_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Frozen:
    """What shall be published: administrative metadata and manifest, the latter also as its bytes."""

    admin: AdminMetadata
    manifest: Manifest
    manifest_body: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """The ETags that everything had when it was proven or written, all of which the listing must show.

    `items` by identifier; an item that is not among them must have the manifest's MD5. `documents` (README,
    tags, overlays, annotations, structure.json) by key relative to the root: no other tags, overlays and
    annotations may lie there.
    """

    items: Mapping[str, str]
    documents: Mapping[str, str]


async def ensure_proto(target: Store, place: TargetInventory, admin: AdminMetadata) -> dict[str, str]:
    """Register the dataset and make it a proto dataset, unless an earlier run did.

    Returns the ETag of structure.json by its name, for `Proven.documents`. Aborts uploads of items that an
    earlier run left behind. Raises UUIDTaken with nothing else written, StorageError.
    """
    structure = await begin_proto(target, place, admin)
    # left by a run that was killed: completed after the freeze, one would replace an item of a frozen
    # dataset; without the right to list them nothing can be done about it
    with suppress(AccessDenied, NotSupported):
        await abort_uploads(target, place.layout.data_prefix)
    return structure


async def begin_proto(target: Store, place: TargetInventory, admin: AdminMetadata) -> dict[str, str]:
    """Do what `ensure_proto` does, and leave uploads alone: several may begin the same one at a time.

    Every key is written only where nothing is yet; of several writers the first counts.
    """
    structure = await prepare_place(target, place.layout)
    if place.admin is None:
        await put_first_admin_metadata(target, place.layout, admin)
    return {"structure.json": structure}


async def put_document(target: Store, place: TargetInventory, name: str, body: bytes) -> str:
    """Write a README, tag, overlay or annotation, unless its bytes are there; return its ETag.

    `name` is its key relative to the root (`tags/rnaseq`).
    """
    there = place.listing.documents.get(name)
    if there is not None and there.etag == md5_hexdigest(body):
        return there.etag
    return (await target.put(f"{place.layout.root}{name}", body)).etag


async def publish(
    target: Store, layout: DatasetLayout, frozen: Frozen, proven: Proven, *, pause_seconds: float = 1.0
) -> None:
    """List the place, compare it with what was proven, and freeze it (rule 14 of the API design).

    A second writer of the same content is no obstacle: after a pause (of about `pause_seconds`, doubled each
    time) it is tried again a few times, and what the other has frozen meanwhile counts.

    Raises WrittenWhileFreezing where anything else was written, ContentDiffers for extra items or documents
    and for a dataset frozen with another manifest, and what `publish_frozen` raises.
    """
    attempt = 0
    while True:
        attempt += 1
        listing = await target.list(layout.root)
        check_listing(layout, listing, frozen.manifest, proven)
        try:
            return await _publish(target, layout, frozen, listing)
        except WrittenWhileFreezing:
            if attempt == _PUBLISH_ATTEMPTS:
                raise
        await asyncio.sleep(pause_seconds * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311


def check_listing(layout: DatasetLayout, listing: Listing, manifest: Manifest, proven: Proven) -> None:
    """Raise WrittenWhileFreezing unless the listing shows everything as it was when it was proven; pure."""
    shown = sort_listing(layout, listing.objects)
    for identifier, item in manifest.items.items():
        stored = shown.items.get(identifier)
        if stored is None or stored.etag != proven.items.get(identifier, item.hash):
            raise WrittenWhileFreezing(f"item {item.relpath[:80]!r} changed in the target during the copy")
    check_no_extra_documents(proven.documents, shown, place=layout.root)
    keys = {f"{layout.root}{name}" for name in proven.documents}
    etags = {listed.key: listed.etag for listed in listing.objects if listed.key in keys}
    for name, etag in proven.documents.items():
        if etags.get(f"{layout.root}{name}") != etag:
            raise WrittenWhileFreezing(f"{name[:80]!r} changed in the target during the copy")


async def _publish(target: Store, layout: DatasetLayout, frozen: Frozen, listing: Listing) -> None:
    """Freeze; a dataset that somebody else froze differently in the meantime is ContentDiffers."""
    try:
        await publish_frozen(
            target,
            layout,
            admin_metadata=frozen.admin.as_dict(),
            manifest=frozen.manifest,
            manifest_body=frozen.manifest_body,
            seen=listing,
        )
    except FrozenDataset as error:
        raise ContentDiffers(str(error)) from error


@asynccontextmanager
async def yielding_to_another_copy(target: Store, layout: DatasetLayout) -> AsyncIterator[None]:
    """Pass over WrittenWhileFreezing where the dataset is frozen by then: by another copy, which counts."""
    try:
        yield
    except WrittenWhileFreezing:
        admin = await read_admin_metadata(target, layout)
        if admin is None or not admin.is_frozen:
            raise


async def adopt_frozen(
    target: Store,
    layout: DatasetLayout,
    manifest: Manifest,
    *,
    items: Mapping[str, ListedObject] | None = None,
) -> VerifiedDataset:
    """Take the frozen dataset at the place as the copy, if it is complete and has an equal manifest.

    `items` by identifier, as a listing showed them after the dataset was frozen; None: they are listed.
    Writes nothing but a registration key that is not there. Raises ContentDiffers, ItemMissing, UUIDTaken;
    DatasetMissing where nothing is frozen.
    """
    admin = await read_admin_metadata(target, layout)
    if admin is None or not admin.is_frozen:
        raise DatasetMissing(f"there is no frozen dataset at {layout.root!r} in bucket {target.bucket!r}")
    there, _ = await read_manifest(target, layout)
    if not there.is_equal(manifest):
        raise ContentDiffers(f"{layout.root!r} is frozen already, with another manifest")
    verification = await verify_manifest(target, layout, manifest, items=items)
    require_complete(verification)
    await ensure_registration(target, layout)
    return VerifiedDataset(admin, verification)
