"""The documents of a dataset: administrative metadata, manifest, structure; pure parse and dump, bounded.

Everything parsed here is somebody else's: sizes are bounded by the caller's read limits below, types are
checked field by field, and whatever does not fit raises the typed error, never KeyError or TypeError.
Source: bodies and headers written by dtool-s3 0.3 to 0.14.1 and dtoolcore 3.x.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dtool_s3.errors import InvalidAdminMetadata, InvalidManifest
from dtool_s3.json_members import iterate_members
from dtool_s3.layout import check_relpath, item_identifier

MAX_ADMIN_METADATA_BYTES = 64 * 1024
MAX_STRUCTURE_BYTES = 64 * 1024
MAX_REGISTRATION_BYTES = 2 * 1024
#: A million items as dtool writes them, with relpaths of 35 characters. A hostile one takes a gigabyte.
MAX_MANIFEST_BYTES = 224 * 1024 * 1024
MAX_README_BYTES = 16 * 1024 * 1024
MAX_ANNOTATION_BYTES = 16 * 1024 * 1024
MAX_OVERLAY_BYTES = 256 * 1024 * 1024

MD5_HASH_FUNCTION = "md5sum_hexdigest"

_REQUIRED_FIELDS = ("uuid", "type", "name", "creator_username")
_TIMESTAMP_FIELDS = ("created_at", "frozen_at")
#: Up to 0.4.0 the hash was the ETag: `<32 digits>-<parts>` for an item in parts, no digest of its bytes.
_HASH = re.compile(r"[0-9a-f]{32,128}|[0-9a-f]{32}-[1-9][0-9]{0,4}")

_VERSION = re.compile(r"[0-9A-Za-z_.+!-]{1,64}")


class DatasetType(StrEnum):
    """`type` of the administrative metadata: the only mark of a frozen dataset."""

    PROTO = "protodataset"
    FROZEN = "dataset"


@dataclass(frozen=True, slots=True)
class AdminMetadata:
    """Administrative metadata of a dataset; times are seconds since 1970 in UTC."""

    uuid: str
    type: DatasetType
    name: str
    creator_username: str
    dtoolcore_version: str | None = None
    created_at: float | None = None
    frozen_at: float | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether the dataset is frozen."""
        return self.type is DatasetType.FROZEN

    def with_type(self, new_type: DatasetType) -> "AdminMetadata":
        """Return the same metadata with another type."""
        return replace(self, type=new_type)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in dtoolcore's order; absent ones are left out."""
        fields = {
            "uuid": self.uuid,
            "dtoolcore_version": self.dtoolcore_version,
            "name": self.name,
            "type": self.type.value,
            "creator_username": self.creator_username,
            "created_at": self.created_at,
            "frozen_at": self.frozen_at,
        }
        return {name: value for name, value in fields.items() if value is not None}


def dump_admin_metadata(fields: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Return body and user metadata headers of the `dtool` object.

    Header values are `str(value)`; S3 headers are ASCII, so other characters become `?` there while the
    body keeps them.
    """
    body = json.dumps(dict(fields)).encode()
    return body, {name: _ascii(str(value)) for name, value in fields.items()}


def parse_admin_metadata(body: bytes, headers: Mapping[str, str], *, uuid: str) -> AdminMetadata:
    """Parse the `dtool` object of the dataset `uuid`. Raises InvalidAdminMetadata.

    Headers count (upstream reads nothing else); what they lack, or a proxy lost, comes from the body.
    `uuid` and `type` must agree between header, body and key: such a dataset is never called frozen.
    """
    from_header = {name.lower(): value for name, value in headers.items()}
    from_body = _json_object_or_empty(body)
    for field in ("uuid", "type"):
        in_header, in_body = from_header.get(field), from_body.get(field)
        if in_header is not None and in_body is not None and in_header != in_body:
            raise InvalidAdminMetadata(
                f"{field} is {in_header!r} in the header, {str(in_body)[:80]!r} in the body"
            )
    same = {n: v for n, v in from_body.items() if isinstance(v, str) and from_header.get(n) == _ascii(v)}
    return _admin_metadata({**from_body, **from_header, **same}, uuid)


def _admin_metadata(fields: Mapping[str, Any], uuid: str) -> AdminMetadata:
    for name in _REQUIRED_FIELDS:
        if not isinstance(fields.get(name), str):
            raise InvalidAdminMetadata(f"{name} is missing in header and body")
    if fields["uuid"] != uuid:
        raise InvalidAdminMetadata(f"uuid {fields['uuid'][:80]!r} lies under the key of {uuid!r}")
    try:
        dataset_type = DatasetType(fields["type"])
    except ValueError as error:
        raise InvalidAdminMetadata(f"type is {fields['type'][:80]!r}") from error
    version = fields.get("dtoolcore_version")
    texts = {"name": fields["name"], "creator_username": fields["creator_username"], "version": str(version)}
    for name, text in texts.items():
        if not is_text(text):
            raise InvalidAdminMetadata(f"{name} is {text[:80]!r}, which is not valid Unicode")
    return AdminMetadata(
        uuid=uuid,
        type=dataset_type,
        name=fields["name"],
        creator_username=fields["creator_username"],
        dtoolcore_version=None if version is None else str(version),
        **{name: _timestamp(name, fields.get(name)) for name in _TIMESTAMP_FIELDS},
    )


def is_text(value: str) -> bool:
    """Tell whether text can be encoded: JSON can hold halves of characters, which nothing else takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _timestamp(name: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float) and (seconds := _finite(value)) is not None:
        return seconds
    raise InvalidAdminMetadata(f"{name} is not a time: {str(value)[:80]!r}")


def _finite(value: str | float) -> float | None:
    """Value as a finite number; None for booleans, NaN, infinities, and integers that no float holds."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _json_object_or_empty(body: bytes) -> dict[str, Any]:
    """Body as a JSON object; `{}` for the literal `dtoolfile` of versions up to 0.3 and anything else."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """One item as the manifest says it is; `hash` may be the ETag of an item in parts (up to 0.4.0)."""

    relpath: str
    size_bytes: int
    hash: str
    utc_timestamp: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """All items of a dataset by identifier; equality is that of identifiers, hashes, sizes, relpaths."""

    hash_function: str
    items: Mapping[str, ManifestItem]

    @property
    def size_bytes(self) -> int:
        """Sum of the items' sizes."""
        return sum(item.size_bytes for item in self.items.values())

    def is_equal(self, other: "Manifest") -> bool:
        """Tell whether both describe the same content; times of upload do not count."""
        return self.hash_function == other.hash_function and self.content() == other.content()

    def content(self) -> dict[str, tuple[str, int, str]]:
        """Return what makes two manifests equal: relpath, size and hash by identifier."""
        return {i: (item.relpath, item.size_bytes, item.hash) for i, item in self.items.items()}

    def content_sha256(self) -> str:
        """Return a digest in hex digits that two manifests share exactly if they are equal."""
        digest = hashlib.sha256(json.dumps(self.hash_function).encode())
        for identifier, what in sorted(self.content().items()):
            digest.update(json.dumps([identifier, *what]).encode())
        return digest.hexdigest()


def parse_manifest(body: bytes, *, keeps: Callable[[str, ManifestItem], bool] | None = None) -> Manifest:
    """Parse manifest.json. Raises InvalidManifest, or UnsafePath for a relpath that must not be written.

    Each item is checked and made small before the next one is read: of a hostile manifest no more is held
    than of an honest one, but for the length of its relpaths. Items for which `keeps` is false are checked,
    and not held.
    """
    items: dict[str, ManifestItem] = {}
    found: dict[str, object] = {}
    try:
        for parent, name, value in iterate_members(body, inside={"items"}):
            if parent:
                item = _manifest_item(name, value)
                if keeps is None or keeps(name, item):
                    items[name] = item
            elif name in {"items", "hash_function"}:
                found[name] = value
                if name == "items":  # of two the last counts, as for all readers
                    items.clear()
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"manifest.json is not JSON: {str(error)[:120]}") from error
    if not isinstance(found.get("items"), dict):
        raise InvalidManifest("manifest.json has no object `items`")
    hash_function = found.get("hash_function")
    if not isinstance(hash_function, str):
        raise InvalidManifest("manifest.json names no hash_function")
    return Manifest(hash_function, items)


