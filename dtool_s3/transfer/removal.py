"""Removes one dataset from its place; owns the order of deletions (rule 18 of the API design).

    registration key looked at -> `dtool` (nobody sees a frozen dataset with holes) -> unfinished uploads and
    all other keys, until a listing is empty -> registration key, last

Killed anywhere and called again it goes on: while the registration key is there, the UUID stays taken. It
deletes nothing outside the dataset's root but that key, and that only while it names this prefix.
"""

from collections.abc import Sequence
from contextlib import suppress

from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, MAX_REGISTRATION_BYTES, parse_admin_metadata
from dtool_s3.errors import (
    AccessDenied,
    FrozenDataset,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    UUIDTaken,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Store, StoredObject, if_match
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress

#: How often something is looked at again that others change while it is removed.
_ATTEMPTS = 4
#: Keys of one DeleteObjects request.
_BATCH_KEYS = 1000
#: Keys that are held at a time, however many there are.
_LISTED_KEYS = 50_000


async def remove_dataset(
    store: Store, layout: DatasetLayout, *, only_proto: bool = True, on_progress: ProgressSink = no_progress
) -> int:
    """Remove everything of the dataset at `layout`; return the number of keys that this run removed.

    Nothing there is fine. Unfinished uploads are aborted where the credentials may list them; else they are
    left to the bucket's lifecycle rules.

    Raises, with nothing touched: UUIDTaken where the registration key names another prefix; with
    `only_proto` FrozenDataset for a frozen dataset and InvalidAdminMetadata where `dtool` does not say what
    it is. WrittenWhileFreezing if somebody keeps writing below the root. After a StorageError call again.
    """
    registered = await _read_registration(store, layout)
    if registered is not None and registered.body != layout.prefix.encode():
        raise UUIDTaken(
            f"{layout.registration_key!r} in bucket {store.bucket!r} registers this UUID under another "
            f"prefix than {layout.prefix!r}; nothing was removed"
        )
    removed = await _remove_admin_metadata(store, layout, only_proto=only_proto)
    attempt = 0
    while attempt < _ATTEMPTS:
        # policies for datasets seldom grant this, and uploads are no keys: nobody sees them
        with suppress(AccessDenied, NotSupported):
            await abort_uploads(store, layout.root)
        listing = await store.list(layout.root, limit=_LISTED_KEYS)
        if not listing.objects:
            return removed + await _remove_registration(store, layout)
        removed += await _remove_admin_metadata(store, layout, only_proto=only_proto) if attempt else 0
        removed += await _remove_keys(store, layout, listing.objects, no_progress if attempt else on_progress)
        attempt += not listing.is_cut
    raise WrittenWhileFreezing(f"somebody keeps writing under {layout.root!r} while it is removed")


async def _read_registration(store: Store, layout: DatasetLayout) -> StoredObject | None:
    """Return the registration key; None if there is none, UUIDTaken if it is too large to be ours."""
    try:
        return await store.get(layout.registration_key, max_bytes=MAX_REGISTRATION_BYTES)
    except NotFound:
        return None
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise UUIDTaken(f"{layout.registration_key!r} in bucket {store.bucket!r} is no prefix") from error


async def _remove_admin_metadata(store: Store, layout: DatasetLayout, *, only_proto: bool) -> int:
    """Delete `dtool` exactly as it was read; return 1, or 0 where there is none."""
    key = layout.admin_metadata_key
    for _ in range(_ATTEMPTS):
        try:
            etag = await _read_removable(store, layout, only_proto=only_proto)
            await store.delete(key, precondition=if_match(etag))
        except NotFound:
            return 0
        except PreconditionFailed:
            continue
        return 1
    raise WrittenWhileFreezing(f"somebody keeps writing {key!r} while it is removed")


async def _read_removable(store: Store, layout: DatasetLayout, *, only_proto: bool) -> str:
    """Return the ETag of a `dtool` that may be deleted. Raises NotFound, FrozenDataset."""
    key = layout.admin_metadata_key
    if not only_proto:
        return (await store.head(key)).etag
    stored = await store.get(key, max_bytes=MAX_ADMIN_METADATA_BYTES)
    if parse_admin_metadata(stored.body, stored.info.metadata, uuid=layout.uuid).is_frozen:
        raise FrozenDataset(f"{layout.root!r} in bucket {store.bucket!r} is frozen; it was not removed")
    return stored.info.etag


async def _remove_keys(
    store: Store, layout: DatasetLayout, objects: Sequence[ListedObject], on_progress: ProgressSink
) -> int:
    """Delete all but `dtool`, which is only ever deleted as it was read; return how many."""
    others = [listed for listed in objects if listed.key != layout.admin_metadata_key]
    counter = ProgressCounter(
        on_progress,
        items_total=len(others),
        bytes_total=sum(listed.size_bytes for listed in others),
        phase=Phase.REMOVING,
    )

    for start in range(0, len(others), _BATCH_KEYS):
        batch = others[start : start + _BATCH_KEYS]
        await store.delete_many([listed.key for listed in batch])
        counter.add(items=len(batch), size_bytes=sum(listed.size_bytes for listed in batch))
    return len(others)


async def _remove_registration(store: Store, layout: DatasetLayout) -> int:
    """Delete the registration key while it names this prefix; one that was changed meanwhile stays."""
    for _ in range(_ATTEMPTS):
        registered = await _read_registration(store, layout)
        if registered is None or registered.body != layout.prefix.encode():
            return 0
        try:
            await store.delete(layout.registration_key, precondition=if_match(registered.info.etag))
        except PreconditionFailed:
            continue
        return 1
    raise WrittenWhileFreezing(f"somebody keeps writing {layout.registration_key!r} while it is removed")
