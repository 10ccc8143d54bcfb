"""Copies one dataset from store to store: owns the order of its steps and the bound on what is in flight.

    inventory (list once) -> plan (pure) -> items, each with evidence -> documents -> list -> freeze, last

Killed anywhere it leaves a proto dataset; started again it lists the target and moves what is missing or
different. It never writes into a frozen dataset, never overwrites a registration key and removes nothing
but unfinished uploads of its own items.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from dtool_s3.concurrency import map_bounded, run_together
from dtool_s3.documents import MAX_OVERLAY_BYTES, AdminMetadata
from dtool_s3.errors import AccessDenied, NotFound, NotSupported, SourceDamaged
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.derivation import (
    DERIVED_FROM,
    check_identity,
    derived_from_body,
    frozen_admin_metadata,
)
from dtool_s3.transfer.inventory import (
    SourceInventory,
    TargetInventory,
    read_admin_metadata,
    read_source,
    read_target,
    refusing_large,
)
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.placing import Placing, start_placing
from dtool_s3.transfer.plan import ItemPlan, check_size, plan_copy
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.request import CopyRequest
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

__all__ = ["CopyRequest", "CopyResult", "copy_dataset"]


@dataclass(frozen=True, slots=True)
class CopyResult:
    """A frozen copy and what is known of its bytes; `moved` items were copied by this run.

    Where another copy of the same dataset was faster and froze it, that counts: nothing was moved then.
    """

    admin: AdminMetadata
    verification: Verification
    moved: int


async def copy_dataset(
    source: Store,
    target: Store,
    request: CopyRequest,
    *,
    on_progress: ProgressSink = no_progress,
    clock: Callable[[], float] = time.time,
) -> CopyResult:
    """Copy a frozen dataset, complete or not at all.

    Raises SettingsError (the request), SourceNotFound, SourceNotFrozen, SourceDamaged, ItemMissing,
    InvalidManifest, UnsafePath, QuotaExceeded, UUIDTaken, RegistrationHijacked, ContentDiffers,
    WrittenWhileFreezing, NotSupported or a StorageError; the target is then a proto dataset or what it was
    before.
    """
    check_identity(request.uuid, request.target_uuid, request.name, request.creator_username)
    found = await read_source(source, request.source_layout, manifest_sha256=request.manifest_sha256)
    place = await read_target(target, request.target_layout)
    manifest, items = found.manifest, place.listing.items if place.is_frozen else None
    if items is None:
        check_size(manifest.size_bytes, request.max_size_bytes)
        copy = _DatasetCopy(source, target, request, found, place, clock)
        del found, place  # listings of many items are megabytes: the copy lets go of them on its way
        async with yielding_to_another_copy(target, request.target_layout):
            return await copy.run(on_progress)
    verified = await adopt_frozen(target, request.target_layout, manifest, items=items)
    return CopyResult(verified.admin, verified.verification, moved=0)


@dataclass(slots=True)
class _DatasetCopy:
    """One run: what is to be copied where, and what is known of both places."""

    source: Store
    target: Store
    request: CopyRequest
    found: SourceInventory
    place: TargetInventory
    clock: Callable[[], float]

    async def run(self, on_progress: ProgressSink) -> CopyResult:
        """Do everything from the plan to the frozen dataset."""
        request, target, layout = self.request, self.target, self.request.target_layout
        server_side = request.server_side and self.source.endpoint_url == target.endpoint_url
        added = {DERIVED_FROM: derived_from_body(self.found.admin)} if request.target_uuid else {}
        plans = self._take_plan(added, server_side=server_side)
        proto, structure = await self._begin()
        manifest = self.found.manifest
        counter = ProgressCounter(
            on_progress, items_total=len(manifest.items), bytes_total=manifest.size_bytes
        )
        items = start_placing(
            self.source, target, request, self.found.has_base64_handles, server_side=server_side
        )
        documents = dict(structure)
        await run_together(
            items.place(plans, counter),
            self._place_documents(items.mover.budget, added, documents),
        )
        counter.enter(Phase.VERIFYING)
        if items.mover.has_uploaded:
            # a start whose answer was lost and that the store repeated is known to nobody
            with suppress(AccessDenied, NotSupported):
                await abort_uploads(target, layout.data_prefix)
        counter.enter(Phase.FREEZING)
        admin = frozen_admin_metadata(proto, now=self.clock()) if request.target_uuid else proto
        frozen = Frozen(admin, manifest, self.found.manifest_body)
        proven = Proven(items.etags, documents)
        await publish(target, layout, frozen, proven, pause_seconds=request.pause_seconds)
        return self._result(await self._read_back(admin), items)

    async def _begin(self) -> tuple[AdminMetadata, dict[str, str]]:
        """Make the proto dataset; return what it is, or the source's identity where the copy keeps that.

        Beside it the ETag of structure.json. A derived dataset is the one that its first run created.
        """
        request, proto = self.request, self.found.admin
        if request.target_uuid is None:
            return proto, await ensure_proto(self.target, self.place, proto)
        proto = request.proto_metadata(proto, now=self.clock())
        structure = await ensure_proto(self.target, self.place, proto)
        return await self._read_back(proto), structure

    async def _read_back(self, admin: AdminMetadata) -> AdminMetadata:
        """Read who a derived dataset is: another run may have created or frozen it at another time."""
        if self.request.target_uuid is None:
            return admin
        return await read_admin_metadata(self.target, self.request.target_layout) or admin

    def _take_plan(self, added: Mapping[str, bytes], *, server_side: bool) -> deque[ItemPlan]:
        """Decide for all items; afterwards only the plans know of their objects, each until it is done."""
        plans = deque(plan_copy(self.found, self.place, server_side=server_side, added=added).items)
        self.found = replace(self.found, listing=self.found.listing.without_items())
        self.place = replace(self.place, listing=self.place.listing.without_items())
        return plans

    async def _place_documents(
        self, budget: ByteBudget, added: Mapping[str, bytes], etags: dict[str, str]
    ) -> None:
        """Copy README, tags, overlays and annotations that are absent or different; note ETags by name.

        What is `added` stands in for a document of the same name.
        """

        async def copy(document: tuple[str, ListedObject]) -> str:
            name, listed = document
            there = self.place.listing.documents.get(name)
            if there is not None and (there.etag, there.size_bytes) == (listed.etag, listed.size_bytes):
                return there.etag
            async with budget.take(listed.size_bytes):
                body = await _read_document(self.source, listed.key)
                return await put_document(self.target, self.place, name, body)

        for name, body in added.items():
            etags[name] = await put_document(self.target, self.place, name, body)
        documents = {n: o for n, o in self.found.listing.documents.items() if n not in added}
        etags.update(zip(documents, await map_bounded(copy, documents.items()), strict=True))

    def _result(self, admin: AdminMetadata, items: Placing) -> CopyResult:
        return CopyResult(admin, items.verification(self.found.manifest), items.moved)


async def _read_document(source: Store, key: str) -> bytes:
    """Read a README, tag, overlay or annotation of the source; they may change after freezing."""
    try:
        with refusing_large(NotSupported(f"{key!r} is larger than {MAX_OVERLAY_BYTES} bytes")):
            return (await source.get(key, max_bytes=MAX_OVERLAY_BYTES)).body
    except NotFound as error:
        raise SourceDamaged(f"{key!r} vanished from the source during the copy") from error
