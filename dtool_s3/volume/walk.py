"""Which files of a directory become items, and what refuses them; looks only, reads no byte of a file.

The directory is somebody else's: no link is followed, whatever is neither directory nor regular file is named
and refused, and neither many entries, deep ones nor odd names take more than a bounded amount of memory:
about 240 bytes an item with a relpath of 35 characters, and nothing for what is refused.

`lost+found` directly in the root of a file system is left out where it is empty or may not be looked into:
mke2fs makes it, and root alone may. What fsck has put there and everybody may read counts as files.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from dtool_s3.documents import MAX_MANIFEST_BYTES
from dtool_s3.errors import NotSupported, QuotaExceeded, SourceNotFound, SourceTooLarge, UnsafePath
from dtool_s3.files.tree import Tree, kind_of
from dtool_s3.files.upload import MAX_ITEM_BYTES
from dtool_s3.layout import MAX_RELPATH_BYTES

MAX_ITEMS = 10_000_000
#: Bytes of manifest.json that an item takes beside its relpath: the densest is 199, a time in full 9 more.
_ITEM_BYTES = 208
_SHOWN = 5
_LOST_AND_FOUND = "lost+found"


@dataclass(frozen=True, slots=True)
class VolumeLimits:
    """What a directory may hold: entries of any kind (directories too), and bytes of its files in all.

    `max_size_bytes` counts sizes, not blocks: a sparse file has all of its bytes in S3. `manifest_bytes`: no
    more can be read of a dataset's manifest; about a million items with relpaths of 35 characters.
    """

    max_items: int = MAX_ITEMS
    max_size_bytes: int | None = None
    manifest_bytes: int = MAX_MANIFEST_BYTES


NO_LIMITS = VolumeLimits()


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file as a look showed it; the time of its last change in nanoseconds since 1970."""

    relpath: str
    size_bytes: int
    mtime_ns: int


def list_files(tree: Tree, limits: VolumeLimits = NO_LIMITS) -> list[FoundFile]:
    """List all files of a directory, sorted by relpath. Blocks.

    Raises SourceNotFound, SourceTooLarge (as soon as it is known), UnsafePath naming up to five entries that
    cannot be items, QuotaExceeded, NotSupported (a file above 5 TiB), OSError.
    """
    walk = _Walk(tree, limits)
    files = sorted(walk.run(), key=lambda found: found.relpath)
    walk.check()
    return files


@dataclass(frozen=True, slots=True)
class Survey:
    """What a directory holds: its files, the first few entries that are none, and how many more of these."""

    files: list[FoundFile]
    problems: list[str]
    hidden_count: int


def survey_files(tree: Tree, limits: VolumeLimits = NO_LIMITS) -> Survey:
    """List all files of a directory, and what else is there; nothing where there is no directory. Blocks.

    Raises SourceTooLarge, NotSupported (a file above 5 TiB), UnsafePath, OSError.
    """
    walk = _Walk(tree, limits)
    try:
        files = list(walk.run())
    except SourceNotFound:
        files = []
    return Survey(files, walk.problems, walk.problem_count - len(walk.problems))


@dataclass(slots=True)
class _Walk:
    """One look at everything below a directory."""

    tree: Tree
    limits: VolumeLimits
    entries: int = 0
    size_bytes: int = 0
    manifest_bytes: int = 0
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)

    def run(self) -> Iterator[FoundFile]:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                yield from self._look_into(folder, waiting)
            except FileNotFoundError as error:
                if not folder:
                    raise SourceNotFound(f"there is no directory {str(self.tree)!r}") from error
            except PermissionError:
                if not self._is_lost_and_found(folder):
                    raise

    def _look_into(self, folder: str, waiting: list[str]) -> Iterator[FoundFile]:
        start = f"{folder}/" if folder else ""
        with self.tree.open_directory(folder) as directory, os.scandir(directory) as entries:
            for entry in entries:
                self._count()
                relpath = f"{start}{entry.name}"
                if problem := _name_problem(relpath):
                    self._note(relpath, problem)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(relpath)
                elif (status := _look(entry)) is not None:
                    if stat.S_ISREG(status.st_mode):
                        yield self._take(relpath, status)
                    else:
                        self._note(relpath, kind_of(status.st_mode))

    def _is_lost_and_found(self, folder: str) -> bool:
        return folder == _LOST_AND_FOUND and not self.tree.below

    def _count(self) -> None:
        self.entries += 1
        if self.entries > self.limits.max_items:
            raise SourceTooLarge(
                f"{str(self.tree)!r} has more than {self.limits.max_items} files and directories"
            )

    def _take(self, relpath: str, status: os.stat_result) -> FoundFile:
        self.size_bytes += status.st_size
        self.manifest_bytes += _ITEM_BYTES + len(json.dumps(relpath))
        if self.manifest_bytes > self.limits.manifest_bytes:
            raise SourceTooLarge(
                f"{str(self.tree)!r} has more files than the manifest of one dataset can name "
                f"({self.limits.manifest_bytes} bytes); make several datasets of it"
            )
        if status.st_size > MAX_ITEM_BYTES:
            raise NotSupported(f"{relpath[:120]!r} has {status.st_size} bytes; S3 holds at most 5 TiB")
        return FoundFile(relpath, status.st_size, status.st_mtime_ns)

    def _note(self, relpath: str, problem: str) -> None:
        self.problem_count += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(f"'{_shown(relpath)}' ({problem})")

    def check(self) -> None:
        """Raise what is known only after all of it was seen."""
        if self.problem_count:
            more = self.problem_count - len(self.problems)
            raise UnsafePath(
                f"{self.problem_count} entries of {str(self.tree)!r} cannot be items: "
                f"{', '.join(sorted(self.problems))}" + (f" and {more} more" if more else "")
            )
        allowed = self.limits.max_size_bytes
        if allowed is not None and self.size_bytes > allowed:
            raise QuotaExceeded(
                f"{str(self.tree)!r} has {self.size_bytes} bytes, no more than {allowed} are allowed"
            )


def _look(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """Look at an entry; None where it is gone again."""
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _name_problem(relpath: str) -> str | None:
    try:
        size_bytes = len(relpath.encode())
    except UnicodeEncodeError:
        return "a name that is not UTF-8"
    if size_bytes > MAX_RELPATH_BYTES:
        return f"a path of {size_bytes} bytes, at most {MAX_RELPATH_BYTES} fit"
    return None


def _shown(relpath: str) -> str:
    """Show the end of a path; what is not printable ASCII or printable Unicode is escaped."""
    text = os.fsencode(relpath[-120:]).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
