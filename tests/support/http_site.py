"""A web site on this machine whose pages misbehave as a test wishes; for tests of reading published datasets.

Owns a server with a thread for each connection. What it was asked is in `requests`.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from dtool_s3.layout import item_identifier
from tests.support.datasets import DatasetFixture

if TYPE_CHECKING:
    from sandbox.certificates import KeyPair

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")

#: What a page does with a request instead of answering well.
Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request; a page answers with `write`, `send`, or however it likes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def site(self) -> Site:
        """The site that was asked."""
        return cast("_Server", self.server).site

    def do_GET(self) -> None:
        """Answer as the site says."""
        self.site.requests.append((self.path, self.headers.get("Range")))
        page = self.site.pages.get(self.path.partition("?")[0])
        with suppress(OSError):  # who asked may have gone
            match page:
                case None:
                    self.send(404, b"nothing here")
                case bytes():
                    self._send_page(page)
                case _:
                    page(self)

    def send(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
        """Answer as a web server should."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def write(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self.wfile.write(raw)
        self.wfile.flush()

    def drip(self, piece: bytes, *, every_seconds: float) -> None:
        """Send a piece again and again until the site closes or nobody listens."""
        while not self.site.is_closing.wait(every_seconds):
            self.write(piece)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is inherited
        """Say nothing."""

    def _send_page(self, body: bytes) -> None:
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        if found is None or not self.site.has_ranges:
            return self.send(200, body)
        first, last = int(found[1]), min(int(found[2]), len(body) - 1)
        if first > last:
            return self.send(416, b"")
        told = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        return self.send(206, body[first : last + 1], told)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what is tested."""


@dataclass
class Site:
    """Pages by path (the query does not count): bytes, or what to do instead."""

    url: str
    pages: dict[str, bytes | Answer] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    has_ranges: bool = True
    is_closing: threading.Event = field(default_factory=threading.Event)

    def publish(self, dataset: DatasetFixture, **changes: Any) -> str:
        """Make pages of a dataset as `dtool publish` does; return its access URL.

        `changes` replace fields of http_manifest.json; those of None are left out.
        """
        root = f"/published/{dataset.uuid}"
        at = f"{self.url}{root}"
        items = {item_identifier(relpath): body for relpath, body in dataset.items.items()}
        document = {
            "admin_metadata": dataset.admin(),
            "item_urls": {i: f"{at}/data/{i}" for i in items},
            "overlays": {name: f"{at}/overlays/{name}.json" for name in dataset.overlays},
            "annotations": {name: f"{at}/annotations/{name}.json" for name in dataset.annotations},
            "tags": list(dataset.tags),
            "readme_url": f"{at}/README.yml",
            "manifest_url": f"{at}/manifest.json",
            **changes,
        }
        document = {name: value for name, value in document.items() if value is not None}
        self.pages[f"{root}/http_manifest.json"] = json.dumps(document).encode()
        self.pages[f"{root}/manifest.json"] = dataset.manifest()
        self.pages[f"{root}/README.yml"] = (dataset.readme or "").encode()
        for identifier, body in items.items():
            self.pages[f"{root}/data/{identifier}"] = body
        for folder, values in (("overlays", dataset.overlays), ("annotations", dataset.annotations)):
            for name, value in values.items():
                self.pages[f"{root}/{folder}/{name}.json"] = json.dumps(value, indent=2).encode()
        return at


@contextmanager
def open_site(certificate: KeyPair | None = None) -> Iterator[Site]:
    """Serve on a free port of 127.0.0.1 until the context ends; with a certificate, over https."""
    server, scheme = _Server(("127.0.0.1", 0), Exchange), "http"
    if certificate is not None:
        context, scheme = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "https"
        context.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.site = Site(f"{scheme}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.site.is_closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
