"""What a memory server records and what may go wrong on it; owns matching and counting, performs no I/O.

Public: users of the library play failures in their own tests with it.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from dtool_s3.errors import StorageError


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a server would log it; `operation` is the name of the Store method.

    A listing is one request per 1,000 entries and has its prefix as `key`; `delete_many` is one per 1,000
    keys and has the first of them. URLs that are made are no requests.
    """

    operation: str
    bucket: str
    key: str


@dataclass(slots=True)
class Fault:
    """Something that happens to matching requests; patterns are those of `fnmatch`, case counts.

    `skip` matching requests pass first, then `times` are hit (None: all). A request that is hit waits for
    `hold`, then runs `hook` (an interleaving writer, say), then fails with `error`. With `after_effect` the
    error comes after the write has happened: its answer was lost; a stream is then cut in the middle.
    Without an error the request goes on after `hold` and `hook`.
    """

    operation: str = "*"
    key: str = "*"
    bucket: str = "*"
    error: StorageError | None = None
    times: int | None = 1
    skip: int = 0
    after_effect: bool = False
    hook: Callable[[], Awaitable[None] | None] | None = None
    hold: asyncio.Event | None = None
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False, repr=False)

    def claims(self, request: Request) -> bool:
        """Tell whether `request` is hit, and count it."""
        if not self._matches(request):
            return False
        self._seen += 1
        if self._seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True

    def _matches(self, request: Request) -> bool:
        return (
            fnmatchcase(request.operation, self.operation)
            and fnmatchcase(request.bucket, self.bucket)
            and fnmatchcase(request.key, self.key)
        )

    async def strike(self) -> None:
        """Do what comes before the request's effect: wait, run the hook, raise an early error."""
        if self.hold is not None:
            await self.hold.wait()
        if self.hook is not None:
            result = self.hook()
            if inspect.isawaitable(result):
                await result
        if not self.after_effect:
            self.raise_error()

    def raise_error(self) -> None:
        """Raise the fault's error, if it has one (anew, so that tracebacks do not grow)."""
        if self.error is not None:
            raise type(self.error)(str(self.error), code=self.error.code)
