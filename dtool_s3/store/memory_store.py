"""One bucket of a memory server, seen with one identity: the Store protocol as requests; for tests.

Owns no content. Every method but those of URLs is a request that the server logs and that faults may hit.
Above 300 lines because the protocol is one class: a method for each request.
"""

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, final

from dtool_s3.errors import (
    AccessDenied,
    CredentialsRejected,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    SettingsError,
    StorageError,
)
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory_bucket import Held, MemoryBucket
from dtool_s3.store.memory_url import MAX_EXPIRES_SECONDS, Grant, build_url, lowered, parse_url, sign_url
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
)

if TYPE_CHECKING:
    from dtool_s3.store.memory import MemoryServer

CHUNK_BYTES = 1024 * 1024
PAGE_ENTRIES = 1000

_T = TypeVar("_T")
_numbers = itertools.count(1)


@final
class MemoryStore:
    """One bucket of a MemoryServer; implements `dtool_s3.store.protocol.UrlStore`."""

    def __init__(self, server: "MemoryServer", bucket: str, identity: str | None) -> None:
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

    async def check_bucket(self) -> datetime:
        """See the protocol."""
        await self._ask("check_bucket", "", lambda _: None)
        return self._server.now()

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

    async def get_range(self, key: str, first_byte: int, size_bytes: int, *, etag: str) -> bytes:
        """See the protocol."""
        return await self._ask(
            "get_range", key, lambda content: content.find_range(key, first_byte, size_bytes, etag)
        )

    async def part_sizes(self, key: str) -> Sequence[int]:
        """See the protocol."""
        sizes = await self._ask("part_sizes", key, lambda content: content.find(key).part_sizes)
        return sizes if self._server.tells_part_sizes else ()

    async def put(
        self,
        key: str,
        body: Body,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        """See the protocol."""

        def effect(content: MemoryBucket) -> ObjectInfo:
            content.check(key, precondition)
            held = Held(bytes(body), self._server.etag(body), self._server.now(), metadata)
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
            held = self._find_source(source_bucket, source)
            if source.size_bytes > server.max_copy_bytes:
                raise NotSupported(f"{source_bucket}/{source.key} is too large to copy in one request")
            etag, sizes = held.etag, held.part_sizes
            if server.copies_as_plain or server.encrypts:
                etag, sizes = server.etag(held.body), ()
            copied = held.metadata if metadata is None else metadata
            return content.write(key, Held(held.body, etag, server.now(), copied, part_sizes=sizes)).etag

        return await self._ask("copy", key, effect)

    def _find_source(self, bucket: str, source: ListedObject) -> Held:
        """Return the source of a copy, as this store's identity reads it."""
        self._server.check_allowed(self._identity, Request("get", bucket, source.key))
        content = self._server.find_bucket(bucket)
        held = content.find_readable(source.key)
        if held.etag != source.etag:
            raise PreconditionFailed(f"{bucket}/{source.key} has another ETag", code="PreconditionFailed")
        return held

    async def copy_many(
        self, source_bucket: str, copies: Sequence[tuple[ListedObject, str]]
    ) -> Sequence[ObjectInfo | None]:
        """See the protocol; knows nothing of any copy unless the server `copies_many`."""
        if not self._server.copies_many:
            return [None] * len(copies)
        return [await self._copy_one(source_bucket, source, key) for source, key in copies]

    async def _copy_one(self, source_bucket: str, source: ListedObject, key: str) -> ObjectInfo | None:
        try:
            await self.copy(source_bucket, source, key)
            return await self.head(key)
        except StorageError:
            return None

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        """See the protocol."""
        await self._ask("delete", key, lambda content: content.delete(key, precondition))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See the protocol; each request has its first key as `key`, rights are asked as `delete` of each."""
        wanted, failures = list(dict.fromkeys(keys)), list[StorageError]()

        def delete(content: MemoryBucket, batch: Sequence[str]) -> None:
            for key in batch:
                try:
                    self._server.check_allowed(self._identity, Request("delete", self._bucket, key))
                    content.delete(key, ALWAYS)
                except AccessDenied as error:
                    failures.append(error)

        for start in range(0, len(wanted), PAGE_ENTRIES):
            batch = wanted[start : start + PAGE_ENTRIES]
            await self._ask("delete_many", batch[0], functools.partial(delete, batch=batch))
        if failures:
            raise failures[0]

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        limit: int | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> Listing:
        """See the protocol."""
        listing = await self._ask("list", prefix, lambda content: content.list(prefix, delimiter, limit))
        entries = len(listing.objects) + len(listing.common_prefixes)
        further_pages = max(0, (entries - 1) // PAGE_ENTRIES)
        self._server.requests.extend([Request("list", self._bucket, prefix)] * further_pages)
        return listing if keeps is None else _kept(listing, keeps)

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """See the protocol."""
        return await self._ask("list_uploads", prefix, lambda content: content.list_uploads(prefix))

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See the protocol."""
        upload = Upload(key, f"upload-{next(_numbers)}")
        return await self._ask("start_upload", key, lambda content: content.start(upload, metadata))

    async def put_part(self, upload: Upload, number: int, body: Body, *, md5: bytes | None = None) -> Part:
        """See the protocol; parts may be smaller than S3 allows."""
        etag = self._server.etag(body)
        return await self._ask(
            "put_part", upload.key, lambda content: content.put_part(upload, number, body, etag, md5)
        )

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
        """See the protocol; parts may be smaller than S3 allows."""

        def effect(content: MemoryBucket) -> Part:
            held = self._find_source(source_bucket, source)
            source_content = self._server.find_bucket(source_bucket)
            body = source_content.find_range(source.key, first_byte, size_bytes, held.etag)
            return content.put_part(upload, number, body, self._server.etag(body), None)

        return await self._ask("copy_part", upload.key, effect)

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

    async def presign(
        self, method: str, key: str, *, expires_seconds: int, headers: Mapping[str, str] = NO_METADATA
    ) -> str:
        """See the protocol; `MemoryServer.receive` answers the URL."""
        if method not in {"GET", "PUT"} or not 0 < expires_seconds <= MAX_EXPIRES_SECONDS:
            raise SettingsError("a URL is signed for GET or PUT, for 1 second to 7 days")
        if self._identity in self._server.rejected_identities:
            raise CredentialsRejected(f"identity {self._identity!r} has no keys", code="NoCredentialsError")
        expires = self._server.now() + timedelta(seconds=expires_seconds)
        grant = Grant(method, self._identity, expires, lowered(headers))
        return sign_url(self.public_url(key), grant, self._server.url_secret)

    def public_url(self, key: str) -> str:
        """See the protocol."""
        return build_url(self.endpoint_url, self._bucket, key)

    async def make_public(self, key: str) -> None:
        """See the protocol."""
        await self._set_public("make_public", key, is_public=True)

    async def make_private(self, key: str) -> None:
        """See the protocol."""
        await self._set_public("make_private", key, is_public=False)

    async def _set_public(self, operation: str, key: str, *, is_public: bool) -> None:
        def effect(content: MemoryBucket) -> None:
            if not self._server.has_acls:
                message = f"{self._bucket}/{key}: the bucket has ACLs disabled"
                raise NotSupported(message, code="AccessControlListNotSupported")
            content.set_public(key, is_public=is_public)

        await self._ask(operation, key, effect)

    async def fetch_unsigned(self, url: str, *, max_bytes: int) -> bytes:
        """See the protocol."""
        address = parse_url(url, self.endpoint_url, self._server.url_secret)
        key = f"{address.bucket}/{address.key}".removeprefix(f"{self._bucket}/")
        body = await self._ask("fetch_unsigned", key, lambda _: self._server.receive("GET", url))
        if len(body) > max_bytes:
            raise RequestRefused(f"{key} has more than {max_bytes} bytes", code="EntityTooLarge")
        return body


async def _chunks(body: bytes, cutting: Sequence[Fault]) -> AsyncIterator[bytes]:
    end = len(body) // 2 if cutting else len(body)
    for start in range(0, end, CHUNK_BYTES):
        await asyncio.sleep(0)
        yield body[start : min(start + CHUNK_BYTES, end)]
    for fault in cutting:
        fault.raise_error()


def _kept(listing: Listing, keeps: Callable[[str], bool]) -> Listing:
    objects = tuple(listed for listed in listing.objects if keeps(listed.key))
    return Listing(objects, tuple(filter(keeps, listing.common_prefixes)), listing.is_cut)
