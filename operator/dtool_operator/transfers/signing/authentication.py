"""Who asks: from a bearer token to the Job whose Pod bears it, with few questions to the API server.

Owns how long an answer is believed and how much a stranger may ask. Keeps digests of tokens, never a token.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.signing.wire import MAX_TOKEN_CHARACTERS

#: How long a Pod that was deleted may still be believed, and a token that meant nothing be refused unasked.
KNOWN_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 5.0
_REMEMBERED: Final = 2048
_REVIEWS_AT_ONCE: Final = 8
#: Failures of one address within the window; after that it is told to wait.
MAX_FAILURES: Final = 20
FAILURE_WINDOW_SECONDS: Final = 10.0

_K = TypeVar("_K")
_V = TypeVar("_V")


class Reviewer(Protocol):
    """Asks the API server about a token."""

    async def find_job(self, token: str) -> JobRef | None:
        """Return the Job whose living Pod the token was made for; None: it is worth nothing here.

        Raises ApiFailure.
        """


class TooManyFailures(Exception):
    """This address has tried too many tokens that mean nothing."""


class Authenticator:
    """Knows Jobs by tokens. `clock` gives seconds; for one event loop."""

    def __init__(self, reviewer: Reviewer, *, clock: Callable[[], float]) -> None:
        self._reviewer = reviewer
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, JobRef | None]] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[JobRef | None]] = {}
        self._turns = asyncio.Semaphore(_REVIEWS_AT_ONCE)

    async def find_job(self, token: str, *, address: str) -> JobRef | None:
        """Return the Job whose Pod bears this token; None: nobody's.

        Raises TooManyFailures for an address that guesses, ApiFailure where the API server does not say.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > self._clock():
            job = known[1]
        else:
            self._check_failures(address)
            job = await self._ask(digest, token)
        if job is None:
            self._note_failure(address)
        return job

    async def _ask(self, digest: bytes, token: str) -> JobRef | None:
        """Ask once for all who bear the same token at the same time."""
        if not token or len(token) > MAX_TOKEN_CHARACTERS:
            return None
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.ensure_future(self._review(digest, token))
            self._asking[digest] = asking
            asking.add_done_callback(lambda ended: self._forget_asking(digest, ended))
        return await asyncio.shield(asking)

    def _forget_asking(self, digest: bytes, ended: "asyncio.Task[JobRef | None]") -> None:
        self._asking.pop(digest, None)
        if not ended.cancelled():
            ended.exception()  # told to whoever still waits

    async def _review(self, digest: bytes, token: str) -> JobRef | None:
        async with self._turns:
            job = await self._reviewer.find_job(token)
        until = self._clock() + (UNKNOWN_SECONDS if job is None else KNOWN_SECONDS)
        _remember(self._known, digest, (until, job))
        return job

    def _check_failures(self, address: str) -> None:
        until, count = self._failures.get(address, (0.0, 0))
        if count >= MAX_FAILURES and until > self._clock():
            raise TooManyFailures

    def _note_failure(self, address: str) -> None:
        now = self._clock()
        until, count = self._failures.get(address, (0.0, 0))
        fresh = (now + FAILURE_WINDOW_SECONDS, 1)
        _remember(self._failures, address, (until, count + 1) if until > now else fresh)


def _remember(kept: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
