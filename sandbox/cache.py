"""The project's folder in the user's cache directory; owns its place and its locks, not what it keeps."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sandbox.say import Say


def cache_directory() -> Path:
    """Name the project's folder in the user's cache directory."""
    configured = os.environ.get("XDG_CACHE_HOME")
    return (Path(configured) if configured else Path.home() / ".cache") / "dtool-operator"


@contextlib.contextmanager
def locked(path: Path, say: Say, *, busy: str) -> Iterator[None]:
    """Hold a lock between processes, saying `busy` where another one holds it.

    The folder is made if need be; the kernel lets the lock go when its holder ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(busy)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
