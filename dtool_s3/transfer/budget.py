"""How many bytes of objects may be in memory at a time; owns the queue of those who wait for room."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: Room for the chunks of one transfer; with the copies that clients make of them below 256 MB.
BUDGET_BYTES = 128 * 1024**2


class ByteBudget:
    """Room for `size_bytes`, given in the order in which it was asked for; one event loop only.

    In that order, so that chunks of one object that are hashed one after the other never wait for room that
    a later one holds.
    """

    def __init__(self, size_bytes: int = BUDGET_BYTES) -> None:
        self._size_bytes = size_bytes
        self._free_bytes = size_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold room for `size_bytes` inside the context; for more than there is at all: all of it."""
        size_bytes = min(size_bytes, self._size_bytes)
        await self._acquire(size_bytes)
        try:
            yield
        finally:
            self._release(size_bytes)

    async def _acquire(self, size_bytes: int) -> None:
        if not self._waiting and size_bytes <= self._free_bytes:
            self._free_bytes -= size_bytes
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size_bytes, given)
        self._waiting.append(entry)
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():  # room was given at the same moment
                self._release(size_bytes)
            else:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._give()
            raise

    def _release(self, size_bytes: int) -> None:
        self._free_bytes += size_bytes
        self._give()

    def _give(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free_bytes:
            size_bytes, given = self._waiting.popleft()
            if given.cancelled():  # together with who made room: it will not come for it
                continue
            self._free_bytes -= size_bytes
            given.set_result(None)
