"""The library's functions over URIs, as coroutines: what programs and the `dtool-s3` command call.

Owns how a URI becomes a store and a place, and which engine does the work; moves no bytes itself. Every
function takes `configure`, which gives the configuration of a bucket by its name: dtool's own variables
unless told otherwise. Stores of equal configurations are shared; `dtool_s3.configuration.close_stores()`
ends them. `dtool_s3.sync` has the same functions for code without an event loop.

All raise InvalidURI, SettingsError (configuration) and StorageError (the object store refused or did not
answer) beside what each of them names; see `dtool_s3.errors`.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from dtool_s3 import catalog as _catalog
from dtool_s3.catalog import Catalog
from dtool_s3.concurrency import map_bounded
from dtool_s3.configuration import Configure, read_configuration
from dtool_s3.errors import DatasetMissing, FrozenDataset, UUIDTaken
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.place import Bucket, Place, find_place, open_bucket
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import Upload
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.removal import remove_dataset
from dtool_s3.transfer.verify import VerifiedDataset, verify_dataset

DEFAULT_CONCURRENCY = 32

__all__ = [
    "CopiedDataset",
    "abort_uploads",
    "copy",
    "freeze",
    "list_datasets",
    "remove",
    "verify",
]


@dataclass(frozen=True, slots=True)
class CopiedDataset:
    """A copy: its URI, and what is known of it."""

    uri: str
    result: CopyResult


async def copy(
    source_uri: str,
    base_uri: str,
    *,
    configure: Configure = read_configuration,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_progress: ProgressSink = no_progress,
) -> CopiedDataset:
    """Copy a frozen dataset below `base_uri`, complete or not at all, and return its new URI.

    From bucket to bucket the server copies wherever it can; what it cannot, and what comes from or goes to
    a directory (`file://`, `symlink://`), passes through this process, hashed on the way. The copy keeps
    the UUID and lies under the prefix that the target bucket is configured with. A copy that was interrupted
    goes on where it was: call again. `concurrency`: items in flight.

    Raises SourceNotFound, SourceNotFrozen, SourceDamaged, ItemMissing, InvalidManifest, UnsafePath; UUIDTaken
    where the target bucket has the UUID at another place; ContentDiffers, WrittenWhileFreezing. The target is
    then a proto dataset or what it was before.
    """
    source = await find_place(source_uri, configure)
    target = open_bucket(base_uri, configure)
    prefix = await _check_free(target, source.layout.uuid)
    request = CopyRequest(
        source.layout.uuid, source.layout.prefix, prefix, server_side=True, concurrency=concurrency
    )
    result = await copy_dataset(source.store, target.store, request, on_progress=on_progress)
    return CopiedDataset(f"s3://{target.store.bucket}/{request.uuid}", result)


async def list_datasets(
    base_uri: str, *, configure: Configure = read_configuration, prefixes: Iterable[str] = ()
) -> Catalog:
    """List the datasets of a bucket: frozen and proto ones, and what is wrong with the others.

    `prefixes`: where to look for datasets that are not registered, beside the configured prefix. Trouble
    with one dataset is told in its entry and hides no other.
    """
    bucket = open_bucket(base_uri, configure)
    places = dict.fromkeys([bucket.configuration.prefix, *prefixes])
    return await _catalog.list_datasets(bucket.store, prefixes=places)


async def verify(uri: str, *, configure: Configure = read_configuration) -> VerifiedDataset:
    """Compare a frozen dataset with its own manifest; what differs is in the result, up to 20 items of it.

    Raises DatasetMissing, NotSupported for a proto dataset, InvalidManifest, InvalidAdminMetadata,
    ContentDiffers for items that no manifest names.
    """
    place = await find_place(uri, configure)
    return await verify_dataset(place.store, place.layout)


async def freeze(
    uri: str, *, configure: Configure = read_configuration, on_progress: ProgressSink = no_progress
) -> VerifiedDataset:
    """Freeze a proto dataset, as `dtool freeze` does, and return what a listing shows of it afterwards.

    Raises DatasetMissing; FrozenDataset for a dataset that is frozen already; ContentDiffers, naming keys
    that are no items; ItemMissing, WrittenWhileFreezing. It is a proto dataset still then.
    """
    from dtool_s3.proto_dataset import freeze_proto_dataset  # noqa: PLC0415 - dtoolcore's broker, here only

    place = await find_place(uri, configure)
    admin, _ = await read_admin_metadata(place.store, place.layout)
    if admin.is_frozen:
        raise FrozenDataset(f"{uri} is frozen already")
    items = (await place.store.list(place.layout.data_prefix)).objects
    counter = ProgressCounter(
        on_progress,
        items_total=len(items),
        bytes_total=sum(listed.size_bytes for listed in items),
        phase=Phase.FREEZING,
    )
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(
        freeze_proto_dataset,
        uri,
        place.store,
        prefix=place.layout.prefix,
        cache_directory=place.configuration.cache_directory,
        on_items=lambda count: _tell(loop, counter, count),
    )
    return await verify_dataset(place.store, place.layout)


async def remove(
    uri: str,
    *,
    only_proto: bool = False,
    configure: Configure = read_configuration,
    on_progress: ProgressSink = no_progress,
) -> int:
    """Remove a dataset with all its keys; return how many this call removed. There is no way back.

    A removal that was interrupted goes on: call again, the registration key is the last to go. Versions of
    a versioned bucket remain. `only_proto`: refuse a frozen dataset.

    Raises DatasetMissing where there was nothing; FrozenDataset; UUIDTaken; WrittenWhileFreezing where
    somebody keeps writing.
    """
    place = await find_place(uri, configure)
    removed = await remove_dataset(place.store, place.layout, only_proto=only_proto, on_progress=on_progress)
    if not removed:
        raise missing(place)
    return removed


async def abort_uploads(uri: str, *, configure: Configure = read_configuration) -> int:
    """Abort the unfinished multipart uploads of a dataset, whose parts cost storage; return how many.

    Uploads under way fail by it. Raises AccessDenied where they may not be listed.
    """
    place = await find_place(uri, configure)

    async def abort(upload: Upload) -> None:
        await place.store.abort_upload(upload)

    return len(await map_bounded(abort, await place.store.list_uploads(place.layout.root)))


def missing(place: Place) -> DatasetMissing:
    """Build the error for a place where there is no dataset."""
    where = f"under {place.layout.prefix!r}" if place.layout.prefix else "at the top of the bucket"
    known = "" if place.is_registered else ": no registration key, and nothing"
    return DatasetMissing(f"there is no dataset s3://{place.store.bucket}/{place.layout.uuid}{known} {where}")


async def _check_free(target: Bucket, uuid: str) -> str:
    """Return the prefix for a new dataset. Raises UUIDTaken where the UUID is registered under another."""
    prefix = target.configuration.check_prefix()
    registered = await read_registration(target.store, uuid)
    if registered is not None and registered != prefix:
        raise UUIDTaken(
            f"s3://{target.store.bucket}/{uuid} exists already, under the prefix {registered!r}; "
            f"{target.configuration.prefix_variable} says {prefix!r}"
        )
    return prefix


def _tell(loop: asyncio.AbstractEventLoop, counter: ProgressCounter, items: int) -> None:
    loop.call_soon_threadsafe(lambda: counter.add(items=items, size_bytes=0))
