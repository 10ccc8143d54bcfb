"""An S3 service in memory, with the semantics of the Store protocol and with faults; for tests.

Owns the objects of its buckets. Nothing leaves the process. `MemoryServer` plays the endpoint and is also
the test's direct hand on the content (`write`, `read`, `keys`: no fault, no request); `MemoryStore` is
one bucket seen with one identity.
"""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar, final

from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    CredentialsRejected,
    NotSupported,
    PreconditionFailed,
)
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory_bucket import Held, MemoryBucket, plain_etag
from dtool_s3.store.protocol import (
    ALWAYS,
    NO_METADATA,
    ByteStream,
    ListedObject,
    Listing,
    ObjectInfo,
    Part,
    Precondition,
    StoredObject,
    Upload,
)

CHUNK_BYTES = 1024 * 1024
PAGE_ENTRIES = 1000
MAX_COPY_BYTES = 5 * 1024**3

#: (identity, operation, bucket, key) -> may it?
Rule = Callable[[str | None, str, str, str], bool]

_T = TypeVar("_T")
_numbers = itertools.count(1)


@final
class MemoryServer:
    """Several buckets behind one endpoint.

    `clock` gives the time of a write; the server makes times strictly increasing. `allows` decides what an
    identity may do (a copy is asked as `get` of its source and `copy` of its target); identities in
    `rejected_identities` get CredentialsRejected. `honours_preconditions=False` plays a store that ignores
    If-Match and If-None-Match, `copies_as_plain` one (as AWS) whose copies get the MD5 as ETag.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        allows: Rule | None = None,
        honours_preconditions: bool = True,
        copies_as_plain: bool = False,
    ) -> None:
        self.endpoint_url = f"memory://{next(_numbers)}"
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.allows = allows
        self.rejected_identities: set[str | None] = set()
        self.copies_as_plain = copies_as_plain
        self.max_copy_bytes = MAX_COPY_BYTES
        self._honours_preconditions = honours_preconditions
        self._clock = clock
        self._last = datetime.min.replace(tzinfo=UTC)
        self._buckets: dict[str, MemoryBucket] = {}
        self._lock = threading.RLock()

    def create_bucket(self, name: str) -> None:
        """Create an empty bucket; one that is there stays as it is."""
        content = MemoryBucket(name, honours_preconditions=self._honours_preconditions)
        self._buckets.setdefault(name, content)

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket and everything in it."""
        self._buckets.pop(name, None)

    def store(self, bucket: str, identity: str | None = None) -> "MemoryStore":
        """Return `bucket` as `identity` sees it; the bucket need not exist."""
        return MemoryStore(self, bucket, identity)

    def write(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        storage_class: str = "STANDARD",
    ) -> ObjectInfo:
        """Put an object behind everybody's back."""
        held = Held(body, plain_etag(body), self.now(), metadata, storage_class)
        return self.find_bucket(bucket).write(key, held).info(key)

    def read(self, bucket: str, key: str) -> StoredObject:
        """Return an object. Raises NotFound."""
        held = self.find_bucket(bucket).find(key)
        return StoredObject(held.info(key), held.body)

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object behind everybody's back."""
        self.find_bucket(bucket).objects.pop(key, None)

    def keys(self, bucket: str) -> list[str]:
        """Return all keys of a bucket, sorted as S3 sorts them."""
        return self.find_bucket(bucket).sorted_keys("")

    def now(self) -> datetime:
        """Return the time of the next write: the clock's, moved on by 1 ms where it did not advance."""
        self._last = max(self._clock(), self._last + timedelta(milliseconds=1))
        return self._last

    def find_bucket(self, name: str) -> MemoryBucket:
        """Return a bucket's content. Raises BucketNotFound."""
        try:
            return self._buckets[name]
        except KeyError:
            raise BucketNotFound(f"bucket {name!r} does not exist", code="NoSuchBucket") from None

    def check_allowed(self, identity: str | None, request: Request) -> None:
        """Raise CredentialsRejected or AccessDenied where the identity may not."""
        if identity in self.rejected_identities:
            raise CredentialsRejected(f"identity {identity!r} is unknown", code="InvalidAccessKeyId")
        if self.allows and not self.allows(identity, request.operation, request.bucket, request.key):
            raise AccessDenied(f"{request.operation} of {request.bucket}/{request.key}", code="AccessDenied")

    async def run(
        self, identity: str | None, request: Request, effect: Callable[[], _T]
    ) -> tuple[_T, Sequence[Fault]]:
        """Log a request, let faults strike, check rights, have the effect.

        Returns its result and the faults that still want to lose the answer.
        """
        self.requests.append(request)
        await asyncio.sleep(0)
        hit = [fault for fault in self.faults if fault.claims(request)]
        for fault in hit:
            await fault.strike()
        self.check_allowed(identity, request)
        with self._lock:
            result = effect()
        return result, [fault for fault in hit if fault.after_effect]


