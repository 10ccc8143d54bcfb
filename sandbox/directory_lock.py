"""A lock on a directory that may be removed while it is held; owns the lock, not what is in the directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Hold the directory itself locked, made if need be: nothing of the lock remains."""
    while True:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_still(directory, handle):
                yield
                return
        finally:
            os.close(handle)


def _is_still(directory: Path, handle: int) -> bool:
    """Whether the path still names what was opened: it may have been removed while waiting for the lock."""
    try:
        return os.path.samestat(directory.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
