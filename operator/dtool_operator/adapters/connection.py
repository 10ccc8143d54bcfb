"""Requests to the API server: where it is, who we are, how fast we may ask, what an answer means.

The only module that imports the Kubernetes client. Knows paths and JSON, not what they stand for; puts no
response body into a message, only the API server's own sentence about a refused write. What passes by itself
(429, 5xx, a connection that breaks) is tried again a few times; what lasts is the caller's to wait for.
"""

import asyncio
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import aiohttp

from dtool_operator.adapters.pacing import TokenBucket
from dtool_operator.errors import ApiFailure

if TYPE_CHECKING:
    from kubernetes.aio.client.api_client import ApiClient
    from kubernetes.aio.client.configuration import Configuration

JSON = "application/json"
SERVICE_ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts token and ca.crt of a Pod, and replaces the token."""

_MESSAGE_MAXIMUM = 300
_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_LONGEST_RETRY_AFTER_SECONDS = 30.0
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_REPEATABLE: Final = frozenset({"GET", "PUT", "PATCH", "DELETE"})
"""Doing them twice is doing them once, or a 409 or 404 that says so; a POST may have made its object."""


class Refused(ApiFailure):
    """The API server answered, with an error; `cause` is the first reason it gives, or empty."""

    def __init__(self, message: str, *, status: int, cause: str) -> None:
        super().__init__(message, status=status)
        self.cause = cause


class NotConfigured(ApiFailure):
    """Nothing says where the API server is, or what says it cannot be read."""


class ApiObserver(Protocol):
    """Is told of every request to the API server."""

    def observe_api_request(self, method: str, status: int) -> None:
        """Take in an answer; status 0: there was none."""

    def observe_api_wait(self, seconds: float) -> None:
        """Take in how long a write waited for its turn."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: Mapping[str, Any] | None
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after_seconds: float | None


