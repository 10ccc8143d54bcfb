"""Which datasets are in a bucket: registration keys against what lies under the prefixes; reads only.

The first look costs one LIST per thousand registration keys, one per known prefix (of the folders directly
below it), and one GET per dataset, which costs what a HEAD costs and shows whether header and body agree. A
registration key whose ETag is the MD5 of a known prefix needs no GET of its own. A later look that is given
the earlier catalog makes the same LISTs and one HEAD per proto dataset; each frozen dataset is looked at
again in one of `refresh_every` looks. One bad key never hides the rest, and keys that are none of dtool's
are not held, however many they are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dtool_s3.catalog_keys import MAX_KEYS, list_registrations, list_roots
from dtool_s3.concurrency import map_bounded
from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import (
    AccessDenied,
    DatasetMissing,
    InvalidAdminMetadata,
    ItemArchived,
    NotFound,
    RequestRefused,
)
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.layout import REGISTRATION_KEY_PREFIX, DatasetLayout
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import ListedObject, Store

#: How many small requests of one listing are in flight.
CONCURRENCY = 64
#: How much of a name is told; dtool's own have 80 characters at most.
NAME_CHARACTERS = 256
#: A frozen dataset is looked at again in one of so many looks.
REFRESH_EVERY = 100

#: What a store says about one key; anything else (throttling, an outage) is about the bucket.
_ABOUT_ONE_KEY = (AccessDenied, ItemArchived, RequestRefused)


class EntryState(StrEnum):
    """What a registration key leads to, or that there is none."""

    FROZEN = "frozen"
    PROTO = "proto"
    UNREADABLE = "unreadable"
    DANGLING = "dangling"  # a registration key without a dataset
    UNREGISTERED = "unregistered"  # a dataset without a registration key: readers do not find it


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One dataset, or a registration key without one.

    `detail` says what is wrong with an unreadable or unregistered one; `etag` is that of its `dtool` object,
    `""` where that could not be read; times are seconds since 1970 in UTC. `is_outside`: registered under a
    prefix that is none of those that the listing was given.
    """

    uuid: str
    prefix: str
    state: EntryState
    registration_etag: str
    name: str = ""
    creator_username: str = ""
    detail: str = ""
    etag: str = ""
    created_at: float | None = None
    frozen_at: float | None = None
    is_outside: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a bucket holds.

    `entries`: what its registration keys lead to, by UUID. `unregistered`: datasets under known prefixes to
    which no registration key leads, by prefix and UUID. `unlisted`: prefixes that the credentials may not
    list, or directly below which too much lies, so that unregistered datasets there are not known.
    """

    entries: Mapping[str, CatalogEntry]
    unregistered: tuple[CatalogEntry, ...] = ()
    unlisted: tuple[str, ...] = ()
    #: Roots that look like a dataset's and hold none; not asked for again at every look.
    vacant: frozenset[str] = frozenset()
    #: How many looks led to this one.
    looks: int = 0

    @property
    def all_entries(self) -> tuple[CatalogEntry, ...]:
        """Everything found: the registered by UUID, then the unregistered."""
        return (*(self.entries[uuid] for uuid in sorted(self.entries)), *self.unregistered)

    def counts(self) -> dict[EntryState, int]:
        """Count the entries of each state."""
        found = Counter(entry.state for entry in self.all_entries)
        return {state: found[state] for state in EntryState}


EMPTY_CATALOG = Catalog({})


async def list_datasets(
    store: Store,
    *,
    prefixes: Iterable[str] | None = None,
    previous: Catalog = EMPTY_CATALOG,
    finds_unregistered: bool = True,
    refresh_every: int = REFRESH_EVERY,
    concurrency: int = CONCURRENCY,
    max_keys: int | None = MAX_KEYS,
) -> Catalog:
    """List the datasets of a bucket.

    `prefixes` are the known ones: below them (None: at the bucket's top) unregistered datasets are looked for
    unless `finds_unregistered` is false; what is registered elsewhere is outside (None: nothing is).
    `previous` is an earlier result for the same bucket. `refresh_every` 0: what was found frozen is taken
    over for as long as its registration key and its folder are there. `max_keys` bounds what anybody's keys
    can cost: a prefix with more entries directly below it is not looked through.

    Trouble with one dataset makes that entry unreadable. Raises what listing the registration keys raises,
    NotSupported where they are more than `max_keys`, and BucketUnreachable, Throttled, CredentialsRejected
    and the like wherever they come.
    """
    known = None if prefixes is None else frozenset(prefixes)
    looked_below = sorted({""} if known is None else known) if finds_unregistered else []
    registered = await list_registrations(store, max_keys)
    found = await map_bounded(
        lambda prefix: list_roots(store, prefix, max_keys), looked_below, limit=concurrency
    )
    look = _Look(
        store,
        previous,
        {md5_hexdigest(prefix.encode()): prefix for prefix in {"", *(known or ())}},
        {prefix: roots for prefix, roots in zip(looked_below, found, strict=True) if roots is not None},
        refresh_every,
    )
    read = await map_bounded(look.follow_key, registered, limit=concurrency)
    entries = {entry.uuid: entry for entry in read if entry}
    for entry in await map_bounded(look.follow_root, look.unclaimed(entries), limit=concurrency):
        if entry is not None and entry.state is not EntryState.UNREGISTERED:
            entries[entry.uuid] = entry
    return Catalog(
        {uuid: _placed(entry, known) for uuid, entry in entries.items()},
        tuple(sorted(look.unregistered, key=lambda entry: (entry.prefix, entry.uuid))),
        tuple(prefix for prefix, roots in zip(looked_below, found, strict=True) if roots is None),
        frozenset(look.vacant),
        previous.looks + 1,
    )


@dataclass(slots=True)
class _Look:
    """One look at a bucket whose listings are done."""

    store: Store
    previous: Catalog
    prefix_by_etag: Mapping[str, str]
    #: The roots that look like datasets, below each prefix that could be listed.
    roots: Mapping[str, frozenset[str]]
    refresh_every: int
    unregistered: list[CatalogEntry] = field(default_factory=list)
    vacant: set[str] = field(default_factory=set)
    _known_unregistered: Mapping[str, CatalogEntry] = field(init=False)

    def __post_init__(self) -> None:
        """Index what the previous look found unregistered."""
        known = self.previous.unregistered
        self._known_unregistered = {DatasetLayout(e.prefix, e.uuid).root: e for e in known}

    async def follow_key(self, key: ListedObject) -> CatalogEntry | None:
        """Find what a registration key leads to; None if the key has gone since it was listed."""
        uuid = key.key.removeprefix(REGISTRATION_KEY_PREFIX)
        known = self.previous.entries.get(uuid)
        if known and known.registration_etag == key.etag and await self._is_current(known):
            return known
        return await self._read_registered(uuid, key.etag)

    def unclaimed(self, entries: Mapping[str, CatalogEntry]) -> list[DatasetLayout]:
        """Return the places that look like datasets and to which no registration key leads."""
        layouts = (
            DatasetLayout(prefix, root[len(prefix) : -1])
            for prefix, roots in self.roots.items()
            for root in sorted(roots)
        )
        return [one for one in layouts if one.uuid not in entries or entries[one.uuid].prefix != one.prefix]

    async def follow_root(self, layout: DatasetLayout) -> CatalogEntry | None:
        """Find what lies at an unclaimed place; None if it is no dataset.

        Its registration key is asked for again: it may have come since the keys were listed.
        """
        known = self._known_unregistered.get(layout.root)
        if known is None and layout.root in self.previous.vacant and not self._is_due(layout.uuid):
            self.vacant.add(layout.root)
            return None
        if known is None or not await self._is_unchanged(known):
            known = await self._read_unclaimed(layout)
        if known is None:
            self.vacant.add(layout.root)
        elif known.state is EntryState.UNREGISTERED:
            self.unregistered.append(known)
        return known

    async def _read_unclaimed(self, layout: DatasetLayout) -> CatalogEntry | None:
        try:
            registered = await read_registration(self.store, layout.uuid)
        except (InvalidAdminMetadata, *_ABOUT_ONE_KEY):
            registered = None
        entry = await self._read_dataset(layout, md5_hexdigest(layout.prefix.encode()))
        if entry.state is EntryState.DANGLING:
            return None
        if registered == layout.prefix:
            return entry
        kind = "a proto dataset" if entry.state is EntryState.PROTO else "a frozen dataset"
        detail = entry.detail or f"{kind} without registration key"
        if registered is not None:
            detail = f"{detail}: its uuid is registered under {registered[:80]!r}"
        return replace(entry, state=EntryState.UNREGISTERED, registration_etag="", detail=detail)

    async def _is_current(self, known: CatalogEntry) -> bool:
        """Tell whether what the previous look found can be taken over."""
        roots = self.roots.get(known.prefix)
        is_gone = roots is not None and DatasetLayout(known.prefix, known.uuid).root not in roots
        if known.state is EntryState.DANGLING or is_gone:
            return is_gone and known.state is EntryState.DANGLING
        if known.state is EntryState.FROZEN and not self._is_due(known.uuid):
            return True
        return await self._is_unchanged(known)

    def _is_due(self, uuid: str) -> bool:
        """Tell whether it is this UUID's turn to be looked at again."""
        turn = int(uuid.replace("-", ""), 16) + self.previous.looks
        return self.refresh_every > 0 and turn % self.refresh_every == 0

    async def _is_unchanged(self, known: CatalogEntry) -> bool:
        if not known.etag:
            return False
        try:
            info = await self.store.head(DatasetLayout(known.prefix, known.uuid).admin_metadata_key)
        except (NotFound, *_ABOUT_ONE_KEY):
            return False
        return info.etag == known.etag

    async def _read_registered(self, uuid: str, etag: str) -> CatalogEntry | None:
        prefix = self.prefix_by_etag.get(etag)
        if prefix is None:
            try:
                prefix = await _read_prefix(self.store, uuid)
            except (InvalidAdminMetadata, *_ABOUT_ONE_KEY) as error:
                return CatalogEntry(uuid, "", EntryState.UNREADABLE, etag, detail=str(error))
        return None if prefix is None else await self._read_dataset(DatasetLayout(prefix, uuid), etag)

    async def _read_dataset(self, layout: DatasetLayout, registration_etag: str) -> CatalogEntry:
        """Read the administrative metadata at a place, whatever state it is in."""
        found = CatalogEntry(layout.uuid, layout.prefix, EntryState.UNREADABLE, registration_etag)
        try:
            admin, etag = await read_admin_metadata(self.store, layout)
        except DatasetMissing:
            return replace(found, state=EntryState.DANGLING)
        except (InvalidAdminMetadata, *_ABOUT_ONE_KEY) as error:
            return replace(found, detail=str(error))
        return replace(
            found,
            state=EntryState.FROZEN if admin.is_frozen else EntryState.PROTO,
            # of ten thousand names that take 64 KB each only this much stays in memory
            name=admin.name[:NAME_CHARACTERS],
            creator_username=admin.creator_username[:NAME_CHARACTERS],
            etag=etag,
            created_at=admin.created_at,
            frozen_at=admin.frozen_at,
        )


async def _read_prefix(store: Store, uuid: str) -> str | None:
    prefix = await read_registration(store, uuid)
    if prefix is not None and not prefix.isprintable():
        raise InvalidAdminMetadata(f"the registration key holds {prefix[:80]!r}, which is no prefix")
    return prefix


def _placed(entry: CatalogEntry, known: frozenset[str] | None) -> CatalogEntry:
    is_outside = known is not None and entry.prefix not in known
    return entry if entry.is_outside is is_outside else replace(entry, is_outside=is_outside)
