"""Finds the MD5 of each plain object and has it moved; owns what the MD5s rest on.

An ETag in the form of an MD5 is believed if one object of the source, read as a witness, shows that the
server's ETags are MD5s, and if the copy gets the same ETag. Everything else is read once, as it was listed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtool_s3.documents import ManifestItem
from dtool_s3.errors import SourceDamaged
from dtool_s3.ingestion.plan import PlainObject
from dtool_s3.layout import item_identifier
from dtool_s3.transfer.inventory import TargetInventory
from dtool_s3.transfer.item_errors import reading_source, writing_target
from dtool_s3.transfer.items import ItemMover, PlacedItem
from dtool_s3.transfer.plan import ItemPlan, Step, plan_item
from dtool_s3.transfer.ranges import hash_listed

_MD5_FORM = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class Placer:
    """Puts objects into place as items; shared by the concurrent workers of one ingest."""

    mover: ItemMover
    place: TargetInventory
    trusts_etags: bool = False

    async def find_trust(self, objects: Sequence[PlainObject]) -> None:
        """Find out whether ETags are MD5s, by reading the smallest object whose ETag looks like one."""
        claiming = [o for o in objects if o.listed.size_bytes and _MD5_FORM.fullmatch(o.listed.etag)]
        if claiming:
            witness = min(claiming, key=lambda o: o.listed.size_bytes)
            self.trusts_etags = await self.read_source(witness) == witness.listed.etag

    async def put(self, one: PlainObject) -> tuple[ManifestItem, PlacedItem]:
        """Bring one object into place as an item."""
        claimed = self._claimed_md5(one)
        md5 = claimed or await self._kept_md5(one) or await self.read_source(one)
        item = one.as_item(md5)
        try:
            return item, await self.mover.place(self._plan(one, item))
        except SourceDamaged:
            # the ETag was no MD5 after all (encryption makes such ones), or the object changed
            if claimed is None or (md5 := await self.read_source(one)) == claimed:
                raise
        item = one.as_item(md5)
        return item, await self.mover.place(replace(self._plan(one, item), step=Step.COPY))

    async def read_source(self, one: PlainObject) -> str:
        """Read every byte of an object, as it was listed. Raises SourceDamaged, ItemMissing."""
        mover = self.mover
        with reading_source(one.as_item("")):
            return await hash_listed(mover.source, one.listed, budget=mover.budget, limits=mover.limits)

    def _plan(self, one: PlainObject, item: ManifestItem) -> ItemPlan:
        identifier = item_identifier(one.relpath)
        return plan_item(
            identifier,
            item,
            source=one.listed,
            target=self.place.listing.items.get(identifier),
            server_side=not self.mover.must_stream,
        )

    def _claimed_md5(self, one: PlainObject) -> str | None:
        """MD5 that needs no reading; what is copied on the word of an ETag is compared with the copy's."""
        is_claimed = self.trusts_etags and _MD5_FORM.fullmatch(one.listed.etag)
        return one.listed.etag if is_claimed else None

    async def _kept_md5(self, one: PlainObject) -> str | None:
        """MD5 that an earlier run found and wrote beside its copy of the object, if it is of that object.

        So it is if source and copy have one ETag, or the copy's is that MD5, and the source was not written
        since.
        """
        there = self.place.listing.items.get(item_identifier(one.relpath))
        if there is None or one.listed.last_modified >= there.last_modified:
            return None
        with writing_target(one.as_item("")):
            info = await self.mover.target.head(there.key)
        md5 = info.metadata.get("checksum", "")
        is_copy = info.size_bytes == one.listed.size_bytes and info.etag in {one.listed.etag, md5}
        return md5 if is_copy and _MD5_FORM.fullmatch(md5) else None
