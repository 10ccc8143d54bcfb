"""A TCP proxy on loopback that loses answers: the real network failures a store must survive.

Owns its threads and sockets. Bytes pass unchanged, so signatures made for its own address stay valid.
"""

import re
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REQUEST_LINE = re.compile(rb"\A(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
# sent before the body of a PUT is: not yet the answer
_CONTINUE = b"HTTP/1.1 100 "


@dataclass(slots=True)
class Loss:
    """The next `times` answers to `method` of paths containing `path` are cut after `after_bytes` bytes."""

    method: str
    path: str
    times: int = 1
    after_bytes: int = 0


@dataclass(slots=True)
class LossyProxy:
    """A running proxy; append to `losses` to lose answers, read `requests` to see what passed."""

    url: str
    upstream: tuple[str, int]
    losses: list[Loss] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def claim(self, request: str) -> int | None:
        """Return after how many bytes this request's answer is cut, and count it; None: never."""
        self.requests.append(request)
        for loss in self.losses:
            if loss.times > 0 and request.startswith(f"{loss.method} ") and loss.path in request:
                loss.times -= 1
                return loss.after_bytes
        return None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    proxy: LossyProxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(self.server.proxy.upstream) as upstream:
            self._pass_on(self.request, upstream)

    def _pass_on(self, client: socket.socket, upstream: socket.socket) -> None:
        left: int | None = None
        while True:
            for ready in select.select([client, upstream], [], [])[0]:
                data = ready.recv(65536)
                if not data:
                    return
                if ready is client:
                    if line := _REQUEST_LINE.match(data):
                        left = self.server.proxy.claim(f"{line[1].decode()} {line[2].decode()}")
                    upstream.sendall(data)
                    continue
                is_answer = not data.startswith(_CONTINUE)
                client.sendall(data if left is None or not is_answer else data[:left])
                if left is not None and is_answer:
                    left -= min(left, len(data))
                    if left == 0:
                        return


@contextmanager
def lossy_proxy(upstream_url: str) -> Iterator[LossyProxy]:
    """Run a proxy in front of `upstream_url`; its clients must be closed before it ends."""
    upstream = urlsplit(upstream_url)
    assert upstream.hostname is not None
    assert upstream.port is not None
    with _Server(("127.0.0.1", 0), _Connection) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        server.proxy = LossyProxy(url, (upstream.hostname, upstream.port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join()
