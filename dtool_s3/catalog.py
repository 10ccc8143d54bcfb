"""Which datasets are in a bucket: registration keys against what lies under the prefixes; reads only.

One LIST per thousand registration keys. A registration key whose ETag is the MD5 of a known prefix needs no
GET; a dataset found frozen before is not looked at again. One bad key never hides the rest.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dtool_s3.documents import MAX_ADMIN_METADATA_BYTES, AdminMetadata, parse_admin_metadata
from dtool_s3.errors import InvalidAdminMetadata, NotFound
from dtool_s3.layout import REGISTRATION_KEY_PREFIX, DatasetLayout
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.uri import is_uuid

_IN_FLIGHT = 16


class EntryState(StrEnum):
    """What a registration key leads to."""

    FROZEN = "frozen"
    PROTO = "proto"
    UNREADABLE = "unreadable"
    DANGLING = "dangling"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One registration key and what it leads to; `detail` says what is wrong with an unreadable one."""

    uuid: str
    prefix: str
    state: EntryState
    registration_etag: str
    name: str = ""
    creator_username: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All datasets that a bucket registers, by UUID."""

    entries: Mapping[str, CatalogEntry]

    def counts(self) -> dict[EntryState, int]:
        """Count the entries of each state."""
        found = Counter(entry.state for entry in self.entries.values())
        return {state: found[state] for state in EntryState}


EMPTY_CATALOG = Catalog({})


async def list_datasets(
    store: Store, *, prefixes: Iterable[str] = (), previous: Catalog = EMPTY_CATALOG
) -> Catalog:
    """List the datasets registered in a bucket.

    `prefixes` are known ones that save a GET each; `previous` an earlier result of the same bucket: its
    frozen datasets are taken over where the registration key is unchanged. Raises what listing the
    registration keys raises; trouble with one dataset makes that entry unreadable.
    """
    listing = await store.list(REGISTRATION_KEY_PREFIX)
    registered = [o for o in listing.objects if is_uuid(o.key.removeprefix(REGISTRATION_KEY_PREFIX))]
    by_etag = {_md5(prefix): prefix for prefix in prefixes}
    limit = asyncio.Semaphore(_IN_FLIGHT)

    async def look(key: ListedObject) -> CatalogEntry:
        uuid = key.key.removeprefix(REGISTRATION_KEY_PREFIX)
        known = previous.entries.get(uuid)
        if known and known.state is EntryState.FROZEN and known.registration_etag == key.etag:
            return known
        async with limit:
            return await _read_entry(store, uuid, key.etag, by_etag)

    entries = await asyncio.gather(*(look(key) for key in registered))
    return Catalog({entry.uuid: entry for entry in entries})


async def _read_entry(store: Store, uuid: str, etag: str, by_etag: Mapping[str, str]) -> CatalogEntry:
    prefix = by_etag.get(etag, "")
    try:
        if etag not in by_etag:
            registered = await read_registration(store, uuid)
            if registered is None:
                return CatalogEntry(
                    uuid, "", EntryState.DANGLING, etag, detail="the registration key is gone"
                )
            prefix = registered
        admin = await _read_admin_metadata(store, DatasetLayout(prefix, uuid))
    except InvalidAdminMetadata as error:
        return CatalogEntry(uuid, prefix, EntryState.UNREADABLE, etag, detail=str(error))
    if admin is None:
        return CatalogEntry(uuid, prefix, EntryState.DANGLING, etag)
    state = EntryState.FROZEN if admin.is_frozen else EntryState.PROTO
    return CatalogEntry(uuid, prefix, state, etag, admin.name, admin.creator_username)


async def _read_admin_metadata(store: Store, layout: DatasetLayout) -> AdminMetadata | None:
    """HEAD the dataset; GET only where a proxy or another tool lost its headers."""
    if layout.prefix and not layout.prefix.isprintable():
        raise InvalidAdminMetadata("the registration key holds no printable prefix")
    try:
        info = await store.head(layout.admin_metadata_key)
        try:
            return parse_admin_metadata(b"", info.metadata, uuid=layout.uuid)
        except InvalidAdminMetadata:
            stored = await store.get(layout.admin_metadata_key, max_bytes=MAX_ADMIN_METADATA_BYTES)
            return parse_admin_metadata(stored.body, stored.info.metadata, uuid=layout.uuid)
    except NotFound:
        return None


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
