"""What a reader of a frozen dataset asks for: the names and keys of its documents and items; reads only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dtool_s3.documents import MAX_MANIFEST_BYTES, AdminMetadata, Manifest, parse_manifest
from dtool_s3.errors import SourceNotFrozen
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Listing, Store


@dataclass(frozen=True, slots=True)
class Contents:
    """A frozen dataset as one look found it; `listing` is everything below its root."""

    layout: DatasetLayout
    admin: AdminMetadata
    manifest: Manifest
    listing: Listing
    overlays: Sequence[str]
    annotations: Sequence[str]
    tags: Sequence[str]

    def keys(self) -> list[str]:
        """Return the keys of README.yml, the manifest, overlays, annotations and items, in this order."""
        return [
            self.layout.readme_key,
            self.layout.manifest_key,
            *map(self.layout.overlay_key, self.overlays),
            *map(self.layout.annotation_key, self.annotations),
            *map(self.layout.item_key, self.manifest.items),
        ]


async def read_contents(store: Store, layout: DatasetLayout) -> Contents:
    """Look at a frozen dataset: one LIST per thousand keys, two GETs.

    Raises DatasetMissing, SourceNotFrozen, InvalidManifest, UnsafePath, and what the store raises.
    """
    admin, _ = await read_admin_metadata(store, layout)
    if not admin.is_frozen:
        raise SourceNotFrozen(
            f"{layout.root!r} in bucket {store.bucket!r} is not frozen: it may still change"
        )
    manifest = parse_manifest((await store.get(layout.manifest_key, max_bytes=MAX_MANIFEST_BYTES)).body)
    listing = await store.list(layout.root)
    return Contents(
        layout,
        admin,
        manifest,
        listing,
        overlays=names_below(layout.overlays_prefix, listing.objects, ".json"),
        annotations=names_below(layout.annotations_prefix, listing.objects, ".json"),
        tags=names_below(layout.tags_prefix, listing.objects),
    )


def names_below(prefix: str, objects: Iterable[ListedObject], suffix: str = "") -> list[str]:
    """Return the names directly below a prefix; directory markers and other tools' keys are none."""
    keys = (o.key for o in objects if o.key.startswith(prefix) and o.key.endswith(suffix))
    names = (key[len(prefix) : len(key) - len(suffix)] for key in keys if len(key) > len(prefix + suffix))
    return [name for name in names if "/" not in name]
