"""GET of untrusted URLs, each within bounds: of bytes, of time, of where it leads; threads, one a request.

Owns that no answer, however slow, large or endless, holds a thread or memory for long: a request gets some
patience, and more only at the rate at which bytes arrive; then its socket is shut down, whatever it waits
for. The same happens when the caller is cancelled. Redirects are never followed, bodies of failures never
read. Messages have no query: it may hold a signature.
"""

import asyncio
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    NotFound,
    NotSupported,
    RequestRefused,
    StorageError,
    storage_error,
)
from dtool_s3.store.boto.fetching import open_pool
from dtool_s3.store.boto.retry import Retry

_READ_BYTES = 256 * 1024
#: The exchange that a thread is at.
_here = threading.local()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take: `seconds`, and one more for each `bytes_per_second` that have arrived."""

    seconds: float = 60.0
    bytes_per_second: int = 16 * 1024


@dataclass(slots=True)
class _Exchange:
    """One request under way, as its thread and the event loop see it."""

    started: float | None = None
    received_bytes: int = 0
    is_given_up: bool = False
    _socket: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hold(self, connected: Any) -> None:
        """Note the socket on which the answer is awaited. Raises where it was given up meanwhile."""
        with self._lock:
            if self.is_given_up:
                raise ConnectionAbortedError
            self._socket = connected if isinstance(connected, socket.socket) else None

    def end(self) -> None:
        """Note that the socket serves other requests from now on."""
        with self._lock:
            self._socket = None

    def give_up(self) -> None:
        """End the thread's waiting for the socket."""
        with self._lock:
            self.is_given_up = True
            if self._socket is not None:
                with suppress(OSError):  # beneath TLS, whose own shutdown would wait for the server
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def seconds_left(self, patience: Patience) -> float:
        """How long the request may still take; it may have to wait for its thread as long as that takes."""
        if self.started is None:
            return patience.seconds
        earned = self.received_bytes / patience.bytes_per_second
        return self.started + patience.seconds + earned - time.monotonic()


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        """Say which socket is waited for; then wait."""
        _here.exchange.hold(self.sock)
        return super().getresponse()


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        """Say which socket is waited for; then wait."""
        _here.exchange.hold(self.sock)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class HttpClient:
    """Reads URLs of one host. The constructor performs no I/O; `close()` ends threads and connections."""

    def __init__(
        self, *, ca_bundle: str | None, max_concurrency: int, patience: Patience, retry: Retry
    ) -> None:
        self._ca_bundle = ca_bundle
        self._max_concurrency = max_concurrency
        self._patience = patience
        self._retry = retry
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="dtool-http")
        self._lock = threading.Lock()
        self._pools: dict[str, urllib3.PoolManager] = {}

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        """Read what lies at a URL, whole.

        Raises NotFound, AccessDenied (also for a redirect), CredentialsRejected, Throttled, BucketUnreachable
        (also for what is too slow), RequestRefused (code `EntityTooLarge` above `max_bytes`), SettingsError.
        """
        return await self._retry.repeat(lambda _: self._ask(url, {}, max_bytes))

    async def get_range(self, url: str, first_byte: int, size_bytes: int) -> bytes:
        """Read `size_bytes` (at least 1) from `first_byte` on; raises NotSupported where there are no ranges.

        RequestRefused (code `InvalidRange`) where the object has no such bytes.
        """
        asked = f"{first_byte}-{first_byte + size_bytes - 1}"
        body = await self._retry.repeat(lambda _: self._ask(url, {"Range": f"bytes={asked}"}, size_bytes))
        if len(body) != size_bytes:
            raise RequestRefused(f"{_shown(url)} answers with other bytes than {asked}", code="InvalidRange")
        return body

    def close(self) -> None:
        """Close the connections and end the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for pool in self._pools.values():
            pool.clear()

    async def _ask(self, url: str, headers: Mapping[str, str], max_bytes: int) -> bytes:
        """Send a request once and watch over it."""
        exchange = _Exchange()
        sent: Future[bytes] = self._threads.submit(self._exchange, exchange, url, headers, max_bytes)
        answered = asyncio.wrap_future(sent)
        answered.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may ask
        try:
            while (left := exchange.seconds_left(self._patience)) > 0:
                done, _ = await asyncio.wait({answered}, timeout=left)
                if done:
                    return answered.result()
            raise BucketUnreachable(f"{_shown(url)} answers too slowly", code="RequestTimeout")
        finally:
            if not answered.done():
                sent.cancel()  # helps where no thread has begun
                exchange.give_up()

    def _exchange(self, exchange: _Exchange, url: str, headers: Mapping[str, str], max_bytes: int) -> bytes:
        """Send a request and read its answer; in a thread. Raises StorageError, SettingsError."""
        exchange.started = time.monotonic()
        _here.exchange = exchange
        try:
            answer = self._pool(url).urlopen(
                "GET",
                url,
                headers={"Accept-Encoding": "identity", "User-Agent": "dtool-s3", **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            with answer:
                _check_status(answer, url, headers.get("Range"))
                return _read(answer, url, max_bytes, exchange)
        except (HTTPError, OSError, ValueError) as error:
            raise _translate(error, url) from error
        finally:
            exchange.end()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        with self._lock:
            if parts.scheme not in self._pools:
                pool = open_pool(parts, ca_bundle=self._ca_bundle, connections=self._max_concurrency)
                pool.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
                self._pools[parts.scheme] = pool
            return self._pools[parts.scheme]


def _check_status(answer: urllib3.BaseHTTPResponse, url: str, asked: str | None) -> None:
    """Raise for every answer but the one that was asked for; no byte of its body is read."""
    status, shown = answer.status, _shown(url)
    if 300 <= status < 400:
        raise AccessDenied(f"{shown} redirects; use the URL that it leads to", code="Redirect")
    if status == 410:
        raise NotFound(f"{shown} is gone", code="410")
    if status == 416:
        raise RequestRefused(f"{shown} has no such bytes: {asked}", code="InvalidRange")
    if asked is not None and status == 200:
        raise NotSupported(f"the server of {shown} does not give ranges of bytes", code="NotImplemented")
    if status != (200 if asked is None else 206):
        raise storage_error("", status, f"GET of {shown}: HTTP {status}")
    told = answer.headers.get("Content-Range", "").replace(" ", "=", 1).partition("/")[0]
    if asked is not None and told != asked:
        raise RequestRefused(f"{shown} answers with other bytes than {asked}", code="InvalidRange")


def _read(answer: urllib3.BaseHTTPResponse, url: str, max_bytes: int, exchange: _Exchange) -> bytes:
    """Read at most `max_bytes`; the answer's length, where it is told, is refused before a byte is read."""
    too_large = RequestRefused(f"{_shown(url)} has more than {max_bytes} bytes", code="EntityTooLarge")
    length = answer.headers.get("Content-Length", "")
    told = int(length) if length.isdecimal() else None
    if told is not None and told > max_bytes:
        raise too_large
    body = io.BytesIO()
    while chunk := answer.read1(_READ_BYTES):
        exchange.received_bytes += len(chunk)
        if exchange.received_bytes > max_bytes:
            raise too_large
        body.write(chunk)
    return body.getvalue()  # one that is cut off raises above


def _translate(error: Exception, url: str) -> StorageError:
    """Name a failure by its kind alone: texts of failures may hold what the server sent."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return AccessDenied(f"{_shown(url)}: the server's certificate is not trusted", code="Certificate")
    return BucketUnreachable(f"{_shown(url)} does not answer: {type(error).__name__}", code="0")


def _shown(url: str) -> str:
    """The URL without its query."""
    return url.partition("?")[0][:300]
