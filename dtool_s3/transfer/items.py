"""Moves one item and says why its stored bytes are right; owns the bytes, decides nothing about the dataset.

Bytes are hashed as they pass and a difference aborts before anything is completed; a multipart upload that
fails is aborted. Source: S3 CopyObject, CreateMultipartUpload; rule 13 of the API design for evidence.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from dtool_s3.documents import ManifestItem
from dtool_s3.errors import AccessDenied, BadDigest, SourceDamaged
from dtool_s3.layout import DatasetLayout, item_metadata
from dtool_s3.store.protocol import ListedObject, ObjectInfo, Part, Store, Upload
from dtool_s3.transfer.plan import Evidence, ItemPlan, Step, listed_evidence

CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlacedItem:
    """An item in place, the evidence for its bytes and the ETag that it had then."""

    evidence: Evidence
    etag: str
    is_moved: bool


@dataclass(slots=True)
class ItemMover:
    """Puts items of one dataset into place; shared by the concurrent workers of one copy."""

    source: Store
    target: Store
    layout: DatasetLayout
    keeps_headers: bool
    #: The target's credentials were refused on the source once: everything after is streamed.
    must_stream: bool = field(default=False)

    async def place(self, plan: ItemPlan) -> PlacedItem:
        """Bring one item into place and prove it. Raises SourceDamaged, or what the stores raise."""
        key = self.layout.item_key(plan.identifier)
        match plan.step:
            case Step.KEEP:
                return await self._prove(plan, key, is_moved=False)
            case Step.PROVE:
                if await hash_object(self.target, key) == plan.item.hash:
                    info = await self._with_right_headers(plan, key)
                    return PlacedItem(Evidence.READ, info.etag, is_moved=False)
                return await self._move(plan, key)
            case Step.COPY | Step.STREAM:
                return await self._move(plan, key)

    async def _move(self, plan: ItemPlan, key: str) -> PlacedItem:
        if plan.step is Step.STREAM or self.must_stream:
            return await self._stream(plan, key)
        wanted = None if self.keeps_headers else item_metadata(plan.item.relpath, plan.item.hash)
        try:
            await self.target.copy(self.source.bucket, plan.source, key, metadata=wanted)
        except AccessDenied:
            self.must_stream = True
            return await self._stream(plan, key)
        return await self._prove(plan, key, is_moved=True)

    async def _prove(self, plan: ItemPlan, key: str, *, is_moved: bool) -> PlacedItem:
        """Find evidence for an item that a server-side copy made, reading it where nothing else tells."""
        info = await self._with_right_headers(plan, key)
        evidence = listed_evidence(plan.item, _as_listed(info), source=plan.source)
        if evidence is None:
            await self._check_bytes(plan, key)
            evidence = Evidence.READ
        return PlacedItem(evidence, info.etag, is_moved)

    async def _check_bytes(self, plan: ItemPlan, key: str) -> None:
        if await hash_object(self.target, key) == plan.item.hash:
            return
        found = await hash_object(self.source, plan.source.key)
        if found != plan.item.hash:
            raise _damaged(plan.item, found)
        raise BadDigest(f"{key} in bucket {self.target.bucket} does not hold what was copied to it")

    async def _with_right_headers(self, plan: ItemPlan, key: str) -> ObjectInfo:
        """HEAD the item; where handle or checksum are wrong, write them anew by a copy onto itself."""
        wanted = item_metadata(plan.item.relpath, plan.item.hash)
        info = await self.target.head(key)
        if _has_metadata(info, wanted):
            return info
        await self.target.copy(self.target.bucket, _as_listed(info), key, metadata=wanted)
        info = await self.target.head(key)
        if not _has_metadata(info, wanted):
            raise BadDigest(f"{key} in bucket {self.target.bucket} lost its handle and checksum headers")
        return info

    async def _stream(self, plan: ItemPlan, key: str) -> PlacedItem:
        """Move an item through this process: what is hashed is what is written."""
        if plan.item.size_bytes <= CHUNK_BYTES:
            stored = await self.source.get(plan.source.key, max_bytes=CHUNK_BYTES)
            found = _md5(stored.body)
            if found != plan.item.hash:
                raise _damaged(plan.item, found)
            metadata = item_metadata(plan.item.relpath, plan.item.hash)
            await self.target.put(key, stored.body, metadata=metadata)
        else:
            await self._stream_parts(plan, key)
        info = await self._with_right_headers(plan, key)
        is_md5 = info.etag == plan.item.hash
        return PlacedItem(Evidence.ETAG_MD5 if is_md5 else Evidence.READ, info.etag, is_moved=True)

    async def _stream_parts(self, plan: ItemPlan, key: str) -> None:
        upload = await self.target.start_upload(key, item_metadata(plan.item.relpath, plan.item.hash))
        try:
            parts = await self._put_parts(plan, upload)
            await self.target.complete_upload(upload, parts)
        except BaseException:
            await self.target.abort_upload(upload)
            raise

    async def _put_parts(self, plan: ItemPlan, upload: Upload) -> list[Part]:
        digest = hashlib.md5(usedforsecurity=False)
        parts: list[Part] = []
        async with self.source.stream(plan.source.key) as stream:
            async for chunk in _in_chunks(stream.chunks):
                digest.update(chunk)
                parts.append(await self.target.put_part(upload, len(parts) + 1, chunk))
        if digest.hexdigest() != plan.item.hash:
            raise _damaged(plan.item, digest.hexdigest())
        return parts


async def hash_object(store: Store, key: str) -> str:
    """Read every byte of `key` and return its MD5 as hex digits."""
    digest = hashlib.md5(usedforsecurity=False)
    async with store.stream(key) as stream:
        async for chunk in stream.chunks:
            digest.update(chunk)
    return digest.hexdigest()


async def _in_chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather pieces into parts of CHUNK_BYTES; only the last is smaller."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)


def _has_metadata(info: ObjectInfo, wanted: dict[str, str]) -> bool:
    return all(info.metadata.get(name) == value for name, value in wanted.items())


def _as_listed(info: ObjectInfo) -> ListedObject:
    return ListedObject(info.key, info.size_bytes, info.etag, info.last_modified)


def _damaged(item: ManifestItem, found: str) -> SourceDamaged:
    return SourceDamaged(
        f"item {item.relpath[:80]!r} of the source has MD5 {found}, its manifest says {item.hash}"
    )


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
