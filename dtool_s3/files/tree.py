"""Files below one directory that somebody else writes to; owns that no look or read ever leads out of it.

Every step below the root is opened relative to the directory before it and follows no symbolic link
(openat with O_NOFOLLOW): whoever renames a directory to put a link in its place meanwhile meets an error.
Everything here blocks; nothing is written. Source: POSIX openat, O_NOFOLLOW and O_DIRECTORY.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dtool_s3.errors import DtoolS3Error, SourceTooLarge, UnsafePath

_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: What the kernel answers where a step is no directory, or a link.
_NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class Tree:
    """The directory `below` (relative, `""`: itself) of `root`, which is known to be right, links and all."""

    root: Path
    below: str = ""

    def __str__(self) -> str:
        """Name it for messages."""
        return str(self.root / self.below)

    @contextmanager
    def open_directory(self, relpath: str = "") -> Iterator[int]:
        """Open a directory. Raises UnsafePath where a step is a link or no directory, OSError."""
        descriptor = os.open(self.root, _DIRECTORY)
        try:
            for step in [*_steps(self.below), *_steps(relpath)]:
                descriptor, above = _open_step(step, descriptor, relpath or self.below), descriptor
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)

    def file(self, relpath: str) -> "TreeFile":
        """Return the file at `relpath`, which need not be there."""
        return TreeFile(self, relpath)

    def below_it(self, relpath: str) -> "Tree":
        """Return the tree that begins further down."""
        return Tree(self.root, "/".join([*_steps(self.below), *_steps(relpath)]))

    def look(self, relpath: str) -> os.stat_result:
        """Look at what is at `relpath`, following no link. Raises UnsafePath, OSError."""
        folder, _, name = relpath.rpartition("/")
        _steps(relpath)
        with self.open_directory(folder) as directory:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def names(self, relpath: str, *, max_names: int = 100_000) -> list[str]:
        """Return the names of the regular files of a directory, sorted; none where there is no directory.

        Raises UnsafePath for links and the like, SourceTooLarge for more entries than `max_names`, OSError.
        """
        names: list[str] = []
        try:
            with self.open_directory(relpath) as directory, os.scandir(directory) as entries:
                for count, entry in enumerate(entries, start=1):
                    if count > max_names:
                        raise SourceTooLarge(f"{relpath!r} in {str(self)!r} has more than {max_names} files")
                    if entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
                    elif not entry.is_dir(follow_symlinks=False):
                        kind = kind_of(entry.stat(follow_symlinks=False).st_mode)
                        raise UnsafePath(f"{entry.name[:80]!r} in {relpath!r} of {str(self)!r} is {kind}")
        except FileNotFoundError:
            return []
        return sorted(names)

    def read(self, relpath: str, max_bytes: int, refusal: DtoolS3Error) -> bytes:
        """Read a regular file of at most `max_bytes`; raise `refusal` for a larger one.

        Raises UnsafePath, OSError.
        """
        with os.fdopen(self.file(relpath).open(), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnsafePath(f"{relpath[:80]!r} is no regular file")
            body = file.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise refusal
        return body


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a tree."""

    tree: Tree
    relpath: str

    def __str__(self) -> str:
        """Name it for messages."""
        return self.relpath

    def open(self) -> int:
        """Open it to be read, without waiting for anybody; the caller closes. Raises UnsafePath, OSError."""
        folder, _, name = self.relpath.rpartition("/")
        _steps(self.relpath)
        with self.tree.open_directory(folder) as directory:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
            try:
                return os.open(name, flags, dir_fd=directory)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENXIO}:
                    raise
                raise UnsafePath(f"{self.relpath[:120]!r} is a symbolic link, or no regular file") from error


def kind_of(mode: int) -> str:
    """Say what a look showed, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _steps(relpath: str) -> list[str]:
    """Cut a relative path; raise UnsafePath for one that would lead away."""
    steps = [step for step in relpath.split("/") if step not in {"", "."}]
    if relpath.startswith("/") or ".." in steps or "\x00" in relpath:
        raise UnsafePath(f"{relpath[:120]!r} leads out of the directory")
    return steps


def _open_step(step: str, directory: int, path: str) -> int:
    try:
        return os.open(step, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        raise UnsafePath(
            f"{path[:120]!r}: {step[:80]!r} is no directory, or a symbolic link that may lead away"
        ) from error
