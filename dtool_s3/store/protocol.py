"""The one seam to S3: what the library asks of an object store, as a protocol and its values.

Implementations live beside this file; nothing here performs I/O. Every method raises an error of
`dtool_s3.errors`, translated by the implementation, after its own bounded retries of retryable ones.
Keys are text; bodies are bytes; sizes are bytes; times are aware UTC datetimes.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol, runtime_checkable

#: What is written; a view is not copied.
Body = bytes | memoryview

NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One key as a listing shows it; `etag` without quotes."""

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as HEAD shows it; `metadata` names are lower-case, without `x-amz-meta-`."""

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object read whole."""

    info: ObjectInfo
    body: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix; with a delimiter, also the common prefixes directly below it.

    `is_cut`: a limit left some out.
    """

    objects: Sequence[ListedObject]
    common_prefixes: Sequence[str] = ()
    is_cut: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ByteStream:
    """An object being read; iterate `chunks` once, inside the context that gave it."""

    info: ObjectInfo
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished multipart upload."""

    key: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part of a multipart upload; numbers start at 1."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class Precondition:
    """When a write may happen: only if the key is absent, or only over the object with this ETag."""

    if_none_match: bool = False
    if_match: str | None = None


#: The write may always happen.
ALWAYS = Precondition()
#: The write may happen only where nothing is yet.
IF_ABSENT = Precondition(if_none_match=True)


def if_match(etag: str) -> Precondition:
    """Return the condition that the object still has `etag`."""
    return Precondition(if_match=etag)


@runtime_checkable
class Store(Protocol):
    """One bucket of one endpoint, seen with one set of credentials."""

    @property
    def bucket(self) -> str:
        """Name of the bucket."""

    @property
    def endpoint_url(self) -> str:
        """Endpoint; `""` for AWS. Stores with equal endpoints can copy server-side."""

    async def check_bucket(self) -> datetime:
        """HEAD the bucket; return the server's clock in UTC, or this machine's where it is not told.

        Raises BucketNotFound, AccessDenied, CredentialsRejected, BucketUnreachable.
        """

    async def head(self, key: str) -> ObjectInfo:
        """HEAD `key`. Raises NotFound."""

    async def get(self, key: str, *, max_bytes: int) -> StoredObject:
        """Read `key` whole. Raises NotFound, or RequestRefused (code `EntityTooLarge`) above `max_bytes`."""

    def stream(self, key: str) -> AbstractAsyncContextManager[ByteStream]:
        """Read `key` in chunks of at most 1 MiB. Raises NotFound on entering."""

    async def get_range(self, key: str, first_byte: int, size_bytes: int, *, etag: str) -> bytes:
        """Read `size_bytes` (at least 1) of `key` from `first_byte` on, while the object still has `etag`.

        Raises NotFound, PreconditionFailed for another ETag, RequestRefused beyond the object's end.
        """

    async def part_sizes(self, key: str) -> Sequence[int]:
        """Sizes in bytes of the parts that an object was uploaded in; empty where the store does not tell.

        Raises NotFound. Two HEADs where all parts but the last are equal, else one for each. An object put in
        one piece has no parts.
        """

    async def put(
        self,
        key: str,
        body: Body,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        """Write `key`, its bytes protected by a checksum that the server verifies.

        Raises PreconditionFailed. An answer that never came is resolved by reading before it is repeated.
        """

    async def copy(
        self,
        source_bucket: str,
        source: ListedObject,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Copy on the server, signed with this store's credentials; return the new ETag where it is told.

        `metadata` None keeps the source's; then a source that changed since it was listed may be copied
        without an error, and the ETag of the copy, looked at afterwards, tells. With `metadata` the source
        must still have its ETag: else PreconditionFailed. Objects above 5 GiB: NotSupported, they are copied
        by `copy_part`.
        """

    async def copy_many(
        self, source_bucket: str, copies: Sequence[tuple[ListedObject, str]]
    ) -> Sequence[ObjectInfo | None]:
        """Copy small objects to the given keys with their metadata, and HEAD each: for very many.

        None stands for a copy of which nothing is known: ask `copy` and `head`, which repeat and name what is
        wrong. Raises nothing of the server's.
        """

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        """Delete `key`; absent already is fine. Raises PreconditionFailed."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete keys, up to 1,000 a request; absent already is fine.

        Raises the first error of any key, after all were tried.
        """

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        limit: int | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> Listing:
        """List the keys that start with `prefix` (plain text comparison), at most `limit`, in key order.

        Keys and common prefixes for which `keeps` is false are counted for the limit and neither held nor
        given. Without a limit a store may raise NotSupported (`TooManyKeys`) above a bound of its own.
        """

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """List unfinished multipart uploads of keys that start with `prefix`."""

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """Start a multipart upload."""

    async def put_part(self, upload: Upload, number: int, body: Body, *, md5: bytes | None = None) -> Part:
        """Upload one part (5 MiB to 5 GiB, the last may be smaller).

        `md5` is the digest that the part must have, where it is known from before: the server compares the
        bytes with it. Raises BadDigest.
        """

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
        """Make one part of bytes of another object, on the server (5 MiB to 5 GiB, the last may be smaller).

        Signed with this store's credentials. Raises PreconditionFailed unless the source has its ETag still.
        """

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> str:
        """Make the object from its parts; return its ETag."""

    async def abort_upload(self, upload: Upload) -> None:
        """Give up an upload and free its parts; gone already is fine."""


@runtime_checkable
class UrlStore(Store, Protocol):
    """A store whose objects have URLs that others can be given."""

    async def presign(
        self, method: str, key: str, *, expires_seconds: int, headers: Mapping[str, str] = NO_METADATA
    ) -> str:
        """Return a URL, signed with Signature Version 4, by which anybody may GET or PUT `key` for a while.

        `headers` (PUT: `Content-MD5`, `x-amz-meta-…`) are signed: the request must carry them exactly so.
        Raises SettingsError above 7 days, CredentialsRejected without keys.
        """

    def public_url(self, key: str) -> str:
        """Return the URL of `key` without a signature."""

    async def make_public(self, key: str) -> None:
        """Let everybody read `key` (the canned ACL `public-read`). Raises NotSupported, AccessDenied."""

    async def make_private(self, key: str) -> None:
        """Take back what `make_public` gave (the canned ACL `private`)."""

    async def fetch_unsigned(self, url: str, *, max_bytes: int) -> bytes:
        """GET a URL as a stranger would: no credentials, no redirect to another host.

        Raises NotFound, AccessDenied, BucketUnreachable, RequestRefused (also above `max_bytes`).
        """


@dataclass(frozen=True, slots=True)
class UrlRequest:
    """One request that somebody without keys shall be able to make: all of it is signed.

    `key` `""`: the bucket itself. `headers` are those that the request must carry exactly so; it may carry
    others too, but none that begins with `x-amz-`.
    """

    method: str
    key: str
    query: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    headers: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)


@runtime_checkable
class SigningStore(Store, Protocol):
    """A store that signs many URLs at little cost, for requests of any kind."""

    async def sign_urls(self, requests: Sequence[UrlRequest], *, expires_seconds: int) -> Sequence[str]:
        """Return a URL for each request, signed with the credentials as they are now; sends nothing.

        Raises SettingsError above 7 days, CredentialsRejected without keys, NotSupported where requests to
        this bucket are not signed with Signature Version 4.
        """
