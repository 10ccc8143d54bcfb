"""What a copy has to do for each item, decided from two listings and a manifest; pure, no I/O.

An unequal ETag is never a mismatch, only a reason to read: multipart and encrypted objects have ETags that
are no MD5. Source: rules 13 and 15 of the API design; S3 "Common response headers", ETag.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dtool_s3.documents import MD5_HASH_FUNCTION, Manifest, ManifestItem
from dtool_s3.errors import (
    ContentDiffers,
    ItemArchived,
    ItemMissing,
    NotSupported,
    QuotaExceeded,
    SourceDamaged,
    UnsafePath,
)
from dtool_s3.naming import name_few
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.inventory import DatasetListing, SourceInventory, TargetInventory

_MD5_FORM = re.compile(r"[0-9a-f]{32}")
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_UNSAFE_SEGMENTS = frozenset({"", ".", ".."})


class Evidence(StrEnum):
    """Why the stored bytes of an item are believed to be those of the manifest."""

    ETAG_MD5 = "etagMD5"
    READ = "read"
    SAME_AS_SOURCE = "sameAsSource"


class Step(StrEnum):
    """What happens with one item."""

    KEEP = "keep"  # it is there, with evidence
    PROVE = "prove"  # something of the right size is there: read it, copy only if it differs
    COPY = "copy"  # on the server
    STREAM = "stream"  # through this process, read with the source's credentials


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """One item of the manifest, where it is and what happens with it."""

    identifier: str
    item: ManifestItem
    source: ListedObject
    step: Step


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """All items of a copy, in the manifest's order."""

    items: tuple[ItemPlan, ...]

    @property
    def size_bytes(self) -> int:
        """Sum of the items' sizes."""
        return sum(plan.item.size_bytes for plan in self.items)

    def count(self, step: Step) -> int:
        """Count the items with this step."""
        return sum(plan.step is step for plan in self.items)


def plan_copy(
    source: SourceInventory, target: TargetInventory, *, server_side: bool, added: Iterable[str] = ()
) -> CopyPlan:
    """Decide for every item of the source's manifest. Raises what makes a complete copy impossible.

    `added` names documents that the copy has beside the source's.
    """
    if source.manifest.hash_function != MD5_HASH_FUNCTION:
        raise NotSupported(f"the manifest hashes with {source.manifest.hash_function[:40]!r}, not MD5")
    check_source_items(source.manifest, source.listing.items)
    check_document_names(source.listing.documents)
    check_nothing_extra(source.manifest, target.listing.items, place=target.layout.root)
    check_no_extra_documents({*source.listing.documents, *added}, target.listing, place=target.layout.root)
    return CopyPlan(
        tuple(
            plan_item(
                identifier,
                item,
                source=source.listing.items[identifier],
                target=target.listing.items.get(identifier),
                server_side=server_side,
            )
            for identifier, item in source.manifest.items.items()
        )
    )


def check_source_items(manifest: Manifest, items: Mapping[str, ListedObject]) -> None:
    """Raise ItemMissing, SourceDamaged or ItemArchived, naming the items."""
    missing = [item.relpath for i, item in manifest.items.items() if i not in items]
    if missing:
        raise ItemMissing(f"{len(missing)} items of the manifest are not in the source: {name_few(missing)}")
    present = [(item, items[i]) for i, item in manifest.items.items()]
    resized = [item.relpath for item, stored in present if item.size_bytes != stored.size_bytes]
    if resized:
        raise SourceDamaged(
            f"{len(resized)} items differ in size from the source's manifest: {name_few(resized)}"
        )
    archived = [item.relpath for item, stored in present if stored.storage_class in _ARCHIVED]
    if archived:
        raise ItemArchived(f"{len(archived)} items must be restored from archive first: {name_few(archived)}")


def check_size(size_bytes: int, max_size_bytes: int | None) -> None:
    """Raise QuotaExceeded where a source is larger than the caller allows."""
    if max_size_bytes is not None and size_bytes > max_size_bytes:
        raise QuotaExceeded(f"the source has {size_bytes} bytes, no more than {max_size_bytes} are allowed")


def check_nothing_extra(manifest: Manifest, items: Mapping[str, ListedObject], *, place: str) -> None:
    """Raise ContentDiffers, naming keys under `data/` that are no item of the manifest."""
    extra = sorted(items.keys() - manifest.items.keys())
    if extra:
        raise ContentDiffers(f"{place}data/ holds {len(extra)} keys that are no items: {name_few(extra)}")


def check_document_names(names: Iterable[str]) -> None:
    """Raise UnsafePath for names with empty, `.` or `..` segments.

    To S3 they are text, but servers that keep objects in a file system may resolve them, and then a tag of
    the source would be written outside the copy.
    """
    unsafe = sorted(name for name in names if not _UNSAFE_SEGMENTS.isdisjoint(name.split("/")))
    if unsafe:
        raise UnsafePath(f"tags, overlays or annotations of the source leave the dataset: {name_few(unsafe)}")


def check_no_extra_documents(expected: Iterable[str], target: DatasetListing, *, place: str) -> None:
    """Raise ContentDiffers, naming tags, overlays and annotations that are not `expected`.

    A README where the source has none is no difference: upstream cannot work without one.
    """
    extra = sorted(target.documents.keys() - set(expected) - {"README.yml"})
    if extra:
        raise ContentDiffers(f"{place} holds what the source does not: {name_few(extra)}")


def plan_item(
    identifier: str,
    item: ManifestItem,
    *,
    source: ListedObject,
    target: ListedObject | None,
    server_side: bool,
) -> ItemPlan:
    """Decide for one item whose source is there and has the manifest's size."""
    if target is not None and target.size_bytes == item.size_bytes:
        known = listed_evidence(item, target, source=source if server_side else None)
        return ItemPlan(identifier, item, source, Step.PROVE if known is None else Step.KEEP)
    return ItemPlan(identifier, item, source, Step.COPY if server_side else Step.STREAM)


def is_suspicious(item: ManifestItem, stored: ListedObject) -> bool:
    """Tell whether an ETag has the form of an MD5 and is not the item's: encrypted, or other bytes."""
    return _MD5_FORM.fullmatch(stored.etag) is not None and stored.etag != item.hash


def listed_evidence(
    item: ManifestItem, target: ListedObject, *, source: ListedObject | None
) -> Evidence | None:
    """Tell what a listing proves of a stored item; None: only reading it can tell.

    `source` is given where the item can only have come by a server-side copy; then an equal ETag that is no
    MD5 shows the same object.
    """
    if target.size_bytes != item.size_bytes:
        return None
    if target.etag == item.hash:
        return Evidence.ETAG_MD5
    says_something = target.etag and not target.etag.endswith("-0")
    if source is None or target.etag != source.etag or not says_something:
        return None
    return None if is_suspicious(item, target) else Evidence.SAME_AS_SOURCE