@final
class MemoryStore:
    """One bucket of a MemoryServer; implements `dtool_s3.store.protocol.Store`."""

    def __init__(self, server: MemoryServer, bucket: str, identity: str | None) -> None:
        self._server = server
        self._bucket = bucket
        self._identity = identity

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._bucket

    @property
    def endpoint_url(self) -> str:
        """Endpoint; equal for all stores of one server."""
        return self._server.endpoint_url

    async def _run(
        self, operation: str, key: str, effect: Callable[[MemoryBucket], _T]
    ) -> tuple[_T, Sequence[Fault]]:
        request = Request(operation, self._bucket, key)
        server = self._server
        return await server.run(self._identity, request, lambda: effect(server.find_bucket(self._bucket)))

    async def _ask(self, operation: str, key: str, effect: Callable[[MemoryBucket], _T]) -> _T:
        result, losing = await self._run(operation, key, effect)
        for fault in losing:
            fault.raise_error()
        return result

    async def check_bucket(self) -> None:
        """See the protocol."""
        await self._ask("check_bucket", "", lambda _: None)

    async def head(self, key: str) -> ObjectInfo:
        """See the protocol."""
        return await self._ask("head", key, lambda content: content.find(key).info(key))

    async def get(self, key: str, *, max_bytes: int) -> StoredObject:
        """See the protocol."""

        def effect(content: MemoryBucket) -> StoredObject:
            held = content.find_readable(key, max_bytes)
            return StoredObject(held.info(key), held.body)

        return await self._ask("get", key, effect)

    @asynccontextmanager
    async def stream(self, key: str) -> AsyncIterator[ByteStream]:
        """See the protocol; a fault with `after_effect` gives half of the bytes first."""
        held, cutting = await self._run("stream", key, lambda content: content.find_readable(key))
        yield ByteStream(held.info(key), _chunks(held.body, cutting))

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        """See the protocol."""

        def effect(content: MemoryBucket) -> ObjectInfo:
            content.check(key, precondition)
            held = Held(bytes(body), plain_etag(body), self._server.now(), metadata)
            return content.write(key, held).info(key)

        return await self._ask("put", key, effect)

    async def copy(
        self,
        source_bucket: str,
        source: ListedObject,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """See the protocol."""
        server = self._server

        def effect(content: MemoryBucket) -> str:
            server.check_allowed(self._identity, Request("get", source_bucket, source.key))
            held = server.find_bucket(source_bucket).find_readable(source.key)
            if held.etag != source.etag:
                message = f"{source_bucket}/{source.key} has another ETag"
                raise PreconditionFailed(message, code="PreconditionFailed")
            if source.size_bytes > server.max_copy_bytes:
                raise NotSupported(f"{source_bucket}/{source.key} is too large to copy in one request")
            etag = plain_etag(held.body) if server.copies_as_plain else held.etag
            copied = held.metadata if metadata is None else metadata
            return content.write(key, Held(held.body, etag, server.now(), copied)).etag

        return await self._ask("copy", key, effect)

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        """See the protocol."""
        await self._ask("delete", key, lambda content: content.delete(key, precondition))

    async def list(self, prefix: str, *, delimiter: str = "", limit: int | None = None) -> Listing:
        """See the protocol."""
        listing = await self._ask("list", prefix, lambda content: content.list(prefix, delimiter, limit))
        entries = len(listing.objects) + len(listing.common_prefixes)
        further_pages = max(0, (entries - 1) // PAGE_ENTRIES)
        self._server.requests.extend([Request("list", self._bucket, prefix)] * further_pages)
        return listing

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """See the protocol."""
        return await self._ask("list_uploads", prefix, lambda content: content.list_uploads(prefix))

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See the protocol."""
        upload = Upload(key, f"upload-{next(_numbers)}")
        return await self._ask("start_upload", key, lambda content: content.start(upload, metadata))

    async def put_part(self, upload: Upload, number: int, body: bytes) -> Part:
        """See the protocol; parts may be smaller than S3 allows."""
        return await self._ask("put_part", upload.key, lambda content: content.put_part(upload, number, body))

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> str:
        """See the protocol."""
        now = self._server.now()
        held = await self._ask(
            "complete_upload", upload.key, lambda content: content.complete(upload, parts, now)
        )
        return held.etag

    async def abort_upload(self, upload: Upload) -> None:
        """See the protocol."""
        await self._ask(
            "abort_upload", upload.key, lambda content: content.uploads.pop(upload.upload_id, None)
        )


async def _chunks(body: bytes, cutting: Sequence[Fault]) -> AsyncIterator[bytes]:
    end = len(body) // 2 if cutting else len(body)
    for start in range(0, end, CHUNK_BYTES):
        await asyncio.sleep(0)
        yield body[start : min(start + CHUNK_BYTES, end)]
    for fault in cutting:
        fault.raise_error()
