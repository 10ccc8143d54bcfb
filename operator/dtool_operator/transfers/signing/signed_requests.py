"""Requests of one side of one task without keys: opened by a greeting, signed, sent, repeated, told of.

Owns how many are in flight and when a URL is asked for again. Knows nothing of what objects are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dtool_operator.planning.task import Location, Side, SigningPlace
from dtool_operator.transfers.request_tally import OnAnswer
from dtool_operator.transfers.signing.client import EndpointClient
from dtool_operator.transfers.signing.s3_requests import S3Requests
from dtool_operator.transfers.signing.url_desk import UrlDesk
from dtool_operator.transfers.signing.wire import Call, CallAnswer, ReadAsked, UrlAsked, UrlGiven
from dtool_s3.errors import AccessDenied, ClockSkewed, CredentialsRejected, SettingsError, StorageError
from dtool_s3.store.boto.retry import Retry
from dtool_s3.store.faults import Request

#: A refusal of S3 may mean that the URL has expired or that keys were replaced: asked for again so often.
_REFUSALS: Final = 2

_T = TypeVar("_T")
#: Sends one request by a URL: `(requests, given)`.
Act = Callable[[S3Requests, UrlGiven], Awaitable[_T]]


class SignedRequests:
    """Sends requests to the bucket of `location`; the first one greets the endpoint."""

    def __init__(
        self,
        place: SigningPlace,
        side: Side,
        location: Location,
        *,
        max_concurrency: int,
        on_answer: OnAnswer | None,
        patience_seconds: float,
    ) -> None:
        self.bucket = location.bucket
        self._side = side
        self._client = EndpointClient(place, patience_seconds=patience_seconds)
        self._max_concurrency = max_concurrency
        self._on_answer = on_answer
        self._retry = Retry()
        self._slots = asyncio.Semaphore(max_concurrency)
        self._opening = asyncio.Lock()
        self._opened: tuple[UrlDesk, S3Requests] | None = None

    def place(self, key: str) -> str:
        """Name bucket and key for a message."""
        return f"s3://{self.bucket}/{key}"

    async def send(
        self, operation: str, key: str, asked: UrlAsked, act: Act[_T], *, kept: bool = False
    ) -> _T:
        """Have a URL signed and `act` with it, again while that may help. Raises errors of the library.

        `kept`: a URL that was used before will do. `act` is told of nothing; what it raises is repeated where
        it is retryable.
        """
        desk, requests = await self._open()
        refused = 0

        async def attempt(_: int) -> _T:
            nonlocal refused
            while True:
                given = await (
                    desk.get_kept(asked) if kept and isinstance(asked, ReadAsked) else desk.get(asked)
                )
                try:
                    return await self._told(operation, key, act(requests, given))
                except (AccessDenied, ClockSkewed, CredentialsRejected):
                    refused += 1
                    if refused > _REFUSALS:
                        raise
                    if isinstance(asked, ReadAsked):
                        desk.forget(asked)

        async with self._slots:
            return await self._retry.repeat(attempt)

    async def call(self, operation: str, key: str, call: Call) -> CallAnswer:
        """Let the endpoint do something. Raises errors of the library."""
        await self._open()
        async with self._slots:
            return await self._told(operation, key, self._client.call(call))

    async def close(self) -> None:
        """Close connections."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened[0].close()
            await opened[1].close()
        await self._client.close()

    async def _open(self) -> tuple[UrlDesk, S3Requests]:
        async with self._opening:
            if self._opened is None:
                greeting = await self._client.greet()
                if (greeting.side, greeting.bucket) != (self._side, self.bucket):
                    raise SettingsError("the signing endpoint speaks of another bucket than the task")
                desk = UrlDesk(
                    self._client.sign, expires_seconds=greeting.expires_seconds, clock=time.monotonic
                )
                requests = S3Requests(ca_pem=greeting.ca_pem, max_connections=self._max_concurrency)
                self._opened = desk, requests
            return self._opened

    async def _told(self, operation: str, key: str, request: Awaitable[_T]) -> _T:
        result = "ok"
        try:
            return await request
        except StorageError as error:
            result = error.reason
            raise
        finally:
            if self._on_answer is not None:
                self._on_answer(Request(operation, self.bucket, key), result)
