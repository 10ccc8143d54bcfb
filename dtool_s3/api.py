"""The library's functions over URIs, as coroutines: what programs and the `dtool-s3` command call.

Owns how a URI becomes a store and a place, and which engine does the work; moves no bytes itself. Every
function takes `configure`, which gives the configuration of a bucket by its name: dtool's own variables
unless told otherwise. Stores of equal configurations are shared; `dtool_s3.configuration.close_stores()`
ends them. `dtool_s3.sync` has the same functions for code without an event loop.

All raise InvalidURI, SettingsError (configuration) and StorageError (the object store refused or did not
answer) beside what each of them names; see `dtool_s3.errors`.
"""

from collections.abc import Iterable
from uuid import uuid4

from dtoolcore.utils import getuser

from dtool_s3 import catalog
from dtool_s3.catalog import EMPTY_CATALOG, Catalog
from dtool_s3.concurrency import map_bounded
from dtool_s3.configuration import Configure, read_configuration, with_slash
from dtool_s3.copying import CopiedDataset, Copying
from dtool_s3.errors import DatasetMissing, FrozenDataset, NotSupported
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.freezing import remove_extra as remove_extra_objects
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.layout import DatasetLayout
from dtool_s3.place import Place, find_place, open_bucket, open_prefix
from dtool_s3.proto_freezing import freeze_listed
from dtool_s3.publication import publishing
from dtool_s3.registration import register_found
from dtool_s3.store.protocol import Upload, UrlStore
from dtool_s3.transfer.progress import ProgressSink, no_progress
from dtool_s3.transfer.removal import remove_dataset
from dtool_s3.transfer.verify import VerifiedDataset, VerifyMethod, verify_dataset

DEFAULT_CONCURRENCY = 64

