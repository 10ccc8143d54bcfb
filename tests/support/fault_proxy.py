"""An HTTP proxy on loopback that plays what goes wrong between a client and a real S3 server.

Owns its threads and sockets, and which request is harmed. Everything else passes byte for byte, the Host
header too, so that signatures made for the proxy's own address stay valid at the server. Messages are held
whole in memory.
"""

import re
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.http_messages import read_answer, read_body, read_head

_START = re.compile(rb"\A(\S+) (\S+) HTTP/1\.1\r\n")
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_COPIES = re.compile(rb"\r\nx-amz-copy-source: ", re.IGNORECASE)
# not signed, and answered here: a client that waits for "100 Continue" is told to go on
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_NAME = re.compile(rb"(?<=\r\n)[^:\r\n]+(?=:)")
_POLL_SECONDS = 0.05


class Stage(Enum):
    """How far a harmed request gets."""

    #: The server never sees it; an answer is made up where the harm has a status.
    BEFORE = auto()
    #: The server gets half of the body and then no more.
    MIDDLE = auto()
    #: The server carries it out; its answer is cut, or another one takes its place.
    AFTER = auto()
    #: The server never sees it and the client gets no answer, until one of them gives up.
    SILENT = auto()
    #: It waits until its fault is taken from the proxy, and then passes.
    HELD = auto()


@dataclass(frozen=True, slots=True)
class Harm:
    """What is done to a request; `after_bytes` of the server's answer arrive where one is cut."""

    name: str
    stage: Stage
    status: int = 0
    code: str = ""
    after_bytes: int = 0


def refusal(status: int, code: str) -> Harm:
    """Answer with an S3 error; the server never sees the request."""
    return Harm(f"{status} {code}", Stage.BEFORE, status, code)


