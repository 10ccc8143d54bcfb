"""The store on S3: botocore's client, the one that boto3 gives, and the object loop before it.

Owns which of the two a request goes to, and their life. The object loop makes the first attempt of what
datasets need thousands of; botocore does the rest, and whatever the first attempt did not answer. Importing
this module loads no client; the first request does. The requests themselves are in `store/boto/` and
`store/object_loop/`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Self, final

from dtool_s3.errors import NotSupported
from dtool_s3.settings import CredentialsSource, Endpoint, ambient_credentials
from dtool_s3.store.boto import listing, multipart, publishing, reading, removing, writing
from dtool_s3.store.boto.connection import READ_TIMEOUT_SECONDS, Connection
from dtool_s3.store.boto.retry import Retry
from dtool_s3.store.faults import Request
from dtool_s3.store.object_loop.loop import ObjectLoop
from dtool_s3.store.protocol import (
    ALWAYS,
    NO_METADATA,
    Body,
    ByteStream,
    ListedObject,
    Listing,
    ObjectInfo,
    Part,
    Precondition,
    StoredObject,
    Upload,
    UrlRequest,
)

#: What a listing without a limit may hold: half a gigabyte, more than a manifest of the largest size names.
MAX_LISTED_KEYS = 1_000_000


@final
class S3Store:
    """One bucket of an S3 service; implements `dtool_s3.store.protocol.Store`.

    `credentials` is called at the first request, and again when a request is denied. Retryable failures are
    tried `attempts` times, an attempt of the object loop not counted; `max_concurrency` requests run at a
    time, and twice as many of the object loop, each in a thread. `on_request` is told every request that is
    sent, repetitions included; `on_answer` afterwards the same request and "ok" or its error's reason
    ("Unanswered": the object loop's attempt was of no use, botocore asks again). `read_timeout_seconds` is
    the longest silence of the server, but for its own long work (large copies, completing uploads);
    `max_listed_keys` how much a listing without a limit may hold.
    `close()` or `async with` ends the threads; without it they end with the object.
    """

    def __init__(  # noqa: PLR0913 - each has a default and is said by name
        self,
        endpoint: Endpoint,
        bucket: str,
        credentials: CredentialsSource = ambient_credentials,
        *,
        max_concurrency: int = 32,
        attempts: int = 5,
        on_request: Callable[[Request], None] | None = None,
        on_answer: Callable[[Request, str], None] | None = None,
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
        max_listed_keys: int = MAX_LISTED_KEYS,
    ) -> None:
        self._max_listed_keys = max_listed_keys
        self._connection = Connection(
            endpoint,
            bucket,
            credentials,
            max_concurrency=max_concurrency,
            retry=Retry(attempts),
            on_request=on_request,
            on_answer=on_answer,
            read_timeout_seconds=read_timeout_seconds,
        )
        self._objects = ObjectLoop(self._connection, max_threads=2 * max_concurrency)

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._connection.bucket

    @property
    def endpoint_url(self) -> str:
        """Endpoint; `""` for AWS, and before the first request where the AWS configuration says it."""
        return self._connection.service_url

    def close(self) -> None:
        """Wait for requests under way and end the threads. Blocks: from a coroutine use `async with`."""
        self._objects.close()
        self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def check_bucket(self) -> datetime:
        """See the protocol."""
        return await reading.check_bucket(self._connection)

    async def head(self, key: str) -> ObjectInfo:
        """See the protocol. A missing bucket looks like a missing key: HEAD does not tell them apart."""
        found = await self._objects.head(key)
        return await reading.head(self._connection, key) if found is None else found

    async def get(self, key: str, *, max_bytes: int) -> StoredObject:
        """See the protocol."""
        found = await self._objects.get(key, max_bytes=max_bytes)
        return await reading.get(self._connection, key, max_bytes=max_bytes) if found is None else found

    def stream(self, key: str) -> AbstractAsyncContextManager[ByteStream]:
        """See the protocol. Opening is repeated, reading is not: it raises BucketUnreachable."""
        return reading.stream(self._connection, key)

    async def get_range(self, key: str, first_byte: int, size_bytes: int, *, etag: str) -> bytes:
        """See the protocol."""
        found = await self._objects.get_range(key, first_byte, size_bytes, etag=etag)
        if found is not None:
            return found
        return await reading.get_range(self._connection, key, first_byte, size_bytes, etag=etag)

    async def part_sizes(self, key: str) -> Sequence[int]:
        """See the protocol."""
        return await reading.part_sizes(self._connection, key)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        """See the protocol. `last_modified` of the result is about the time of the answer."""
        if precondition == ALWAYS and (written := await self._objects.put(key, body, metadata)) is not None:
            return written
        return await writing.put(self._connection, key, body, metadata, precondition)

    async def copy(
        self,
        source_bucket: str,
        source: ListedObject,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """See the protocol."""
        if metadata is None and await self._objects.copy(source_bucket, source, key):
            return None
        return await writing.copy(self._connection, source_bucket, source, key, metadata)

    async def copy_many(
        self, source_bucket: str, copies: Sequence[tuple[ListedObject, str]]
    ) -> Sequence[ObjectInfo | None]:
        """See the protocol. One after another in one thread: call it for a few at a time, side by side."""
        return await self._objects.copy_many(source_bucket, copies)

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        """See the protocol."""
        await removing.delete(self._connection, key, precondition)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See the protocol."""
        await removing.delete_many(self._connection, keys)

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        limit: int | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> Listing:
        """See the protocol."""
        most = self._max_listed_keys if limit is None else limit
        found = await listing.list_objects(
            self._connection, prefix, delimiter=delimiter, limit=most, keeps=keeps
        )
        if limit is None and found.is_cut:
            message = f"{self._connection.place(prefix)} has more than {most:,} keys below it"
            raise NotSupported(message, code="TooManyKeys")
        return found

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """See the protocol."""
        return await listing.list_uploads(self._connection, prefix)

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See the protocol."""
        return await multipart.start_upload(self._connection, key, metadata)

    async def put_part(self, upload: Upload, number: int, body: Body, *, md5: bytes | None = None) -> Part:
        """See the protocol."""
        return await multipart.put_part(self._connection, upload, number, body, md5)

    async def copy_part(
        self,
        upload: Upload,
        number: int,
        source_bucket: str,
        source: ListedObject,
        *,
        first_byte: int,
        size_bytes: int,
    ) -> Part:
        """See the protocol."""
        return await multipart.copy_part(
            self._connection, upload, number, source_bucket, source, first_byte, size_bytes
        )

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> str:
        """See the protocol."""
        return await multipart.complete_upload(self._connection, upload, parts)

    async def abort_upload(self, upload: Upload) -> None:
        """See the protocol."""
        await multipart.abort_upload(self._connection, upload)

    async def presign(
        self, method: str, key: str, *, expires_seconds: int, headers: Mapping[str, str] = NO_METADATA
    ) -> str:
        """See the protocol."""
        return await publishing.presign(self._connection, method, key, expires_seconds, headers)

    async def sign_urls(self, requests: Sequence[UrlRequest], *, expires_seconds: int) -> Sequence[str]:
        """See SigningStore."""
        return await publishing.sign_urls(self._connection, requests, expires_seconds)

    def public_url(self, key: str) -> str:
        """See the protocol."""
        return publishing.public_url(self._connection, key)

    async def make_public(self, key: str) -> None:
        """See the protocol."""
        await publishing.put_acl(self._connection, key, "public-read")

    async def make_private(self, key: str) -> None:
        """See the protocol."""
        await publishing.put_acl(self._connection, key, "private")

    async def fetch_unsigned(self, url: str, *, max_bytes: int) -> bytes:
        """See the protocol."""
        return await publishing.fetch_unsigned(self._connection, url, max_bytes)
