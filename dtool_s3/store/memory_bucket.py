"""The content of one bucket in memory: what S3 does to objects, as synchronous functions on a dictionary.

Owns keys, ETags, listing order and unfinished uploads. Knows nothing of faults, identities or the event loop.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from dtool_s3.errors import BadDigest, ItemArchived, NotFound, PreconditionFailed, RequestRefused
from dtool_s3.store.protocol import (
    NO_METADATA,
    Body,
    ListedObject,
    Listing,
    ObjectInfo,
    Part,
    Precondition,
    Upload,
)

MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2048
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})


_encrypted = itertools.count(1)


def plain_etag(body: Body) -> str:
    """ETag of an object put in one piece: its MD5."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def encrypted_etag(body: Body) -> str:
    """ETag of an encrypted object: 32 hex digits that are no MD5 of anything, others each time."""
    return plain_etag(b"%d encrypted " % next(_encrypted) + bytes(body))


def multipart_etag(part_etags: Sequence[str]) -> str:
    """ETag of an object put in parts: the MD5 of the parts' MD5s, a dash, their number."""
    return f"{plain_etag(b''.join(bytes.fromhex(etag) for etag in part_etags))}-{len(part_etags)}"


@dataclass(frozen=True, slots=True)
class Held:
    """One object as the server holds it; `part_sizes` of one put in one piece are empty."""

    body: bytes
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    storage_class: str = "STANDARD"
    part_sizes: Sequence[int] = ()
    is_public: bool = False

    def info(self, key: str) -> ObjectInfo:
        """Return what HEAD shows."""
        return ObjectInfo(key, len(self.body), self.etag, self.last_modified, self.metadata)

    def listed(self, key: str) -> ListedObject:
        """Return what a listing shows."""
        return ListedObject(key, len(self.body), self.etag, self.last_modified, self.storage_class)


@dataclass(slots=True)
class UnfinishedUpload:
    """A multipart upload that nobody completed yet."""

    upload: Upload
    metadata: Mapping[str, str]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    """Body and ETag of each part."""


