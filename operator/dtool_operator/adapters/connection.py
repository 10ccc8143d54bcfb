"""Requests to the API server: where it is, who we are, how fast we may ask, what an answer means.

The only module that imports the Kubernetes client. Knows paths and JSON, not what they stand for; puts no
response body into a message, only the API server's own sentence about a refused write.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import aiohttp

from dtool_operator.adapters.pacing import TokenBucket
from dtool_operator.errors import ApiFailure

if TYPE_CHECKING:
    from kubernetes.aio.client.api_client import ApiClient
    from kubernetes.aio.client.configuration import Configuration

JSON = "application/json"
_MESSAGE_MAXIMUM = 300


class Refused(ApiFailure):
    """The API server answered, with an error; `cause` is the first reason it gives, or empty."""

    def __init__(self, message: str, *, status: int, cause: str) -> None:
        super().__init__(message, status=status)
        self.cause = cause


class NotConfigured(ApiFailure):
    """Nothing says where the API server is, or what says it cannot be read."""


class Connection:
    """The API server of KUBECONFIG or, without it, of the cluster this process runs in.

    Connects at the first request. Writes pass a token bucket. The token is read again when the API server
    rejects it, and in a cluster every minute.
    """

    def __init__(
        self,
        *,
        writes_per_second: float = 20.0,
        timeout_seconds: float = 30.0,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._writes = TokenBucket(per_second=writes_per_second, burst=int(2 * writes_per_second))
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._environment = environment
        self._connecting = asyncio.Lock()
        self._client: ApiClient | None = None

    async def read(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = JSON
    ) -> dict[str, Any]:
        """Get a document; raises ApiFailure (no answer) or Refused."""
        return await self._request("GET", path, None, query or {}, {"Accept": accept})

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
        await self._writes.take()
        headers = {"Content-Type": content_type, "Accept": JSON}
        return await self._request(method, path, body, query or {}, headers)

    async def close(self) -> None:
        """Close connections; the next request would open them again."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()  # type: ignore[no-untyped-call]

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        try:
            status, answer = await self._send(method, path, body, query, headers)
            if status == 401 and self._client is not None:
                await _configure(self._client.configuration, self._environment)
                status, answer = await self._send(method, path, body, query, headers)
        except (aiohttp.ClientError, OSError) as error:
            message = f"the API server does not answer: {type(error).__name__} {error}".rstrip()
            raise ApiFailure(message) from error
        document = _parse(answer)
        if 200 <= status < 300:
            return document
        raise _build_refusal(f"{method} {path}", status, document)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> tuple[int, bytes]:
        client = await self._connect()
        prepared = await client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=dict(headers),
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await client.call_api(*prepared, _request_timeout=self._timeout)
        return response.status, await response.read()  # type: ignore[no-untyped-call]

    async def _connect(self) -> "ApiClient":
        # imported late: a second of start and much memory, for processes that never ask the API server
        from kubernetes.aio.client.api_client import ApiClient  # noqa: PLC0415
        from kubernetes.aio.client.configuration import Configuration  # noqa: PLC0415

        async with self._connecting:
            if self._client is None:
                configuration = Configuration()
                await _configure(configuration, self._environment)
                self._client = ApiClient(configuration)
            return self._client


async def _configure(configuration: "Configuration", environment: Mapping[str, str]) -> None:
    """Read where the API server is and who we are; raises NotConfigured if that is nowhere to be read.

    Never the user's default kubeconfig: whoever means that cluster says so.
    """
    from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    kubeconfig = environment.get("KUBECONFIG")
    try:
        if kubeconfig:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration, persist_config=False
            )
        else:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, YAMLError, OSError, ValueError, TypeError) as error:
        where = (
            f"KUBECONFIG={kubeconfig}" if kubeconfig else "the ServiceAccount of a Pod (or set KUBECONFIG)"
        )
        raise NotConfigured(f"cannot read how to reach the API server from {where}: {error}") from error


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
