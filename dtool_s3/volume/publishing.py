"""Freezes what somebody untrusted uploaded into a proto dataset; owns that nothing is believed, only proven.

    claimed manifest -> list -> every item in its size, with evidence and headers -> wait until nobody can
    write any more -> abort what is unfinished -> list again, nothing may differ -> manifest, freeze

The claim says which items there should be. That they are there, and their bytes, is what the server attests
(an ETag that is the MD5) or what is read here. Lost or forged headers are written anew.

Headers are looked at once no rewriting could go unnoticed any more: times of last change have whole seconds,
so what is written two seconds after a listing shows another time in the next one.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import (
    MAX_OVERLAY_BYTES,
    MD5_HASH_FUNCTION,
    AdminMetadata,
    Manifest,
    ManifestItem,
    build_manifest_body,
    manifest_version,
)
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    DatasetMissing,
    NotSupported,
    WrittenWhileFreezing,
)
from dtool_s3.freezing import check_items
from dtool_s3.layout import DatasetLayout, check_disk_relpaths, item_metadata
from dtool_s3.naming import name_few
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.derivation import frozen_admin_metadata
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.inventory import (
    DatasetListing,
    TargetInventory,
    read_admin_metadata,
    read_manifest,
    sort_listing,
)
from dtool_s3.transfer.item_errors import writing_target, written_meanwhile
from dtool_s3.transfer.items import ItemMover, has_metadata
from dtool_s3.transfer.multipart import abort_uploads
from dtool_s3.transfer.plan import Evidence, ItemPlan, Step, check_document_names, check_size
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.target import (
    Frozen,
    Proven,
    adopt_frozen,
    ensure_proto,
    publish,
    put_document,
    yielding_to_another_copy,
)
from dtool_s3.transfer.verify import Verification

#: A rewriting so long after a listing shows in the next one; one second, and one for rounding.
_TICK_SECONDS = 2.0
_MAX_DOCUMENTS = 100_000
#: Clocks further apart make S3 refuse signatures.
_MAX_LAG_SECONDS = 900.0
#: A HEAD for each item: 10,000 items took 11 s with the server on the same two busy cores.
CONCURRENCY = 64

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What may be published.

    `quiet_seconds`: as long after the start, by the server's clock, whoever wrote cannot do so any more (his
    URLs have expired).
    `max_size_bytes`: more than that in all is not published. `manifest_sha256`: the only claim that is
    accepted, in hex digits. `content_sha256`: of an equal manifest (`Manifest.content_sha256`), which a
    dataset that is frozen already may have instead.
    """

    quiet_seconds: float
    max_size_bytes: int | None = None
    manifest_sha256: str | None = None
    content_sha256: str | None = None
    concurrency: int = CONCURRENCY
    pause_seconds: float = 1.0


async def publish_uploaded(
    target: Store,
    layout: DatasetLayout,
    request: PublishRequest,
    *,
    on_progress: ProgressSink = no_progress,
    clock: Callable[[], float] = time.time,
    sleep: Sleep = asyncio.sleep,
) -> CopyResult:
    """Freeze the proto dataset at `layout` once what its `manifest.json` claims is proven.

    It keeps the identity that its proto dataset has; without a time of freezing there, that is now. One that
    is frozen already with an equal manifest is verified by listing, and a success without a write.

    Raises DatasetMissing, InvalidManifest, UnsafePath, QuotaExceeded, ItemMissing, ContentDiffers (extra
    keys, other sizes or bytes than claimed, naming items; a frozen dataset with another manifest),
    WrittenWhileFreezing where anything changes after it was first listed, RegistrationHijacked,
    StorageError: nothing is frozen then that was not before.
    """
    quiet_at = asyncio.get_running_loop().time() + request.quiet_seconds
    if request.quiet_seconds:
        quiet_at += await _measure_lag(target)
    admin = await read_admin_metadata(target, layout)
    if admin is None:
        raise DatasetMissing(f"there is no dataset at {layout.root!r} in bucket {target.bucket!r}")
    if admin.is_frozen:
        return await _adopt(target, layout, request)
    claim = await _read_claim(target, layout, request)
    publishing = _Publishing(target, layout, request, admin, claim)
    async with yielding_to_another_copy(target, layout):
        return await publishing.run(quiet_at, on_progress, clock, sleep)


