"""Copies one share of a dataset's items; owns that several shares at a time do not disturb each other.

Whoever is first makes the proto dataset. Documents, extra keys, the second look and the freeze are the whole
copy's, `dtool_s3.transfer.engine`, which comes last and finds the items in place. Killed anywhere and called
again it moves what is missing or different.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import ManifestItem
from dtool_s3.errors import AccessDenied, NotSupported
from dtool_s3.freezing import list_items
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.derivation import check_identity
from dtool_s3.transfer.inventory import (
    DatasetListing,
    SourceInventory,
    TargetInventory,
    read_admin_metadata,
    read_frozen,
    read_structure_version,
    writes_base64_handles,
)
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.placing import start_placing
from dtool_s3.transfer.plan import ItemPlan, Step, check_size, plan_copy
from dtool_s3.transfer.progress import ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.request import CopyRequest
from dtool_s3.transfer.shard import Shard
from dtool_s3.transfer.tally import Verification
from dtool_s3.transfer.target import begin_proto


@dataclass(frozen=True, slots=True)
class CopiedItems:
    """A share in place and what is known of its bytes; `moved` items were copied by this run.

    Of items that a listing showed to be there nothing more is known: the whole copy proves them.
    """

    verification: Verification
    moved: int


async def copy_items(
    source: Store,
    target: Store,
    request: CopyRequest,
    shard: Shard,
    *,
    on_progress: ProgressSink = no_progress,
    clock: Callable[[], float] = time.time,
) -> CopiedItems:
    """Copy a share of the items of a frozen dataset into a proto dataset, made if need be.

    `max_size_bytes` bounds the whole dataset; progress is the share's. In a dataset that is frozen already
    nothing is done. Raises what `copy_dataset` raises before it freezes.
    """
    check_identity(request.uuid, request.target_uuid, request.name, request.creator_username)
    found = await _read_source(source, request, shard)
    place = await _read_target(target, request.target_layout, shard)
    manifest = found.manifest
    if place.is_frozen:
        return CopiedItems(Verification(len(manifest.items), manifest.size_bytes, {}), moved=0)
    server_side = request.server_side and source.endpoint_url == target.endpoint_url
    all_plans = plan_copy(found, place, server_side=server_side).items
    plans = deque(plan for plan in all_plans if plan.step is not Step.KEEP)
    await begin_proto(target, place, request.proto_metadata(found.admin, now=clock()))
    await _abort_uploads(target, request.target_layout, shard)
    counter = ProgressCounter(on_progress, items_total=len(all_plans), bytes_total=manifest.size_bytes)
    _count_kept(counter, all_plans)
    placing = start_placing(source, target, request, found.has_base64_handles, server_side=server_side)
    del found, place, all_plans
    await placing.place(plans, counter)
    if placing.mover.has_uploaded:
        # a start whose answer was lost and that the store repeated is known to nobody
        await _abort_uploads(target, request.target_layout, shard)
    return CopiedItems(placing.verification(manifest), placing.moved)


def _count_kept(counter: ProgressCounter, plans: Sequence[ItemPlan]) -> None:
    kept = [plan.item.size_bytes for plan in plans if plan.step is Step.KEEP]
    if kept:
        counter.add(items=len(kept), size_bytes=sum(kept))


async def _read_source(source: Store, request: CopyRequest, shard: Shard) -> SourceInventory:
    """Read the dataset; of its items only those of the share are held."""
    layout, sizes = request.source_layout, [0]

    def keeps(identifier: str, item: ManifestItem) -> bool:
        sizes[0] += item.size_bytes
        return shard.holds(identifier)

    admin, manifest, _ = await read_frozen(
        source, layout, manifest_sha256=request.manifest_sha256, keeps=keeps
    )
    check_size(sizes[0], request.max_size_bytes)
    return SourceInventory(
        layout=layout,
        admin=admin,
        manifest=manifest,
        manifest_body=b"",
        has_base64_handles=writes_base64_handles(await read_structure_version(source, layout)),
        listing=DatasetListing(await _list_items(source, layout, shard), {}),
    )


async def _read_target(target: Store, layout: DatasetLayout, shard: Shard) -> TargetInventory:
    admin = await read_admin_metadata(target, layout)
    return TargetInventory(layout, admin, DatasetListing(await _list_items(target, layout, shard), {}))


async def _list_items(store: Store, layout: DatasetLayout, shard: Shard) -> Mapping[str, ListedObject]:
    """List the share's part of `data/`; keys that are no identifiers are the whole copy's concern."""
    holds = partial(_holds, layout, shard)

    async def list_part(prefix: str) -> dict[str, ListedObject]:
        listing = await store.list(f"{layout.data_prefix}{prefix}", keeps=holds)
        return list_items(layout, listing.objects)

    parts = await map_bounded(list_part, shard.prefixes())
    return {identifier: listed for part in parts for identifier, listed in part.items()}


async def _abort_uploads(target: Store, layout: DatasetLayout, shard: Shard) -> None:
    """Free what an earlier run of this share left; uploads of other shares go on."""
    with suppress(AccessDenied, NotSupported):
        await abort_uploads(target, layout.data_prefix, holds=partial(_holds, layout, shard))


def _holds(layout: DatasetLayout, shard: Shard, key: str) -> bool:
    try:
        return shard.holds(key.removeprefix(layout.data_prefix))
    except ValueError:
        return False
