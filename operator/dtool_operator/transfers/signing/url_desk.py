"""Gathers what many coroutines want signed into few questions, and keeps URLs that can be used again.

A question leaves at once when none is under way; what is wanted meanwhile goes together with the next. So a
lone request waits for nobody, and many side by side cost the endpoint few answers.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dtool_operator.transfers.signing.wire import (
    MAX_BATCH,
    ReadAsked,
    Refusal,
    UrlAsked,
    UrlGiven,
    build_error,
    build_refusal,
)
from dtool_s3.errors import DtoolS3Error

_KEPT: Final = 256
#: What of a URL's life is left to the request that uses it.
_SLACK_SECONDS: Final = 5.0

Sign = Callable[[Sequence[UrlAsked]], Awaitable[Sequence[UrlGiven | Refusal]]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    asked: UrlAsked
    told: "asyncio.Future[UrlGiven]"


class UrlDesk:
    """Hands out URLs that `sign` gives, which live for `expires_seconds`. For one event loop."""

    def __init__(self, sign: Sign, *, expires_seconds: float, clock: Callable[[], float]) -> None:
        self._sign = sign
        self._clock = clock
        self._useful_seconds = max(expires_seconds / 2, expires_seconds - _SLACK_SECONDS)
        self._kept: OrderedDict[ReadAsked, tuple[float, UrlGiven]] = OrderedDict()
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None

    async def get(self, asked: UrlAsked) -> UrlGiven:
        """Return a new URL. Raises what was answered."""
        waiting = _Waiting(asked, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.ensure_future(self._send())
        return await waiting.told

    async def get_kept(self, asked: ReadAsked) -> UrlGiven:
        """Return a URL that may have been used before."""
        kept = self._kept.get(asked)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        until = self._clock() + self._useful_seconds
        given = await self.get(asked)
        self._kept[asked] = (until, given)
        self._kept.move_to_end(asked)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return given

    def forget(self, asked: ReadAsked) -> None:
        """Hand this URL out no more: S3 refused it."""
        self._kept.pop(asked, None)

    async def close(self) -> None:
        """Give up what nobody waits for any more."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    async def _send(self) -> None:
        await asyncio.sleep(0)  # whoever is as far as this one comes along
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            batch = [waiting for waiting in batch if not waiting.told.done()]
            if batch:
                await self._send_batch(batch)

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            given = await self._sign([waiting.asked for waiting in batch])
        except DtoolS3Error as error:
            given = [build_refusal(error)] * len(batch)
        except BaseException:
            for waiting in (*batch, *self._waiting):
                waiting.told.cancel()
            self._waiting.clear()
            raise
        for waiting, answer in zip(batch, given, strict=True):
            if waiting.told.done():
                continue
            if isinstance(answer, Refusal):
                waiting.told.set_exception(build_error(answer))
            else:
                waiting.told.set_result(answer)
