"""A TCP front on loopback before a real S3 server: may speak TLS, change bytes, and tells what passed.

Owns its threads and sockets. Unless told to change bytes it passes them as they are, so that signatures made
for its own address stay valid.
"""

import re
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from sandbox.certificates import KeyPair

_HEAD = re.compile(rb"\A(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
_SIGNER = re.compile(r"Credential=([^/]+)/")


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that passed; header names are lower-case, the path is percent-decoded."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def is_of_the_object_loop(self) -> bool:
        """Botocore's name their user agent otherwise."""
        return self.headers["user-agent"] == "dtool-s3"

    @property
    def signer(self) -> str:
        """Access key that signed it."""
        found = _SIGNER.search(self.headers["authorization"])
        assert found is not None
        return found[1]


@dataclass(slots=True)
class Front:
    """A running front: `change` is made in what clients send, `changes_left` times; `answers` always."""

    url: str
    upstream: tuple[str, int]
    passed: list[Passed] = field(default_factory=list)
    change: tuple[bytes, bytes] = (b"", b"")
    changes_left: int = 0
    answers: tuple[bytes, bytes] = (b"", b"")

    def take(self, data: bytes) -> bytes:
        """Note a request's head and change its bytes, where that is asked for."""
        if found := _HEAD.match(data):
            lines = [line.partition(": ") for line in found[3].decode("latin-1").split("\r\n")]
            headers = {name.lower(): value for name, _, value in lines}
            self.passed.append(Passed(found[1].decode(), unquote(found[2].decode()), headers))
        if self.changes_left > 0 and self.change[0] in data:
            self.changes_left -= 1
            return data.replace(*self.change)
        return data


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    front: Front
    tls: ssl.SSLContext | None = None


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(self.server.front.upstream) as upstream:
            tls = self.server.tls
            with self.request if tls is None else tls.wrap_socket(self.request, server_side=True) as client:
                self._pass_on(client, upstream)

    def _pass_on(self, client: socket.socket, upstream: socket.socket) -> None:
        while True:
            for ready in select.select([client, upstream], [], [])[0]:
                data = ready.recv(65536)
                while isinstance(ready, ssl.SSLSocket) and ready.pending():
                    data += ready.recv(65536)
                if not data:
                    return
                if ready is client:
                    upstream.sendall(self.server.front.take(data))
                else:
                    client.sendall(data.replace(*self.server.front.answers))


@contextmanager
def running_front(
    upstream_url: str, certificate: KeyPair | None = None, *, address: str = "127.0.0.1"
) -> Iterator[Front]:
    """Run a front before `upstream_url`, on an address of this machine, with TLS given a certificate."""
    upstream = urlsplit(upstream_url)
    assert upstream.hostname is not None
    assert upstream.port is not None
    with _Server((address, 0), _Connection) as server:
        if certificate is not None:
            server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.tls.load_cert_chain(certificate.certificate, certificate.key)
        scheme = "http" if certificate is None else "https"
        url = f"{scheme}://{address}:{server.server_address[1]}"
        server.front = Front(url, (upstream.hostname, upstream.port))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.front
        finally:
            server.shutdown()
            thread.join()
