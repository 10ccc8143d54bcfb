"""The items of a dataset as dtoolcore asks for them: handle, size, time, digest; reads only.

A proto dataset's items are told by their own headers, one HEAD each; a frozen one's by its manifest and one
listing, and its digests by the stored bytes, so that a verification tells the truth.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dtool_s3.concurrency import map_bounded
from dtool_s3.digest import algorithm_of
from dtool_s3.documents import MAX_OVERLAY_BYTES, MD5_HASH_FUNCTION, Manifest
from dtool_s3.errors import ContentDiffers, WrittenWhileFreezing
from dtool_s3.freezing import list_items
from dtool_s3.layout import DatasetLayout, decode_handle
from dtool_s3.naming import name_few
from dtool_s3.store.protocol import ListedObject, ObjectInfo, Store
from dtool_s3.transfer.ranges import hash_listed
from dtool_s3.transfer.shared_budget import shared_budget

#: How many small reads of one dataset are in flight; they are done in bulk, and nothing else runs meanwhile.
BULK_REQUESTS = 64

_HEX_DIGITS = frozenset("0123456789abcdef")
_MD5_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One object under `data/`; `checksum` is None where only reading the bytes tells the digest."""

    identifier: str
    handle: str
    listed: ListedObject
    checksum: str | None

    @property
    def utc_timestamp(self) -> float:
        """Time of the upload in whole seconds since 1970, UTC."""
        return float(int(self.listed.last_modified.timestamp()))


class ItemReader:
    """Looks at one dataset's items; remembers what a HEAD told for as long as listings show no change."""

    def __init__(self, store: Store, layout: DatasetLayout) -> None:
        self._store = store
        self._layout = layout
        self._known: dict[ListedObject, Item] = {}

    async def read_proto(self, objects: Iterable[ListedObject]) -> dict[str, Item]:
        """Return the items among `objects` by handle, from their own headers.

        Raises ContentDiffers, naming a few, for objects that no dtool wrote; and for one whose bytes
        contradict its checksum.
        """
        strays: list[str] = []

        async def look(found: tuple[str, ListedObject]) -> Item | None:
            identifier, listed = found
            item = self._known.get(listed) or await self._head(identifier, listed)
            if item is None:
                strays.append(listed.key)
            return item

        seen = await map_bounded(look, list_items(self._layout, objects).items(), limit=BULK_REQUESTS)
        if strays:
            raise ContentDiffers(
                f"no item of dtool's, with no handle that fits its key: {name_few(sorted(strays))}"
            )
        items = [item for item in seen if item is not None]
        self._known.update((item.listed, item) for item in items)
        return {item.handle: item for item in items}

    async def read_frozen(self, objects: Iterable[ListedObject], manifest: Manifest) -> dict[str, Item]:
        """Return the items among `objects` by handle; those not in the manifest by their own headers."""

        async def look(found: tuple[str, ListedObject]) -> Item:
            identifier, listed = found
            expected = manifest.items.get(identifier)
            if expected is None:
                return Item(identifier, await self._stray_handle(identifier, listed), listed, None)
            is_proven = manifest.hash_function == MD5_HASH_FUNCTION and listed.etag == expected.hash
            return Item(identifier, expected.relpath, listed, expected.hash if is_proven else None)

        items = await map_bounded(look, list_items(self._layout, objects).items(), limit=BULK_REQUESTS)
        return {item.handle: item for item in items}

    async def hash_item(self, item: Item, hash_function: str) -> str:
        """Return the digest of an item's stored bytes by the given hash function, reading them if need be."""
        if item.checksum is not None:
            return item.checksum
        algorithm = algorithm_of(hash_function)
        return await hash_listed(self._store, item.listed, budget=shared_budget(), algorithm=algorithm)

    async def _stray_handle(self, identifier: str, listed: ListedObject) -> str:
        """Handle of an object that the manifest does not name; the key's end where it has none."""
        info = await self._store.head(listed.key)
        return decode_handle(info.metadata.get("handle", ""), identifier) or identifier

    async def _head(self, identifier: str, listed: ListedObject) -> Item | None:
        info = await self._store.head(listed.key)
        if (info.etag, info.size_bytes) != (listed.etag, listed.size_bytes):
            raise WrittenWhileFreezing(f"{listed.key!r} changed after it was listed")
        handle = decode_handle(info.metadata.get("handle", ""), identifier)
        if handle is None:
            return None
        return Item(identifier, handle, listed, await self._checksum(info, listed))

    async def _checksum(self, info: ObjectInfo, listed: ListedObject) -> str:
        """MD5 of an item's bytes: its header, unless that is lost or an ETag that is no part count differs.

        Unequal ETags prove nothing (encryption makes such ones), so the bytes decide.
        """
        stated = info.metadata.get("checksum", "")
        is_stated = len(stated) == _MD5_LENGTH and set(stated) <= _HEX_DIGITS
        if is_stated and ("-" in info.etag or info.etag == stated):
            return stated
        found = await hash_listed(self._store, listed, budget=shared_budget())
        if is_stated and found != stated:
            raise ContentDiffers(f"{info.key!r} holds bytes with MD5 {found}, its checksum says {stated}")
        return found


async def read_fragments(
    store: Store, layout: DatasetLayout, objects: Iterable[ListedObject]
) -> dict[str, dict[str, Any]]:
    """Read the item metadata among `objects`: {identifier: {name: value}}; names may contain dots."""

    async def read(key: str) -> Any:
        stored = await store.get(key, max_bytes=MAX_OVERLAY_BYTES)
        try:
            return json.loads(stored.body)
        except (ValueError, RecursionError) as error:
            raise ContentDiffers(f"the item metadata {key!r} is not JSON") from error

    named = {listed.key: split_fragment_key(layout, listed.key) for listed in objects}
    keys = [key for key, split in named.items() if split is not None]
    fragments: dict[str, dict[str, Any]] = {}
    for key, value in zip(keys, await map_bounded(read, keys, limit=BULK_REQUESTS), strict=True):
        split = named[key]
        assert split is not None
        fragments.setdefault(split[0], {})[split[1]] = value
    return fragments


def split_fragment_key(layout: DatasetLayout, key: str) -> tuple[str, str] | None:
    """Return (identifier, name) of the key of one item metadata value; None for other keys."""
    if not key.startswith(layout.fragments_prefix) or not key.endswith(".json"):
        return None
    identifier, dot, name = key[len(layout.fragments_prefix) : -len(".json")].partition(".")
    return (identifier, name) if dot and name else None
