"""How fast requests may leave: a token bucket. Knows nothing of what is sent."""

import asyncio


class TokenBucket:
    """Lets `burst` requests through at once and `per_second` on the long run, in the order of asking."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._interval_seconds = 1 / per_second
        self._burst_seconds = burst / per_second
        self._full_at = float("-inf")

    def reserve(self, now: float) -> float:
        """Take a token at a time on the loop's clock; return the seconds to wait until it is there."""
        self._full_at = max(self._full_at, now) + self._interval_seconds
        return max(0.0, self._full_at - self._burst_seconds - now)

    async def take(self) -> float:
        """Wait for a token; return the seconds waited. A caller that is cancelled meanwhile has spent it."""
        delay = self.reserve(asyncio.get_running_loop().time())
        if delay > 0:
            await asyncio.sleep(delay)
        return delay
