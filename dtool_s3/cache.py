"""Items of frozen datasets as local files; owns the cache directory: what is handed out is what was frozen.

A file of the cache is believed only after its size and digest were compared with the manifest. Files are
never removed.
"""

import asyncio
import contextlib
import hashlib
import uuid
from pathlib import Path, PurePosixPath

from dtool_s3.digest import algorithm_of, hash_file
from dtool_s3.documents import ManifestItem
from dtool_s3.errors import ItemMissing, NotFound, SourceDamaged, StorageError
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.protocol import Store

_ATTEMPTS = 3
_MAX_EXTENSION_BYTES = 32


class ItemCache:
    """A directory with one subdirectory per dataset, shared with other processes and with upstream."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._believed: dict[Path, tuple[int, int, int]] = {}

    async def fetch(
        self, store: Store, layout: DatasetLayout, item: ManifestItem, hash_function: str
    ) -> Path:
        """Return the path of a local file with the item's bytes, downloading them if need be.

        Raises SourceDamaged if the store's bytes are not those of the manifest, NotSupported for an unknown
        hash function, OSError of the file system, and what the store raises.
        """
        algorithm = algorithm_of(hash_function)
        identifier = item_identifier(item.relpath)
        path = self._directory / layout.uuid / f"{identifier}{_extension(item.relpath)}"
        if await asyncio.to_thread(self._is_right, path, item, algorithm):
            return path
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            try:
                await _download(store, layout.item_key(identifier), path, item, algorithm)
            except StorageError as error:
                # a stream that broke off is begun again: the store cannot do that for its reader
                if not error.retryable or attempt == _ATTEMPTS - 1:
                    raise
            else:
                break
        self._believed[path] = _fingerprint(path)
        return path

    def _is_right(self, path: Path, item: ManifestItem, algorithm: str) -> bool:
        """Tell whether a cached file is the item; one found right is read again only if it was touched."""
        try:
            fingerprint = _fingerprint(path)
            if fingerprint[0] != item.size_bytes:
                return False
            if self._believed.get(path) == fingerprint:
                return True
            if hash_file(path, algorithm) != item.hash:
                return False
        except FileNotFoundError:
            return False
        self._believed[path] = fingerprint
        return True


async def _download(store: Store, key: str, path: Path, item: ManifestItem, algorithm: str) -> None:
    """Write the object into a file of a unique name, compare, and only then give it its name."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        size_bytes = 0
        with temporary.open("xb") as file:
            async with store.stream(key) as stream:
                async for chunk in stream.chunks:
                    await asyncio.to_thread(file.write, chunk)
                    await asyncio.to_thread(digest.update, chunk)
                    size_bytes += len(chunk)
        if size_bytes != item.size_bytes or digest.hexdigest() != item.hash:
            raise SourceDamaged(
                f"item {item.relpath[:80]!r}: the manifest says {item.size_bytes} bytes with {algorithm} "
                f"{item.hash}, the store holds {size_bytes} bytes with {digest.hexdigest()}"
            )
        temporary.replace(path)
    except NotFound as error:
        raise ItemMissing(f"item {item.relpath[:80]!r} is in the manifest, not in the store") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _extension(relpath: str) -> str:
    """File name extension of `relpath`, for programs that go by it; none if it is not a sensible one."""
    extension = PurePosixPath(relpath).suffix
    is_sensible = extension.isprintable() and len(extension.encode()) <= _MAX_EXTENSION_BYTES
    return extension if is_sensible else ""


def _fingerprint(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
