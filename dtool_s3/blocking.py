"""The bridge from synchronous code to the library's coroutines: one background event loop per process.

Owns that loop and its daemon thread, started at the first call, anew after a fork. Works inside a running
event loop too (notebooks, servers), because the work never runs on the caller's loop. Knows nothing of S3.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

#: How long an interrupted call waits for its coroutine to clean up (to abort an upload, say).
INTERRUPT_GRACE_SECONDS = 10.0

_T = TypeVar("_T")


class _Background:
    """The loop and its thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, name="dtool-s3-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self.loop.is_closed():
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                # raised by one coroutine and already in its outcome; the others go on
                continue


_lock = threading.Lock()
_background: _Background | None = None
# loops of a parent process: kept, because collecting one would touch the descriptors shared with the parent
_abandoned: list[_Background] = []


def _forget_after_fork() -> None:
    """Drop the parent's loop: its thread does not exist in the child, and its lock may be held for ever."""
    global _lock, _background  # noqa: PLW0603 - one loop per process is the purpose of this module
    _lock = threading.Lock()
    if _background is not None:
        _abandoned.append(_background)
        _background = None


os.register_at_fork(after_in_child=_forget_after_fork)


def _ensure_background() -> _Background:
    global _background  # noqa: PLW0603 - see above
    with _lock:
        if _background is None:
            _background = _Background()
        return _background


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run `coroutine` on the background loop, wait, and return its result or raise its exception.

    An interrupt of the waiting thread (Ctrl-C) cancels the coroutine, lets it clean up for at most
    `INTERRUPT_GRACE_SECONDS` and is raised again. Raises RuntimeError when called from the background loop
    itself, which would wait for ever.
    """
    background = _ensure_background()
    if threading.current_thread() is background.thread:
        coroutine.close()
        raise RuntimeError("blocking.run() was called from a coroutine of its own loop: await instead")
    call = _Call(coroutine, background.loop)
    background.loop.call_soon_threadsafe(call.start)
    try:
        return call.outcome.result()
    except BaseException:
        if not call.outcome.done():  # it is the waiting that ended, not the coroutine
            background.loop.call_soon_threadsafe(call.cancel)
            call.ended.wait(INTERRUPT_GRACE_SECONDS)
        raise


class _Call(Generic[_T]):
    """One coroutine on its way through the background loop; `outcome` is what the waiting thread sees."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: Future[_T] = Future()
        self.ended = threading.Event()
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[_T] | None = None

    def start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._settle)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self, task: "asyncio.Task[_T]") -> None:
        if task.cancelled():
            self.outcome.cancel()
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())
        self.ended.set()
