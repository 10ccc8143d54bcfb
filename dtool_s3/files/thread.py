"""Blocking file work beside the event loop; owns that no cancellation leaves a thread behind at work.

A thread that still writes when its caller has closed the descriptor may write into somebody else's file.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

_Out = TypeVar("_Out")
_In = TypeVarTuple("_In")


async def in_thread(function: Callable[[*_In], _Out], *arguments: *_In) -> _Out:
    """Call `function` in a thread of the loop's pool; a cancellation goes on only when the call has ended."""
    call = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with suppress(asyncio.CancelledError):  # a second cancellation changes nothing
                await asyncio.wait({call})
        if not call.cancelled():
            call.exception()  # looked at: the cancellation is what ends this
        raise
