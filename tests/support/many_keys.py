"""An S3 server on loopback that shows any number of keys without holding them, besides a few objects.

Owns the pages of ListObjectsV2, made as they are asked for; takes no writes. For what a million keys cost a
client: a real server would be filled for an hour.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

from tests.support.datasets import md5

_TIME = "2026-01-01T00:00:00.000Z"


@dataclass(slots=True)
class ManyKeys:
    """A running server: `count` keys, each named by `name(number)`, and `objects` with their bodies.

    The keys' ETags are of `body`. A listing shows the numbered keys that start with its prefix, in order, as
    far as `page_limit` pages go (None: to the end), and objects on its first page. Common prefixes are not
    made: keys that a delimiter would fold are to be named by `folders`.
    """

    url: str
    name: Callable[[int], str] = "foreign/{:07}".format
    count: int = 0
    body: bytes = b""
    objects: dict[str, bytes] = field(default_factory=dict)
    #: Whether the numbered names are common prefixes of a listing with a delimiter, not keys.
    folders: bool = False
    pages: int = 0

    def page(self, query: Mapping[str, str]) -> bytes:
        """Return one page."""
        self.pages += 1
        prefix, most = query.get("prefix", ""), int(query.get("max-keys", 1000))
        first = int(query.get("continuation-token", 0))
        own = [key for key in sorted(self.objects) if key.startswith(prefix) and not first]
        if query.get("delimiter"):
            own = [key for key in own if query["delimiter"] not in key[len(prefix) :]]
        shows = self.count and self.name(0).startswith(prefix)
        last = min(self.count, first + most - len(own)) if shows else first
        entries = [_entry(key, self.objects[key]) for key in own]
        if self.folders:
            entries += [_folder(self.name(number)) for number in range(first, last)]
        else:
            entries += [_entry(self.name(number), self.body) for number in range(first, last)]
        is_cut = bool(shows and last < self.count)
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if is_cut else ""
        head = f"<EncodingType>url</EncodingType><IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}"
        return f"<ListBucketResult>{head}{''.join(entries)}</ListBucketResult>".encode()


def _entry(key: str, body: bytes) -> str:
    return (
        f"<Contents><Key>{escape(quote(key))}</Key><LastModified>{_TIME}</LastModified>"
        f"<ETag>&quot;{md5(body)}&quot;</ETag><Size>{len(body)}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _folder(prefix: str) -> str:
    return f"<CommonPrefixes><Prefix>{escape(quote(prefix))}</Prefix></CommonPrefixes>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    keys: ManyKeys

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        key = parts.path.removeprefix("/").partition("/")[2]
        if not key:
            page = self.keys.page(query) if "list-type" in query else b"<ListMultipartUploadsResult/>"
            self._answer(200, page)
        elif key in self.keys.objects:
            self._answer(200, self.keys.objects[key])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>m</Message></Error>")

    do_HEAD = do_GET  # noqa: N815 - the server's name

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Length": len(body), "ETag": f'"{md5(body)}"'}
        for name, value in {**headers, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # who finds a body too large hangs up
                self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def many_keys() -> Iterator[ManyKeys]:
    """Run one."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    keys = ManyKeys(f"http://127.0.0.1:{server.server_address[1]}")
    handler.keys = keys  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield keys
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