async def _measure_lag(target: Store) -> float:
    """Return by how many seconds the server's clock is behind: URLs live so much longer."""
    lag = (datetime.now(UTC) - await target.check_bucket()).total_seconds()
    return min(max(lag, 0.0), _MAX_LAG_SECONDS)


async def _adopt(target: Store, layout: DatasetLayout, request: PublishRequest) -> CopyResult:
    """Take a frozen dataset as what was to be published, if its manifest is equal, whatever its bytes."""
    manifest, body = await read_manifest(target, layout)
    is_asked_for = (
        request.manifest_sha256 is None
        or hashlib.sha256(body).hexdigest() == request.manifest_sha256.lower()
        or manifest.content_sha256() == request.content_sha256
    )
    if not is_asked_for:
        raise ContentDiffers(f"{layout.root!r} is frozen already, with another manifest")
    verified = await adopt_frozen(target, layout, manifest)
    return CopyResult(verified.admin, verified.verification, moved=0)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A manifest that is to be proven; `body` as it will be published."""

    manifest: Manifest
    body: bytes


async def _read_claim(target: Store, layout: DatasetLayout, request: PublishRequest) -> _Claim:
    """Read the claimed manifest; what is published of it has dtoolcore's form and nothing else in it."""
    manifest, body = await read_manifest(target, layout, sha256=request.manifest_sha256)
    if manifest.hash_function != MD5_HASH_FUNCTION:
        raise NotSupported(f"the manifest hashes with {manifest.hash_function[:40]!r}, not MD5")
    check_disk_relpaths(item.relpath for item in manifest.items.values())
    check_size(manifest.size_bytes, request.max_size_bytes)
    written_by = manifest_version(body) or version("dtoolcore")
    return _Claim(manifest, build_manifest_body(manifest, dtoolcore_version=written_by))


