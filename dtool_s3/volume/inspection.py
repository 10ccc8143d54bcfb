"""What a source is, told before anything is copied; reads a few documents, no item."""

import hashlib
from dataclasses import dataclass

from dtool_s3.documents import AdminMetadata, Manifest
from dtool_s3.errors import InvalidAdminMetadata, SettingsError
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout
from dtool_s3.naming import check_name
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.inventory import read_frozen
from dtool_s3.volume.dataset import check_files, read_volume_dataset
from dtool_s3.volume.faults import using_volume

_MAX_USERNAME = 256


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A frozen dataset; times in seconds since 1970 in UTC.

    `manifest_sha256`: hex digits; of a dataset in a directory those of its manifest as it will be written
    into a bucket, which are those of the file where dtool wrote it. `content_sha256`: see
    `Manifest.content_sha256`.
    """

    uuid: str
    name: str
    creator_username: str
    created_at: float | None
    frozen_at: float | None
    items: int
    size_bytes: int
    manifest_sha256: str
    content_sha256: str


def inspect_directory(tree: Tree) -> SourceSummary:
    """Say which dataset lies in a directory. Blocks.

    Sizes of the items' files are compared with the manifest. Raises SourceNotFound, SourceNotFrozen,
    InvalidAdminMetadata, InvalidManifest, NotSupported, UnsafePath (links, odd names), ItemMissing,
    SourceDamaged, VolumeUnavailable.
    """
    with using_volume(tree):
        found = read_volume_dataset(tree)
        check_files(found)
    _check_identity(found.admin)
    return _summarise(found.admin, found.manifest, found.manifest_body)


def _check_identity(admin: AdminMetadata) -> None:
    """Raise InvalidAdminMetadata for names that a dataset in a bucket cannot have."""
    try:
        check_name(admin.name, of="a dataset")
    except SettingsError as error:
        raise InvalidAdminMetadata(str(error)) from error
    creator = admin.creator_username
    if not creator.isprintable() or len(creator) > _MAX_USERNAME:
        raise InvalidAdminMetadata(f"{creator[:80]!r} cannot be the name of a dataset's creator")


async def inspect_stored(store: Store, layout: DatasetLayout) -> SourceSummary:
    """Say which dataset lies at `layout`, in two GETs.

    Raises SourceNotFound, SourceNotFrozen, InvalidAdminMetadata, InvalidManifest, UnsafePath, StorageError.
    """
    return _summarise(*await read_frozen(store, layout))


def _summarise(admin: AdminMetadata, manifest: Manifest, body: bytes) -> SourceSummary:
    return SourceSummary(
        uuid=admin.uuid,
        name=admin.name,
        creator_username=admin.creator_username,
        created_at=admin.created_at,
        frozen_at=admin.frozen_at,
        items=len(manifest.items),
        size_bytes=manifest.size_bytes,
        manifest_sha256=hashlib.sha256(body).hexdigest(),
        content_sha256=manifest.content_sha256(),
    )
