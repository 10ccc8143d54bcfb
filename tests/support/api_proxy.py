"""An HTTPS proxy on loopback between the operator and a real API server: plays what goes wrong there.

Owns its threads, sockets and which request is harmed; whatever is not harmed passes unchanged, watches
event by event. Knows the API server's own certificate, so that its clients trust it as they trust the server.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.controlplane import ControlPlane

_HOPS = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_EXPIRED = b'"code":410'
_TIMEOUT_SECONDS = 60.0
_READ_BYTES = 65536
_POLL_SECONDS = 0.05
_LOG = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/log")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came; `path` without its query."""

    method: str
    path: str
    is_watch: bool

    @property
    def is_write(self) -> bool:
        """Whether it is meant to change something."""
        return self.method in _WRITES


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is made up: status, the API server's word for it, and headers."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


THROTTLED = Answer(429, "TooManyRequests", (("Retry-After", "1"),))
FAILED = Answer(500, "InternalError")
CONFLICT = Answer(409, "Conflict")

#: Chooses what happens to a request: None, it passes.
Harm = Callable[[Asked], Answer | None]
#: Gives the log of a Pod by namespace and name; None: there is none yet.
ReadLog = Callable[[str, str], str | None]


def one_in(count: int, *answers: Answer) -> Harm:
    """Answer every `count`th request, with each of the answers in turn."""
    seen = 0

    def choose(asked: Asked) -> Answer | None:
        nonlocal seen
        seen += 1
        return None if seen % count else answers[seen // count % len(answers)]

    return choose


def conflict_on_first_writes() -> Harm:
    """Refuse the first of every two writes to one path, as if somebody else had just written there."""
    is_refused: dict[str, bool] = {}

    def choose(asked: Asked) -> Answer | None:
        if not asked.is_write:
            return None
        is_refused[asked.path] = not is_refused.get(asked.path, False)
        return CONFLICT if is_refused[asked.path] else None

    return choose


@dataclass(slots=True)
class ApiProxy:
    """A running proxy. Set its fields; `heal` undoes all of it.

    `harm` chooses an answer in the API server's place; `harmed` counts those. With `is_silent` nothing passes
    in either direction and nothing is closed. With `refuses_watches` new watches get no answer. `expired`
    counts the watches that were told that their version is too old. `read_log` answers for the nodes, which
    are not there.
    """

    url: str
    upstream: str
    upstream_tls: ssl.SSLContext
    harm: Harm | None = None
    read_log: ReadLog | None = None
    is_silent: bool = False
    refuses_watches: bool = False
    delay_seconds: float = 0.0
    harmed: int = 0
    expired: int = 0
    asked: list[Asked] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _is_ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _watches: set[socket.socket] = field(default_factory=set, repr=False)

    def heal(self) -> None:
        """Let everything pass from now on; watches that were silent are cut."""
        self.harm, self.refuses_watches, self.delay_seconds = None, False, 0.0
        self.harmed = self.expired = 0
        if self.is_silent:
            self.is_silent = False
            self.cut_watches()
        self.asked.clear()

    def cut_watches(self) -> None:
        """Close every watch that is open now."""
        with self._lock:
            watches, self._watches = self._watches, set()
        for upstream in watches:
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Let waiting connections go."""
        self._is_ending.set()
        self.cut_watches()

    def note(self, asked: Asked) -> Answer | None:
        """Note a request; wait where that is asked for; return what is answered in the server's place."""
        self._is_ending.wait(self.delay_seconds)
        with self._lock:
            self.asked.append(asked)
            answer = None if self.harm is None else self.harm(asked)
            self.harmed += answer is not None
            return answer

    def wait_while_silent(self) -> None:
        """Return when the proxy speaks again, or ends."""
        while self.is_silent and not self._is_ending.is_set():
            self._is_ending.wait(_POLL_SECONDS)

    def wait_for_watches(self) -> None:
        """Return when watches are let in again, or the proxy ends."""
        while self.refuses_watches and not self._is_ending.is_set():
            self._is_ending.wait(_POLL_SECONDS)

    def keep(self, watch: socket.socket) -> None:
        """Remember a watch, by its connection to the API server, until it is cut."""
        with self._lock:
            self._watches.add(watch)

    def is_cut(self, watch: socket.socket) -> bool:
        """Tell whether a watch was cut."""
        return watch not in self._watches


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    proxy: ApiProxy
    tls: ssl.SSLContext

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections are cut on purpose here."""


class _Connection(BaseHTTPRequestHandler):
    """One connection of the operator; each request goes to the API server on a connection of its own."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.request.close()  # the server would close what it was before it spoke TLS

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        asked = Asked(self.command, parts.path, "watch=true" in parts.query)
        proxy = self.server.proxy
        answer = proxy.note(asked)
        proxy.wait_while_silent()
        if asked.is_watch and proxy.refuses_watches:
            proxy.wait_for_watches()
            self.close_connection = True
        elif answer is not None:
            self._make_up(answer)
        elif proxy.read_log is not None and (pod := _LOG.fullmatch(parts.path)):
            self._tell_log(proxy.read_log(pod[1], pod[2]))
        else:
            self._pass_on(body, asked)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - names of http.server

    def _make_up(self, answer: Answer) -> None:
        document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "injected"}
        body = json.dumps({**document, "reason": answer.reason, "code": answer.status}).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _tell_log(self, log: str | None) -> None:
        if log is None:
            self._make_up(Answer(400, "BadRequest"))
            return
        body = log.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, body: bytes, asked: Asked) -> None:
        proxy = self.server.proxy
        connection = http.client.HTTPSConnection(
            proxy.upstream, context=proxy.upstream_tls, timeout=_TIMEOUT_SECONDS
        )
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOPS}
        self.close_connection = True  # until the answer has passed whole
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.connect()
            watch = connection.sock if asked.is_watch else None
            if watch is not None:
                watch.settimeout(None)
                proxy.keep(watch)
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            self._start_answer(answer)
            self.close_connection = not self._copy(answer, watch)

    def _start_answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOPS:
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _copy(self, answer: http.client.HTTPResponse, watch: socket.socket | None) -> bool:
        """Pass a body on piece by piece; False where it was cut."""
        proxy = self.server.proxy
        while True:
            piece = answer.read1(_READ_BYTES)
            proxy.wait_while_silent()
            if watch is not None:
                proxy.expired += _EXPIRED in piece
                if proxy.is_cut(watch):
                    return False
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            if not piece:
                return True


@contextmanager
def api_proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    """Run a proxy in front of the API server until the block is left."""
    pki: Path = control_plane.directory / "pki"
    with _Server(("127.0.0.1", 0), _Connection) as server:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(pki / "server.crt", pki / "server.key")
        server.proxy = ApiProxy(
            f"https://127.0.0.1:{server.server_address[1]}",
            urlsplit(control_plane.server).netloc,
            ssl.create_default_context(cafile=str(control_plane.ca_file)),
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.proxy
        finally:
            server.proxy.end()
            server.shutdown()
            thread.join()
