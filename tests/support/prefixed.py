"""A store whose keys all lie under a prefix that its user does not see: a bucket within a bucket."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

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
    UrlStore,
)


class PrefixedStore:
    """Implements `dtool_s3.store.protocol.UrlStore` on another store, adding `prefix` to every key."""

    def __init__(self, inner: UrlStore, prefix: str) -> None:
        self._inner = inner
        self._prefix = prefix

    @property
    def bucket(self) -> str:
        return self._inner.bucket

    @property
    def endpoint_url(self) -> str:
        return self._inner.endpoint_url

    def _key(self, key: str) -> str:
        return f"{self._prefix}{key}"

    def _own(self, key: str) -> str:
        return key.removeprefix(self._prefix)

    def _source(self, bucket: str, source: ListedObject) -> ListedObject:
        return replace(source, key=self._key(source.key)) if bucket == self.bucket else source

    def _inner_upload(self, upload: Upload) -> Upload:
        return replace(upload, key=self._key(upload.key))

    def _own_upload(self, upload: Upload) -> Upload:
        return replace(upload, key=self._own(upload.key))

    def _own_info(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=self._own(info.key))

    async def check_bucket(self) -> datetime:
        return await self._inner.check_bucket()

    async def head(self, key: str) -> ObjectInfo:
        return self._own_info(await self._inner.head(self._key(key)))

    async def get(self, key: str, *, max_bytes: int) -> StoredObject:
        found = await self._inner.get(self._key(key), max_bytes=max_bytes)
        return replace(found, info=self._own_info(found.info))

    @asynccontextmanager
    async def stream(self, key: str) -> AsyncIterator[ByteStream]:
        async with self._inner.stream(self._key(key)) as found:
            yield replace(found, info=self._own_info(found.info))

    async def get_range(self, key: str, first_byte: int, size_bytes: int, *, etag: str) -> bytes:
        return await self._inner.get_range(self._key(key), first_byte, size_bytes, etag=etag)

    async def part_sizes(self, key: str) -> Sequence[int]:
        return await self._inner.part_sizes(self._key(key))

    async def put(
        self,
        key: str,
        body: Body,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        return self._own_info(
            await self._inner.put(self._key(key), body, metadata=metadata, precondition=precondition)
        )

    async def copy(
        self,
        source_bucket: str,
        source: ListedObject,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        source = self._source(source_bucket, source)
        return await self._inner.copy(source_bucket, source, self._key(key), metadata=metadata)

    async def copy_many(
        self, source_bucket: str, copies: Sequence[tuple[ListedObject, str]]
    ) -> Sequence[ObjectInfo | None]:
        inner = [(self._source(source_bucket, source), self._key(key)) for source, key in copies]
        found = await self._inner.copy_many(source_bucket, inner)
        return [info and replace(info, key=key) for info, (_, key) in zip(found, copies, strict=True)]

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        await self._inner.delete(self._key(key), precondition=precondition)

    async def delete_many(self, keys: Sequence[str]) -> None:
        await self._inner.delete_many([self._key(key) for key in keys])

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        limit: int | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> Listing:
        keeps_inner = None if keeps is None else lambda key: keeps(self._own(key))
        found = await self._inner.list(self._key(prefix), delimiter=delimiter, limit=limit, keeps=keeps_inner)
        objects = tuple(replace(listed, key=self._own(listed.key)) for listed in found.objects)
        return Listing(objects, tuple(map(self._own, found.common_prefixes)), found.is_cut)

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        return tuple(map(self._own_upload, await self._inner.list_uploads(self._key(prefix))))

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        return self._own_upload(await self._inner.start_upload(self._key(key), metadata))

    async def put_part(self, upload: Upload, number: int, body: Body, *, md5: bytes | None = None) -> Part:
        return await self._inner.put_part(self._inner_upload(upload), number, body, md5=md5)

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
        return await self._inner.copy_part(
            self._inner_upload(upload),
            number,
            source_bucket,
            self._source(source_bucket, source),
            first_byte=first_byte,
            size_bytes=size_bytes,
        )

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> str:
        return await self._inner.complete_upload(self._inner_upload(upload), parts)

    async def abort_upload(self, upload: Upload) -> None:
        await self._inner.abort_upload(self._inner_upload(upload))

    async def presign(
        self, method: str, key: str, *, expires_seconds: int, headers: Mapping[str, str] = NO_METADATA
    ) -> str:
        return await self._inner.presign(
            method, self._key(key), expires_seconds=expires_seconds, headers=headers
        )

    def public_url(self, key: str) -> str:
        return self._inner.public_url(self._key(key))

    async def make_public(self, key: str) -> None:
        await self._inner.make_public(self._key(key))

    async def make_private(self, key: str) -> None:
        await self._inner.make_private(self._key(key))

    async def fetch_unsigned(self, url: str, *, max_bytes: int) -> bytes:
        return await self._inner.fetch_unsigned(url, max_bytes=max_bytes)
