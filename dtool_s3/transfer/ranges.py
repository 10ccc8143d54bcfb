"""Reads an object in ranges side by side, hashed in order; owns how ranges, hashing and memory go together.

Hashing runs in threads (hashlib lets other threads work meanwhile), never on the event loop. What else is
done with a chunk (uploaded, written to a file) is the caller's.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from dtool_s3.concurrency import run_together, run_workers
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.parts import S3_LIMITS, PartLimits, PartRange, cut_evenly

#: Ranges of one object under way at a time; objects are worked on side by side as well.
RANGES_AT_ONCE = 6
#: Up to here hashing takes less time than handing it to a thread.
_HASHED_ON_LOOP_BYTES = 64 * 1024

Read = Callable[[PartRange], Coroutine[Any, Any, bytes]]
Use = Callable[[PartRange, bytes], Coroutine[Any, Any, None]]


class OrderedDigest:
    """A digest of chunks that arrive in any order; one event loop only."""

    def __init__(self, algorithm: str) -> None:
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self._next = 1
        self._turns: dict[int, asyncio.Event] = {}

    async def update(self, number: int, chunk: bytes) -> None:
        """Hash chunk `number` (from 1 on, without gaps), after all before it."""
        if number != self._next:
            await self._turns.setdefault(number, asyncio.Event()).wait()
        if len(chunk) <= _HASHED_ON_LOOP_BYTES:
            self._digest.update(chunk)
        else:
            await asyncio.to_thread(self._digest.update, chunk)
        self._next = number + 1
        if (turn := self._turns.pop(self._next, None)) is not None:
            turn.set()

    def hexdigest(self) -> str:
        """Return the digest of what was hashed so far."""
        return self._digest.hexdigest()


async def hash_ranges(
    ranges: Sequence[PartRange],
    read: Read,
    *,
    budget: ByteBudget,
    algorithm: str = "md5",
    use: Use | None = None,
) -> str:
    """Read all ranges, a few at a time, and return the digest of their bytes in order as hex digits.

    `use` gets each chunk too, while it is hashed. The first failure cancels the rest and is raised.
    """
    digest = OrderedDigest(algorithm)
    waiting = iter(ranges)

    async def work() -> None:
        for part in waiting:
            async with budget.take(part.size_bytes):
                chunk = await read(part)
                if use is None:
                    await digest.update(part.number, chunk)
                else:
                    await run_together(digest.update(part.number, chunk), use(part, chunk))

    await run_workers(work, count=min(RANGES_AT_ONCE, len(ranges)))
    return digest.hexdigest()


async def hash_bytes(body: bytes, algorithm: str = "md5") -> str:
    """Return the digest of `body` as hex digits."""
    digest = OrderedDigest(algorithm)
    await digest.update(1, body)
    return digest.hexdigest()


async def hash_listed(
    store: Store,
    listed: ListedObject,
    *,
    budget: ByteBudget,
    algorithm: str = "md5",
    limits: PartLimits = S3_LIMITS,
) -> str:
    """Read every byte of an object, as it was listed, and return their digest as hex digits.

    Raises NotFound, PreconditionFailed for another ETag, and what else the store raises. An object of 0
    bytes is not asked for.
    """
    if listed.size_bytes == 0:
        return hashlib.new(algorithm, usedforsecurity=False).hexdigest()

    async def read(part: PartRange) -> bytes:
        return await store.get_range(listed.key, part.first_byte, part.size_bytes, etag=listed.etag)

    ranges = cut_evenly(listed.size_bytes, limits.chunk_bytes, limits=limits)
    return await hash_ranges(ranges, read, budget=budget, algorithm=algorithm)
