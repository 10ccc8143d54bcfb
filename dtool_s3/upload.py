"""One local file becomes one item object; owns that the stored bytes are those that were hashed.

Every failure raises, and an unfinished multipart upload is given up. Whether the dataset may be written to
is the caller's question.
"""

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import BinaryIO

from dtool_s3.digest import hash_file
from dtool_s3.errors import BadDigest, NotSupported, SourceDamaged, StorageError
from dtool_s3.layout import DatasetLayout, check_relpath, item_identifier, item_metadata
from dtool_s3.store.protocol import Part, Store, Upload

#: Files up to this size are read once, into memory, and put in one request; larger ones in such parts.
CHUNK_BYTES = 16 * 1024 * 1024
MAX_ITEM_BYTES = 5 * 1024**3


async def upload_file(
    store: Store, layout: DatasetLayout, path: Path, relpath: str, *, chunk_bytes: int = CHUNK_BYTES
) -> None:
    """Upload the file at `path` as the item `relpath`.

    Raises UnsafePath and NotSupported (more than 5 GiB) before any byte moves, OSError from reading,
    SourceDamaged if the file changes meanwhile, and what the store raises.
    """
    check_relpath(relpath)
    key = layout.item_key(item_identifier(relpath))
    size_bytes = (await asyncio.to_thread(path.stat)).st_size
    if size_bytes > MAX_ITEM_BYTES:
        raise NotSupported(f"{str(path)!r} has {size_bytes} bytes; more than 5 GiB are not supported yet")
    start = await asyncio.to_thread(_read_start, path, chunk_bytes + 1)
    if len(start) <= chunk_bytes:
        checksum = hashlib.md5(start, usedforsecurity=False).hexdigest()
        await store.put(key, start, metadata=item_metadata(relpath, checksum))
        return
    del start
    await _upload_parts(store, key, path, relpath, chunk_bytes)


async def _upload_parts(store: Store, key: str, path: Path, relpath: str, chunk_bytes: int) -> None:
    """Hash the file, then upload and hash it again; only equal bytes are made an object.

    The checksum is a header of the request that starts the upload, so it must be known before.
    """
    checksum = await asyncio.to_thread(hash_file, path)
    upload = await store.start_upload(key, item_metadata(relpath, checksum))
    try:
        with path.open("rb") as file:
            parts, sent_bytes, sent_checksum = await _put_parts(store, upload, file, chunk_bytes)
        _check_unchanged(path, checksum, sent_checksum)
        await store.complete_upload(upload, parts)
    except BaseException:
        # the error that ended the upload matters more than one of giving it up
        with contextlib.suppress(StorageError):
            await store.abort_upload(upload)
        raise
    stored = await store.head(key)
    if stored.size_bytes != sent_bytes:
        raise BadDigest(f"{key!r} has {stored.size_bytes} bytes after an upload of {sent_bytes}")


async def _put_parts(
    store: Store, upload: Upload, file: BinaryIO, chunk_bytes: int
) -> tuple[list[Part], int, str]:
    """Upload a file's parts one after the other; return them, the bytes sent and their MD5."""
    parts: list[Part] = []
    sent_bytes = 0
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := await asyncio.to_thread(file.read, chunk_bytes):
        await asyncio.to_thread(digest.update, chunk)
        parts.append(await store.put_part(upload, len(parts) + 1, chunk))
        sent_bytes += len(chunk)
    return parts, sent_bytes, digest.hexdigest()


def _check_unchanged(path: Path, before: str, sent: str) -> None:
    if sent != before:
        raise SourceDamaged(f"{str(path)!r} changed while it was uploaded")


def _read_start(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size_bytes)
