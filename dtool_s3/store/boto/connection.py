"""One bucket's connection: the client, its worker threads, and the credentials it was built with.

Owns when a client is built, replaced (credentials changed) and given up (the process forked), and that
requests are repeated. Knows nothing of objects: it runs functions that take a client. Every failure leaves
here translated.
"""

import asyncio
import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dtool_s3.concurrency import settle
from dtool_s3.errors import AccessDenied, CredentialsRejected, StorageError
from dtool_s3.settings import Credentials, CredentialsSource, Endpoint
from dtool_s3.store.boto.retry import Retry
from dtool_s3.store.boto.target import Target
from dtool_s3.store.faults import Request

READ_TIMEOUT_SECONDS = 60
#: For the server's own long work: it sends nothing while it copies or joins gigabytes.
PATIENT_TIMEOUT_SECONDS = 900

#: What `on_answer` is told of a request that did what it should.
ANSWERED = "ok"

#: Writes of one request; who writes in parts needs the answers and waits for them by `see_through`.
_WRITES = frozenset({"put", "copy", "delete", "delete_many", "make_public", "make_private"})

# its regions are one service: one copies from another
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")

_T = TypeVar("_T")

#: botocore makes the client's class at run time.
Client = Any
Call = Callable[[Client], _T]


@dataclass(slots=True)
class _Clients:
    """The clients built with one set of credentials, each at its first use; `target` with the first."""

    credentials: Credentials | None
    session: Any = None
    target: Target | None = None
    by_read_timeout: dict[int, Client] = field(default_factory=dict)


