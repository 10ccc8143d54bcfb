"""Many coroutines, a few at a time; owns that no one outlives the failure of another."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

#: How many small requests (HEAD, GET of a document, DELETE) are worth having in flight.
SMALL_REQUESTS = 16

_In = TypeVar("_In")
_Out = TypeVar("_Out")


async def map_bounded(
    function: Callable[[_In], Coroutine[Any, Any, _Out]],
    arguments: Iterable[_In],
    *,
    limit: int = SMALL_REQUESTS,
) -> list[_Out]:
    """Await `function` of each argument, at most `limit` at once; return the results in order.

    The first failure cancels the others, waits until they have ended, and is raised.
    """
    waiting = asyncio.Semaphore(limit)

    async def call(argument: _In) -> _Out:
        async with waiting:
            return await function(argument)

    tasks = [asyncio.ensure_future(call(argument)) for argument in arguments]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
