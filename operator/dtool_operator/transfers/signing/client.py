"""The worker's way to the signing endpoint: who it says it is, and what it bears until there is an answer.

Owns the token's freshness and repetition: the operator may be away for minutes, and a new one knows this Job
only once it has found it again. No token and no URL is in an error.
"""

import asyncio
import io
import random
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from dtool_operator.planning.task import SigningPlace
from dtool_operator.transfers.signing.wire import (
    CALL_PATH,
    GREETING_PATH,
    MAX_ANSWER_BYTES,
    URLS_PATH,
    Call,
    CallAnswer,
    CallAsked,
    Greeting,
    Model,
    Refusal,
    SigningFailed,
    UrlAsked,
    UrlGiven,
    UrlsAsked,
    UrlsGiven,
    build_error,
)
from dtool_s3.errors import DtoolS3Error, SettingsError

#: How long the operator may be away, or not know this Job yet.
PATIENCE_SECONDS: Final = 300.0
#: Projected tokens live an hour and are replaced well before.
TOKEN_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_UNAUTHORIZED_ATTEMPTS: Final = 4
#: Completing an upload of gigabytes takes S3 its time.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=900, sock_connect=10)

_M = TypeVar("_M", bound=BaseModel)


class _NoQuestion(Model):
    """The greeting needs none."""


class _Again(Exception):
    """Something passes by itself; `error` is raised when it does not, after `attempts` or the patience."""

    def __init__(self, error: DtoolS3Error, attempts: int | None = None) -> None:
        super().__init__()
        self.error = error
        self.attempts = attempts


class EndpointClient:
    """Asks one endpoint for one Job. Every method raises SigningFailed, and what the endpoint says of S3.

    `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        place: SigningPlace,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = place.url.rstrip("/")
        self._ca_pem = place.ca_pem
        self._token_file = Path(place.token_file)
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_until = 0.0

    async def greet(self) -> Greeting:
        """Ask where the bucket is."""
        return await self._ask(GREETING_PATH, _NoQuestion(), Greeting)

    async def sign(self, asked: Sequence[UrlAsked]) -> Sequence[UrlGiven | Refusal]:
        """Ask for URLs; one answer each, in order."""
        given = (await self._ask(URLS_PATH, UrlsAsked(asked=tuple(asked)), UrlsGiven)).given
        if len(given) != len(asked):
            raise SigningFailed("the signing endpoint answered something else", code="MalformedAnswer")
        return given

    async def call(self, call: Call) -> CallAnswer:
        """Let the endpoint do something. It may be done twice where an answer is lost."""
        return await self._ask(CALL_PATH, CallAsked(call=call), CallAnswer)

    async def close(self) -> None:
        """Close connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, path: str, question: BaseModel, kind: type[_M]) -> _M:
        body, until, attempt = question.model_dump_json().encode(), self._clock() + self._patience_seconds, 0
        while True:
            attempt += 1
            try:
                return await self._send(path, body, kind)
            except _Again as again:
                if self._clock() > until or (again.attempts is not None and attempt >= again.attempts):
                    raise again.error from None
            longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
            await asyncio.sleep(random.uniform(longest / 4, longest))  # noqa: S311 - no secret

    async def _send(self, path: str, body: bytes, kind: type[_M]) -> _M:
        headers = {"Authorization": f"Bearer {await self._read_token()}", "Content-Type": "application/json"}
        try:
            question = io.BytesIO(body)  # sent in pieces
            async with self._open().post(self._url + path, data=question, headers=headers) as answer:
                status, text = answer.status, await answer.content.read(MAX_ANSWER_BYTES)
                while more := await answer.content.read(MAX_ANSWER_BYTES):
                    text += more
                    _check_size(text)
        except aiohttp.ClientConnectorCertificateError:
            message = "the signing endpoint shows a certificate that this task was not told to trust"
            raise SigningFailed(message, code="CertificateError") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            name = type(error).__name__
            raise _Again(SigningFailed(f"no answer from the signing endpoint ({name})", code=name)) from None
        return self._understand(status, text, kind)

    def _understand(self, status: int, text: bytes, kind: type[_M]) -> _M:
        try:
            if status == 200:
                return kind.model_validate_json(text)
            refusal = Refusal.model_validate_json(text)
        except ValidationError:
            message = f"the signing endpoint answered something else (HTTP {status})"
            raise _Again(SigningFailed(message, code=str(status))) from None
        error = build_error(refusal)
        if status == 401:
            self._token_until = 0.0
            raise _Again(SigningFailed(str(error), code="401"), attempts=_UNAUTHORIZED_ATTEMPTS)
        if status in {429, 500, 502, 503, 504} or (status == 403 and refusal.code == "NoGrant"):
            raise _Again(SigningFailed(str(error), code=refusal.code))
        raise error

    async def _read_token(self) -> str:
        """Return the token, read again each minute: the kubelet replaces the file."""
        if self._token_until <= self._clock():
            try:
                self._token = (await asyncio.to_thread(self._token_file.read_text, "ascii")).strip()
            except (OSError, ValueError):
                message = "the token for the signing endpoint cannot be read"
                raise SigningFailed(message, code="NoToken") from None
            self._token_until = self._clock() + TOKEN_SECONDS
        return self._token

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(cadata=self._ca_pem)
            except (ssl.SSLError, ValueError):
                raise SettingsError("the certificate of the signing endpoint cannot be read") from None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=4), timeout=_TIMEOUT
            )
        return self._session


def _check_size(text: bytes) -> None:
    if len(text) > MAX_ANSWER_BYTES:
        raise SigningFailed("the answer of the signing endpoint is too large", code="EntityTooLarge")