__all__ = [
    "CopiedDataset",
    "abort_uploads",
    "copy",
    "freeze",
    "ingest",
    "list_datasets",
    "publish",
    "register",
    "remove",
    "unpublish",
    "verify",
]


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
    where the target bucket has the UUID at another place, which it names; ContentDiffers,
    WrittenWhileFreezing, OSError. The target is then a proto dataset or what it was before.
    """
    return await Copying(source_uri, base_uri, configure, concurrency, on_progress).run()


async def list_datasets(
    base_uri: str,
    *,
    configure: Configure = read_configuration,
    prefixes: Iterable[str] = (),
    previous: Catalog = EMPTY_CATALOG,
) -> Catalog:
    """List the datasets of a bucket: frozen and proto ones, and what is wrong with the others.

    `prefixes`: where to look for datasets that are not registered, beside the configured prefix; what is
    registered elsewhere is marked as outside, unless no place is named at all. `previous`: an earlier result
    for this bucket, which makes the next one cheaper. Trouble with one dataset is told in its entry and hides
    no other.
    """
    bucket = open_bucket(base_uri, configure)
    places = {bucket.configuration.prefix, *map(with_slash, prefixes)}
    asked = None if places == {""} else places
    return await catalog.list_datasets(bucket.store, prefixes=asked, previous=previous, max_keys=None)


async def verify(
    uri: str,
    *,
    method: VerifyMethod = VerifyMethod.LISTING,
    configure: Configure = read_configuration,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_progress: ProgressSink = no_progress,
) -> VerifiedDataset:
    """Compare a frozen dataset with its own manifest: by one listing, or by reading every byte.

    What differs is in the result, up to 20 items of it. `concurrency`: items read at a time.

    Raises DatasetMissing, SourceNotFrozen, NotSupported for an unknown hash function, InvalidManifest,
    InvalidAdminMetadata.
    """
    place = await find_place(uri, configure)
    return await verify_dataset(
        place.store, place.layout, method=method, concurrency=concurrency, on_progress=on_progress
    )


async def freeze(
    uri: str,
    *,
    remove_extra: bool = False,
    configure: Configure = read_configuration,
    on_progress: ProgressSink = no_progress,
) -> VerifiedDataset:
    """Freeze a proto dataset, as `dtool freeze` does, and return what a listing shows of it afterwards.

    `remove_extra`: first remove the keys among the items that dtool did not write.

    Raises DatasetMissing; FrozenDataset for a dataset that is frozen already; ContentDiffers, naming keys
    that are no items; ItemMissing, WrittenWhileFreezing. It is a proto dataset still then.
    """
    place = await find_place(uri, configure)
    admin, _ = await read_admin_metadata(place.store, place.layout)
    if admin.is_frozen:
        raise FrozenDataset(f"{uri} is frozen already")
    if remove_extra:
        await remove_extra_objects(place.store, place.layout)
    listing = await place.store.list(place.layout.root)
    await freeze_listed(place.store, place.layout, listing, on_progress=on_progress)
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
        raise _missing(place)
    return removed


async def abort_uploads(uri: str, *, configure: Configure = read_configuration) -> int:
    """Abort the unfinished multipart uploads of a dataset, whose parts cost storage; return how many.

    Uploads under way fail by it. Raises AccessDenied where they may not be listed.
    """
    place = await find_place(uri, configure)

    async def abort(upload: Upload) -> None:
        await place.store.abort_upload(upload)

    return len(await map_bounded(abort, await place.store.list_uploads(place.layout.root)))


async def register(uri: str, *, prefix: str, configure: Configure = read_configuration) -> bool:
    """Write the lost registration key of the dataset that lies under `prefix`; False if it was right already.

    Raises DatasetMissing where no dataset lies there, InvalidAdminMetadata where it cannot be read or has
    another UUID, UUIDTaken where the key names another prefix: it is never overwritten.
    """
    place = await find_place(uri, configure)
    return await register_found(place.store, DatasetLayout(with_slash(prefix), place.layout.uuid))


async def ingest(  # noqa: PLR0913 - what a user may say of a new dataset, all but two by name
    prefix_uri: str,
    base_uri: str,
    *,
    name: str,
    uuid: str | None = None,
    creator_username: str | None = None,
    readme: str = "",
    skips_markers: bool = False,
    configure: Configure = read_configuration,
    concurrency: int = DEFAULT_CONCURRENCY,
    on_progress: ProgressSink = no_progress,
) -> CopiedDataset:
    """Make a frozen dataset below `base_uri` of the plain objects under `s3://bucket/prefix/`, which stay.

    On one service nothing is downloaded but what is needed to know MD5s. What follows the prefix in a key
    becomes the relpath. `uuid`: that of an interrupted call, to go on; None: a new one. `creator_username`
    None: this user. `skips_markers`: leave out the empty keys that consoles make for folders.

    Raises SettingsError (an invalid name), SourceNotFound (no objects), UnsafePath, ItemArchived; UUIDTaken,
    SourceDamaged, ItemMissing, ContentDiffers, WrittenWhileFreezing.
    """
    source, source_prefix = open_prefix(prefix_uri, configure)
    target = open_bucket(base_uri, configure)
    request = IngestRequest(
        uuid=uuid or str(uuid4()),
        source_prefix=source_prefix,
        target_prefix=target.configuration.check_prefix(),
        name=name,
        creator_username=getuser() if creator_username is None else creator_username,
        readme=readme,
        skips_markers=skips_markers,
        concurrency=concurrency,
    )
    result = await ingest_objects(source.store, target.store, request, on_progress=on_progress)
    return CopiedDataset(f"s3://{target.store.bucket}/{request.uuid}", result)


async def publish(
    uri: str, *, expires_seconds: int | None = None, configure: Configure = read_configuration
) -> str:
    """Make a frozen dataset readable over HTTP and return the URL, which was read as a stranger would.

    `expires_seconds`: with signed URLs that are valid so long, at most 7 days; None: as the configuration
    says, which may be without end.

    Raises SourceNotFrozen, DatasetMissing, ItemMissing, ContentDiffers; NotSupported and AccessDenied where
    the service lets nobody read, saying what to do instead. Then all is taken back.
    """
    place = await find_place(uri, configure)
    expiry = place.configuration.publish_expiry_seconds if expires_seconds is None else expires_seconds
    return await publishing.publish(_with_urls(place), place.layout, expires_seconds=expiry)


async def unpublish(uri: str, *, configure: Configure = read_configuration) -> None:
    """Take a publication back; signed URLs that were given out are valid until they expire.

    Raises DatasetMissing, NotSupported where the dataset still answers strangers for another reason.
    """
    place = await find_place(uri, configure)
    await publishing.unpublish(_with_urls(place), place.layout)


def _with_urls(place: Place) -> UrlStore:
    if not isinstance(place.store, UrlStore):
        raise NotSupported(f"the store of bucket {place.store.bucket!r} gives no URLs")
    return place.store


def _missing(place: Place) -> DatasetMissing:
    """Build the error for a place where there is no dataset."""
    where = f"under {place.layout.prefix!r}" if place.layout.prefix else "at the top of the bucket"
    known = "" if place.is_registered else ": no registration key, and nothing"
    return DatasetMissing(f"there is no dataset s3://{place.store.bucket}/{place.layout.uuid}{known} {where}")
