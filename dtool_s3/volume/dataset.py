"""A frozen dataset in a directory that somebody else writes to, as dtoolcore keeps it; reads only.

Unlike `dtool_s3.disk.source` it follows no symbolic link, so that a dataset made to deceive cannot have
files of the reader's machine taken for its own. Blocks. Source: dtoolcore 3.x, `DiskStorageBroker`.
"""

import json
import stat
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from dtool_s3.documents import (
    MAX_ADMIN_METADATA_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_OVERLAY_BYTES,
    MD5_HASH_FUNCTION,
    AdminMetadata,
    Manifest,
    ManifestItem,
    build_manifest_body,
    manifest_version,
    parse_admin_metadata,
    parse_manifest,
)
from dtool_s3.errors import (
    InvalidAdminMetadata,
    InvalidManifest,
    ItemMissing,
    NotSupported,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    UnsafePath,
)
from dtool_s3.files.tree import Tree, TreeFile, kind_of
from dtool_s3.layout import check_disk_relpaths
from dtool_s3.naming import name_few
from dtool_s3.transfer.plan import check_document_names
from dtool_s3.uri import is_uuid

_ADMIN, _MANIFEST, _README = ".dtool/dtool", ".dtool/manifest.json", "README.yml"


@dataclass(frozen=True, slots=True)
class VolumeDataset:
    """A frozen dataset; `manifest_body` in dtoolcore's form, whatever form the file has.

    `documents`: sizes in bytes of README, tags, overlays and annotations by their key in a bucket, relative
    to the dataset's root (`tags/rnaseq`).
    """

    tree: Tree
    admin: AdminMetadata
    manifest: Manifest
    manifest_body: bytes
    documents: dict[str, int]

    def item_file(self, item: ManifestItem) -> TreeFile:
        """Return an item's file."""
        return self.tree.file(f"data/{item.relpath}")

    def read_document(self, name: str) -> bytes:
        """Read a document. Raises NotSupported above 256 MiB, UnsafePath, OSError."""
        refusal = NotSupported(f"{name[:80]!r} is larger than {MAX_OVERLAY_BYTES} bytes")
        return self.tree.read(_document_path(name), MAX_OVERLAY_BYTES, refusal)


def read_volume_dataset(tree: Tree) -> VolumeDataset:
    """Read all but the items of the frozen dataset at `tree`.

    Raises SourceNotFound, SourceNotFrozen, InvalidAdminMetadata, InvalidManifest, UnsafePath, NotSupported
    for another hash than MD5, OSError.
    """
    admin = read_volume_admin(tree)
    if not admin.is_frozen:
        raise SourceNotFrozen(f"{str(tree)!r} is still a proto dataset")
    manifest, body = _read_manifest(tree)
    if manifest.hash_function != MD5_HASH_FUNCTION:
        raise NotSupported(f"the manifest of {str(tree)!r} hashes with {manifest.hash_function[:40]!r}")
    return VolumeDataset(tree, admin, manifest, body, _find_documents(tree))


def read_volume_admin(tree: Tree) -> AdminMetadata:
    """Read what a directory says of itself as a dataset, proto or frozen; see `read_volume_dataset`."""
    refusal = InvalidAdminMetadata(f"{_ADMIN!r} in {str(tree)!r} is too large")
    try:
        body = tree.read(_ADMIN, MAX_ADMIN_METADATA_BYTES, refusal)
    except FileNotFoundError as error:
        raise SourceNotFound(f"there is no dataset in the directory {str(tree)!r}") from error
    uuid = _uuid_of(body)
    if uuid is None:
        raise InvalidAdminMetadata(f"{_ADMIN!r} in {str(tree)!r} has no uuid")
    return parse_admin_metadata(body, {}, uuid=uuid)


def check_files(dataset: VolumeDataset) -> None:
    """Raise ItemMissing, SourceDamaged or UnsafePath where a look shows that no copy can succeed."""
    missing, resized, unsafe = [], [], []
    for item in dataset.manifest.items.values():
        try:
            status = dataset.tree.look(f"data/{item.relpath}")
        except FileNotFoundError:
            missing.append(item.relpath)
            continue
        if not stat.S_ISREG(status.st_mode):
            unsafe.append(f"{item.relpath[:80]} ({kind_of(status.st_mode)})")
        elif status.st_size != item.size_bytes:
            resized.append(item.relpath)
    if unsafe:
        raise UnsafePath(f"{len(unsafe)} items are no regular files: {name_few(unsafe)}")
    if missing:
        raise ItemMissing(f"{len(missing)} items of the manifest are not there: {name_few(missing)}")
    if resized:
        raise SourceDamaged(f"{len(resized)} items are not of the manifest's size: {name_few(resized)}")


def _read_manifest(tree: Tree) -> tuple[Manifest, bytes]:
    refusal = InvalidManifest(f"{_MANIFEST!r} in {str(tree)!r} is larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        body = tree.read(_MANIFEST, MAX_MANIFEST_BYTES, refusal)
    except FileNotFoundError as error:
        raise InvalidManifest(f"{_MANIFEST!r} does not exist in {str(tree)!r}") from error
    manifest = parse_manifest(body)
    check_disk_relpaths(item.relpath for item in manifest.items.values())
    written_by = manifest_version(body) or version("dtoolcore")
    return manifest, build_manifest_body(manifest, dtoolcore_version=written_by)


def _find_documents(tree: Tree) -> dict[str, int]:
    names = [f"tags/{name}" for name in tree.names(".dtool/tags")]
    for folder in ("overlays", "annotations"):
        names += [f"{folder}/{n}" for n in tree.names(f".dtool/{folder}") if n.endswith(".json")]
    bad = [name.encode("utf-8", "backslashreplace").decode() for name in names if not _is_unicode(name)]
    if bad:
        raise UnsafePath(f"names of tags, overlays or annotations are not UTF-8: {name_few(bad)}")
    check_document_names(names)
    found = {name: tree.look(_document_path(name)).st_size for name in names}
    with suppress(FileNotFoundError):
        status = tree.look(_README)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePath(f"{_README!r} in {str(tree)!r} is {kind_of(status.st_mode)}")
        found[_README] = status.st_size
    return found


def _document_path(name: str) -> str:
    return name if name == _README else f".dtool/{name}"


def _uuid_of(body: bytes) -> str | None:
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    uuid = parsed.get("uuid") if isinstance(parsed, dict) else None
    return uuid if isinstance(uuid, str) and is_uuid(uuid) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
