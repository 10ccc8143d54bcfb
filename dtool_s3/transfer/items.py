"""Moves one item and says why its stored bytes are right; owns the bytes, decides nothing about the dataset.

Bytes are hashed as they pass and a difference aborts before anything is completed; a multipart upload that
fails is aborted. An item that is not, a moment later, what it was just proven to be is somebody else's
writing. Source: S3 CopyObject, CreateMultipartUpload; rule 13 of the API design for evidence.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

from dtool_s3.documents import ManifestItem
from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    ItemMissing,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    SourceDamaged,
    StorageError,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DatasetLayout, item_metadata
from dtool_s3.store.protocol import ListedObject, ObjectInfo, Part, Store, Upload
from dtool_s3.transfer.plan import Evidence, ItemPlan, Step, listed_evidence

CHUNK_BYTES = 16 * 1024 * 1024
#: Streamed items above this size take turns, so that the bytes in memory stay below 256 MB: a buffer that
#: fills and a part under way for each of them.
TURN_BYTES = 1024 * 1024
_TURNS = 7


@dataclass(frozen=True, slots=True)
class PlacedItem:
    """An item in place, the evidence for its bytes and the ETag that it had then."""

    evidence: Evidence
    etag: str
    is_moved: bool


@dataclass(slots=True)
class ItemMover:
    """Puts items of one dataset into place; shared by the concurrent workers of one copy.

    `must_stream`: the target's credentials may not, or (found out on the way) cannot, read the source; bytes
    then pass through this process. `keeps_headers`: the source's items have headers that upstream can read.
    """

    source: Store
    target: Store
    layout: DatasetLayout
    keeps_headers: bool
    must_stream: bool
    #: Streamed items above this size are moved in parts of it.
    chunk_bytes: int = CHUNK_BYTES
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_TURNS))

    async def place(self, plan: ItemPlan) -> PlacedItem:
        """Bring one item into place and prove it.

        Raises SourceDamaged and ItemMissing about the source, WrittenWhileFreezing about a target that
        somebody else changes, or what the stores raise.
        """
        match plan.step:
            case Step.KEEP:
                return await self._prove(plan, etag=None)
            case Step.PROVE:
                with _writing_target(plan.item):
                    found = await read_md5(self.target, self._key(plan))
                if found.md5 != plan.item.hash:
                    return await self._move(plan)
                info = await self._with_right_headers(plan, etag=found.etag)
                return PlacedItem(Evidence.READ, info.etag, is_moved=False)
            case Step.COPY | Step.STREAM:
                return await self._move(plan)

    def _key(self, plan: ItemPlan) -> str:
        return self.layout.item_key(plan.identifier)

    async def _move(self, plan: ItemPlan) -> PlacedItem:
        if self.must_stream:
            return await self._stream(plan)
        wanted = None if self.keeps_headers else item_metadata(plan.item.relpath, plan.item.hash)
        try:
            with _reading_source(plan.item):
                etag = await self.target.copy(
                    self.source.bucket, plan.source, self._key(plan), metadata=wanted
                )
        except (AccessDenied, NotSupported):
            self.must_stream = True
            return await self._stream(plan)
        return await self._prove(plan, etag=etag)

    async def _prove(self, plan: ItemPlan, *, etag: str | None) -> PlacedItem:
        """Find evidence for an item in place, reading it where its ETag does not tell.

        `etag` is what a server-side copy just gave; None: the item was there before.
        """
        info = await self._with_right_headers(plan, etag=etag)
        source = None if self.must_stream else plan.source
        evidence = listed_evidence(plan.item, _as_listed(info), source=source)
        if evidence is None:
            await self._check_bytes(plan, info)
            evidence = Evidence.READ
        return PlacedItem(evidence, info.etag, is_moved=etag is not None)

    async def _check_bytes(self, plan: ItemPlan, info: ObjectInfo) -> None:
        with _writing_target(plan.item):
            stored = await read_md5(self.target, info.key)
        if stored.etag != info.etag:
            raise _written(plan.item)
        if stored.md5 == plan.item.hash:
            return
        with _reading_source(plan.item):
            found = await read_md5(self.source, plan.source.key)
        if found.md5 != plan.item.hash:
            raise _damaged(plan.item, found.md5)
        raise BadDigest(f"{info.key!r} in bucket {self.target.bucket!r} does not hold what was copied to it")

    async def _with_right_headers(self, plan: ItemPlan, *, etag: str | None) -> ObjectInfo:
        """HEAD the item; where handle or checksum are wrong, write them anew by a copy onto itself.

        `etag` is the one that it must still have; None: any.
        """
        key, wanted = self._key(plan), item_metadata(plan.item.relpath, plan.item.hash)
        with _writing_target(plan.item):
            info = await self.target.head(key)
            if etag not in {None, info.etag}:
                raise _written(plan.item)
            if _has_metadata(info, wanted):
                return info
            etag = await self.target.copy(self.target.bucket, _as_listed(info), key, metadata=wanted)
            info = await self.target.head(key)
        if info.etag != etag:
            raise _written(plan.item)
        if not _has_metadata(info, wanted):
            raise BadDigest(f"{key!r} in bucket {self.target.bucket!r} loses its handle and checksum headers")
        return info

    async def _stream(self, plan: ItemPlan) -> PlacedItem:
        """Move an item through this process: what is hashed is what is written."""
        is_one_part = plan.item.size_bytes <= self.chunk_bytes
        async with self._turns if plan.item.size_bytes > TURN_BYTES else nullcontext():
            etag = await (self._stream_whole(plan) if is_one_part else self._stream_parts(plan))
        info = await self._with_right_headers(plan, etag=etag)
        evidence = Evidence.ETAG_MD5 if info.etag == plan.item.hash else Evidence.READ
        return PlacedItem(evidence, info.etag, is_moved=True)

    async def _stream_whole(self, plan: ItemPlan) -> str:
        with _reading_source(plan.item):
            stored = await self.source.get(plan.source.key, max_bytes=plan.item.size_bytes)
        found = hashlib.md5(stored.body, usedforsecurity=False).hexdigest()
        if found != plan.item.hash:
            raise _damaged(plan.item, found)
        metadata = item_metadata(plan.item.relpath, plan.item.hash)
        return (await self.target.put(self._key(plan), stored.body, metadata=metadata)).etag

    async def _stream_parts(self, plan: ItemPlan) -> str:
        key, upload = self._key(plan), None
        try:
            upload = await self.target.start_upload(key, item_metadata(plan.item.relpath, plan.item.hash))
            with _reading_source(plan.item):
                parts = await self._put_parts(plan, upload)
            with _writing_target(plan.item):
                return await self.target.complete_upload(upload, parts)
        except BaseException:
            # what ended the upload matters more than what giving it up may raise; a later run tries again
            with suppress(StorageError):
                await self._give_up(key, upload)
            raise

    async def _put_parts(self, plan: ItemPlan, upload: Upload) -> list[Part]:
        digest = hashlib.md5(usedforsecurity=False)
        parts: list[Part] = []
        async with self.source.stream(plan.source.key) as stream:
            if stream.info.size_bytes != plan.item.size_bytes:
                raise SourceDamaged(
                    f"item {plan.item.relpath[:80]!r} of the source has {stream.info.size_bytes} bytes, "
                    f"its manifest says {plan.item.size_bytes}"
                )
            async for chunk in _in_chunks(stream.chunks, self.chunk_bytes):
                digest.update(chunk)
                with _writing_target(plan.item):
                    parts.append(await self.target.put_part(upload, len(parts) + 1, chunk))
        if digest.hexdigest() != plan.item.hash:
            raise _damaged(plan.item, digest.hexdigest())
        return parts

    async def _give_up(self, key: str, upload: Upload | None) -> None:
        """Abort an upload; all of the item's where the answer that would name it did not come."""
        if upload is None:
            await abort_uploads(self.target, key)
        else:
            await self.target.abort_upload(upload)


