"""What is there, read once: the source dataset with its manifest, and the target as one listing shows it.

Reads only; decides nothing. One LIST per thousand keys and one GET per document, however many items.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from dtool_s3 import freezing
from dtool_s3.documents import (
    MAX_MANIFEST_BYTES,
    MAX_STRUCTURE_BYTES,
    AdminMetadata,
    Manifest,
    ManifestItem,
    parse_manifest,
    storage_broker_version,
)
from dtool_s3.errors import (
    DatasetMissing,
    DtoolS3Error,
    InvalidManifest,
    NotFound,
    RequestRefused,
    SourceNotFound,
    SourceNotFrozen,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import ListedObject, Store

_FIRST_BASE64_HANDLES = Version("0.14.0")
_DOCUMENT_FOLDERS = ("tags/", "overlays/", "annotations/")

#: Which items of a manifest are wanted, by identifier and item.
Keeps = Callable[[str, ManifestItem], bool]


@dataclass(frozen=True, slots=True)
class DatasetListing:
    """All keys under a dataset's root, sorted into items and documents.

    `items`: by identifier, the zero-byte marker `data/` left out. `documents`: README, tags, overlays and
    annotations by key relative to the root (`tags/rnaseq`), directory markers left out.
    """

    items: Mapping[str, ListedObject]
    documents: Mapping[str, ListedObject]

    def without_items(self) -> "DatasetListing":
        """Return the documents alone: of many items a listing holds megabytes."""
        return DatasetListing({}, self.documents)


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

    @property
    def is_frozen(self) -> bool:
        """Whether a frozen dataset lies there; the listing was taken after that was seen."""
        return self.admin is not None and self.admin.is_frozen


def sort_listing(layout: DatasetLayout, objects: Iterable[ListedObject]) -> DatasetListing:
    """Sort the keys under `layout.root`; keys that belong to neither items nor documents are left out."""
    listed = objects if isinstance(objects, Sequence) else tuple(objects)
    documents, start = {}, len(layout.root)
    folders = tuple(f"{layout.root}{folder}" for folder in _DOCUMENT_FOLDERS)
    for o in listed:
        if o.key == layout.readme_key or (o.key.startswith(folders) and not o.key.endswith("/")):
            documents[o.key[start:]] = o
    return DatasetListing(freezing.list_items(layout, listed), documents)


async def list_dataset(store: Store, layout: DatasetLayout) -> DatasetListing:
    """List everything under the dataset's root."""
    listing = await store.list(layout.root)
    return sort_listing(layout, listing.objects)


async def read_admin_metadata(store: Store, layout: DatasetLayout) -> AdminMetadata | None:
    """Read the administrative metadata; None where there is none. Raises InvalidAdminMetadata."""
    try:
        admin, _ = await freezing.read_admin_metadata(store, layout)
    except DatasetMissing:
        return None
    return admin


async def read_manifest(
    store: Store, layout: DatasetLayout, *, sha256: str | None = None, keeps: Keeps | None = None
) -> tuple[Manifest, bytes]:
    """Read the manifest and its bytes; with `keeps`, only the items for which it is true are held.

    Raises InvalidManifest, also where there is none or its SHA-256 (hex digits) is not the given one;
    UnsafePath.
    """
    key = layout.manifest_key
    try:
        with refusing_large(InvalidManifest(f"{key!r} is larger than {MAX_MANIFEST_BYTES} bytes")):
            stored = await store.get(key, max_bytes=MAX_MANIFEST_BYTES)
    except NotFound as error:
        raise InvalidManifest(f"{key!r} does not exist in bucket {store.bucket!r}") from error
    if sha256 is not None and (found := hashlib.sha256(stored.body).hexdigest()) != sha256.lower():
        raise InvalidManifest(f"{key!r} has SHA-256 {found}, not {sha256[:64]!r} as was asked for")
    return parse_manifest(stored.body, keeps=keeps), stored.body


async def read_structure_version(store: Store, layout: DatasetLayout) -> str | None:
    """Read the version of the format from structure.json; None where it is missing, too large or broken."""
    try:
        stored = await store.get(layout.structure_key, max_bytes=MAX_STRUCTURE_BYTES)
    except NotFound:
        return None
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        return None
    return storage_broker_version(stored.body)


async def read_frozen(
    store: Store,
    layout: DatasetLayout,
    *,
    manifest_sha256: str | None = None,
    keeps: Keeps | None = None,
) -> tuple[AdminMetadata, Manifest, bytes]:
    """Read what a frozen dataset is and its manifest, also as its bytes; see `read_source`.

    Of the manifest only the items for which `keeps` is true are held.
    """
    admin = await read_admin_metadata(store, layout)
    if admin is None:
        raise SourceNotFound(f"there is no dataset at {layout.root!r} in bucket {store.bucket!r}")
    if not admin.is_frozen:
        raise SourceNotFrozen(f"dataset {layout.uuid} in bucket {store.bucket!r} is still a proto dataset")
    return admin, *await read_manifest(store, layout, sha256=manifest_sha256, keeps=keeps)


async def read_source(
    store: Store, layout: DatasetLayout, *, manifest_sha256: str | None = None
) -> SourceInventory:
    """Read a frozen dataset; with `manifest_sha256`, only one whose manifest's bytes have it.

    Raises SourceNotFound, SourceNotFrozen, InvalidAdminMetadata, InvalidManifest, UnsafePath.
    """
    admin, manifest, body = await read_frozen(store, layout, manifest_sha256=manifest_sha256)
    return SourceInventory(
        layout=layout,
        admin=admin,
        manifest=manifest,
        manifest_body=body,
        has_base64_handles=writes_base64_handles(await read_structure_version(store, layout)),
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


@contextmanager
def refusing_large(refusal: DtoolS3Error) -> Iterator[None]:
    """Raise `refusal` where a store refuses to read an object because it exceeds the caller's bound."""
    try:
        yield
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise refusal from error
