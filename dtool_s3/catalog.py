"""Which datasets are in a bucket: registration keys against what lies under the prefixes; reads only.

One LIST per thousand registration keys, then one GET per dataset: it costs what a HEAD costs and shows
whether header and body agree. A registration key whose ETag is the MD5 of a known prefix needs no GET of its
own; a dataset found frozen before is not looked at again. One bad key never hides the rest.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dtool_s3.concurrency import map_bounded
from dtool_s3.errors import (
    AccessDenied,
    DatasetMissing,
    InvalidAdminMetadata,
    ItemArchived,
    RequestRefused,
)
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.layout import REGISTRATION_KEY_PREFIX, DatasetLayout
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import ListedObject, Store
from dtool_s3.uri import is_uuid

#: What a store says about one key; anything else (rights, throttling, an outage) is about the bucket.
_ABOUT_ONE_KEY = (AccessDenied, ItemArchived, RequestRefused)


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
    frozen datasets are taken over where the registration key is unchanged. Trouble with one dataset makes
    that entry unreadable. Raises what listing the registration keys raises, and BucketUnreachable,
    Throttled, CredentialsRejected and the like wherever they come.
    """
    listing = await store.list(REGISTRATION_KEY_PREFIX)
    registered = [o for o in listing.objects if is_uuid(o.key.removeprefix(REGISTRATION_KEY_PREFIX))]
    by_etag = {_md5(prefix): prefix for prefix in prefixes}

    async def look(key: ListedObject) -> CatalogEntry | None:
        uuid = key.key.removeprefix(REGISTRATION_KEY_PREFIX)
        known = previous.entries.get(uuid)
        if known and known.state is EntryState.FROZEN and known.registration_etag == key.etag:
            return known
        return await _read_entry(store, uuid, key.etag, by_etag)

    entries = await map_bounded(look, registered)
    return Catalog({entry.uuid: entry for entry in entries if entry})


async def _read_entry(store: Store, uuid: str, etag: str, by_etag: Mapping[str, str]) -> CatalogEntry | None:
    """Read what a registration key leads to; None if the key has gone since it was listed."""
    prefix = by_etag.get(etag)
    try:
        if prefix is None:
            prefix = await _read_prefix(store, uuid)
        if prefix is None:
            return None
        admin, _ = await read_admin_metadata(store, DatasetLayout(prefix, uuid))
    except DatasetMissing:
        return CatalogEntry(uuid, prefix or "", EntryState.DANGLING, etag)
    except (InvalidAdminMetadata, *_ABOUT_ONE_KEY) as error:
        return CatalogEntry(uuid, prefix or "", EntryState.UNREADABLE, etag, detail=str(error))
    state = EntryState.FROZEN if admin.is_frozen else EntryState.PROTO
    return CatalogEntry(uuid, prefix, state, etag, admin.name, admin.creator_username)


async def _read_prefix(store: Store, uuid: str) -> str | None:
    prefix = await read_registration(store, uuid)
    if prefix is not None and not prefix.isprintable():
        raise InvalidAdminMetadata(f"the registration key holds {prefix[:80]!r}, which is no prefix")
    return prefix


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
