"""Waiting in tests for what becomes true by itself; the only place where a test sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_SECONDS = 0.1


def eventually(check: Callable[[], T], *, within: float) -> T:
    """Call `check` until it raises no AssertionError, and return what it returns.

    After `within` seconds raises AssertionError with the last one's message. Other errors pass at once.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return check()
        except AssertionError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s: {error}") from error
        time.sleep(INTERVAL_SECONDS)


async def eventually_async(check: Callable[[], Awaitable[T]], *, within: float) -> T:
    """As `eventually`, for a coroutine function."""
    deadline = time.monotonic() + within
    while True:
        try:
            return await check()
        except AssertionError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within} s: {error}") from error
        await asyncio.sleep(INTERVAL_SECONDS)
