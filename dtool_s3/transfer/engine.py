"""Copies one dataset from store to store: owns the order of writes and the bound on what is in flight.

    inventory (list once) -> plan (pure) -> items, each with evidence -> documents -> list -> freeze, last

Killed anywhere it leaves a proto dataset; started again it lists the target and moves what is missing or
different. It never writes into a frozen dataset, never overwrites a registration key and removes nothing.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass

from dtool_s3.documents import (
    MAX_OVERLAY_BYTES,
    AdminMetadata,
    DatasetType,
    dump_admin_metadata,
)
from dtool_s3.errors import ContentDiffers, FrozenDataset, PreconditionFailed, WrittenWhileFreezing
from dtool_s3.freezing import publish_frozen
from dtool_s3.layout import DTOOL_README_TXT, DatasetLayout
from dtool_s3.registration import ensure_registration
from dtool_s3.store.protocol import IF_ABSENT, Listing, Store
from dtool_s3.transfer.inventory import (
    SourceInventory,
    TargetInventory,
    read_manifest,
    read_source,
    read_target,
    sort_listing,
)
from dtool_s3.transfer.items import ItemMover, PlacedItem
from dtool_s3.transfer.plan import CopyPlan, Evidence, plan_copy
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.verify import Verification, require_complete, verify_dataset


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What to copy where: one UUID from `source_prefix` to `target_prefix`, which are known to be right.

    `server_side`: the target's credentials may be used to read the source. `concurrency`: items in flight.
    """

    uuid: str
    source_prefix: str
    target_prefix: str
    server_side: bool = True
    concurrency: int = 32

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
    plan = plan_copy(found, place, server_side=request.server_side)
    await _create(target, place.layout, found.admin)
    counter = ProgressCounter(on_progress, items_total=len(plan.items), bytes_total=plan.size_bytes)
    mover = ItemMover(source, target, place.layout, keeps_headers=found.has_base64_handles)
    placed = await _place_items(mover, plan, request.concurrency, counter)
    await _copy_documents(source, target, found, place)
    counter.enter(Phase.VERIFYING)
    listing = await target.list(place.layout.root)
    _check_listing(place.layout, listing, placed, found)
    counter.enter(Phase.FREEZING)
    await _publish(target, place.layout, found, listing)
    return _result(found, placed.values())


async def _adopt(target: Store, found: SourceInventory, place: TargetInventory) -> CopyResult:
    """Take a frozen dataset at the place as the copy if its manifest is equal; else raise ContentDiffers."""
    await ensure_registration(target, place.layout)
    manifest, _ = await read_manifest(target, place.layout)
    if not manifest.is_equal(found.manifest):
        raise ContentDiffers(f"{place.layout.root} is frozen already, with another manifest")
    verified = await verify_dataset(target, place.layout)
    require_complete(verified.verification)
    return CopyResult(verified.admin, verified.verification, moved=0)


async def _create(target: Store, layout: DatasetLayout, admin: AdminMetadata) -> None:
    """Register the dataset and make it a proto dataset, unless an earlier run did."""
    await ensure_registration(target, layout)
    body, headers = dump_admin_metadata(admin.with_type(DatasetType.PROTO).as_dict())
    documents: tuple[tuple[str, bytes, dict[str, str]], ...] = (
        (layout.structure_key, layout.structure_document(), {}),
        (layout.dtool_readme_key, DTOOL_README_TXT.encode(), {}),
        (layout.admin_metadata_key, body, headers),
    )
    for key, content, metadata in documents:
        try:
            await target.put(key, content, metadata=metadata, precondition=IF_ABSENT)
        except PreconditionFailed:
            continue


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

    await run_workers(work, count=min(concurrency, len(plan.items)))
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
) -> None:
    """Copy README, tags, overlays and annotations that are absent or different at the place."""
    for name, listed in found.listing.documents.items():
        there = place.listing.documents.get(name)
        stored = await source.get(listed.key, max_bytes=MAX_OVERLAY_BYTES)
        digest = hashlib.md5(stored.body, usedforsecurity=False).hexdigest()
        if there is None or there.etag != digest:
            await target.put(f"{place.layout.root}{name}", stored.body)


def _check_listing(
    layout: DatasetLayout, listing: Listing, placed: Mapping[str, PlacedItem], found: SourceInventory
) -> None:
    """Raise WrittenWhileFreezing unless the listing shows each item as it was when it was proven."""
    shown = sort_listing(layout, tuple(listing.objects))
    for identifier, item in placed.items():
        stored = shown.items.get(identifier)
        if stored is None or stored.etag != item.etag:
            relpath = found.manifest.items[identifier].relpath
            raise WrittenWhileFreezing(f"item {relpath[:80]!r} changed in the target during the copy")
    missing = sorted(found.listing.documents.keys() - shown.documents.keys())
    if missing:
        raise WrittenWhileFreezing(f"{layout.root}{missing[0]} vanished from the target during the copy")


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
