"""Which object is looked at next: one look per key at a time, round robin over namespaces, delays.

Adding a key that waits already changes nothing; adding one that is being looked at has it looked at again.
Owns no knowledge of what a look does. For one event loop.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta

from dtool_operator.planning.plan import Backoff, backoff_delay


@dataclass(frozen=True, slots=True)
class Key:
    """One object of one kind."""

    plural: str
    namespace: str
    uid: str


class WorkQueue:
    """Keys to be looked at, fair per namespace, each at most once at a time."""

    def __init__(self, *, backoff_base: timedelta, backoff_cap: timedelta) -> None:
        self._base, self._cap = backoff_base, backoff_cap
        self._ready: OrderedDict[str, OrderedDict[Key, float]] = OrderedDict()
        self._busy: dict[Key, bool] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wakeup = asyncio.Event()

    def add(self, key: Key) -> None:
        """Have a key looked at as soon as its namespace's turn comes."""
        self._drop_timer(key)
        if key in self._busy:
            self._busy[key] = True
            return
        self._ready.setdefault(key.namespace, OrderedDict()).setdefault(key, time.monotonic())
        self._wakeup.set()

    def add_later(self, key: Key, delay: timedelta) -> None:
        """Have a key looked at after a delay, or earlier where that was asked before."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, delay.total_seconds())
        waiting = self._timers.get(key)
        if waiting is not None:
            if waiting.when() <= due:
                return
            waiting.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    async def get(self) -> Key:
        """Wait for the next key; it is busy until `done`."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        namespace, keys = self._ready.popitem(last=False)
        key, _ = keys.popitem(last=False)
        if keys:
            self._ready[namespace] = keys
        self._drop_timer(key)
        self._busy[key] = False
        return key

    def done(self, key: Key, look_again: timedelta | Backoff | None) -> None:
        """Say that a look has ended, and when the next is due."""
        asked_meanwhile = self._busy.pop(key)
        if isinstance(look_again, Backoff):
            self._failures[key] = self._failures.get(key, 0) + 1
            delay = backoff_delay(self._failures[key], key=key.uid, base=self._base, cap=self._cap)
            self.add_later(key, delay)
        else:
            self._failures.pop(key, None)
            if look_again is not None:
                self.add_later(key, look_again)
        if asked_meanwhile:
            self.add(key)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an object that is gone."""
        self._failures.pop(key, None)
        self._drop_timer(key)

    def close(self) -> None:
        """Cancel all delays."""
        for key in list(self._timers):
            self._drop_timer(key)

    def is_quiet(self, horizon: timedelta) -> bool:
        """Tell whether nothing waits, nothing is looked at, and no delay ends within `horizon`."""
        if self._ready or self._busy:
            return False
        limit = asyncio.get_running_loop().time() + horizon.total_seconds()
        return all(timer.when() > limit for timer in self._timers.values())

    def find_oldest_wait(self) -> timedelta:
        """Return how long the key that waits longest has waited; nothing if none waits."""
        firsts = [next(iter(keys.values())) for keys in self._ready.values()]
        return timedelta(seconds=time.monotonic() - min(firsts)) if firsts else timedelta(0)

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._ready.values())

    def _drop_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
