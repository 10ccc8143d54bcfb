"""Copies one dataset from store to store: owns the order of its steps and the bound on what is in flight.

    inventory (list once) -> plan (pure) -> items, each with evidence -> documents -> list -> freeze, last

Killed anywhere it leaves a proto dataset; started again it lists the target and moves what is missing or
different. It never writes into a frozen dataset, never overwrites a registration key and removes nothing
but unfinished uploads of its own items.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from dtool_s3.chunk_budget import shared_budget
from dtool_s3.concurrency import map_bounded, run_workers
from dtool_s3.documents import MAX_OVERLAY_BYTES, AdminMetadata
from dtool_s3.errors import AccessDenied, NotFound, NotSupported, SourceDamaged, WrittenWhileFreezing
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.inventory import (
    SourceInventory,
    TargetInventory,
    read_admin_metadata,
    read_source,
    read_target,
    refusing_large,
)
from dtool_s3.transfer.items import ItemMover, PlacedItem
from dtool_s3.transfer.multipart import GRACE_SECONDS, abort_uploads
from dtool_s3.transfer.parts import S3_LIMITS, PartLimits
from dtool_s3.transfer.plan import CopyPlan, Evidence, plan_copy
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.target import Frozen, Proven, adopt_frozen, ensure_proto, publish, put_document
from dtool_s3.transfer.verify import Verification


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What to copy where: one UUID from `source_prefix` to `target_prefix`, which are known to be right.

    `server_side`: the target's credentials may be used to read the source. `concurrency`: items in flight.
    `limits`: from which sizes on items move in parts. `grace_seconds`: how long a cancelled copy waits for a
    part under way, so that none stays behind. `pause_seconds`: see `dtool_s3.transfer.target.publish`.
    `memory_bytes`: of items' bytes, how many may be in memory at a time; None: a share of what all transfers
    of this process have together.
    """

    uuid: str
    source_prefix: str
    target_prefix: str
    server_side: bool = True
    concurrency: int = 64
    limits: PartLimits = S3_LIMITS
    grace_seconds: float = GRACE_SECONDS
    pause_seconds: float = 1.0
    memory_bytes: int | None = None

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
    """A frozen copy and what is known of its bytes; `moved` items were copied by this run.

    Where another copy of the same dataset was faster and froze it, that counts: nothing was moved then.
    """

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
    try:
        return await _copy(source, target, request, found, place, on_progress)
    except WrittenWhileFreezing:
        # by another copy of the same dataset, perhaps, which has finished
        admin = await read_admin_metadata(target, place.layout)
        if admin is None or not admin.is_frozen:
            raise
    return await _adopt(target, found, place)


async def _adopt(target: Store, found: SourceInventory, place: TargetInventory) -> CopyResult:
    verified = await adopt_frozen(target, place.layout, found.manifest)
    return CopyResult(verified.admin, verified.verification, moved=0)


async def _copy(
    source: Store,
    target: Store,
    request: CopyRequest,
    found: SourceInventory,
    place: TargetInventory,
    on_progress: ProgressSink,
) -> CopyResult:
    server_side = request.server_side and source.endpoint_url == target.endpoint_url
    plan = plan_copy(found, place, server_side=server_side)
    structure = await ensure_proto(target, place, found.admin)
    counter = ProgressCounter(on_progress, items_total=len(plan.items), bytes_total=plan.size_bytes)
    mover = ItemMover(
        source,
        target,
        place.layout,
        keeps_headers=found.has_base64_handles,
        must_stream=not server_side,
        limits=request.limits,
        grace_seconds=request.grace_seconds,
        budget=shared_budget() if request.memory_bytes is None else ByteBudget(request.memory_bytes),
    )
    placed = await _place_items(mover, plan, request.concurrency, counter)
    documents = structure | await _copy_documents(source, target, found, place)
    counter.enter(Phase.VERIFYING)
    if mover.has_uploaded:
        # a start whose answer was lost and that the store repeated is known to nobody
        with suppress(AccessDenied, NotSupported):
            await abort_uploads(target, place.layout.data_prefix)
    counter.enter(Phase.FREEZING)
    frozen = Frozen(found.admin, found.manifest, found.manifest_body)
    proven = Proven(placed.etags, documents)
    await publish(target, place.layout, frozen, proven, pause_seconds=request.pause_seconds)
    return placed.result(found)


@dataclass(slots=True)
class _Placed:
    """What is in place: the ETag of each item by identifier, and counts."""

    etags: dict[str, str] = field(default_factory=dict)
    evidence: Counter[Evidence] = field(default_factory=Counter)
    moved: int = 0

    def add(self, identifier: str, item: PlacedItem) -> None:
        self.etags[identifier] = item.etag
        self.evidence[item.evidence] += 1
        self.moved += item.is_moved

    def result(self, found: SourceInventory) -> CopyResult:
        verification = Verification(
            items=len(self.etags),
            size_bytes=found.manifest.size_bytes,
            evidence={kind: self.evidence[kind] for kind in Evidence},
        )
        return CopyResult(found.admin, verification, self.moved)


async def _place_items(
    mover: ItemMover, plan: CopyPlan, concurrency: int, counter: ProgressCounter
) -> _Placed:
    """Bring all items into place; the first failure stops the rest and is raised as it is."""
    placed, waiting = _Placed(), iter(plan.items)

    async def work() -> None:
        for item in waiting:
            placed.add(item.identifier, await mover.place(item))
            counter.add(items=1, size_bytes=item.item.size_bytes)

    await run_workers(work, count=min(max(1, concurrency), len(plan.items)))
    return placed


async def _copy_documents(
    source: Store, target: Store, found: SourceInventory, place: TargetInventory
) -> dict[str, str]:
    """Copy README, tags, overlays and annotations that are absent or different; return ETags by name."""

    async def copy(document: tuple[str, ListedObject]) -> str:
        name, listed = document
        there = place.listing.documents.get(name)
        if there is not None and (there.etag, there.size_bytes) == (listed.etag, listed.size_bytes):
            return there.etag
        return await put_document(target, place, name, await _read_document(source, listed.key))

    documents = found.listing.documents
    return dict(zip(documents, await map_bounded(copy, documents.items()), strict=True))


async def _read_document(source: Store, key: str) -> bytes:
    """Read a README, tag, overlay or annotation of the source; they may change after freezing."""
    try:
        with refusing_large(NotSupported(f"{key!r} is larger than {MAX_OVERLAY_BYTES} bytes")):
            return (await source.get(key, max_bytes=MAX_OVERLAY_BYTES)).body
    except NotFound as error:
        raise SourceDamaged(f"{key!r} vanished from the source during the copy") from error
