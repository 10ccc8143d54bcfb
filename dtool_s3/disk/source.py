"""A frozen dataset in a directory, as dtoolcore keeps it; reads only, blocks, and changes nothing.

dtoolcore's own broker says where things are. Source: dtoolcore 3.x, `DiskStorageBroker`.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtoolcore.storagebroker import DiskStorageBroker
from dtoolcore.utils import generous_parse_uri

from dtool_s3.documents import (
    MAX_ADMIN_METADATA_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_OVERLAY_BYTES,
    MD5_HASH_FUNCTION,
    AdminMetadata,
    Manifest,
    ManifestItem,
    dump_manifest,
    parse_admin_metadata,
    parse_manifest,
)
from dtool_s3.errors import (
    DtoolS3Error,
    InvalidAdminMetadata,
    InvalidManifest,
    ItemMissing,
    NotSupported,
    SourceDamaged,
    SourceNotFound,
    SourceNotFrozen,
    UnsafePath,
)
from dtool_s3.naming import name_few
from dtool_s3.uri import is_uuid

#: Schemes whose datasets are directories with the structure of dtoolcore's DiskStorageBroker.
SCHEMES = ("file", "symlink")


@dataclass(frozen=True, slots=True)
class DiskDataset:
    """A frozen dataset; `manifest_body` as dtool writes it.

    `documents`: paths of README, tags, overlays and annotations by their key in a bucket, relative to the
    dataset's root (`tags/rnaseq`).
    """

    data_directory: Path
    admin: AdminMetadata
    manifest: Manifest
    manifest_body: bytes
    documents: Mapping[str, Path]

    def item_path(self, item: ManifestItem) -> Path:
        """Return the path of an item's file."""
        return self.data_directory / item.relpath


def read_disk_dataset(uri: str) -> DiskDataset:
    """Read all but the items of a frozen dataset; of these, compare the sizes with the manifest.

    Raises NotSupported for other schemes than `file` and `symlink` and for manifests with another hash than
    MD5, SourceNotFound, SourceNotFrozen, InvalidAdminMetadata, InvalidManifest, UnsafePath, ItemMissing,
    SourceDamaged, OSError.
    """
    scheme = generous_parse_uri(uri).scheme
    if scheme not in SCHEMES:
        raise NotSupported(f"{uri!r}: only datasets in directories are read here ({', '.join(SCHEMES)})")
    broker = DiskStorageBroker(uri)
    if not broker.has_admin_metadata():
        raise SourceNotFound(f"there is no dataset at {uri!r}")
    admin = read_admin_metadata(broker)
    if not admin.is_frozen:
        raise SourceNotFrozen(f"{uri!r} is still a proto dataset")
    manifest, body = read_manifest(broker)
    if manifest.hash_function != MD5_HASH_FUNCTION:
        raise NotSupported(f"the manifest of {uri!r} hashes with {manifest.hash_function[:40]!r}, not MD5")
    documents = find_documents(broker)
    _check_names(documents)
    dataset = DiskDataset(data_directory(broker), admin, manifest, body, documents)
    _check_items(dataset)
    return dataset


def read_admin_metadata(broker: DiskStorageBroker) -> AdminMetadata:
    """Read the administrative metadata. Raises InvalidAdminMetadata, OSError."""
    path = broker.get_admin_metadata_key()
    body = read_bounded(Path(path), MAX_ADMIN_METADATA_BYTES, InvalidAdminMetadata(f"{path!r} is too large"))
    uuid = _parse_object(body).get("uuid")
    if not isinstance(uuid, str) or not is_uuid(uuid):
        raise InvalidAdminMetadata(f"{path!r} has the uuid {str(uuid)[:80]!r}")
    return parse_admin_metadata(body, {}, uuid=uuid)


def read_manifest(broker: DiskStorageBroker) -> tuple[Manifest, bytes]:
    """Read the manifest, also as dtool writes it. Raises InvalidManifest, UnsafePath, OSError."""
    path = broker.get_manifest_key()
    try:
        body = read_bounded(Path(path), MAX_MANIFEST_BYTES, InvalidManifest(f"{path!r} is too large"))
    except FileNotFoundError as error:
        raise InvalidManifest(f"{path!r} does not exist") from error
    return parse_manifest(body), dump_manifest(json.loads(body))


def data_directory(broker: DiskStorageBroker) -> Path:
    """Return the directory of the items."""
    return Path(broker.get_readme_key()).parent / "data"


def find_documents(broker: DiskStorageBroker) -> dict[str, Path]:
    """Return the paths of README, tags, overlays and annotations by their key in a bucket."""
    names = {"README.yml": broker.get_readme_key()}
    names |= {f"tags/{tag}": broker.get_tag_key(tag) for tag in broker.list_tags()}
    names |= {f"overlays/{name}.json": broker.get_overlay_key(name) for name in broker.list_overlay_names()}
    names |= {
        f"annotations/{name}.json": broker.get_annotation_key(name) for name in broker.list_annotation_names()
    }
    # other programs' files lie there too, and then dtoolcore names documents that do not exist
    return {name: Path(path) for name, path in names.items() if Path(path).is_file()}


def read_document(path: Path) -> bytes:
    """Read a README, tag, overlay or annotation. Raises NotSupported above 256 MiB, OSError."""
    return read_bounded(path, MAX_OVERLAY_BYTES, NotSupported(f"{str(path)!r} is too large"))


def read_bounded(path: Path, max_bytes: int, refusal: DtoolS3Error) -> bytes:
    """Read a file of at most `max_bytes`; raise `refusal` for a larger one."""
    with path.open("rb") as file:
        body = file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise refusal
    return body


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _check_names(documents: Mapping[str, Path]) -> None:
    bad = [name for name in documents if not _is_unicode(name)]
    if bad:
        raise UnsafePath(f"names of tags, overlays or annotations are not valid Unicode: {name_few(bad)}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_items(dataset: DiskDataset) -> None:
    """Raise ItemMissing or SourceDamaged where a look at the files shows that no copy can succeed."""
    missing, resized = [], []
    for item in dataset.manifest.items.values():
        try:
            status = os.stat(dataset.item_path(item))  # noqa: PTH116 - a third of Path.stat's time
        except (FileNotFoundError, NotADirectoryError):
            missing.append(item.relpath)
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_size != item.size_bytes:
            resized.append(item.relpath)
    if missing:
        raise ItemMissing(f"{len(missing)} items of the manifest are not there: {name_few(missing)}")
    if resized:
        raise SourceDamaged(f"{len(resized)} items are not files of the manifest's size: {name_few(resized)}")
