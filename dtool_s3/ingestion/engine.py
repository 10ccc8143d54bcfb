"""Makes the plain objects under a prefix the items of a new dataset; owns the order of its steps.

    list -> plan (pure) -> proto dataset -> items, each with evidence -> list both sides -> freeze, last

Items are copied on the server, with handle and checksum as their only headers; the objects stay as they are.
An object that changes meanwhile is noticed: copies and reads ask for the listed ETag, and a second listing
must equal the first. Killed anywhere it leaves a proto dataset; called again with the same UUID it moves what
is missing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version

from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import (
    MD5_HASH_FUNCTION,
    AdminMetadata,
    Manifest,
    ManifestItem,
    build_manifest_body,
)
from dtool_s3.errors import AccessDenied, ContentDiffers, NotSupported
from dtool_s3.ingestion.items import Placer
from dtool_s3.ingestion.plan import (
    IngestRequest,
    PlainObject,
    check_place,
    check_request,
    check_unchanged,
    plan_ingest,
)
from dtool_s3.layout import item_identifier
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.derivation import frozen_admin_metadata, new_admin_metadata
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.inventory import TargetInventory, list_dataset, read_manifest, read_target
from dtool_s3.transfer.item_errors import written_meanwhile
from dtool_s3.transfer.items import ItemMover, PlacedItem
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.plan import Evidence, check_size
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.shared_budget import shared_budget
from dtool_s3.transfer.target import Frozen, Proven, adopt_frozen, ensure_proto, publish, put_document
from dtool_s3.transfer.verify import Verification


async def ingest_objects(
    source: Store,
    target: Store,
    request: IngestRequest,
    *,
    on_progress: ProgressSink = no_progress,
    clock: Callable[[], float] = time.time,
) -> CopyResult:
    """Make a frozen dataset of the objects under a prefix, complete or not at all; the objects stay.

    Raises, before anything is written, SettingsError (the request), SourceNotFound (no objects), UnsafePath
    and ItemArchived (naming keys), QuotaExceeded; then UUIDTaken, SourceDamaged and ItemMissing for objects
    that change or vanish meanwhile, ContentDiffers (something else lies there), WrittenWhileFreezing or a
    StorageError: the target is then a proto dataset or what it was before.
    """
    is_same_service = source.endpoint_url == target.endpoint_url
    check_request(request, is_same_bucket=is_same_service and source.bucket == target.bucket)
    objects = plan_ingest(await _list_source(source, request), request)
    place = await read_target(target, request.layout)
    check_place(place, request, objects)
    mover = ItemMover(
        source,
        target,
        request.layout,
        keeps_headers=False,
        must_stream=not (request.server_side and is_same_service),
        budget=shared_budget(),
        limits=request.limits,
    )
    if place.admin is not None and place.admin.is_frozen:
        return await _adopt(mover, place, objects)
    size_bytes = sum(one.listed.size_bytes for one in objects)
    check_size(size_bytes, request.max_size_bytes)
    admin = place.admin or new_admin_metadata(
        request.uuid, request.name, request.creator_username, now=clock()
    )
    documents = await ensure_proto(target, place, admin)
    documents["README.yml"] = await put_document(target, place, "README.yml", request.readme.encode())
    counter = ProgressCounter(on_progress, items_total=len(objects), bytes_total=size_bytes)
    placed = await _place_all(Placer(mover, place), objects, counter, request.concurrency)
    counter.enter(Phase.VERIFYING)
    if mover.has_uploaded:
        # a start whose answer was lost and that the store repeated is known to nobody
        with suppress(AccessDenied, NotSupported):
            await abort_uploads(target, request.layout.data_prefix)
    check_unchanged(objects, await _list_source(source, request), request)
    manifest = await _build_manifest(mover, placed)
    counter.enter(Phase.FREEZING)
    frozen = Frozen(
        frozen_admin_metadata(admin, now=clock()),
        manifest,
        build_manifest_body(manifest, dtoolcore_version=version("dtoolcore")),
    )
    proven = Proven({item_identifier(item.relpath): one.etag for item, one in placed}, documents)
    await publish(target, request.layout, frozen, proven, pause_seconds=request.pause_seconds)
    return _result(frozen.admin, placed)


async def _list_source(source: Store, request: IngestRequest) -> Sequence[ListedObject]:
    return (await source.list(request.source_prefix)).objects


async def _place_all(
    placer: Placer, objects: Sequence[PlainObject], counter: ProgressCounter, concurrency: int
) -> list[tuple[ManifestItem, PlacedItem]]:
    await placer.find_trust(objects)

    async def put(one: PlainObject) -> tuple[ManifestItem, PlacedItem]:
        placed = await placer.put(one)
        counter.add(items=1, size_bytes=one.listed.size_bytes)
        return placed

    return await map_bounded(put, objects, limit=max(1, concurrency))


async def _build_manifest(mover: ItemMover, placed: Iterable[tuple[ManifestItem, PlacedItem]]) -> Manifest:
    """Return the manifest; times are those of the uploads, in whole seconds, as dtool's are."""
    stored = (await list_dataset(mover.target, mover.layout)).items
    items = {}
    for item, _ in placed:
        identifier = item_identifier(item.relpath)
        if identifier not in stored:
            raise written_meanwhile(item)
        uploaded_at = stored[identifier].last_modified
        items[identifier] = replace(item, utc_timestamp=float(int(uploaded_at.timestamp())))
    return Manifest(MD5_HASH_FUNCTION, items)


async def _adopt(mover: ItemMover, place: TargetInventory, objects: Sequence[PlainObject]) -> CopyResult:
    """Take the frozen dataset at the place as the result, if it holds these objects; else ContentDiffers."""
    manifest, _ = await read_manifest(mover.target, place.layout)
    stored, placer = place.listing.items, Placer(mover, place)

    async def is_held(one: PlainObject) -> bool:
        identifier = item_identifier(one.relpath)
        item, there = manifest.items.get(identifier), stored.get(identifier)
        if item is None or there is None or item.size_bytes != one.listed.size_bytes:
            return False
        return one.listed.etag in {item.hash, there.etag} or await placer.read_source(one) == item.hash

    held = await map_bounded(is_held, objects)
    if not all(held):
        raise ContentDiffers(f"{place.layout.root!r} is frozen already, with other items")
    verified = await adopt_frozen(mover.target, place.layout, manifest)
    return CopyResult(verified.admin, verified.verification, moved=0)


def _result(admin: AdminMetadata, placed: Sequence[tuple[ManifestItem, PlacedItem]]) -> CopyResult:
    counts = Counter(one.evidence for _, one in placed)
    verification = Verification(
        items=len(placed),
        size_bytes=sum(item.size_bytes for item, _ in placed),
        evidence={kind: counts[kind] for kind in Evidence},
    )
    return CopyResult(admin, verification, moved=sum(one.is_moved for _, one in placed))
