"""What the worker of one task may do in S3: a pure decision about every single request.

Owns which keys of which dataset, with which headers, in which sizes. Knows no token, store or clock. Whatever
is not named here is refused; a refusal is an `AccessDenied`, as S3 would give it.

    upload      read the dataset; write items, README, manifest, tags, overlays, annotations
    download    read the dataset
    others      nothing
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from dtool_operator.planning.task import Encryption, Location, Side, Task, TaskKind
from dtool_operator.transfers.signing.wire import (
    AbortUpload,
    Call,
    CompleteUpload,
    DeleteItem,
    ListAsked,
    ListUploads,
    PartAsked,
    PartSizes,
    PutAsked,
    ReadAsked,
    StartUpload,
    UrlAsked,
)
from dtool_s3.documents import (
    MAX_ANNOTATION_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_OVERLAY_BYTES,
    MAX_README_BYTES,
)
from dtool_s3.errors import AccessDenied, UnsafePath
from dtool_s3.layout import DatasetLayout, check_relpath, decode_handle, encode_handle
from dtool_s3.settings import ConditionalWrites, EncryptionMode
from dtool_s3.store.protocol import UrlRequest

_SIDES: Final = {TaskKind.UPLOAD: Side.TARGET, TaskKind.DOWNLOAD: Side.SOURCE}
_MAX_TAG_BYTES: Final = 1024
_METADATA_NAMES: Final = frozenset({"handle", "checksum"})

_IDENTIFIER: Final = re.compile(r"[0-9a-f]{40}")
_MD5: Final = re.compile(r"[0-9a-f]{32}")
#: What dtool accepts; `.` and `..` are resolved by servers and file systems.
_NEW_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[0-9A-Za-z_.-]{1,80}")
#: What may be read: other programs gave documents other names, but a segment is one.
_ANY_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[^/\\\x00-\x1f\x7f]{1,255}")
#: What a listing's prefix may have after the dataset's root: the start of a key that is ours.
_PREFIX_REST: Final = re.compile(r"[A-Za-z_.]{0,20}|(data|tags|overlays|annotations)/[0-9A-Za-z_.-]{0,80}")


class Place(StrEnum):
    """What of a dataset a key is."""

    ITEM = "item"
    README = "readme"
    MANIFEST = "manifest"
    TAG = "tag"
    OVERLAY = "overlay"
    ANNOTATION = "annotation"
    OPERATORS = "operators"
    """Written by the operator alone: administrative metadata, structure, the text for people."""


_MAX_DOCUMENT_BYTES: Final = {
    Place.README: MAX_README_BYTES,
    Place.MANIFEST: MAX_MANIFEST_BYTES,
    Place.TAG: _MAX_TAG_BYTES,
    Place.OVERLAY: MAX_OVERLAY_BYTES,
    Place.ANNOTATION: MAX_ANNOTATION_BYTES,
}
_FOLDERS: Final = {
    "tags": (Place.TAG, ""),
    "overlays": (Place.OVERLAY, ".json"),
    "annotations": (Place.ANNOTATION, ".json"),
}
_FILES: Final = {
    "README.yml": Place.README,
    "manifest.json": Place.MANIFEST,
    "dtool": Place.OPERATORS,
    "structure.json": Place.OPERATORS,
    "README.txt": Place.OPERATORS,
}


@dataclass(frozen=True, slots=True)
class Scope:
    """One dataset at one place, and whether it may be written.

    `creates_items`: items are written where nothing is, as far as the store looks.
    """

    side: Side
    layout: DatasetLayout
    is_writable: bool
    creates_items: bool
    encryption: Encryption | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """A request that may be signed; `counted`: by what its bytes are remembered, and how many it writes."""

    request: UrlRequest
    counted: tuple[str, int] | None = None


def find_location(task: Task) -> tuple[Side, Location] | None:
    """Return the only bucket that the worker of a task without keys works with; None: no bucket."""
    side = _SIDES.get(task.kind)
    location = {Side.TARGET: task.target, Side.SOURCE: task.source, None: None}[side]
    return None if side is None or location is None else (side, location)


def build_scope(task: Task) -> Scope | None:
    """Return what the worker of a task may do; None: nothing."""
    found = find_location(task)
    if found is None:
        return None
    side, location = found
    return Scope(
        side,
        DatasetLayout(location.prefix, task.uuid),
        is_writable=side is Side.TARGET,
        creates_items=location.conditional_writes is ConditionalWrites.REQUIRED,
        encryption=location.encryption,
    )


def permit_url(scope: Scope, asked: UrlAsked) -> Permit:
    """Return the request that a URL may be signed for. Raises AccessDenied."""
    match asked:
        case ReadAsked():
            _find_place(scope.layout, asked.key, _ANY_NAME)
            return Permit(UrlRequest(asked.do.upper(), asked.key))
        case ListAsked():
            return Permit(UrlRequest("GET", "", query=_build_list_query(scope, asked)))
        case PutAsked():
            return _permit_put(scope, asked)
        case PartAsked():
            _check_item(scope, asked.key)
            query = {"partNumber": str(asked.number), "uploadId": asked.upload_id}
            request = UrlRequest("PUT", asked.key, query, _body_headers(asked.size_bytes, asked.md5))
            return Permit(request, (f"{asked.upload_id}/{asked.number}", asked.size_bytes))
        case _:
            assert_never(asked)


def check_call(scope: Scope, call: Call) -> None:
    """Raise AccessDenied unless the endpoint may do this for the worker."""
    match call:
        case PartSizes():
            _find_place(scope.layout, call.key, _ANY_NAME)
        case ListUploads():
            _require_writable(scope, call.prefix)
            _check_prefix(scope.layout, call.prefix)
        case StartUpload():
            _check_item(scope, call.key)
            _check_item_metadata(scope.layout, call.key, call.metadata)
        case CompleteUpload() | AbortUpload() | DeleteItem():
            _check_item(scope, call.key)
        case _:
            assert_never(call)


def _permit_put(scope: Scope, asked: PutAsked) -> Permit:
    place = _find_writable(scope, asked.key)
    headers = _body_headers(asked.size_bytes, asked.md5) | _encryption_headers(scope.encryption)
    is_new = asked.if_absent
    if place is Place.ITEM:
        _check_item_metadata(scope.layout, asked.key, asked.metadata)
        if asked.metadata["checksum"] != asked.md5:
            raise _refuse(asked.key, "its checksum is not the MD5 of its bytes")
        if scope.creates_items and asked.if_match is not None:
            # a body that drips would replace it after the dataset was frozen
            raise _refuse(asked.key, "an item is not replaced; it is deleted first")
        is_new = is_new or scope.creates_items
    elif asked.metadata:
        raise _refuse(asked.key, "a document has no metadata")
    elif asked.size_bytes > _MAX_DOCUMENT_BYTES[place]:
        raise _refuse(asked.key, f"it may have {_MAX_DOCUMENT_BYTES[place]} bytes")
    headers |= {f"x-amz-meta-{name}": value for name, value in sorted(asked.metadata.items())}
    if is_new:
        headers["If-None-Match"] = "*"
    if asked.if_match is not None:
        headers["If-Match"] = f'"{asked.if_match}"'
    return Permit(UrlRequest("PUT", asked.key, headers=headers), (asked.key, asked.size_bytes))


def _check_item(scope: Scope, key: str) -> None:
    if _find_writable(scope, key) is not Place.ITEM:
        raise _refuse(key, "it is no item")


def _require_writable(scope: Scope, key: str) -> None:
    if not scope.is_writable:
        raise _refuse(key, "this task only reads")


def _find_writable(scope: Scope, key: str) -> Place:
    """Return what a key is that the worker may write."""
    _require_writable(scope, key)
    place = _find_place(scope.layout, key, _NEW_NAME)
    if place is Place.OPERATORS:
        raise _refuse(key, "only the operator writes it")
    return place


def _find_place(layout: DatasetLayout, key: str, name: re.Pattern[str]) -> Place:
    """Return what of the dataset a key is. Raises AccessDenied for every other key."""
    if key.startswith(layout.root):
        folder, slash, last = key.removeprefix(layout.root).rpartition("/")
        if not slash and last in _FILES:
            return _FILES[last]
        if folder == "data" and _IDENTIFIER.fullmatch(last):
            return Place.ITEM
        if folder in _FOLDERS:
            place, ending = _FOLDERS[folder]
            if last.endswith(ending) and name.fullmatch(last.removesuffix(ending)):
                return place
    raise _refuse(key, "it is no key of this task's dataset")


def _check_prefix(layout: DatasetLayout, prefix: str) -> None:
    rest = prefix.removeprefix(layout.root)
    is_inside = prefix.startswith(layout.root) and _PREFIX_REST.fullmatch(rest) is not None
    if not is_inside or any(segment in {".", ".."} for segment in rest.split("/")):
        raise _refuse(prefix, "it is not in this task's dataset")


def _build_list_query(scope: Scope, asked: ListAsked) -> dict[str, str]:
    _check_prefix(scope.layout, asked.prefix)
    query = {
        "list-type": "2",
        "encoding-type": "url",
        "prefix": asked.prefix,
        "max-keys": str(asked.limit),
    }
    if asked.delimiter:
        query["delimiter"] = asked.delimiter
    if asked.token is not None:
        query["continuation-token"] = asked.token
    return query


def _check_item_metadata(layout: DatasetLayout, key: str, metadata: Mapping[str, str]) -> None:
    """Raise AccessDenied unless these are headers that dtool writes for the item of this key."""
    if metadata.keys() != _METADATA_NAMES or not _MD5.fullmatch(metadata["checksum"]):
        raise _refuse(key, "an item has a handle and a checksum")
    relpath = decode_handle(metadata["handle"], key.removeprefix(layout.data_prefix))
    try:
        is_own = relpath is not None and encode_handle(check_relpath(relpath)) == metadata["handle"]
    except UnsafePath:
        is_own = False
    if not is_own:
        raise _refuse(key, "its handle is that of another item, or none")


def _body_headers(size_bytes: int, md5: str) -> dict[str, str]:
    encoded = base64.b64encode(bytes.fromhex(md5)).decode("ascii")
    return {"Content-Length": str(size_bytes), "Content-MD5": encoded}


def _encryption_headers(encryption: Encryption | None) -> dict[str, str]:
    if encryption is None:
        return {}
    name = "x-amz-server-side-encryption"
    if encryption.mode is EncryptionMode.SSE_S3:
        return {name: "AES256"}
    key = {} if encryption.kms_key_id is None else {f"{name}-aws-kms-key-id": encryption.kms_key_id}
    return {name: "aws:kms"} | key


def _refuse(key: str, why: str) -> AccessDenied:
    return AccessDenied(f"{key[:200]!r} is not granted: {why}", code="NotGranted")
