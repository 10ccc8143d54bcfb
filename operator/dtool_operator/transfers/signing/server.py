"""The signing endpoint: HTTPS for the Pods of Jobs that have no keys. Owns its life and what it bears.

    POST /v1/greeting    where the bucket is
    POST /v1/urls        up to 500 signed URLs
    POST /v1/call        start, complete, abort, list uploads; delete an item; sizes of parts

401 the token is nobody's; 403 the Job has no grant, or not this one; 424 S3 refused; 429 wait; 503 the API
server does not say who asks. No token and no URL is logged or in a message.
"""

import asyncio
import logging
import ssl
import traceback
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from dtool_operator.errors import OperatorError
from dtool_operator.transfers.signing import answering
from dtool_operator.transfers.signing.authentication import Authenticator, Reviewer, TooManyFailures
from dtool_operator.transfers.signing.certificate import Certificate, build_server_context
from dtool_operator.transfers.signing.gate import MAX_CONNECTIONS, Gate
from dtool_operator.transfers.signing.grants import Grant, Grants
from dtool_operator.transfers.signing.wire import (
    CALL_PATH,
    GREETING_PATH,
    MAX_QUESTION_BYTES,
    URLS_PATH,
    CallAsked,
    Refusal,
    UrlsAsked,
)
from dtool_s3.errors import DtoolS3Error, Throttled

_log = logging.getLogger(__name__)

#: How long a question may take to arrive, an idle connection stay, and work go on when the server stops.
_BODY_SECONDS: Final = 20.0
_IDLE_SECONDS: Final = 30.0
_SHUTDOWN_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 1

_M = TypeVar("_M", bound=BaseModel)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SigningServer:
    """Listens between `start` and `stop`. `port` 0: a free one, which `port` tells after the start.

    `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        certificate: Certificate,
        grants: Grants,
        reviewer: Reviewer,
        clock: Callable[[], float],
        max_connections: int = MAX_CONNECTIONS,
        silent_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self.port = port
        self._host = host
        self._context: ssl.SSLContext = build_server_context(certificate)
        self._grants = grants
        self._authenticator = Authenticator(reviewer, clock=clock)
        self._max_connections, self._silent_seconds = max_connections, silent_seconds
        self._gate: Gate | None = None
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        application = web.Application(client_max_size=MAX_QUESTION_BYTES, middlewares=[_guard])
        application.router.add_post(GREETING_PATH, self._greet)
        application.router.add_post(URLS_PATH, self._sign)
        application.router.add_post(CALL_PATH, self._call)
        self._runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=_IDLE_SECONDS, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = Gate(
            self._runner.server, max_connections=self._max_connections, silent_seconds=self._silent_seconds
        )
        self._listening = await asyncio.get_running_loop().create_server(
            self._gate.accept, self._host, self.port, ssl=self._context, ssl_handshake_timeout=10.0
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port, let what is under way end for a moment, close connections."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _greet(self, request: web.Request) -> web.Response:
        grant = await self._find_grant(request)
        return _answer(answering.greet(grant, expires_seconds=self._grants.expiry_seconds))

    async def _sign(self, request: web.Request) -> web.Response:
        grant = await self._find_grant(request)
        question = await _read(request, UrlsAsked)
        async with grant.turn():
            given = await answering.sign(grant, question.asked, expires_seconds=self._grants.expiry_seconds)
        return _answer(given)

    async def _call(self, request: web.Request) -> web.Response:
        grant = await self._find_grant(request)
        question = await _read(request, CallAsked)
        async with grant.turn():
            return _answer(await answering.perform(grant, question.call))

    async def _find_grant(self, request: web.Request) -> Grant:
        """Return the grant of who asks; raises the HTTP answers 401, 403, 429 and 503."""
        if self._gate is not None:
            self._gate.note_question(request.transport)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            job = await self._authenticator.find_job(
                token if scheme == "Bearer" else "", address=request.remote or ""
            )
        except TooManyFailures:
            raise _Answered(429, "Throttled", "too many tokens that mean nothing") from None
        except OperatorError:
            raise _Answered(503, "BucketUnreachable", "the API server does not say who asks") from None
        if job is None:
            raise _Answered(401, "CredentialsRejected", "the token is none of a Pod of a Job") from None
        grant = self._grants.find(job)
        if grant is None:
            raise _Answered(403, "AccessDenied", "this Job has no work here", code="NoGrant")
        return grant


class _Answered(Exception):
    """Ends a request with a status and what is said."""

    def __init__(self, status: int, error: str, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.refusal = Refusal(error=error, code=code, message=message)


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn every failure into an answer that tells no secret; the entry point of a question."""
    try:
        return await handler(request)
    except _Answered as answered:
        return _answer(answered.refusal, status=answered.status)
    except Throttled as error:
        return _answer(answering.describe_failure(error)[1], status=429)
    except DtoolS3Error as error:
        status, refusal = answering.describe_failure(error)
        return _answer(refusal, status=status)
    except web.HTTPException as error:
        return _answer(Refusal(error="RequestRefused", message=error.reason), status=error.status)
    except Exception as error:  # noqa: BLE001 - the entry point; its text may hold anything
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("signing-failed: %s at\n%s", type(error).__name__, frames)
        return _answer(Refusal(error="BucketUnreachable", message="the endpoint failed"), status=500)


def _answer(model: BaseModel, *, status: int = 200) -> web.Response:
    headers = {"Retry-After": str(_WAIT_SECONDS)} if status in {429, 503} else None
    return web.Response(
        status=status, text=model.model_dump_json(), content_type="application/json", headers=headers
    )


async def _read(request: web.Request, kind: type[_M]) -> _M:
    """Read a question. Raises the HTTP answers 400, 408 and 413."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise _Answered(408, "RequestRefused", "the question did not arrive") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        raise _Answered(400, "RequestRefused", "the question is malformed", code="Malformed") from None
