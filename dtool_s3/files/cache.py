"""Items of frozen datasets as local files; owns the cache directory: what is handed out is what was frozen.

A file is believed after its digest was compared with the manifest. What it looked like then is noted in a
file beside it, so that the next look, also of another process, reads no byte of the item. Files are never
removed, and nothing is written outside the directory.
"""

import asyncio
import json
import os
import stat
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from dtool_s3.digest import algorithm_of, hash_file
from dtool_s3.documents import ManifestItem
from dtool_s3.errors import UnsafePath
from dtool_s3.files.download import ExpectedObject, download_file
from dtool_s3.files.thread import in_thread
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.protocol import Store
from dtool_s3.uri import is_uuid

_MAX_EXTENSION_BYTES = 32
_MAX_NOTE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Note:
    """What a cached file looked like when it had the digest; times in nanoseconds since 1970."""

    size_bytes: int
    mtime_ns: int
    inode: int
    hash_function: str
    digest: str


class ItemCache:
    """A directory with one subdirectory per dataset, shared with other processes and with upstream."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def fetch(
        self, store: Store, layout: DatasetLayout, item: ManifestItem, hash_function: str
    ) -> Path:
        """Return the path of a local file with the item's bytes, downloading them if need be.

        Raises SourceDamaged if the store's bytes are not those of the manifest, ItemMissing, NotSupported for
        an unknown hash function, UnsafePath for a dataset whose UUID is none, OSError of the file system, and
        what the store raises.
        """
        algorithm = algorithm_of(hash_function)
        identifier = item_identifier(item.relpath)
        directory = self._directory / _checked_uuid(layout.uuid)
        path = directory / f"{identifier}{_extension(item.relpath)}"
        # it may read for long, holds no descriptor of ours, and need not be waited for when cancelled
        if await asyncio.to_thread(_is_right, path, item, hash_function, algorithm):
            return path
        await in_thread(_make_directory, directory)
        wanted = ExpectedObject(
            layout.item_key(identifier), item.relpath, item.size_bytes, item.hash, algorithm
        )
        await download_file(store, wanted, path)
        await in_thread(_write_note, path, _look(path, item, hash_function))
        return path


def _is_right(path: Path, item: ManifestItem, hash_function: str, algorithm: str) -> bool:
    """Tell whether a cached file is the item; it is read only where its note does not fit it."""
    found = _look(path, item, hash_function)
    if found is None or found.size_bytes != item.size_bytes:
        return False
    if _read_note(path) == found:
        return True
    if hash_file(path, algorithm) != item.hash or _look(path, item, hash_function) != found:
        return False
    _write_note(path, found)
    return True


def _look(path: Path, item: ManifestItem, hash_function: str) -> _Note | None:
    """Return the note that a file would get now; None where there is no regular file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return _Note(status.st_size, status.st_mtime_ns, status.st_ino, hash_function, item.hash)


def _note_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _read_note(path: Path) -> _Note | None:
    try:
        with _note_path(path).open("rb") as file:
            return _Note(**json.loads(file.read(_MAX_NOTE_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _write_note(path: Path, note: _Note | None) -> None:
    """Note what the file looks like; another process may replace both at any time, so a note may not fit.

    Then the file is read once more at the next look. So it is where the note cannot be written.
    """
    if note is None:
        return
    temporary = path.with_name(f".{uuid.uuid4().hex}.checked")
    with suppress(OSError):
        try:
            temporary.write_text(json.dumps(asdict(note)))
            temporary.replace(_note_path(path))
        finally:
            temporary.unlink(missing_ok=True)


def _make_directory(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if directory.is_symlink():
        raise UnsafePath(f"the cache's {str(directory)!r} is a symbolic link: it leads out of the cache")


def _checked_uuid(text: str) -> str:
    """Return a UUID that is safe as a directory's name: it comes from a bucket."""
    if not is_uuid(text):
        raise UnsafePath(f"{text[:80]!r} is not a UUID: nothing is cached for it")
    return text


def _extension(relpath: str) -> str:
    """File name extension of `relpath`, for programs that go by it; none if it is not a sensible one."""
    extension = PurePosixPath(relpath).suffix
    is_sensible = extension.isprintable() and len(os.fsencode(extension)) <= _MAX_EXTENSION_BYTES
    return extension if is_sensible else ""
