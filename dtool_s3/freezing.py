"""How a proto dataset becomes a frozen one: owns the order of reads and writes around the flip of `dtool`.

Used by the broker and by copies alike. It never writes an item, never changes a frozen dataset, never flips
what changed between its two looks, and removes keys that are no items only where that is asked for. What the
bytes of items are worth is the caller's evidence; pass the listing that it rests on as `seen`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from dtool_s3.concurrency import map_bounded
from dtool_s3.digest import md5_hexdigest
from dtool_s3.documents import (
    MAX_ADMIN_METADATA_BYTES,
    MAX_MANIFEST_BYTES,
    AdminMetadata,
    DatasetType,
    Manifest,
    dump_admin_metadata,
    parse_admin_metadata,
    parse_manifest,
)
from dtool_s3.errors import (
    ContentDiffers,
    DatasetMissing,
    FrozenDataset,
    InvalidAdminMetadata,
    InvalidManifest,
    ItemMissing,
    NotFound,
    PreconditionFailed,
    RequestRefused,
    StorageError,
    UnsafePath,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DatasetLayout, decode_handle
from dtool_s3.naming import name_few
from dtool_s3.registration import check_registration, recheck_registration
from dtool_s3.store.protocol import IF_ABSENT, ListedObject, Listing, ObjectInfo, Store, if_match


@dataclass(frozen=True, slots=True)
class Prepared:
    """A proto dataset whose manifest is written: what must still be there, unchanged, at the flip.

    `objects` is the first look by key, without manifest.json. `is_frozen` says that the dataset was frozen
    already with an equal manifest: nothing was written and nothing is left to do.
    """

    objects: Mapping[str, ListedObject]
    manifest: ObjectInfo | ListedObject
    is_frozen: bool = False
    #: Objects that the freezing itself wrote since the first look (overlays), by key.
    written: Mapping[str, ObjectInfo] = field(default_factory=dict)


async def publish_frozen(
    store: Store,
    layout: DatasetLayout,
    *,
    admin_metadata: Mapping[str, Any],
    manifest: Manifest,
    manifest_body: bytes,
    seen: Listing | None = None,
) -> bool:
    """Freeze the proto dataset at `layout`; return False if it was frozen already with an equal manifest.

    `admin_metadata` are the fields to publish, in dtoolcore's order and with their `frozen_at`; `type` is set
    here. `seen` is a listing of `layout.root` on which the caller's evidence about the items rests: what
    changed since is refused. Without it the first look is taken here.

    Raises UUIDTaken or RegistrationHijacked (registration key), DatasetMissing, ItemMissing, ContentDiffers
    (extra items, other sizes), FrozenDataset (frozen with another manifest), WrittenWhileFreezing, and
    StorageError. After any of them the dataset is a proto dataset still, except RegistrationHijacked, which
    may also be found right after the flip.
    """
    prepared = await write_manifest(store, layout, manifest=manifest, manifest_body=manifest_body, seen=seen)
    if prepared.is_frozen:
        return False
    await flip_to_frozen(store, layout, prepared, admin_metadata=admin_metadata)
    return True


async def write_manifest(
    store: Store,
    layout: DatasetLayout,
    *,
    manifest: Manifest,
    manifest_body: bytes,
    seen: Listing | None = None,
) -> Prepared:
    """First half of `publish_frozen`: look, compare with the manifest, write manifest.json."""
    await check_registration(store, layout)
    listing = seen if seen is not None else await store.list(layout.root)
    objects = {listed.key: listed for listed in listing.objects}
    proto = objects.get(layout.admin_metadata_key)
    if proto is None:
        raise DatasetMissing(f"there is no {layout.admin_metadata_key!r} in bucket {store.bucket!r}")
    current, etag = await read_admin_metadata(store, layout)
    present = objects.pop(layout.manifest_key, None)
    if current.is_frozen:
        return Prepared(objects, await _frozen_manifest(store, layout, manifest), is_frozen=True)
    if etag != proto.etag:
        raise WrittenWhileFreezing(f"{layout.admin_metadata_key!r} changed after it was listed")
    check_items(layout, objects.values(), manifest)
    return Prepared(objects, await _put_manifest(store, layout, manifest_body, present))


async def flip_to_frozen(
    store: Store, layout: DatasetLayout, prepared: Prepared, *, admin_metadata: Mapping[str, Any]
) -> None:
    """Second half of `publish_frozen`: look again, flip `dtool`, look at the registration key again."""
    listing = await store.list(layout.root)
    _check_unchanged(layout, prepared, listing.objects)
    body, headers = dump_admin_metadata({**admin_metadata, "type": DatasetType.FROZEN.value})
    parse_admin_metadata(body, headers, uuid=layout.uuid)
    key = layout.admin_metadata_key
    try:
        await store.put(key, body, metadata=headers, precondition=if_match(prepared.objects[key].etag))
    except StorageError as error:
        if not await _is_flipped(store, layout, body, error):
            raise
    await recheck_registration(store, layout)


async def read_admin_metadata(store: Store, layout: DatasetLayout) -> tuple[AdminMetadata, str]:
    """Return the administrative metadata in the store and the ETag of its object.

    Raises DatasetMissing, InvalidAdminMetadata.
    """
    key = layout.admin_metadata_key
    try:
        stored = await store.get(key, max_bytes=MAX_ADMIN_METADATA_BYTES)
    except NotFound as error:
        raise DatasetMissing(f"there is no {key!r} in bucket {store.bucket!r}") from error
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise InvalidAdminMetadata(f"{key!r} is larger than {MAX_ADMIN_METADATA_BYTES} bytes") from error
    return parse_admin_metadata(stored.body, stored.info.metadata, uuid=layout.uuid), stored.info.etag


def list_items(layout: DatasetLayout, objects: Iterable[ListedObject]) -> dict[str, ListedObject]:
    """Return the objects under `data/` by identifier; the zero-byte marker `data/` is no item."""
    prefix = layout.data_prefix
    start = len(prefix)
    return {
        intern(listed.key[start:]): listed  # one text for all listings of one dataset
        for listed in objects
        if listed.key.startswith(prefix) and not (len(listed.key) == start and listed.size_bytes == 0)
    }


def check_items(layout: DatasetLayout, objects: Iterable[ListedObject], manifest: Manifest) -> None:
    """Raise unless the objects under `data/` are exactly the manifest's items in equal sizes.

    ItemMissing for items that are not there, ContentDiffers for extra objects and for other sizes; up to
    five are named.
    """
    items = list_items(layout, objects)
    missing = [item.relpath for identifier, item in manifest.items.items() if identifier not in items]
    if missing:
        raise ItemMissing(f"not under {layout.data_prefix!r}: {name_few(missing)}")
    extra = [listed.key for identifier, listed in items.items() if identifier not in manifest.items]
    if extra:
        raise ContentDiffers(f"not in the manifest: {name_few(extra)}")
    unequal = [
        item.relpath
        for identifier, item in manifest.items.items()
        if items[identifier].size_bytes != item.size_bytes
    ]
    if unequal:
        raise ContentDiffers(
            f"other sizes under {layout.data_prefix!r} than in the manifest: {name_few(unequal)}"
        )


async def find_extra(store: Store, layout: DatasetLayout) -> list[ListedObject]:
    """Return the objects under `data/` that are no items.

    An item is what a manifest names (that of an interrupted freeze, in a proto dataset), or what has a handle
    header that fits its key. One GET, one HEAD for each object that the manifest does not name. The zero-byte
    marker `data/` is not among them: it is tolerated everywhere.
    """

    async def look(found: tuple[str, ListedObject]) -> ListedObject | None:
        identifier, listed = found
        try:
            info = await store.head(listed.key)
        except NotFound:
            return None
        is_item = decode_handle(info.metadata.get("handle", ""), identifier) is not None
        return None if is_item else listed

    named = await _named_items(store, layout)
    items = list_items(layout, (await store.list(layout.data_prefix)).objects)
    looked_at = [(identifier, listed) for identifier, listed in items.items() if identifier not in named]
    return [listed for listed in await map_bounded(look, looked_at) if listed is not None]


async def _named_items(store: Store, layout: DatasetLayout) -> Collection[str]:
    """Identifiers that a manifest names, if there is one that can be read."""
    with suppress(NotFound, InvalidManifest, UnsafePath):
        stored = await store.get(layout.manifest_key, max_bytes=MAX_MANIFEST_BYTES)
        return parse_manifest(stored.body).items.keys()
    return ()


async def remove_extra(store: Store, layout: DatasetLayout) -> list[str]:
    """Remove what `find_extra` finds in a proto dataset, and return the keys; only ever when a user asks.

    Raises DatasetMissing, FrozenDataset: from a frozen dataset nothing is removed. An object that changed
    since it was looked at stays, and raises PreconditionFailed.
    """
    admin, _ = await read_admin_metadata(store, layout)
    if admin.is_frozen:
        raise FrozenDataset(f"{layout.root!r} in bucket {store.bucket!r} is frozen; nothing was removed")
    extra = await find_extra(store, layout)

    async def remove(listed: ListedObject) -> None:
        await store.delete(listed.key, precondition=if_match(listed.etag))

    await map_bounded(remove, extra)
    return [listed.key for listed in extra]


async def _frozen_manifest(store: Store, layout: DatasetLayout, manifest: Manifest) -> ObjectInfo:
    """Manifest of a frozen dataset, if it is equal to `manifest`; else FrozenDataset."""
    stored = await store.get(layout.manifest_key, max_bytes=MAX_MANIFEST_BYTES)
    if not parse_manifest(stored.body).is_equal(manifest):
        raise FrozenDataset(f"{layout.root!r} is frozen already, with another manifest")
    return stored.info


async def _put_manifest(
    store: Store, layout: DatasetLayout, body: bytes, present: ListedObject | None
) -> ObjectInfo | ListedObject:
    """Write manifest.json over what the first look saw.

    Somebody else's newer one is never overwritten; one with the same bytes is as good as ours.
    """
    key = layout.manifest_key
    if present is not None and present.etag == md5_hexdigest(body):
        return present
    condition = IF_ABSENT if present is None else if_match(present.etag)
    try:
        return await store.put(key, body, precondition=condition)
    except PreconditionFailed as error:
        with suppress(NotFound, RequestRefused):
            stored = await store.get(key, max_bytes=len(body))
            if stored.body == body:
                return stored.info
        raise WrittenWhileFreezing(f"somebody else wrote {key!r}") from error


def _check_unchanged(layout: DatasetLayout, prepared: Prepared, now: Sequence[ListedObject]) -> None:
    """Raise WrittenWhileFreezing unless `now` is the first look plus what the freezing itself wrote."""
    written = {**prepared.written, layout.manifest_key: prepared.manifest}
    missing, changed = len(prepared.objects.keys() - written.keys()), set(written)
    for listed in now:
        own, seen = written.get(listed.key), prepared.objects.get(listed.key)
        if own is not None:
            # the time of an own write is the server's and only the listing knows it
            if (listed.etag, listed.size_bytes) == (own.etag, own.size_bytes):
                changed.discard(listed.key)
            continue
        missing -= seen is not None
        if listed != seen:
            changed.add(listed.key)
    if missing:  # worth another look at all keys only then
        changed |= prepared.objects.keys() - written.keys() - {listed.key for listed in now}
    if changed:
        raise WrittenWhileFreezing(f"changed while the dataset was frozen: {name_few(sorted(changed))}")


async def _is_flipped(store: Store, layout: DatasetLayout, body: bytes, error: StorageError) -> bool:
    """Settle a refused or unclear flip by reading: True if the store holds our `dtool`.

    False leaves the error to the caller (the proto dataset is as it was); a lost race is
    WrittenWhileFreezing.
    """
    if not (error.retryable or isinstance(error, PreconditionFailed)):
        return False
    try:
        stored = await store.get(layout.admin_metadata_key, max_bytes=MAX_ADMIN_METADATA_BYTES)
    except NotFound as gone:
        raise WrittenWhileFreezing(f"somebody else removed {layout.admin_metadata_key!r}") from gone
    if stored.body == body:
        return True
    if isinstance(error, PreconditionFailed):
        raise WrittenWhileFreezing(f"somebody else wrote {layout.admin_metadata_key!r}") from error
    return False
