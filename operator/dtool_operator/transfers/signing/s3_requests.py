"""Requests to S3 by signed URLs: bytes between this worker and S3, and what an answer means.

Owns the connections to S3 and how its refusals are named, as the library's S3 store names them. No URL is in
an error: messages say bucket, key and S3 code.
"""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from yarl import URL

from dtool_operator.transfers.signing.wire import UrlGiven
from dtool_s3.errors import BucketUnreachable, ClockSkewed, SettingsError, storage_error
from dtool_s3.store.protocol import Body, ObjectInfo

CONNECT_TIMEOUT_SECONDS: Final = 10
READ_TIMEOUT_SECONDS: Final = 60
#: What is read of a refusal, to find its code.
_MAX_REFUSAL_BYTES: Final = 64 * 1024
#: Larger bodies are sent in pieces of this size: the loop does other things between them.
_PIECE_BYTES: Final = 256 * 1024
_METADATA: Final = "x-amz-meta-"
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9_.-]{1,64})</Code>")
_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=READ_TIMEOUT_SECONDS
)


class S3Requests:
    """Sends each request once. `ca_pem` None: the public certificates. For one event loop."""

    def __init__(self, *, ca_pem: str | None, max_connections: int) -> None:
        try:
            context = ssl.create_default_context(cadata=ca_pem)
        except (ssl.SSLError, ValueError):
            raise SettingsError("the certificates of the bucket's endpoint cannot be read") from None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=max_connections),
            timeout=_TIMEOUT,
            auto_decompress=False,
            trust_env=True,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    @asynccontextmanager
    async def send(
        self,
        what: str,
        method: str,
        given: UrlGiven,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; give the answer while its body is read. Raises StorageError about `what`."""
        try:
            async with self._session.request(
                method,
                URL(given.url, encoded=True),
                headers=given.headers | dict(headers or {}),
                data=_sendable(body),
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    refusal = await answer.content.read(_MAX_REFUSAL_BYTES)
                    raise _refusal(what, answer, refusal, URL(given.url, encoded=True))
                yield answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            name = type(error).__name__
            raise BucketUnreachable(f"{what}: no answer from the endpoint ({name})", code=name) from None


def parse_info(key: str, answer: aiohttp.ClientResponse) -> ObjectInfo:
    """What an answer's headers say of an object. Raises BucketUnreachable where they say nothing."""
    headers = answer.headers
    size, etag = headers.get("Content-Length", ""), headers.get("ETag", "").strip('"')
    if not size.isdecimal() or not etag:
        raise BucketUnreachable(f"{key!r}: the answer tells neither size nor ETag", code="MalformedAnswer")
    names = (name for name in headers if name.lower().startswith(_METADATA))
    metadata = {name.lower().removeprefix(_METADATA): headers[name] for name in names}
    return ObjectInfo(key, int(size), etag, parse_time(headers.get("Last-Modified", "")), metadata)


def parse_time(text: str) -> datetime:
    """A date header in UTC; this machine's clock where there is none."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


def _refusal(what: str, answer: aiohttp.ClientResponse, body: bytes, url: URL) -> Exception:
    found = _CODE.search(body)
    code = "" if found is None else found[1].decode("ascii")
    said = f"{code} (HTTP {answer.status})" if code else f"HTTP {answer.status}"
    if answer.status in {400, 403} and (late := _seconds_late(url, answer.headers.get("Date", ""))) > 0:
        message = f"{what}: {said}; by the endpoint's clock the signed URL had ended {late:.0f} s before"
        return ClockSkewed(message, code=code)
    return storage_error(code, answer.status, f"{what}: {said}")


def _seconds_late(url: URL, answered: str) -> float:
    """Seconds from the end of a signed URL to an answer, by the server's clock; 0 where neither is known.

    Servers refuse such a URL as they do missing rights, and to HEAD without a code.
    """
    try:
        signed = datetime.strptime(url.query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
        ends = signed + timedelta(seconds=int(url.query["X-Amz-Expires"]))
        return (parsedate_to_datetime(answered).astimezone(UTC) - ends).total_seconds()
    except (KeyError, ValueError):
        return 0.0


def _sendable(body: Body | None) -> Body | AsyncIterator[Body] | None:
    if body is None or len(body) <= _PIECE_BYTES:
        return body
    return _pieces(memoryview(body))


async def _pieces(view: memoryview) -> AsyncIterator[memoryview]:
    for first in range(0, len(view), _PIECE_BYTES):
        yield view[first : first + _PIECE_BYTES]
