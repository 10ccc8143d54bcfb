"""Whether a frozen dataset is complete and what is known of its bytes; reads only, changes nothing.

Completeness is that of rule 13 of the API design: every item of the dataset's own manifest in equal size,
nothing extra under `data/`. What a listing cannot prove is counted as unproven, never as wrong; only reading
every byte tells of all. One bad item never hides the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dtool_s3.concurrency import run_workers
from dtool_s3.digest import algorithm_of
from dtool_s3.documents import MD5_HASH_FUNCTION, AdminMetadata, Manifest
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    DatasetMissing,
    ItemArchived,
    ItemMissing,
    NotFound,
    PreconditionFailed,
    RequestRefused,
    SourceNotFrozen,
    StorageError,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.naming import name_few
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.inventory import list_dataset, read_admin_metadata, read_manifest
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.ranges import hash_listed
from dtool_s3.transfer.shared_budget import shared_budget
from dtool_s3.transfer.tally import MAX_EXTRAS_SHOWN, MAX_MISMATCHES_SHOWN, Mismatch, Tally, Verification

#: Items that are read side by side, each in several ranges; memory is bounded by a budget of bytes.
READ_AT_ONCE = 32

__all__ = [
    "MAX_EXTRAS_SHOWN",
    "MAX_MISMATCHES_SHOWN",
    "Mismatch",
    "Verification",
    "VerifiedDataset",
    "VerifyMethod",
    "require_complete",
    "verify_dataset",
    "verify_listing",
    "verify_manifest",
]

#: What keeps one item from being read and says nothing of the others.
_UNREADABLE = (AccessDenied, ItemArchived, NotFound, PreconditionFailed, RequestRefused)


class VerifyMethod(StrEnum):
    """How a dataset is verified."""

    LISTING = "Listing"  # sizes and ETags; no byte is read
    CONTENT = "Content"  # every byte is read and hashed


@dataclass(frozen=True, slots=True)
class VerifiedDataset:
    """A dataset as found: its administrative metadata and the verification."""

    admin: AdminMetadata
    verification: Verification


async def verify_dataset(
    store: Store,
    layout: DatasetLayout,
    *,
    method: VerifyMethod = VerifyMethod.LISTING,
    concurrency: int = READ_AT_ONCE,
    on_progress: ProgressSink = no_progress,
) -> VerifiedDataset:
    """Verify a frozen dataset: by listing in ⌈N/1000⌉ requests and two, or by reading all of it besides.

    Damage is in the result; `require_complete` turns it into an error. Raises DatasetMissing,
    SourceNotFrozen, NotSupported for an unknown hash function, InvalidManifest, StorageError where the store
    does not answer.
    """
    admin = await read_admin_metadata(store, layout)
    if admin is None:
        raise DatasetMissing(f"there is no dataset at {layout.root} in bucket {store.bucket}")
    if not admin.is_frozen:
        raise SourceNotFrozen(f"dataset {layout.uuid} in bucket {store.bucket} is a proto dataset")
    manifest, _ = await read_manifest(store, layout)
    found = await verify_manifest(
        store, layout, manifest, method=method, concurrency=concurrency, on_progress=on_progress
    )
    return VerifiedDataset(admin, found)


async def verify_manifest(
    store: Store,
    layout: DatasetLayout,
    manifest: Manifest,
    *,
    method: VerifyMethod = VerifyMethod.LISTING,
    concurrency: int = READ_AT_ONCE,
    on_progress: ProgressSink = no_progress,
    items: Mapping[str, ListedObject] | None = None,
) -> Verification:
    """Compare the items at a place with a manifest that was read already; see `verify_dataset`.

    `items` by identifier, as a listing just showed them; None: they are listed.
    """
    counter = ProgressCounter(
        on_progress, items_total=len(manifest.items), bytes_total=manifest.size_bytes, phase=Phase.VERIFYING
    )
    if items is None:
        items = (await list_dataset(store, layout)).items
    match method:
        case VerifyMethod.LISTING:
            return verify_listing(manifest, items)
        case VerifyMethod.CONTENT:
            return await _verify_content(store, manifest, items, concurrency, counter)


def verify_listing(manifest: Manifest, items: Mapping[str, ListedObject]) -> Verification:
    """Compare a manifest with what a listing shows under `data/`; pure."""
    tally = Tally()
    is_md5 = manifest.hash_function == MD5_HASH_FUNCTION
    for identifier, item in manifest.items.items():
        stored = tally.take_whole(item, items.get(identifier))
        if stored is None:
            continue
        if is_md5:
            tally.take_etag(item, stored)
        else:
            tally.unproven += 1
    return tally.result(manifest, extra=items.keys() - manifest.items.keys())


async def _verify_content(
    store: Store,
    manifest: Manifest,
    items: Mapping[str, ListedObject],
    concurrency: int,
    counter: ProgressCounter,
) -> Verification:
    """Read and hash every item that is there in the right size."""
    algorithm = algorithm_of(manifest.hash_function)
    tally, budget = Tally(), shared_budget()
    waiting = iter(manifest.items.items())

    async def work() -> None:
        for identifier, item in waiting:
            stored = tally.take_whole(item, items.get(identifier))
            if stored is not None and "-" in item.hash:  # the ETag of parts, up to 0.4.0: no digest of bytes
                tally.take_etag(item, stored)
            elif stored is not None:
                found = await _digest(store, stored, algorithm, budget)
                if found == item.hash:
                    tally.counts[Evidence.READ] += 1
                else:
                    tally.mismatch(item, item.hash, found)
            counter.add(items=1, size_bytes=item.size_bytes)

    await run_workers(work, count=min(max(1, concurrency), len(manifest.items)))
    return tally.result(manifest, extra=items.keys() - manifest.items.keys())


async def _digest(store: Store, stored: ListedObject, algorithm: str, budget: ByteBudget) -> str:
    """Return the digest of an item's bytes, or in words why they could not be read."""
    try:
        return await hash_listed(store, stored, budget=budget, algorithm=algorithm)
    except _UNREADABLE as error:
        return _in_words(error)


def _in_words(error: StorageError) -> str:
    match error:
        case NotFound():
            return "vanished while the dataset was verified"
        case PreconditionFailed():
            return "changed while the dataset was verified"
        case _:
            return f"unreadable: {error.reason}"


def require_complete(verification: Verification) -> None:
    """Raise ItemMissing where items are absent, ContentDiffers where items differ or keys are no items."""
    if verification.mismatch_count:
        named = ", ".join(f"{m.relpath[:80]!r} ({m.found})" for m in verification.mismatches[:5])
        error = ItemMissing if verification.absent_count else ContentDiffers
        count = verification.mismatch_count
        differ = "1 item differs" if count == 1 else f"{count} items differ"
        raise error(f"{differ} from the manifest: {named}")
    if verification.extra_count:
        named = name_few(verification.extra)
        raise ContentDiffers(f"data/ holds {verification.extra_count} keys that are no items: {named}")
