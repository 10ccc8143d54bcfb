"""Many coroutines, a few at a time; owns that no one outlives the failure of another.

A fixed number of workers take arguments from one iterator: what waits costs nothing, however much it is.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from operator import length_hint
from typing import Any, TypeVar

#: How many small requests (HEAD, GET of a document, DELETE) are worth having in flight.
SMALL_REQUESTS = 16
#: How long a cancelled write that a thread has begun is waited for: else it would land after the caller has
#: said what is left, and be a surprise to whoever looked meanwhile.
SETTLE_SECONDS = 3.0

_In = TypeVar("_In")
_Out = TypeVar("_Out")


async def map_bounded(
    function: Callable[[_In], Coroutine[Any, Any, _Out]],
    arguments: Iterable[_In],
    *,
    limit: int = SMALL_REQUESTS,
) -> list[_Out]:
    """Await `function` of each argument, at most `limit` (at least 1) at once; return the results in order.

    The first failure cancels the others, waits until they have ended, and is raised alone.
    """
    waiting, results = iter(arguments), list[Any]()

    async def work() -> None:
        for argument in waiting:
            place = len(results)
            results.append(None)
            results[place] = await function(argument)

    limit = max(1, limit)
    await run_workers(work, count=min(limit, length_hint(arguments, limit)))
    return results


async def run_workers(work: Callable[[], Coroutine[Any, Any, None]], *, count: int) -> None:
    """Run `count` workers side by side; the first failure cancels the others and is raised alone."""
    await run_together(*(work() for _ in range(count)))


async def run_together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines side by side; the first failure cancels the others and is raised alone."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def see_through(coroutine: Coroutine[Any, Any, _Out], *, grace_seconds: float) -> _Out:
    """Await a request whose effect matters also when the caller is cancelled.

    A request that a thread has sent cannot be taken back: cleaning up before its answer may miss what it
    made. On cancellation it gets `grace_seconds` to end before CancelledError goes on.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=grace_seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def settle(
    begun: "Future[_Out]",
    *,
    within_seconds: float = SETTLE_SECONDS,
    on_cancel: Callable[[], object] = lambda: None,
) -> _Out:
    """Await what was given to a thread and has an effect that cannot be taken back.

    On cancellation it does not begin any more, or, if it has begun, is told by `on_cancel` and gets
    `within_seconds` to end before CancelledError goes on; its result or failure is dropped then.
    """
    try:
        return await asyncio.wrap_future(begun)
    except asyncio.CancelledError:
        on_cancel()
        if not begun.cancel():
            ending = asyncio.wrap_future(begun)
            ending.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            await asyncio.wait({ending}, timeout=within_seconds)
        raise