@dataclass(slots=True)
class _Publishing:
    """One run: what was proven so far, as it lay there then."""

    target: Store
    layout: DatasetLayout
    request: PublishRequest
    admin: AdminMetadata
    claim: _Claim
    repaired: dict[str, str] = field(default_factory=dict)
    evidence: Counter[Evidence] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def run(
        self, quiet_at: float, on_progress: ProgressSink, clock: Callable[[], float], sleep: Sleep
    ) -> CopyResult:
        manifest, loop = self.claim.manifest, asyncio.get_running_loop()
        counter = ProgressCounter(
            on_progress,
            items_total=len(manifest.items),
            bytes_total=manifest.size_bytes,
            phase=Phase.VERIFYING,
        )
        before = await self._list()
        self._check(before)
        documents = await self._ensure_documents(before)
        if self.request.quiet_seconds:
            await sleep(min(_TICK_SECONDS, self.request.quiet_seconds))
        await self._prove(before, counter)
        await sleep(max(0.0, quiet_at - loop.time()))
        with suppress(AccessDenied, NotSupported):
            await abort_uploads(self.target, self.layout.data_prefix)
        self._check_unchanged(before, await self._list())
        await self._check_repaired()
        counter.enter(Phase.FREEZING)
        frozen_at = clock() if self.admin.frozen_at is None else self.admin.frozen_at
        admin = frozen_admin_metadata(self.admin, now=frozen_at)
        frozen = Frozen(admin, manifest, self.claim.body)
        etags = {i: listed.etag for i, listed in before.items.items()} | self.repaired
        await publish(
            self.target,
            self.layout,
            frozen,
            Proven(etags, documents),
            pause_seconds=self.request.pause_seconds,
        )
        return CopyResult(admin, self._verification(), moved=0)

    async def _list(self) -> DatasetListing:
        return sort_listing(self.layout, (await self.target.list(self.layout.root)).objects)

    def _check(self, shown: DatasetListing) -> None:
        """Raise ItemMissing or ContentDiffers unless exactly the claimed items lie there, in their sizes."""
        check_items(self.layout, shown.items.values(), self.claim.manifest)
        if len(shown.documents) > _MAX_DOCUMENTS:
            raise ContentDiffers(f"{self.layout.root!r} holds more than {_MAX_DOCUMENTS} tags and the like")
        check_document_names(shown.documents)
        large = sorted(name for name, o in shown.documents.items() if o.size_bytes > MAX_OVERLAY_BYTES)
        if large:
            raise NotSupported(f"documents of more than {MAX_OVERLAY_BYTES} bytes: {name_few(large)}")

    async def _ensure_documents(self, before: DatasetListing) -> dict[str, str]:
        """Return the ETags of all documents; there is a README, and structure.json says how headers are."""
        place = TargetInventory(self.layout, self.admin, before)
        documents = await ensure_proto(self.target, place, self.admin)
        documents |= {name: listed.etag for name, listed in before.documents.items()}
        if "README.yml" not in documents:
            documents["README.yml"] = await put_document(self.target, place, "README.yml", b"")
        return documents

    async def _prove(self, before: DatasetListing, counter: ProgressCounter) -> None:
        mover = ItemMover(self.target, self.target, self.layout, keeps_headers=True, must_stream=True)

        async def prove(entry: tuple[str, ManifestItem]) -> None:
            identifier, item = entry
            listed = before.items[identifier]
            plan = ItemPlan(identifier, item, listed, Step.PROVE)
            placed = await mover.prove_in_place(plan)
            if placed is None:
                self.wrong.append(item.relpath)
            else:
                self.evidence[placed.evidence] += 1
                if placed.is_moved:
                    self.repaired[identifier] = placed.etag
            counter.add(items=1, size_bytes=item.size_bytes)

        await map_bounded(prove, self.claim.manifest.items.items(), limit=self.request.concurrency)
        if self.wrong:
            raise ContentDiffers(
                f"{len(self.wrong)} items have other bytes than was claimed: {name_few(sorted(self.wrong))}"
            )

    def _check_unchanged(self, before: DatasetListing, now: DatasetListing) -> None:
        """Raise WrittenWhileFreezing, naming keys, unless all is as it was first listed; repairs are ours."""
        changed = {
            f"data/{identifier}"
            for identifier in before.items.keys() | now.items.keys()
            if identifier not in self.repaired and before.items.get(identifier) != now.items.get(identifier)
        }
        changed |= {
            name
            for name in before.documents.keys() | now.documents.keys()
            if name != "README.yml" and before.documents.get(name) != now.documents.get(name)
        }
        if changed:
            raise WrittenWhileFreezing(
                f"{self.layout.root!r} was written to while it was proven: {name_few(sorted(changed))}"
            )

    async def _check_repaired(self) -> None:
        """Raise WrittenWhileFreezing where headers that were put right are wrong again."""

        async def check(entry: tuple[str, str]) -> None:
            identifier, etag = entry
            item = self.claim.manifest.items[identifier]
            with writing_target(item):
                info = await self.target.head(self.layout.item_key(identifier))
            if info.etag != etag or not has_metadata(info, item_metadata(item.relpath, item.hash)):
                raise written_meanwhile(item)

        await map_bounded(check, self.repaired.items(), limit=self.request.concurrency)

    def _verification(self) -> Verification:
        manifest = self.claim.manifest
        return Verification(
            items=len(manifest.items),
            size_bytes=manifest.size_bytes,
            evidence={kind: self.evidence[kind] for kind in Evidence},
        )