class MemoryBucket:
    """Objects and unfinished uploads of one bucket."""

    def __init__(self, name: str, *, honours_preconditions: bool) -> None:
        self.name = name
        self._honours_preconditions = honours_preconditions
        self.objects: dict[str, Held] = {}
        self.uploads: dict[str, UnfinishedUpload] = {}

    def find(self, key: str) -> Held:
        """Return the object at `key`. Raises NotFound."""
        try:
            return self.objects[key]
        except KeyError:
            raise NotFound(f"{self.name}/{key} does not exist", code="NoSuchKey") from None

    def delete(self, key: str, precondition: Precondition) -> None:
        """Delete an object if it is there. Raises PreconditionFailed."""
        if key in self.objects:
            self.check(key, precondition)
        self.objects.pop(key, None)

    def find_readable(self, key: str, max_bytes: int | None = None) -> Held:
        """Return the object at `key` to read. Raises NotFound, ItemArchived, RequestRefused (too large)."""
        held = self.find(key)
        if held.storage_class in _ARCHIVED:
            raise ItemArchived(f"{self.name}/{key} is in {held.storage_class}", code="InvalidObjectState")
        if max_bytes is not None and len(held.body) > max_bytes:
            message = f"{self.name}/{key} has {len(held.body)} bytes, more than {max_bytes}"
            raise RequestRefused(message, code="EntityTooLarge")
        return held

    def find_range(self, key: str, first_byte: int, size_bytes: int, etag: str) -> bytes:
        """Return bytes of an object that has `etag`. Raises what `find_readable` does, PreconditionFailed."""
        held = self.find_readable(key)
        if held.etag != etag:
            raise PreconditionFailed(f"{self.name}/{key} has another ETag", code="PreconditionFailed")
        if size_bytes < 1 or first_byte < 0 or first_byte + size_bytes > len(held.body):
            message = f"{self.name}/{key} has no {size_bytes} bytes from {first_byte} on"
            raise RequestRefused(message, code="InvalidRange")
        return held.body[first_byte : first_byte + size_bytes]

    def set_public(self, key: str, *, is_public: bool) -> None:
        """Let everybody read an object, or nobody without keys. Raises NotFound."""
        self.objects[key] = replace(self.find(key), is_public=is_public)

    def write(self, key: str, held: Held) -> Held:
        """Put an object, metadata names in lower case. Raises RequestRefused for what S3 would not store."""
        if not key or len(key.encode()) > MAX_KEY_BYTES:
            raise RequestRefused(f"a key of {len(key.encode())} bytes", code="KeyTooLongError")
        stored = replace(held, metadata=checked_metadata(held.metadata))
        self.objects[key] = stored
        return stored

    def check(self, key: str, precondition: Precondition) -> None:
        """Raise PreconditionFailed where the condition of a write does not hold."""
        if not self._honours_preconditions:
            return
        held = self.objects.get(key)
        if precondition.if_none_match and held is not None:
            raise PreconditionFailed(f"{self.name}/{key} exists", code="PreconditionFailed")
        if precondition.if_match is not None and (held is None or held.etag != precondition.if_match):
            raise PreconditionFailed(f"{self.name}/{key} has another ETag", code="PreconditionFailed")

    def sorted_keys(self, prefix: str) -> list[str]:
        """Return the keys that start with `prefix` in S3's order, that of their UTF-8 bytes."""
        return sorted((key for key in self.objects if key.startswith(prefix)), key=str.encode)

    def list(self, prefix: str, delimiter: str, limit: int | None) -> Listing:
        """Return what ListObjectsV2 gives, all pages together; `limit` counts keys and common prefixes."""
        objects: list[ListedObject] = []
        common: dict[str, None] = {}
        for key in self.sorted_keys(prefix):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found and f"{prefix}{head}{delimiter}" in common:
                continue
            if limit is not None and len(objects) + len(common) >= limit:
                return Listing(tuple(objects), tuple(common), is_cut=True)
            if found:
                common[f"{prefix}{head}{delimiter}"] = None
            else:
                objects.append(self.objects[key].listed(key))
        return Listing(tuple(objects), tuple(common))

    def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """Return the unfinished uploads of keys that start with `prefix`, in key order."""
        uploads = (unfinished.upload for unfinished in self.uploads.values())
        return tuple(sorted((u for u in uploads if u.key.startswith(prefix)), key=lambda u: u.key.encode()))

    def start(self, upload: Upload, metadata: Mapping[str, str]) -> Upload:
        """Remember a new upload."""
        self.uploads[upload.upload_id] = UnfinishedUpload(upload, checked_metadata(metadata))
        return upload

    def put_part(self, upload: Upload, number: int, body: Body, etag: str, md5: bytes | None) -> Part:
        """Hold one part. Raises NotFound, BadDigest."""
        unfinished = self.find_upload(upload)
        if md5 is not None and md5.hex() != plain_etag(body):
            message = f"part {number} of {self.name}/{upload.key} has another MD5"
            raise BadDigest(message, code="BadDigest")
        unfinished.parts[number] = (bytes(body), etag)
        return Part(number, etag)

    def find_upload(self, upload: Upload) -> UnfinishedUpload:
        """Return an unfinished upload. Raises NotFound."""
        try:
            return self.uploads[upload.upload_id]
        except KeyError:
            message = f"{self.name}/{upload.key} has no upload {upload.upload_id!r}"
            raise NotFound(message, code="NoSuchUpload") from None

    def complete(self, upload: Upload, parts: Sequence[Part], now: datetime) -> Held:
        """Make the object of an upload. Raises NotFound, or RequestRefused for parts that are not there."""
        unfinished = self.find_upload(upload)
        numbers = [part.number for part in parts]
        if not numbers or numbers != sorted(set(numbers)):
            raise RequestRefused(f"parts of {self.name}/{upload.key}: {numbers}", code="InvalidPartOrder")
        for part in parts:
            _, etag = unfinished.parts.get(part.number, (b"", None))
            if etag != part.etag:
                raise RequestRefused(f"part {part.number} of {self.name}/{upload.key}", code="InvalidPart")
        bodies = [unfinished.parts[number][0] for number in numbers]
        held = Held(
            b"".join(bodies),
            multipart_etag([part.etag for part in parts]),
            now,
            unfinished.metadata,
            part_sizes=tuple(map(len, bodies)),
        )
        del self.uploads[upload.upload_id]
        return self.write(upload.key, held)


def checked_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Return user metadata with lower-case names. Raises RequestRefused where S3 would not take it."""
    lowered = {name.lower(): value for name, value in metadata.items()}
    if not all(f"{name}{value}".isascii() for name, value in lowered.items()):
        raise RequestRefused("user metadata must be ASCII", code="ParamValidationError")
    if sum(len(name) + len(value) for name, value in lowered.items()) > MAX_METADATA_BYTES:
        raise RequestRefused(f"user metadata above {MAX_METADATA_BYTES} bytes", code="MetadataTooLarge")
    return MappingProxyType(lowered)
