"""Does something not more often than once per interval, and always once more after the last request."""

import asyncio
from collections.abc import Callable


class Throttle:
    """Calls `act` at once if the interval has passed, else at its end; one event loop only."""

    def __init__(self, act: Callable[[], None], *, interval_seconds: float) -> None:
        self._act = act
        self._interval_seconds = interval_seconds
        self._next_time = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def request(self) -> None:
        """Ask for `act`; requests before it is called again become one."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_time:
            self._call()
        else:
            self._timer = loop.call_at(self._next_time, self._call)

    def flush(self) -> None:
        """Call `act` now if that is still owed."""
        if self.drop():
            self._call()

    def drop(self) -> bool:
        """Forget what is owed; tell whether something was."""
        if self._timer is None:
            return False
        self._timer.cancel()
        self._timer = None
        return True

    def _call(self) -> None:
        self._timer = None
        self._next_time = asyncio.get_running_loop().time() + self._interval_seconds
        self._act()
