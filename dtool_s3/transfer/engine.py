"""Copies one dataset from store to store: owns the order of writes and the bound on what is in flight.

    inventory (list once) -> plan (pure) -> items, each with evidence -> documents -> list -> freeze, last

Killed anywhere it leaves a proto dataset; started again it lists the target and moves what is missing or
different. It never writes into a frozen dataset, never overwrites a registration key and removes nothing
but unfinished uploads of its own items.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import (
    MAX_OVERLAY_BYTES,
    MAX_STRUCTURE_BYTES,
    AdminMetadata,
    DatasetType,
    dump_admin_metadata,
    storage_broker_version,
)
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    FrozenDataset,
    NotFound,
    NotSupported,
    PreconditionFailed,
    SourceDamaged,
    WrittenWhileFreezing,
)
from dtool_s3.freezing import publish_frozen
from dtool_s3.layout import DTOOL_README_TXT, DatasetLayout
from dtool_s3.registration import ensure_registration
from dtool_s3.store.protocol import IF_ABSENT, ListedObject, Listing, Store, if_match
from dtool_s3.transfer.inventory import (
    SourceInventory,
    TargetInventory,
    read_manifest,
    read_source,
    read_target,
    refusing_large,
    sort_listing,
    writes_base64_handles,
)
from dtool_s3.transfer.items import CHUNK_BYTES, ItemMover, PlacedItem, abort_uploads
from dtool_s3.transfer.plan import CopyPlan, Evidence, check_no_extra_documents, plan_copy
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.verify import Verification, require_complete, verify_dataset


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What to copy where: one UUID from `source_prefix` to `target_prefix`, which are known to be right.

    `server_side`: the target's credentials may be used to read the source. `concurrency`: items in flight.
    `chunk_bytes`: streamed items above this size are moved in parts of it (S3: at least 5 MiB).
    """

    uuid: str
    source_prefix: str
    target_prefix: str
    server_side: bool = True
    concurrency: int = 32
    chunk_bytes: int = CHUNK_BYTES

    @property
    def source_layout(self) -> DatasetLayout:
        """Keys of the source."""
        return DatasetLayout(self.source_prefix, self.uuid)

    @property
    def target_layout(self) -> DatasetLayout:
        """Keys of the copy."""
        return DatasetLayout(self.target_prefix, self.uuid)


@dataclass(frozen=True, slots=True)
class CopyResult:
    """A frozen copy and what is known of its bytes; `moved` items were copied by this run."""

    admin: AdminMetadata
    verification: Verification
    moved: int


async def copy_dataset(
    source: Store, target: Store, request: CopyRequest, *, on_progress: ProgressSink = no_progress
) -> CopyResult:
    """Copy a frozen dataset, complete or not at all.

    Raises SourceNotFound, SourceNotFrozen, SourceDamaged, ItemMissing, InvalidManifest, UnsafePath,
    UUIDTaken, RegistrationHijacked, ContentDiffers, WrittenWhileFreezing, NotSupported or a StorageError;
    the target is then a proto dataset or what it was before.
    """
    found = await read_source(source, request.source_layout)
    place = await read_target(target, request.target_layout)
    if place.admin is not None and place.admin.is_frozen:
        return await _adopt(target, found, place)
    server_side = request.server_side and source.endpoint_url == target.endpoint_url
    plan = plan_copy(found, place, server_side=server_side)
    structure = await _create(target, place, found.admin)
    counter = ProgressCounter(on_progress, items_total=len(plan.items), bytes_total=plan.size_bytes)
    mover = ItemMover(
        source,
        target,
        place.layout,
        keeps_headers=found.has_base64_handles,
        must_stream=not server_side,
        chunk_bytes=request.chunk_bytes,
    )
    placed = await _place_items(mover, plan, request.concurrency, counter)
    documents = structure | await _copy_documents(source, target, found, place)
    counter.enter(Phase.VERIFYING)
    listing = await target.list(place.layout.root)
    _check_listing(place.layout, listing, found, placed=placed, documents=documents)
    counter.enter(Phase.FREEZING)
    await _publish(target, place.layout, found, listing)
    return _result(found, placed.values())


async def _adopt(target: Store, found: SourceInventory, place: TargetInventory) -> CopyResult:
    """Take a frozen dataset at the place as the copy if its manifest is equal; else raise ContentDiffers.

    Writes nothing but a registration key that is not there.
    """
    manifest, _ = await read_manifest(target, place.layout)
    if not manifest.is_equal(found.manifest):
        raise ContentDiffers(f"{place.layout.root!r} is frozen already, with another manifest")
    verified = await verify_dataset(target, place.layout)
    require_complete(verified.verification)
    await ensure_registration(target, place.layout)
    return CopyResult(verified.admin, verified.verification, moved=0)