async def abort_uploads(store: Store, prefix: str) -> None:
    """Abort the unfinished uploads of keys that start with `prefix`."""
    for upload in await store.list_uploads(prefix):
        await store.abort_upload(upload)


@dataclass(frozen=True, slots=True)
class ReadObject:
    """The MD5 of all bytes of an object, as hex digits, and the ETag that it had when it was read."""

    md5: str
    etag: str


async def read_md5(store: Store, key: str) -> ReadObject:
    """Read every byte of `key`. Raises what the store raises."""
    digest = hashlib.md5(usedforsecurity=False)
    async with store.stream(key) as stream:
        async for chunk in stream.chunks:
            digest.update(chunk)
    return ReadObject(digest.hexdigest(), stream.info.etag)


async def _in_chunks(pieces: AsyncIterator[bytes], chunk_bytes: int) -> AsyncIterator[bytes]:
    """Gather pieces into chunks of one size; only the last is smaller."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= chunk_bytes:
            yield bytes(buffer[:chunk_bytes])
            del buffer[:chunk_bytes]
    if buffer:
        yield bytes(buffer)


@contextmanager
def _reading_source(item: ManifestItem) -> Iterator[None]:
    """Say what it means for the source when an object vanishes or changes between listing and reading."""
    try:
        yield
    except NotFound as error:
        raise ItemMissing(f"item {item.relpath[:80]!r} vanished from the source during the copy") from error
    except PreconditionFailed as error:
        raise SourceDamaged(f"item {item.relpath[:80]!r} of the source changed during the copy") from error
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        raise SourceDamaged(
            f"item {item.relpath[:80]!r} of the source has more bytes than its manifest says"
        ) from error


@contextmanager
def _writing_target(item: ManifestItem) -> Iterator[None]:
    """Say what it means for the target when an object or upload vanishes or changes under our hands."""
    try:
        yield
    except (NotFound, PreconditionFailed) as error:
        raise _written(item) from error


def _has_metadata(info: ObjectInfo, wanted: dict[str, str]) -> bool:
    return all(info.metadata.get(name) == value for name, value in wanted.items())


def _as_listed(info: ObjectInfo) -> ListedObject:
    return ListedObject(info.key, info.size_bytes, info.etag, info.last_modified)


def _damaged(item: ManifestItem, found: str) -> SourceDamaged:
    return SourceDamaged(
        f"item {item.relpath[:80]!r} of the source has MD5 {found}, its manifest says {item.hash}"
    )


def _written(item: ManifestItem) -> WrittenWhileFreezing:
    return WrittenWhileFreezing(f"item {item.relpath[:80]!r} was changed in the target during the copy")
