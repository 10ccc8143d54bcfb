"""The content of one bucket in memory: what S3 does to objects, as synchronous functions on a dictionary.

Owns keys, ETags, listing order and unfinished uploads. Knows nothing of faults, identities or the event loop.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from dtool_s3.errors import ItemArchived, NotFound, PreconditionFailed, RequestRefused
from dtool_s3.store.protocol import NO_METADATA, ListedObject, Listing, ObjectInfo, Part, Precondition, Upload

MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2048
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def plain_etag(body: bytes) -> str:
    """ETag of an object put in one piece: its MD5."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def multipart_etag(bodies: Sequence[bytes]) -> str:
    """ETag of an object put in parts: the MD5 of the parts' MD5s, a dash, their number."""
    digests = b"".join(hashlib.md5(body, usedforsecurity=False).digest() for body in bodies)
    return f"{plain_etag(digests)}-{len(bodies)}"


@dataclass(frozen=True, slots=True)
class Held:
    """One object as the server holds it."""

    body: bytes
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    storage_class: str = "STANDARD"

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
    parts: dict[int, bytes] = field(default_factory=dict)


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

    def write(self, key: str, held: Held) -> Held:
        """Put an object, metadata names in lower case. Raises RequestRefused for what S3 would not store."""
        if not key or len(key.encode()) > MAX_KEY_BYTES:
            raise RequestRefused(f"a key of {len(key.encode())} bytes", code="KeyTooLongError")
        stored = Held(
            held.body, held.etag, held.last_modified, checked_metadata(held.metadata), held.storage_class
        )
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
            if limit is not None and len(objects) + len(common) >= limit:
                break
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
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

    def put_part(self, upload: Upload, number: int, body: bytes) -> Part:
        """Hold one part. Raises NotFound."""
        self.find_upload(upload).parts[number] = bytes(body)
        return Part(number, plain_etag(body))

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
            body = unfinished.parts.get(part.number)
            if body is None or plain_etag(body) != part.etag:
                raise RequestRefused(f"part {part.number} of {self.name}/{upload.key}", code="InvalidPart")
        bodies = [unfinished.parts[number] for number in numbers]
        held = Held(b"".join(bodies), multipart_etag(bodies), now, unfinished.metadata)
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
