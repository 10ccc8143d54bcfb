"""Which plain objects become which items of a new dataset, and what refuses them; pure, no I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dtool_s3.documents import ManifestItem
from dtool_s3.errors import (
    ContentDiffers,
    ItemArchived,
    SettingsError,
    SourceDamaged,
    SourceNotFound,
    UnsafePath,
)
from dtool_s3.layout import DatasetLayout, check_disk_relpaths, check_relpath, item_identifier
from dtool_s3.naming import check_name, name_few
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.inventory import TargetInventory
from dtool_s3.transfer.parts import S3_LIMITS, PartLimits

_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """Which objects become which new dataset.

    `source_prefix` is `""` or ends in `/`; what follows it in a key becomes the relpath. `skips_markers`:
    leave out zero-byte keys that end in `/` (made by consoles for folders) instead of refusing them.
    `server_side`: the target's credentials may be used to read the source. `concurrency`: items in flight.
    `max_size_bytes`: more than that in all is refused.
    """

    uuid: str
    source_prefix: str
    target_prefix: str
    name: str
    creator_username: str
    readme: str = ""
    skips_markers: bool = False
    server_side: bool = True
    concurrency: int = 32
    limits: PartLimits = S3_LIMITS
    pause_seconds: float = 1.0
    max_size_bytes: int | None = None

    @property
    def layout(self) -> DatasetLayout:
        """Keys of the new dataset."""
        return DatasetLayout(self.target_prefix, self.uuid)


@dataclass(frozen=True, slots=True)
class PlainObject:
    """An object and the relpath that it will have."""

    relpath: str
    listed: ListedObject

    def as_item(self, md5: str) -> ManifestItem:
        """Return it as an item whose bytes have this MD5; the time is not known yet."""
        return ManifestItem(self.relpath, self.listed.size_bytes, md5, 0.0)


def plan_ingest(listed: Iterable[ListedObject], request: IngestRequest) -> tuple[PlainObject, ...]:
    """Give every object its relpath; pure. Raises SourceNotFound, UnsafePath, ItemArchived, naming keys."""
    found = [PlainObject(o.key[len(request.source_prefix) :], o) for o in listed]
    markers = [o.listed.key for o in found if is_marker(o.listed)]
    if markers and not request.skips_markers:
        raise UnsafePath(f"directory markers cannot be items, leave them out by choice: {name_few(markers)}")
    objects = tuple(o for o in found if not is_marker(o.listed))
    if not objects:
        raise SourceNotFound(f"there are no objects under {request.source_prefix!r}")
    if problems := [problem for o in objects if (problem := _relpath_problem(o.relpath))]:
        raise UnsafePath(f"{len(problems)} keys give no relpath: {'; '.join(problems[:5])}")
    check_disk_relpaths(o.relpath for o in objects)
    if archived := [o.listed.key for o in objects if o.listed.storage_class in _ARCHIVED]:
        raise ItemArchived(
            f"{len(archived)} objects must be restored from archive first: {name_few(archived)}"
        )
    return objects


def _relpath_problem(relpath: str) -> str | None:
    try:
        check_relpath(relpath)
    except UnsafePath as error:
        return str(error)
    return None


def check_request(request: IngestRequest, *, is_same_bucket: bool) -> None:
    """Raise SettingsError for a name that dtool refuses, or prefixes that lie in one another."""
    check_name(request.name, of="a dataset")
    start, root = request.source_prefix, request.layout.root
    if start and not start.endswith("/"):
        raise SettingsError(f"the prefix of the objects is {start!r}; it must be empty or end in '/'")
    if is_same_bucket and (root.startswith(start) or start.startswith(root)):
        raise SettingsError(f"the new dataset {root!r} would lie among the objects under {start!r}")


def check_place(place: TargetInventory, request: IngestRequest, objects: Sequence[PlainObject]) -> None:
    """Raise ContentDiffers for another dataset, or items that the source does not have, naming them."""
    if place.admin is not None and place.admin.name != request.name:
        raise ContentDiffers(f"{place.layout.root!r} holds a dataset named {place.admin.name[:80]!r} already")
    extra = sorted(place.listing.items.keys() - {item_identifier(o.relpath) for o in objects})
    if extra:
        raise ContentDiffers(
            f"{place.layout.data_prefix!r} holds what the source does not: {name_few(extra)}"
        )


def check_unchanged(
    objects: Sequence[PlainObject], listed: Iterable[ListedObject], request: IngestRequest
) -> None:
    """Raise SourceDamaged, naming the keys, unless a second listing shows the same objects."""
    now = {(o.key, o.etag, o.size_bytes) for o in listed if not (request.skips_markers and is_marker(o))}
    before = {(o.listed.key, o.listed.etag, o.listed.size_bytes) for o in objects}
    if changed := sorted({key for key, _, _ in before ^ now}):
        raise SourceDamaged(f"the objects changed while they were copied: {name_few(changed)}")


def is_marker(listed: ListedObject) -> bool:
    """Tell whether an object stands for a folder."""
    return listed.size_bytes == 0 and listed.key.endswith("/")
