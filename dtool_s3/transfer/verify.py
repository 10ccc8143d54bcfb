"""Whether a frozen dataset is complete and what is known of its bytes; reads only, changes nothing.

Completeness is that of rule 13 of the API design: every item of the dataset's own manifest in equal size,
nothing extra under `data/`. What a listing cannot prove is counted as unproven, never as wrong; only reading
every byte tells of all. One bad item never hides the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dtool_s3.concurrency import run_workers
from dtool_s3.digest import algorithm_of
from dtool_s3.documents import MD5_HASH_FUNCTION, AdminMetadata, Manifest, ManifestItem
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
from dtool_s3.transfer.plan import Evidence, listed_evidence
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.ranges import hash_listed
from dtool_s3.transfer.shared_budget import shared_budget

MAX_MISMATCHES_SHOWN = 20
MAX_EXTRAS_SHOWN = 20
#: Items that are read side by side, each in several ranges; memory is bounded by a budget of bytes.
READ_AT_ONCE = 32

#: What keeps one item from being read and says nothing of the others.
_UNREADABLE = (AccessDenied, ItemArchived, NotFound, PreconditionFailed, RequestRefused)


class VerifyMethod(StrEnum):
    """How a dataset is verified."""

    LISTING = "Listing"  # sizes and ETags; no byte is read
    CONTENT = "Content"  # every byte is read and hashed


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An item that is not what the manifest says.

    `expected` and `found` are sizes (`5 bytes`) or digests in hex; `found` may also be `absent`, or say that
    and why the item could not be read.
    """

    relpath: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of a dataset; `evidence` counts items by kind, `unproven` those without any.

    `mismatches` are the first 20 of `mismatch_count`, of which `absent_count` items are not there; `extra`
    names the first 20 of `extra_count` keys under `data/` that are no items, relative to `data/`.
    """

    items: int
    size_bytes: int
    evidence: Mapping[Evidence, int]
    unproven: int = 0
    mismatch_count: int = 0
    absent_count: int = 0
    mismatches: tuple[Mismatch, ...] = ()
    extra_count: int = 0
    extra: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every item is there as far as is known, and nothing else."""
        return not self.mismatch_count and not self.extra_count

    @property
    def is_proven(self) -> bool:
        """Whether the dataset is complete and the bytes of every item were attested by an MD5 or read."""
        return self.is_complete and not self.unproven and not self.evidence.get(Evidence.SAME_AS_SOURCE)


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


@dataclass(slots=True)
class _Tally:
    """Counts what is found, item by item."""

    counts: dict[Evidence, int] = field(default_factory=lambda: dict.fromkeys(Evidence, 0))
    unproven: int = 0
    mismatch_count: int = 0
    absent_count: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def mismatch(self, item: ManifestItem, expected: str, found: str) -> None:
        self.mismatch_count += 1
        if len(self.mismatches) < MAX_MISMATCHES_SHOWN:
            self.mismatches.append(Mismatch(item.relpath, expected, found))

    def take_whole(self, item: ManifestItem, stored: ListedObject | None) -> ListedObject | None:
        """Return an item that is there in its size; else note the mismatch and return None."""
        if stored is None:
            self.absent_count += 1
            self.mismatch(item, f"{item.size_bytes} bytes", "absent")
            return None
        if stored.size_bytes != item.size_bytes:
            self.mismatch(item, f"{item.size_bytes} bytes", f"{stored.size_bytes} bytes")
            return None
        return stored

    def take_etag(self, item: ManifestItem, stored: ListedObject) -> None:
        """Note what the ETag says of an item's bytes."""
        if listed_evidence(item, stored, source=None) is Evidence.ETAG_MD5:
            self.counts[Evidence.ETAG_MD5] += 1
        else:
            self.unproven += 1

    def result(self, manifest: Manifest, items: Iterable[str]) -> Verification:
        extra = sorted(name for name in items if name not in manifest.items)
        return Verification(
            items=len(manifest.items),
            size_bytes=manifest.size_bytes,
            evidence=self.counts,
            unproven=self.unproven,
            mismatch_count=self.mismatch_count,
            absent_count=self.absent_count,
            mismatches=tuple(self.mismatches),
            extra_count=len(extra),
            extra=tuple(name[:120] for name in extra[:MAX_EXTRAS_SHOWN]),
        )


def verify_listing(manifest: Manifest, items: Mapping[str, ListedObject]) -> Verification:
    """Compare a manifest with what a listing shows under `data/`; pure."""
    tally = _Tally()
    is_md5 = manifest.hash_function == MD5_HASH_FUNCTION
    for identifier, item in manifest.items.items():
        stored = tally.take_whole(item, items.get(identifier))
        if stored is None:
            continue
        if is_md5:
            tally.take_etag(item, stored)
        else:
            tally.unproven += 1
    return tally.result(manifest, items)


async def _verify_content(
    store: Store,
    manifest: Manifest,
    items: Mapping[str, ListedObject],
    concurrency: int,
    counter: ProgressCounter,
) -> Verification:
    """Read and hash every item that is there in the right size."""
    algorithm = algorithm_of(manifest.hash_function)
    tally, budget = _Tally(), shared_budget()
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
    return tally.result(manifest, items)


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
