"""What is there, read once: the source dataset with its manifest, and the target as one listing shows it.

Reads only; decides nothing. One LIST per thousand keys and one GET per document, however many items.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from dtool_s3.documents import (
    MAX_ADMIN_METADATA_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_STRUCTURE_BYTES,
    AdminMetadata,
    Manifest,
    parse_admin_metadata,
    parse_manifest,
    storage_broker_version,
)
from dtool_s3.errors import InvalidManifest, NotFound, SourceNotFound, SourceNotFrozen
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Store, StoredObject

_FIRST_BASE64_HANDLES = Version("0.14.0")


@dataclass(frozen=True, slots=True)
class DatasetListing:
    """All keys under a dataset's root, sorted into items and documents.

    `items`: by identifier, the zero-byte marker `data/` left out. `documents`: README, tags, overlays and
    annotations by key relative to the root (`tags/rnaseq`), directory markers left out.
    """

    items: Mapping[str, ListedObject]
    documents: Mapping[str, ListedObject]


@dataclass(frozen=True, slots=True)
class SourceInventory:
    """A frozen dataset to be copied; `manifest_body` are its manifest's bytes as stored."""

    layout: DatasetLayout
    admin: AdminMetadata
    manifest: Manifest
    manifest_body: bytes
    has_base64_handles: bool
    listing: DatasetListing


@dataclass(frozen=True, slots=True)
class TargetInventory:
    """The place of the copy; `admin` None: nothing was created yet."""

    layout: DatasetLayout
    admin: AdminMetadata | None
    listing: DatasetListing


_DOCUMENT_FOLDERS = ("tags/", "overlays/", "annotations/")


def sort_listing(layout: DatasetLayout, objects: tuple[ListedObject, ...]) -> DatasetListing:
    """Sort the keys under `layout.root`; keys that belong to neither items nor documents are left out."""
    relative = {o.key.removeprefix(layout.root): o for o in objects}
    items = {key.removeprefix("data/"): o for key, o in relative.items() if key.startswith("data/")}
    items.pop("", None)
    documents = {
        key: o
        for key, o in relative.items()
        if key == "README.yml" or (key.startswith(_DOCUMENT_FOLDERS) and not key.endswith("/"))
    }
    return DatasetListing(items, documents)


async def list_dataset(store: Store, layout: DatasetLayout) -> DatasetListing:
    """List everything under the dataset's root."""
    listing = await store.list(layout.root)
    return sort_listing(layout, tuple(listing.objects))


async def read_optional(store: Store, key: str, max_bytes: int) -> StoredObject | None:
    """Read `key`; None only where the store says that it does not exist."""
    try:
        return await store.get(key, max_bytes=max_bytes)
    except NotFound:
        return None


async def read_admin_metadata(store: Store, layout: DatasetLayout) -> AdminMetadata | None:
    """Read the administrative metadata; None where there is none. Raises InvalidAdminMetadata."""
    stored = await read_optional(store, layout.admin_metadata_key, MAX_ADMIN_METADATA_BYTES)
    if stored is None:
        return None
    return parse_admin_metadata(stored.body, stored.info.metadata, uuid=layout.uuid)


async def read_manifest(store: Store, layout: DatasetLayout) -> tuple[Manifest, bytes]:
    """Read the manifest and its bytes. Raises InvalidManifest where there is none."""
    stored = await read_optional(store, layout.manifest_key, MAX_MANIFEST_BYTES)
    if stored is None:
        raise InvalidManifest(f"{layout.manifest_key} does not exist in bucket {store.bucket}")
    return parse_manifest(stored.body), stored.body


async def read_source(store: Store, layout: DatasetLayout) -> SourceInventory:
    """Read a frozen dataset. Raises SourceNotFound, SourceNotFrozen, InvalidManifest, UnsafePath."""
    admin = await read_admin_metadata(store, layout)
    if admin is None:
        raise SourceNotFound(f"there is no dataset at {layout.root} in bucket {store.bucket}")
    if not admin.is_frozen:
        raise SourceNotFrozen(f"dataset {layout.uuid} in bucket {store.bucket} is still a proto dataset")
    manifest, body = await read_manifest(store, layout)
    structure = await read_optional(store, layout.structure_key, MAX_STRUCTURE_BYTES)
    version = storage_broker_version(None if structure is None else structure.body)
    return SourceInventory(
        layout=layout,
        admin=admin,
        manifest=manifest,
        manifest_body=body,
        has_base64_handles=writes_base64_handles(version),
        listing=await list_dataset(store, layout),
    )


async def read_target(store: Store, layout: DatasetLayout) -> TargetInventory:
    """Read what is at the place of the copy. Raises InvalidAdminMetadata."""
    admin = await read_admin_metadata(store, layout)
    return TargetInventory(layout, admin, await list_dataset(store, layout))


def writes_base64_handles(version: str | None) -> bool:
    """Tell whether upstream decodes the handles of a dataset written as format `version`.

    Source: upstream compares PEP 440 versions with 0.14.0; what cannot be parsed is treated as older here,
    so that its headers are written anew.
    """
    if version is None:
        return False
    try:
        return Version(version) >= _FIRST_BASE64_HANDLES
    except InvalidVersion:
        return False
