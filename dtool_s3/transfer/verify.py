"""Whether a frozen dataset is complete and what is known of its bytes; reads only.

Completeness is that of rule 13 of the API design: every item of the dataset's own manifest in equal size,
nothing extra under `data/`. What a listing cannot prove is counted as unproven, never as wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dtool_s3.documents import MD5_HASH_FUNCTION, AdminMetadata, Manifest
from dtool_s3.errors import DatasetMissing, ItemMissing, NotSupported
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.inventory import list_dataset, read_admin_metadata, read_manifest
from dtool_s3.transfer.plan import Evidence, check_nothing_extra, listed_evidence

MAX_MISMATCHES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An item that is not what the manifest says; `found` is a size in bytes, or `absent`."""

    relpath: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of a dataset; `evidence` counts items by kind, `unproven` those without any.

    `mismatches` are the first 20 of `mismatch_count`.
    """

    items: int
    size_bytes: int
    evidence: Mapping[Evidence, int]
    unproven: int = 0
    mismatch_count: int = 0
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def is_proven(self) -> bool:
        """Whether the bytes of every item were attested by an MD5 or read."""
        return (
            not self.unproven and not self.mismatch_count and not self.evidence.get(Evidence.SAME_AS_SOURCE)
        )


@dataclass(frozen=True, slots=True)
class VerifiedDataset:
    """A dataset as found: its administrative metadata and the verification."""

    admin: AdminMetadata
    verification: Verification


async def verify_dataset(store: Store, layout: DatasetLayout) -> VerifiedDataset:
    """Verify a frozen dataset by listing it.

    Raises DatasetMissing, NotSupported for a proto dataset, InvalidManifest, ContentDiffers for extra keys.
    """
    admin = await read_admin_metadata(store, layout)
    if admin is None:
        raise DatasetMissing(f"there is no dataset at {layout.root} in bucket {store.bucket}")
    if not admin.is_frozen:
        raise NotSupported(f"dataset {layout.uuid} in bucket {store.bucket} is a proto dataset")
    manifest, _ = await read_manifest(store, layout)
    listing = await list_dataset(store, layout)
    check_nothing_extra(manifest, listing.items, place=layout.root)
    return VerifiedDataset(admin, verify_listing(manifest, listing.items))


def verify_listing(manifest: Manifest, items: Mapping[str, ListedObject]) -> Verification:
    """Compare a manifest with what a listing shows of its items; pure."""
    counts = dict.fromkeys(Evidence, 0)
    mismatches: list[Mismatch] = []
    unproven = 0
    is_md5 = manifest.hash_function == MD5_HASH_FUNCTION
    for identifier, item in manifest.items.items():
        stored = items.get(identifier)
        if stored is None or stored.size_bytes != item.size_bytes:
            found = "absent" if stored is None else f"{stored.size_bytes} bytes"
            mismatches.append(Mismatch(item.relpath, f"{item.size_bytes} bytes", found))
        elif is_md5 and listed_evidence(item, stored, source=None) is Evidence.ETAG_MD5:
            counts[Evidence.ETAG_MD5] += 1
        else:
            unproven += 1
    return Verification(
        items=len(manifest.items),
        size_bytes=manifest.size_bytes,
        evidence=counts,
        unproven=unproven,
        mismatch_count=len(mismatches),
        mismatches=tuple(mismatches[:MAX_MISMATCHES_SHOWN]),
    )


def require_complete(verification: Verification) -> None:
    """Raise ItemMissing where an item is absent or has another size."""
    if verification.mismatch_count:
        named = ", ".join(f"{m.relpath[:80]!r} ({m.found})" for m in verification.mismatches[:5])
        raise ItemMissing(f"{verification.mismatch_count} items differ from the manifest: {named}")
