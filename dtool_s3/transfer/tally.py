"""What was found of a dataset, as values, and the counting of it; pure, no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dtool_s3.documents import Manifest, ManifestItem
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.plan import Evidence, listed_evidence

MAX_MISMATCHES_SHOWN = 20
MAX_EXTRAS_SHOWN = 20


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


@dataclass(slots=True)
class Tally:
    """Counts what is found, item by item; the first few mismatches are kept."""

    counts: dict[Evidence, int] = field(default_factory=lambda: dict.fromkeys(Evidence, 0))
    unproven: int = 0
    mismatch_count: int = 0
    absent_count: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def mismatch(self, item: ManifestItem, expected: str, found: str) -> None:
        """Note an item that is not what it should be."""
        self.mismatch_count += 1
        if len(self.mismatches) < MAX_MISMATCHES_SHOWN:
            self.mismatches.append(Mismatch(item.relpath, expected, found))

    def take_whole(self, item: ManifestItem, stored: ListedObject | None) -> ListedObject | None:
        """Return an item that is there in its size; else note the mismatch and return None."""
        return stored if self.take_size(item, None if stored is None else stored.size_bytes) else None

    def take_size(self, item: ManifestItem, size_bytes: int | None) -> bool:
        """Tell whether an item has its size, None: is not there; else note the mismatch."""
        if size_bytes is None:
            self.absent_count += 1
            self.mismatch(item, f"{item.size_bytes} bytes", "absent")
        elif size_bytes != item.size_bytes:
            self.mismatch(item, f"{item.size_bytes} bytes", f"{size_bytes} bytes")
        return size_bytes == item.size_bytes

    def take_etag(self, item: ManifestItem, stored: ListedObject) -> None:
        """Note what the ETag says of an item's bytes."""
        if listed_evidence(item, stored, source=None) is Evidence.ETAG_MD5:
            self.counts[Evidence.ETAG_MD5] += 1
        else:
            self.unproven += 1

    def result(self, manifest: Manifest, *, extra: Iterable[str], hidden: int = 0) -> Verification:
        """Return all of it; `extra` names what is no item, `hidden` are as many more that have no names."""
        names = sorted(extra)
        return Verification(
            items=len(manifest.items),
            size_bytes=manifest.size_bytes,
            evidence=self.counts,
            unproven=self.unproven,
            mismatch_count=self.mismatch_count,
            absent_count=self.absent_count,
            mismatches=tuple(self.mismatches),
            extra_count=len(names) + hidden,
            extra=tuple(name[:120] for name in names[:MAX_EXTRAS_SHOWN]),
        )
