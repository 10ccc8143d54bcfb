"""Whether the object loop is asked at all: after failures in a row it rests for a while; no I/O."""

import time
from collections.abc import Callable

#: So many failures in a row mean that asking costs more than it gives.
MAX_FAILURES = 8
REST_SECONDS = 30.0


class Trust:
    """Counts failures; any success restores it. Used by many threads: a count too few or many is harmless."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0

    def is_given(self) -> bool:
        """Tell whether to ask. After a rest, one failure is enough for the next."""
        return self._failures < MAX_FAILURES or self._clock() >= self._rests_until

    def note_success(self) -> None:
        """An answer came, be it a refusal that was expected."""
        self._failures = 0

    def note_failure(self) -> None:
        """No answer came that can be used."""
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._rests_until = self._clock() + REST_SECONDS