def _manifest_item(identifier: str, value: object) -> ManifestItem:
    if not isinstance(value, dict):
        raise InvalidManifest(f"item {identifier[:40]!r} is not an object")
    relpath, size, digest = value.get("relpath"), value.get("size_in_bytes"), value.get("hash")
    if not isinstance(relpath, str):
        raise InvalidManifest(f"item {identifier[:40]!r} has no relpath")
    check_relpath(relpath)
    if item_identifier(relpath) != identifier:
        raise InvalidManifest(f"identifier {identifier[:40]!r} is not that of relpath {relpath[:80]!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidManifest(f"size_in_bytes of {relpath[:80]!r} is not a size")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise InvalidManifest(f"hash of {relpath[:80]!r} is neither a hex digest nor an ETag")
    timestamp = value.get("utc_timestamp", 0.0)
    seconds = _finite(timestamp) if isinstance(timestamp, int | float) else None
    if seconds is None:
        raise InvalidManifest(f"utc_timestamp of {relpath[:80]!r} is not a number")
    return ManifestItem(relpath, size, digest, seconds)


def dump_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Body of manifest.json from dtoolcore's manifest dictionary (indent 2, sorted)."""
    return json.dumps(manifest, indent=2, sort_keys=True).encode()


def build_manifest_body(manifest: Manifest, *, dtoolcore_version: str) -> bytes:
    """Body of manifest.json for a new dataset, byte for byte as dtoolcore writes it, of very many items too.

    Raises InvalidManifest or UnsafePath for what no reader would take.
    """
    version, function = json.dumps(dtoolcore_version), json.dumps(manifest.hash_function)
    items = ",".join(_item_text(i, manifest.items[i]) for i in sorted(manifest.items))
    text = f'{{\n  "dtoolcore_version": {version},\n  "hash_function": {function},\n  "items": {{{items}'
    body = (text + ("\n  }\n}" if items else "}\n}")).encode()
    parse_manifest(body)
    return body


def _item_text(identifier: str, item: ManifestItem) -> str:
    """Write one item as dtoolcore's JSON has it: a tenth of the memory that its dictionaries would take."""
    fields = (
        ("hash", json.dumps(item.hash)),
        ("relpath", json.dumps(item.relpath)),
        ("size_in_bytes", str(item.size_bytes)),
        ("utc_timestamp", json.dumps(item.utc_timestamp)),
    )
    members = ",".join(f'\n      "{name}": {value}' for name, value in fields)
    return f"\n    {json.dumps(identifier)}: {{{members}\n    }}"


def manifest_version(body: bytes) -> str | None:
    """Version of dtoolcore that a manifest names; None where it names none, or no version."""
    found = None
    for parent, name, value in iterate_members(body, inside={"items"}):
        if not parent and name == "dtoolcore_version":
            found = value
    return found if isinstance(found, str) and _VERSION.fullmatch(found) else None


def storage_broker_version(structure_body: bytes | None) -> str | None:
    """Version of the format from structure.json; None if the document or the field is missing or broken."""
    if structure_body is None:
        return None
    version = _json_object_or_empty(structure_body).get("storage_broker_version")
    return version if isinstance(version, str) else None
