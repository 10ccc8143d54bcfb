"""What was written is on the disk before it gets its name; owns the order of fsync and rename.

Source: fsync(2), rename(2); Linux man pages on directories.
"""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dtool_s3.errors import ContentDiffers

#: A journal writes what several threads ask for in one go.
_THREADS = 8
#: File systems without it (some network ones) say so.
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


def sync_tree(root: Path) -> None:
    """Have all files and directories below and at `root` written to the disk. Blocks; raises OSError."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(_sync, _paths(root)):
            pass


def give_name(unfinished: Path, finished: Path) -> None:
    """Rename a directory that was synced, so that a crash leaves one or the other. Blocks.

    Raises ContentDiffers where something with content is at `finished` by then, OSError.
    """
    try:
        unfinished.rename(finished)
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            raise
        raise ContentDiffers(f"somebody else made {str(finished)!r} at the same time") from error
    _sync(str(finished.parent))


def _paths(root: Path) -> Iterator[str]:
    """Give files before their directory, following no link."""
    waiting = [str(root)]
    while waiting:
        directory = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    yield entry.path
        yield directory


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