class Connection:
    """Runs requests to one bucket in threads of its own. The constructor performs no I/O.

    `on_request` is told every request that is sent, repetitions included, on the event loop; `on_answer` the
    same request and ANSWERED or the error's reason, unless nobody waits for the answer any more.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        bucket: str,
        credentials: CredentialsSource,
        *,
        max_concurrency: int,
        retry: Retry,
        on_request: Callable[[Request], None] | None,
        on_answer: Callable[[Request, str], None] | None = None,
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
    ) -> None:
        self.endpoint = endpoint
        self.bucket = bucket
        self.retry = retry
        self.read_timeout_seconds = read_timeout_seconds
        self._credentials = credentials
        self._max_concurrency = max_concurrency
        self._on_request = on_request
        self._on_answer = on_answer
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._clients: _Clients | None = None
        self._threads = ThreadPoolExecutor(self._max_concurrency, thread_name_prefix="dtool-s3")

    @property
    def service_url(self) -> str:
        """URL of the service, wherever it was said; `""` for AWS, and before the first client is built."""
        url = self.endpoint.url
        clients = self._clients
        if url is None and clients is not None and clients.by_read_timeout:
            url = str(next(iter(clients.by_read_timeout.values())).meta.endpoint_url)
        host = urlsplit(url or "").hostname or ""
        return "" if url is None or host.endswith(_AWS_HOSTS) else url.rstrip("/")

    def place(self, key: str) -> str:
        """Name bucket and key for a message."""
        return f"s3://{self.bucket}/{key}"

    async def ask(self, operation: str, key: str, call: Call[_T], *, patient: bool = False) -> _T:
        """Send a request, and again while that may help. Raises StorageError, SettingsError."""
        return await self.retry.repeat(lambda _: self.send(operation, key, call, patient=patient))

    async def send(self, operation: str, key: str, call: Call[_T], *, patient: bool = False) -> _T:
        """Send a request once: run `call(client)` in a thread. Raises StorageError, SettingsError.

        On CredentialsRejected and AccessDenied the credentials are read again, and where they changed the
        call is repeated once with them. `patient` waits long for the answer. A write that is cancelled is
        waited for a little, see `settle`.
        """
        self.tell(operation, key)
        timeout = PATIENT_TIMEOUT_SECONDS if patient else self.read_timeout_seconds
        try:
            begun = self._begin(self._send, f"{operation} of {self.place(key)}", call, timeout)
            answer: _T = await (settle(begun) if operation in _WRITES else asyncio.wrap_future(begun))
        except StorageError as error:
            self.tell_answer(operation, key, error.reason)
            raise
        self.tell_answer(operation, key, ANSWERED)
        return answer

    def tell(self, operation: str, key: str) -> None:
        """Tell `on_request` of a request that is about to be sent; on the event loop."""
        if self._on_request is not None:
            self._on_request(Request(operation, self.bucket, key))

    def tell_answer(self, operation: str, key: str, result: str) -> None:
        """Tell `on_answer` how a request ended; on the event loop."""
        if self._on_answer is not None:
            self._on_answer(Request(operation, self.bucket, key), result)

    async def find_target(self) -> Target | None:
        """Say where and how the requests go now, for another client. Raises StorageError, SettingsError.

        None: only this client can make them. The same target is the same object.
        """
        self._check_process()
        clients = self._clients
        if clients is None or clients.session is None:
            return await self._in_thread(self._open)
        return clients.target

    def _open(self) -> Target | None:
        clients = self._current()
        self._client(clients, self.read_timeout_seconds)
        return clients.target

    async def prepare(self, operation: str, key: str, call: Call[_T]) -> _T:
        """Run `call(client)` in a thread where it sends no request itself: signing, say. Not repeated."""
        return await self._in_thread(self.prepare_here, operation, key, call)

    def prepare_here(self, operation: str, key: str, call: Call[_T]) -> _T:
        """Do what `prepare` does in this thread; the first client costs a third of a second."""
        self._check_process()
        return self._send(f"{operation} of {self.place(key)}", call, self.read_timeout_seconds)

    async def read(self, key: str, read: Callable[[], bytes]) -> bytes:
        """Read from an answer's body in a thread. Raises StorageError."""
        return await self._in_thread(self._translated, f"stream of {self.place(key)}", read)

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.wrap_future(self._begin(function, *arguments))

    def _begin(self, function: Callable[..., _T], *arguments: object) -> "Future[_T]":
        self._check_process()
        return self._threads.submit(function, *arguments)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:  # after a fork: the threads are gone, the sockets are the parent's
            self._start_anew()

    def discard(self, close: Callable[[], object]) -> None:
        """Run `close` in a thread, without waiting: closing a body may wait for a read that hangs."""
        self._threads.submit(close)

    def close(self) -> None:
        """Wait for the requests under way, end the threads and close the clients' sockets."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for client in self._clients.by_read_timeout.values() if self._clients else ():
            client.close()

    def _send(self, what: str, call: Call[_T], timeout: int) -> _T:
        clients = self._current()
        try:
            return self._call(clients, what, call, timeout)
        except (AccessDenied, CredentialsRejected):
            if not self._has_renewed(clients):
                raise
        return self._call(self._current(), what, call, timeout)

    def _call(self, clients: _Clients, what: str, call: Call[_T], timeout: int) -> _T:
        client = self._client(clients, timeout)
        return self._translated(what, lambda: call(client))

    def _translated(self, what: str, act: Callable[[], _T]) -> _T:
        from dtool_s3.store.boto import client  # noqa: PLC0415 - botocore loads at the first request

        try:
            return act()
        except client.FAILURES as error:
            _release(error)
            raise client.translate(error, what, self.endpoint) from error

    def _client(self, clients: _Clients, timeout: int) -> Client:
        with self._lock:
            if timeout not in clients.by_read_timeout:
                clients.by_read_timeout[timeout] = self._build(clients, timeout)
            return clients.by_read_timeout[timeout]

    def _build(self, clients: _Clients, timeout: int) -> Client:
        from dtool_s3.store.boto.client import build_client, open_session  # noqa: PLC0415 - as above
        from dtool_s3.store.boto.observation import observe_target  # noqa: PLC0415 - as above

        session = clients.session or open_session(self.endpoint)
        client = build_client(
            session,
            self.endpoint,
            clients.credentials,
            max_connections=self._max_concurrency,
            read_timeout_seconds=timeout,
        )
        if clients.session is None:  # nobody else has the client yet: the observation may stop its request
            clients.target = observe_target(
                client,
                session,
                endpoint=self.endpoint,
                bucket=self.bucket,
                credentials=clients.credentials,
            )
            clients.session = session
        return client

    def _current(self) -> _Clients:
        with self._lock:
            if self._clients is None:
                self._clients = _Clients(self._credentials())
            return self._clients

    def _has_renewed(self, used: _Clients) -> bool:
        """Read the credentials again; tell whether there are others now than the `used` ones."""
        with self._lock:
            if self._clients is not used:  # another thread was first
                return True
            credentials = self._credentials()
            if credentials == used.credentials:
                return False
            self._clients = _Clients(credentials)
            return True


def _release(error: BaseException | None) -> None:
    """Empty the frames of a failure and of what caused it.

    Inside urllib3 they refer to each other in a circle, and would hold the request's body and its socket
    until the garbage collector comes by.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