async def _create(target: Store, place: TargetInventory, admin: AdminMetadata) -> dict[str, str]:
    """Register the dataset and make it a proto dataset, unless an earlier run did.

    Returns the ETags of what must not change until the freeze, by key relative to the root.
    """
    layout = place.layout
    await ensure_registration(target, layout)
    structure = await _ensure_structure(target, layout)
    await _put_absent(target, layout.dtool_readme_key, DTOOL_README_TXT.encode(), {})
    if place.admin is None:
        body, headers = dump_admin_metadata(admin.with_type(DatasetType.PROTO).as_dict())
        await _put_absent(target, layout.admin_metadata_key, body, headers)
    # left by a run that was killed: completed after the freeze, one would replace an item of a frozen
    # dataset; without the right to list them nothing can be done about it
    with suppress(AccessDenied, NotSupported):
        await abort_uploads(target, layout.data_prefix)
    return {"structure.json": structure}


async def _put_absent(target: Store, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
    """Write `key` unless it is there, whatever it holds."""
    with suppress(PreconditionFailed):
        await target.put(key, body, metadata=metadata, precondition=IF_ABSENT)


async def _ensure_structure(target: Store, layout: DatasetLayout) -> str:
    """Make structure.json say that handles are base64, and return its ETag.

    Readers decode the headers of our items by it.
    """
    key, body = layout.structure_key, layout.structure_document()
    try:
        return (await target.put(key, body, precondition=IF_ABSENT)).etag
    except PreconditionFailed:
        stored = await target.get(key, max_bytes=MAX_STRUCTURE_BYTES)
    if writes_base64_handles(storage_broker_version(stored.body)):
        return stored.info.etag
    return (await target.put(key, body, precondition=if_match(stored.info.etag))).etag


async def _place_items(
    mover: ItemMover, plan: CopyPlan, concurrency: int, counter: ProgressCounter
) -> dict[str, PlacedItem]:
    """Bring all items into place; the first failure stops the rest and is raised as it is."""
    placed: dict[str, PlacedItem] = {}
    waiting = iter(plan.items)

    async def work() -> None:
        for item in waiting:
            placed[item.identifier] = await mover.place(item)
            counter.add(items=1, size_bytes=item.item.size_bytes)

    await run_workers(work, count=min(max(1, concurrency), len(plan.items)))
    return placed


async def run_workers(work: Callable[[], Coroutine[None, None, None]], *, count: int) -> None:
    """Run `count` workers side by side; the first failure cancels the others and is raised alone."""
    tasks = [asyncio.create_task(work()) for _ in range(count)]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy_documents(
    source: Store, target: Store, found: SourceInventory, place: TargetInventory
) -> dict[str, str]:
    """Copy README, tags, overlays and annotations that are absent or different; return ETags by name."""

    async def copy(document: tuple[str, ListedObject]) -> str:
        name, listed = document
        there = place.listing.documents.get(name)
        if there is not None and (there.etag, there.size_bytes) == (listed.etag, listed.size_bytes):
            return there.etag
        body = await _read_document(source, listed.key)
        if there is not None and there.etag == hashlib.md5(body, usedforsecurity=False).hexdigest():
            return there.etag
        return (await target.put(f"{place.layout.root}{name}", body)).etag

    documents = found.listing.documents
    return dict(zip(documents, await map_bounded(copy, documents.items()), strict=True))


async def _read_document(source: Store, key: str) -> bytes:
    """Read a README, tag, overlay or annotation of the source; they may change after freezing."""
    try:
        with refusing_large(NotSupported(f"{key!r} is larger than {MAX_OVERLAY_BYTES} bytes")):
            return (await source.get(key, max_bytes=MAX_OVERLAY_BYTES)).body
    except NotFound as error:
        raise SourceDamaged(f"{key!r} vanished from the source during the copy") from error


def _check_listing(
    layout: DatasetLayout,
    listing: Listing,
    found: SourceInventory,
    *,
    placed: Mapping[str, PlacedItem],
    documents: Mapping[str, str],
) -> None:
    """Raise WrittenWhileFreezing unless the listing shows everything as it was when it was proven."""
    shown = sort_listing(layout, listing.objects)
    for identifier, item in found.manifest.items.items():
        stored = shown.items.get(identifier)
        if stored is None or stored.etag != placed[identifier].etag:
            raise WrittenWhileFreezing(f"item {item.relpath[:80]!r} changed in the target during the copy")
    check_no_extra_documents(found.listing, shown, place=layout.root)
    etags = {listed.key: listed.etag for listed in listing.objects}
    for name, etag in documents.items():
        if etags.get(f"{layout.root}{name}") != etag:
            raise WrittenWhileFreezing(f"{name[:80]!r} changed in the target during the copy")


async def _publish(target: Store, layout: DatasetLayout, found: SourceInventory, listing: Listing) -> None:
    """Freeze; a dataset that somebody else froze differently in the meantime is ContentDiffers."""
    try:
        await publish_frozen(
            target,
            layout,
            admin_metadata=found.admin.as_dict(),
            manifest=found.manifest,
            manifest_body=found.manifest_body,
            seen=listing,
        )
    except FrozenDataset as error:
        raise ContentDiffers(str(error)) from error


def _result(found: SourceInventory, placed: Iterable[PlacedItem]) -> CopyResult:
    items = list(placed)
    counts = Counter(item.evidence for item in items)
    verification = Verification(
        items=len(items),
        size_bytes=found.manifest.size_bytes,
        evidence={kind: counts[kind] for kind in Evidence},
    )
    return CopyResult(found.admin, verification, moved=sum(item.is_moved for item in items))
