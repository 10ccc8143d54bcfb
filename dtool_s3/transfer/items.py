"""Moves one item and says why its stored bytes are right; owns the bytes, decides nothing about the dataset.

Bytes are hashed as they pass and a difference aborts before anything is completed; a multipart upload that
fails is aborted. An item that is not, a moment later, what it was just proven to be is somebody else's
writing. Source: S3 CopyObject, CreateMultipartUpload; rule 13 of the API design for evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dtool_s3.errors import AccessDenied, BadDigest, NotSupported
from dtool_s3.layout import DatasetLayout, item_metadata
from dtool_s3.store.protocol import ListedObject, ObjectInfo, Part, Store, Upload
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.item_errors import damaged, reading_source, writing_target, written_meanwhile
from dtool_s3.transfer.multipart import GRACE_SECONDS, copy_in_parts, put_in_parts, upload_in_parts
from dtool_s3.transfer.parts import S3_LIMITS, PartLimits, PartRange, cut_evenly, plan_copy_parts
from dtool_s3.transfer.plan import Evidence, ItemPlan, Step, listed_evidence
from dtool_s3.transfer.ranges import hash_bytes, hash_listed
from dtool_s3.transfer.shared_budget import shared_budget

#: Larger items are copied one by one: the server's work outweighs the way to it.
MANY_BYTES = 1024**2


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
    limits: PartLimits = S3_LIMITS
    grace_seconds: float = GRACE_SECONDS
    budget: ByteBudget = field(default_factory=shared_budget)
    #: Whether a multipart upload was started.
    has_uploaded: bool = False

    async def place(self, plan: ItemPlan) -> PlacedItem:
        """Bring one item into place and prove it.

        Raises SourceDamaged and ItemMissing about the source, WrittenWhileFreezing about a target that
        somebody else changes, or what the stores raise.
        """
        match plan.step:
            case Step.KEEP:
                return await self._prove(plan, etag=None, is_moved=False)
            case Step.PROVE:
                return await self._prove_by_reading(plan)
            case Step.COPY | Step.STREAM:
                return await self._move(plan)

    async def prove_in_place(self, plan: ItemPlan) -> PlacedItem | None:
        """Prove an item that somebody else put where `plan.source` was listed; None if it has other bytes.

        Wrong headers are written anew, which counts as moved. Raises WrittenWhileFreezing where it is not any
        more what was listed.
        """
        found = await self._head(plan, etag=plan.source.etag)
        info = await self._with_right_headers(plan, found)
        evidence = listed_evidence(plan.item, _as_listed(info), source=None)
        if evidence is None:
            if await self._read_target(plan, info) != plan.item.hash:
                return None
            evidence = Evidence.READ
        return PlacedItem(evidence, info.etag, is_moved=info is not found)

    def may_copy_many(self, plan: ItemPlan) -> bool:
        """Tell whether an item can be copied together with others."""
        return (
            plan.step is Step.COPY
            and self.keeps_headers
            and not self.must_stream
            and plan.source.size_bytes <= MANY_BYTES
        )

    async def place_many(self, plans: Sequence[ItemPlan]) -> list[PlacedItem]:
        """Copy items that `may_copy_many`, and prove them; what does not succeed so goes the long way."""
        copies = [(plan.source, self._key(plan)) for plan in plans]
        infos = await self.target.copy_many(self.source.bucket, copies)
        return [
            await (self.place(plan) if info is None else self._conclude(plan, info, is_moved=True))
            for plan, info in zip(plans, infos, strict=True)
        ]

    def _key(self, plan: ItemPlan) -> str:
        return self.layout.item_key(plan.identifier)

    async def _move(self, plan: ItemPlan) -> PlacedItem:
        if self.must_stream:
            return await self._stream(plan)
        wanted = item_metadata(plan.item.relpath, plan.item.hash)
        try:
            with reading_source(plan.item):
                etag = await self._copy(
                    self.source, plan.source, self._key(plan), wanted, replaces=not self.keeps_headers
                )
        except (AccessDenied, NotSupported):
            self.must_stream = True
            return await self._stream(plan)
        return await self._prove(plan, etag=etag, is_moved=True)

    async def _copy(
        self, origin: Store, source: ListedObject, key: str, metadata: Mapping[str, str], *, replaces: bool
    ) -> str | None:
        """Copy on the server; return the new ETag where it is told.

        `metadata` is written where the source's shall be replaced, and where the object is made of parts,
        which have none.
        """
        if source.size_bytes <= self.limits.single_copy_bytes:
            return await self.target.copy(origin.bucket, source, key, metadata=metadata if replaces else None)
        boundaries = await origin.part_sizes(source.key) if "-" in source.etag else ()
        ranges = plan_copy_parts(source.size_bytes, boundaries, limits=self.limits)

        self.has_uploaded = True

        async def copy_parts(upload: Upload) -> Sequence[Part]:
            return await copy_in_parts(
                self.target, upload, origin.bucket, source, ranges, grace_seconds=self.grace_seconds
            )

        return await upload_in_parts(self.target, key, metadata, copy_parts, grace_seconds=self.grace_seconds)

    async def _prove(self, plan: ItemPlan, *, etag: str | None, is_moved: bool) -> PlacedItem:
        """Find evidence for an item in place, reading it where its ETag does not tell.

        `etag` is what the item must have, None: any, because it was there before or the copy did not tell.
        """
        return await self._conclude(plan, await self._head(plan, etag=etag), is_moved=is_moved)

    async def _conclude(self, plan: ItemPlan, info: ObjectInfo, *, is_moved: bool) -> PlacedItem:
        """Find evidence for an item that was just seen."""
        info = await self._with_right_headers(plan, info)
        source = None if self.must_stream else plan.source
        evidence = listed_evidence(plan.item, _as_listed(info), source=source)
        if evidence is None:
            await self._check_bytes(plan, info)
            evidence = Evidence.READ
        return PlacedItem(evidence, info.etag, is_moved)

    async def _prove_by_reading(self, plan: ItemPlan) -> PlacedItem:
        """Read what is there; only if it is not the item, move that."""
        info = await self._head(plan, etag=None)
        if await self._read_target(plan, info) != plan.item.hash:
            return await self._move(plan)
        info = await self._with_right_headers(plan, info)
        return PlacedItem(Evidence.READ, info.etag, is_moved=False)

    async def _check_bytes(self, plan: ItemPlan, info: ObjectInfo) -> None:
        if await self._read_target(plan, info) == plan.item.hash:
            return
        with reading_source(plan.item):
            found = await hash_listed(self.source, plan.source, budget=self.budget, limits=self.limits)
        if found != plan.item.hash:
            raise damaged(plan.item, found)
        raise BadDigest(f"{info.key!r} in bucket {self.target.bucket!r} does not hold what was copied to it")

    async def _read_target(self, plan: ItemPlan, info: ObjectInfo) -> str:
        with writing_target(plan.item):
            return await hash_listed(self.target, _as_listed(info), budget=self.budget, limits=self.limits)

    async def _head(self, plan: ItemPlan, *, etag: str | None) -> ObjectInfo:
        with writing_target(plan.item):
            info = await self.target.head(self._key(plan))
        if etag not in {None, info.etag}:
            raise written_meanwhile(plan.item)
        return info

    async def _with_right_headers(self, plan: ItemPlan, info: ObjectInfo) -> ObjectInfo:
        """Where handle or checksum are wrong, write them anew by a copy of the item onto itself."""
        wanted = item_metadata(plan.item.relpath, plan.item.hash)
        if has_metadata(info, wanted):
            return info
        with writing_target(plan.item):
            etag = await self._copy(self.target, _as_listed(info), info.key, wanted, replaces=True)
        info = await self._head(plan, etag=etag)
        if not has_metadata(info, wanted):
            raise headers_lost(self.target, info)
        return info

    async def _stream(self, plan: ItemPlan) -> PlacedItem:
        """Move an item through this process: what is hashed is what is written."""
        if plan.item.size_bytes <= self.limits.chunk_bytes:
            async with self.budget.take(plan.item.size_bytes):
                etag = await self._stream_whole(plan)
        else:
            etag = await self._stream_parts(plan)
        info = await self._with_right_headers(plan, await self._head(plan, etag=etag))
        evidence = Evidence.ETAG_MD5 if info.etag == plan.item.hash else Evidence.READ
        return PlacedItem(evidence, info.etag, is_moved=True)

    async def _stream_whole(self, plan: ItemPlan) -> str:
        with reading_source(plan.item):
            stored = await self.source.get(plan.source.key, max_bytes=plan.item.size_bytes)
        found = await hash_bytes(stored.body)
        if found != plan.item.hash:
            raise damaged(plan.item, found)
        metadata = item_metadata(plan.item.relpath, plan.item.hash)
        return (await self.target.put(self._key(plan), stored.body, metadata=metadata)).etag

    async def _stream_parts(self, plan: ItemPlan) -> str:
        item, source = plan.item, plan.source
        ranges = cut_evenly(item.size_bytes, self.limits.chunk_bytes, limits=self.limits)

        async def read(part: PartRange) -> bytes:
            with reading_source(item):
                return await self.source.get_range(
                    source.key, part.first_byte, part.size_bytes, etag=source.etag
                )

        async def put_parts(upload: Upload) -> Sequence[Part]:
            found, parts = await put_in_parts(
                self.target, upload, ranges, read, budget=self.budget, grace_seconds=self.grace_seconds
            )
            if found != item.hash:
                raise damaged(item, found)
            return parts

        self.has_uploaded = True
        with writing_target(item):
            return await upload_in_parts(
                self.target,
                self._key(plan),
                item_metadata(item.relpath, item.hash),
                put_parts,
                grace_seconds=self.grace_seconds,
            )


def has_metadata(info: ObjectInfo, wanted: Mapping[str, str]) -> bool:
    """Tell whether an object has the headers that an item must have."""
    return all(info.metadata.get(name) == value for name, value in wanted.items())


def headers_lost(target: Store, info: ObjectInfo) -> BadDigest:
    """Build the error for an item that was written with its headers and has them no longer."""
    return BadDigest(f"{info.key!r} in bucket {target.bucket!r} loses its handle and checksum headers")


def _as_listed(info: ObjectInfo) -> ListedObject:
    return ListedObject(info.key, info.size_bytes, info.etag, info.last_modified)
