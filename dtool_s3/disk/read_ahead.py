"""Small files are read many at a time: handing one to a thread costs more than reading it.

Owns the order in which entries are given out and the bound on what is read ahead.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from dtool_s3.files.local_file import AnyFile, WholeFile, read_small
from dtool_s3.files.thread import in_thread

#: Files up to this size are read ahead, up to so many files in one go.
SMALL_BYTES = 64 * 1024
_FILES_AT_ONCE = 32

_Entry = TypeVar("_Entry")


class ReadAhead(Generic[_Entry]):
    """Gives out entries to several workers of one event loop, each with its bytes where it is small.

    `find_small` returns the path of an entry's file where it shall be read ahead. What cannot be read, or has
    become larger, comes without bytes: whoever reads it then meets the error.
    """

    def __init__(self, entries: Iterable[_Entry], find_small: Callable[[_Entry], AnyFile | None]) -> None:
        self._waiting: Iterator[_Entry] = iter(entries)
        self._find_small = find_small
        self._ready: deque[tuple[_Entry, WholeFile | None]] = deque()
        self._reading = asyncio.Lock()

    async def take(self) -> tuple[_Entry, WholeFile | None] | None:
        """Return the next entry; None after the last."""
        if not self._ready:
            async with self._reading:
                if not self._ready:
                    await self._read()
        return self._ready.popleft() if self._ready else None

    async def _read(self) -> None:
        entries: list[_Entry] = []
        paths: list[AnyFile | None] = []
        for entry in self._waiting:
            entries.append(entry)
            paths.append(self._find_small(entry))
            if paths[-1] is None or len(paths) >= _FILES_AT_ONCE:
                break
        if any(paths):
            self._ready.extend(zip(entries, await in_thread(_read_all, paths), strict=True))
        else:
            self._ready.extend((entry, None) for entry in entries)


def _read_all(paths: Iterable[AnyFile | None]) -> list[WholeFile | None]:
    return [None if path is None else _try_to_read(path) for path in paths]


def _try_to_read(path: AnyFile) -> WholeFile | None:
    try:
        return read_small(path, SMALL_BYTES)
    except OSError:
        return None