CUT_BEFORE = Harm("cut before the request", Stage.BEFORE)
CUT_IN_THE_BODY = Harm("cut in the middle of the body", Stage.MIDDLE)
LOST_ANSWER = Harm("answer lost", Stage.AFTER)
SILENCE = Harm("no answer", Stage.SILENT)
HELD = Harm("held back", Stage.HELD)
#: S3 answers copies and completions with 200 before it knows how they end.
ERROR_IN_200 = Harm("200 with an error, nothing done", Stage.BEFORE, 200, "InternalError")
ERROR_IN_200_AFTER = Harm("200 with an error, yet done", Stage.AFTER, 200, "InternalError")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came; `target` is its path with query, percent-decoded."""

    method: str
    target: str
    is_copy: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(slots=True)
class Fault:
    """A harm for matching requests: `skip` of them pass, then `times` are hit (None: all).

    `method` and `target` are patterns of `fnmatch`; `body` is a text that the request's body contains. Of
    those that remain one in `every` is hit.
    """

    harm: Harm
    method: str = "*"
    target: str = "*"
    body: str = ""
    times: int | None = 1
    skip: int = 0
    every: int = 1
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False, repr=False)

    def claims(self, seen: Seen, body: bytes) -> bool:
        """Tell whether a request is hit, and count it."""
        matches = fnmatchcase(seen.method, self.method) and fnmatchcase(seen.target, self.target)
        if not matches or self.body.encode() not in body:
            return False
        self._seen += 1
        is_over = self.times is not None and self.hits >= self.times
        if self._seen <= self.skip or is_over or (self._seen - self.skip) % self.every:
            return False
        self.hits += 1
        return True


def lost_answer(method: str, target: str, *, times: int | None = 1, after_bytes: int = 0) -> Fault:
    """Lose the answers to requests whose target contains a text, after so many bytes."""
    return Fault(replace(LOST_ANSWER, after_bytes=after_bytes), method, f"*{target}*", times=times)


@dataclass(slots=True)
class FaultProxy:
    """A running proxy; append to `faults`, read `requests`.

    A silent connection is closed after `patience_seconds`, as a load balancer does. With
    `changes_header_case` the answers' header names look as Go's servers write them. Every request waits for
    `delay_seconds` before it goes on.
    """

    url: str
    upstream: tuple[str, int]
    patience_seconds: float = 60.0
    changes_header_case: bool = False
    delay_seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _is_ending: threading.Event = field(default_factory=threading.Event, repr=False)

    def claim(self, seen: Seen, body: bytes) -> Harm | None:
        """Note a request; return the harm of the first fault that it hits."""
        with self._lock:
            self.requests.append(seen)
            return next((fault.harm for fault in self.faults if fault.claims(seen, body)), None)

    def delay(self) -> None:
        """Make a request wait."""
        if self.delay_seconds:
            self._is_ending.wait(self.delay_seconds)

    def wait_for_release(self, harm: Harm, client: socket.socket) -> bool:
        """Return True when no fault with this harm is left, False when the client gave up before."""
        while any(fault.harm is harm for fault in self.faults) and not self._is_ending.is_set():
            if select.select([client], [], [], _POLL_SECONDS)[0]:
                return False
        return not self._is_ending.is_set()

    def is_ending(self) -> bool:
        """Tell whether nothing is served any more."""
        return self._is_ending.is_set()

    def end(self) -> None:
        """Let silent connections go."""
        self._is_ending.set()

    def wait_for_the_end(self, client: socket.socket) -> None:
        """Return when the client gives up, or the proxy does."""
        for _ in range(int(self.patience_seconds / _POLL_SECONDS)):
            gave_up = select.select([client], [], [], _POLL_SECONDS)[0]
            if gave_up or self._is_ending.is_set():
                return


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    proxy: FaultProxy


class _Connection(socketserver.StreamRequestHandler):
    """One connection of a client; each request goes to the server on a connection of its own."""

    server: _Server
    rfile: Any
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(OSError):
            while self._serve():
                pass

    def _serve(self) -> bool:
        """Serve one request; False: the connection is over."""
        head = read_head(self.rfile)
        start = _START.match(head)
        if start is None or self.server.proxy.is_ending():
            return False
        if _EXPECT.search(head):
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = _EXPECT.sub(b"", head)
        body = read_body(self.rfile, head, if_open=False)
        seen = Seen(start[1].decode(), unquote(start[2].decode()), bool(_COPIES.search(head)))
        harm = self.server.proxy.claim(seen, body)
        self.server.proxy.delay()
        if harm is not None and harm.stage is Stage.HELD:
            if not self.server.proxy.wait_for_release(harm, self.connection):
                return False
            harm = None
        if harm is None:
            answer = self._ask(head + body, seen.method)
            self.connection.sendall(self._recased(answer))
            return bool(answer) and not _CLOSE.search(answer)
        return self._harm(harm, head, body, seen.method)

    def _ask(self, request: bytes, method: str) -> bytes:
        """Send a request to the server; return its answer, empty if it hangs up."""
        with socket.create_connection(self.server.proxy.upstream) as upstream:
            upstream.sendall(request)
            with upstream.makefile("rb") as answers:
                return read_answer(answers, method)

    def _harm(self, harm: Harm, head: bytes, body: bytes, method: str) -> bool:
        match harm.stage:
            case Stage.SILENT:
                self.server.proxy.wait_for_the_end(self.connection)
                return False
            case Stage.MIDDLE:
                # of a request without a body the head is cut
                missing_bytes = max(len(body) // 2, 1) if body else 2
                with socket.create_connection(self.server.proxy.upstream) as upstream:
                    upstream.sendall((head + body)[:-missing_bytes])
                return False
            case Stage.AFTER:
                answer = self._ask(head + body, method)
                if not harm.status:
                    self.connection.sendall(answer[: harm.after_bytes])
                    return False
            case Stage.BEFORE:
                if not harm.status:
                    return False
        self.connection.sendall(_refuse(harm, method))
        return True

    def _recased(self, answer: bytes) -> bytes:
        if not self.server.proxy.changes_header_case:
            return answer
        head, blank, body = answer.partition(b"\r\n\r\n")
        return _NAME.sub(lambda name: name[0].title(), head) + blank + body


def _refuse(harm: Harm, method: str) -> bytes:
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{harm.code}</Code><Message>injected</Message><RequestId>0</RequestId></Error>"
    )
    head = f"HTTP/1.1 {harm.status} Injected\r\nContent-Type: application/xml\r\n"
    body = "" if method == "HEAD" else document
    return f"{head}Content-Length: {len(document)}\r\n\r\n{body}".encode()


@contextmanager
def fault_proxy(upstream_url: str, *, port: int = 0) -> Iterator[FaultProxy]:
    """Run a proxy in front of `upstream_url`; its clients must be closed before it ends."""
    upstream = urlsplit(upstream_url)
    assert upstream.hostname is not None
    assert upstream.port is not None
    with _Server(("127.0.0.1", port), _Connection) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        server.proxy = FaultProxy(url, (upstream.hostname, upstream.port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.proxy
        finally:
            server.proxy.end()
            server.shutdown()
            thread.join()