class Connection:
    """The API server of KUBECONFIG or, without it, of the cluster this process runs in.

    Connects at the first request. Writes pass a token bucket. The token is read again when the API server
    rejects it, and in a cluster every minute. `attempts` counts the first one; `timeout_seconds` is for each.
    """

    def __init__(
        self,
        *,
        writes_per_second: float = 100.0,
        timeout_seconds: float = 30.0,
        attempts: int = 5,
        environment: Mapping[str, str] = os.environ,
        service_account_dir: Path = SERVICE_ACCOUNT_DIR,
        observer: ApiObserver | None = None,
    ) -> None:
        self._writes = TokenBucket(per_second=writes_per_second, burst=max(1, int(2 * writes_per_second)))
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._attempts = attempts
        self._environment = environment
        self._service_account_dir = service_account_dir
        self._observer = observer
        self._connecting = asyncio.Lock()
        self._client: ApiClient | None = None

    async def read(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = JSON
    ) -> dict[str, Any]:
        """Get a document; raises ApiFailure (no answer) or Refused."""
        return _parse(await self._request(_Request("GET", path, None, query or {}, {"Accept": accept})))

    async def read_text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        """Get a text, such as a Pod's log, whole: bound it in the query. Raises as `read` does."""
        body = await self._request(_Request("GET", path, None, query or {}, {"Accept": "*/*"}))
        return body.decode(errors="replace")

    async def write(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """Send a document when it is its turn; raises ApiFailure (no answer) or Refused."""
        headers = {"Content-Type": content_type, "Accept": JSON}
        return _parse(await self._request(_Request(method, path, body, query or {}, headers)))

    async def close(self) -> None:
        """Close connections; the next request would open them again."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()  # type: ignore[no-untyped-call]

    async def _request(self, request: _Request) -> bytes:
        """Ask until there is an answer that will not pass by itself."""
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._send_known(request)
            except (aiohttp.ClientError, OSError) as error:
                self._tell(request.method, 0)
                if attempt >= self._attempts or not _may_repeat(request, error):
                    message = f"the API server does not answer: {type(error).__name__} {error}".rstrip()
                    raise ApiFailure(message) from error
                pause = _choose_pause(attempt)
            else:
                if 200 <= answer.status < 300:
                    return answer.body
                wait = _find_pause(request, answer, attempt) if attempt < self._attempts else None
                if wait is None:
                    what = f"{request.method} {request.path}"
                    raise _build_refusal(what, answer.status, _parse(answer.body))
                pause = wait
            await asyncio.sleep(pause)

    async def _send_known(self, request: _Request) -> _Answer:
        """Send it as whom we are now; where the API server does not know us, read again who we are."""
        answer = await self._send(request)
        if answer.status == 401 and self._client is not None:
            await self._configure(self._client.configuration)
            answer = await self._send(request)
        return answer

    async def _send(self, request: _Request) -> _Answer:
        client = await self._connect()
        if request.method != "GET":
            waited = await self._writes.take()
            if self._observer is not None:
                self._observer.observe_api_wait(waited)
        prepared = await client.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query.items()),
            header_params=dict(request.headers),
            body=request.body,
            auth_settings=["BearerToken"],
        )
        response = await client.call_api(*prepared, _request_timeout=self._timeout)
        body = await response.read()  # type: ignore[no-untyped-call]
        self._tell(request.method, response.status)
        after = response.headers.get("Retry-After", "")
        return _Answer(response.status, body, float(after) if after.isdecimal() else None)

    def _tell(self, method: str, status: int) -> None:
        if self._observer is not None:
            self._observer.observe_api_request(method, status)

    async def _connect(self) -> "ApiClient":
        # imported late: a second of start and much memory, for processes that never ask the API server
        from kubernetes.aio.client.api_client import ApiClient  # noqa: PLC0415
        from kubernetes.aio.client.configuration import Configuration  # noqa: PLC0415

        async with self._connecting:
            if self._client is None:
                configuration = Configuration()
                await self._configure(configuration)
                self._client = ApiClient(configuration)
            return self._client

    async def _configure(self, configuration: "Configuration") -> None:
        """Read where the API server is and who we are; raises NotConfigured if that is nowhere to be read.

        Never the user's default kubeconfig: whoever means that cluster says so.
        """
        from kubernetes.aio.config import ConfigException, load_kube_config  # noqa: PLC0415
        from kubernetes.aio.config.incluster_config import InClusterConfigLoader  # noqa: PLC0415
        from yaml import YAMLError  # noqa: PLC0415

        kubeconfig = self._environment.get("KUBECONFIG")
        try:
            if kubeconfig:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=kubeconfig, client_configuration=configuration, persist_config=False
                )
            else:
                loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
                    token_filename=str(self._service_account_dir / "token"),
                    cert_filename=str(self._service_account_dir / "ca.crt"),
                    environ=self._environment,
                )
                loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        except (ConfigException, YAMLError, OSError, ValueError, TypeError) as error:
            pod = "the ServiceAccount of a Pod (or set KUBECONFIG)"
            where = f"KUBECONFIG={kubeconfig}" if kubeconfig else pod
            raise NotConfigured(f"cannot read how to reach the API server from {where}: {error}") from error


def _may_repeat(request: _Request, error: Exception) -> bool:
    """Tell whether it does no harm to send it again: it does nothing twice, or it never left."""
    return request.method in _REPEATABLE or isinstance(error, aiohttp.ClientConnectorError)


def _find_pause(request: _Request, answer: _Answer, attempt: int) -> float | None:
    """Say after how many seconds to ask again; None: this answer stands.

    A 429 was refused before anything was done; it may say when to come back (RFC 9110, 10.2.3).
    """
    if answer.status not in _PASSING or (answer.status != 429 and request.method not in _REPEATABLE):
        return None
    pause = _choose_pause(attempt)
    if answer.retry_after_seconds is None:
        return pause
    if answer.retry_after_seconds > _LONGEST_RETRY_AFTER_SECONDS:
        return None
    return max(pause, answer.retry_after_seconds)


def _choose_pause(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311 - so that not all come back together


def _parse(answer: bytes) -> dict[str, Any]:
    """Read a JSON object; anything else, such as a proxy's page, is as good as nothing."""
    try:
        document = json.loads(answer)
    except ValueError:
        document = None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _build_refusal(request: str, status: int, document: Mapping[str, Any]) -> Refused:
    """Make an error of a `Status` (https://kubernetes.io/docs/reference/using-api/api-concepts/)."""
    details = document.get("details") or {}
    causes = details.get("causes") or [{}]
    sentence = str(document.get("message") or "")[:_MESSAGE_MAXIMUM]
    message = f"the API server answered {request} with {status}: {sentence or 'no reason given'}"
    return Refused(message, status=status, cause=str(causes[0].get("reason") or ""))
