"""How often a request is repeated, and after which waits; owns no request and knows no client."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from dtool_s3.errors import StorageError

_T = TypeVar("_T")


def is_worth_repeating(error: StorageError) -> bool:
    """Tell whether the same request may succeed a moment later.

    ConditionalRequestConflict (409) says that another write was just under way, not who won.
    """
    return error.retryable or error.code == "ConditionalRequestConflict"


@dataclass(frozen=True, slots=True)
class Retry:
    """Bounded repetition with full jitter: each wait is random between 0 and a doubling ceiling."""

    attempts: int = 5
    first_ceiling_seconds: float = 0.2
    last_ceiling_seconds: float = 10.0

    def ceiling_seconds(self, attempt: int) -> float:
        """Longest wait after `attempt` (from 0)."""
        return min(self.last_ceiling_seconds, self.first_ceiling_seconds * 2.0**attempt)

    async def repeat(self, request: Callable[[int], Awaitable[_T]]) -> _T:
        """Await `request(attempt)` until it succeeds, fails for good, or was tried `attempts` times."""
        for attempt in range(self.attempts - 1):
            try:
                return await request(attempt)
            except StorageError as error:
                if not is_worth_repeating(error):
                    raise
            await asyncio.sleep(random.uniform(0, self.ceiling_seconds(attempt)))  # noqa: S311 - no secret
        return await request(self.attempts - 1)
