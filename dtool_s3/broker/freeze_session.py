"""One run of dtoolcore's freeze over one broker; owns what was seen at its start until the flip.

dtoolcore asks for handles, properties and item metadata one by one and writes manifest, overlays and `dtool`
in calls of their own. All answers come from one look, and the flip insists that it still holds.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import dtoolcore

from dtool_s3.broker.items import Item, ItemReader, read_fragments, split_fragment_key
from dtool_s3.broker.old_handles import renew_old_handles
from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import MAX_MANIFEST_BYTES, MD5_HASH_FUNCTION, Manifest, parse_manifest
from dtool_s3.errors import ContentDiffers, ItemMissing, NotFound, StorageError
from dtool_s3.freezing import Prepared, flip_to_frozen, read_admin_metadata, write_manifest
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import Listing, ObjectInfo, Store

logger = logging.getLogger(__name__)


class FreezeSession:
    """The freezing of one proto dataset; thrown away when any step fails."""

    def __init__(self, store: Store, layout: DatasetLayout, reader: ItemReader) -> None:
        self._store = store
        self._layout = layout
        self._reader = reader
        self._listing: Listing | None = None
        self._prepared: Prepared | None = None
        self._written: dict[str, ObjectInfo] = {}
        self._fragments: dict[str, dict[str, Any]] = {}
        #: What the look showed, by handle; None before it.
        self.items: dict[str, Item] | None = None

    async def look(self, seen: Listing | None = None) -> None:
        """Take the look that the manifest will rest on: one listing, one HEAD per item, all item metadata.

        `seen` is the listing where the caller took it already.

        Headers that upstream would misread are written anew first, see `dtool_s3.broker.old_handles`. Before
        anything else is written raises what dtoolcore would notice after the manifest: ItemMissing for
        metadata of an item that is not there, DtoolCoreValueError for metadata that not all items have.
        """
        self._listing = await self._list(seen)
        items = await self._reader.read_proto(self._listing.objects)
        self._fragments = await read_fragments(self._store, self._layout, self._listing.objects)
        self._check_fragments({item.identifier for item in items.values()})
        self.items = items

    async def _list(self, seen: Listing | None = None) -> Listing:
        """List the dataset, after headers that upstream would misread were written anew."""
        listing = await self._store.list(self._layout.root) if seen is None else seen
        if await renew_old_handles(self._store, self._layout, listing.objects):
            listing = await self._store.list(self._layout.root)
        return listing

    def item_metadata(self, identifier: str) -> dict[str, Any]:
        """Return the metadata that was added to one item."""
        return dict(self._fragments.get(identifier, {}))

    def note_write(self, info: ObjectInfo) -> None:
        """Remember an object that the freezing itself wrote (an overlay): it is no change by others."""
        self._written[info.key] = info

    async def write_manifest(self, body: bytes) -> None:
        """Write manifest.json of a proto dataset, if its digests are those of the items.

        Raises what `dtool_s3.freezing.write_manifest` raises, ContentDiffers also for a digest that somebody
        gave (dtoolcore's `freeze_with_manifest`) and that is not the item's.
        """
        manifest, items = parse_manifest(body), self.items
        if items is None and not (await read_admin_metadata(self._store, self._layout))[0].is_frozen:
            self._listing = await self._list()
            items = await self._reader.read_proto(self._listing.objects)
        await self._check_digests(manifest, (items or {}).values())
        self._prepared = await write_manifest(
            self._store, self._layout, manifest=manifest, manifest_body=body, seen=self._listing
        )

    async def _check_digests(self, manifest: Manifest, items: Iterable[Item]) -> None:
        """Raise ContentDiffers unless the items have the manifest's digests."""

        async def check(item: Item) -> None:
            expected = manifest.items.get(item.identifier)
            if expected is None:
                return
            found = item.checksum
            if manifest.hash_function != MD5_HASH_FUNCTION:
                found = await self._reader.hash_item(replace(item, checksum=None), manifest.hash_function)
            if found != expected.hash:
                raise ContentDiffers(
                    f"the manifest says {expected.hash} of item {expected.relpath[:80]!r}, stored is {found}"
                )

        await map_bounded(check, items)

    async def flip(self, admin_metadata: Mapping[str, Any]) -> None:
        """Freeze by the manifest of this session, or by the one that is stored, if it fits the items."""
        if self._prepared is None:
            await self.write_manifest(await self._stored_manifest())
        assert self._prepared is not None
        prepared = Prepared(
            self._prepared.objects, self._prepared.manifest, self._prepared.is_frozen, self._written
        )
        await flip_to_frozen(self._store, self._layout, prepared, admin_metadata=admin_metadata)

    async def remove_fragments(self) -> None:
        """Delete the item metadata that became overlays.

        What cannot be deleted is logged: the dataset is frozen and complete, no reader looks there.
        """
        if self._prepared is None:
            listing = await self._store.list(self._layout.fragments_prefix)
            present = [listed.key for listed in listing.objects]
        else:
            present = list(self._prepared.objects)
        keys = [key for key in present if split_fragment_key(self._layout, key) is not None]
        if not keys:
            return
        try:
            await self._store.delete_many(keys)
        except StorageError as error:
            logger.warning("fragments_left root=%s count=%d error=%s", self._layout.root, len(keys), error)

    async def _stored_manifest(self) -> bytes:
        try:
            stored = await self._store.get(self._layout.manifest_key, max_bytes=MAX_MANIFEST_BYTES)
        except NotFound as error:
            raise ItemMissing(f"{self._layout.root!r} has no manifest: it cannot be frozen") from error
        return stored.body

    def _check_fragments(self, identifiers: set[str]) -> None:
        strays = self._fragments.keys() - identifiers
        if strays:
            raise ItemMissing(f"item metadata was added for items that are not there: {sorted(strays)[:5]}")
        for name in {name for values in self._fragments.values() for name in values}:
            lacking = [i for i in identifiers if name not in self._fragments.get(i, {})]
            if lacking:
                raise dtoolcore.DtoolCoreValueError(
                    f"item metadata {name!r} was added to some items only, {len(lacking)} lack it"
                )
