"""What the watches have told, passed on to the sink; and whether they tell everything.

kopf shows neither bookmarks nor the end of its first list, tells of no deletion that it missed, and would not
notice a watch that is open and silent. Lists of our own, compared with what was told, find all three.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from dtool_operator.adapters.cluster import NAMESPACES
from dtool_operator.errors import ApiFailure
from dtool_operator.handlers.sink import EventSink
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL

PLURALS: Final = (NAMESPACES, BUCKET_PLURAL, DATASET_PLURAL)
DELETED: Final = "DELETED"
WATCH_PATIENCE: Final = timedelta(seconds=60)
"""How much later than a list a watch may tell of the same change; then it is silent."""

_LOG = logging.getLogger(__name__)


class MetadataLister(Protocol):
    """The part of the cluster that is needed here."""

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        """List uid → resourceVersion; raises ApiFailure."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The last that was told of an object."""

    version: int
    namespace: str
    name: str


class Watch:
    """Remembers what was told of every object, by uid; passes it on."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._told: dict[str, dict[str, _Told]] = {plural: {} for plural in PLURALS}
        self._awaited: dict[str, int] = {}
        self._arrived = asyncio.Event()

    def tell(self, plural: str, event_type: str | None, body: Mapping[str, Any]) -> None:
        """Pass on an event of a watch: its type (None: from the first list) and its object."""
        metadata = body["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if event_type == DELETED:
            self._told[plural].pop(uid, None)
            self._sink.object_deleted(plural, body)
        else:
            self._sink.object_changed(plural, body)
            namespace = metadata.get("namespace", "")
            self._told[plural][uid] = _Told(version, namespace, metadata["name"])
        if version >= self._awaited.get(uid, version + 1):
            del self._awaited[uid]
            self._arrived.set()

    def list_told(self, plural: str) -> frozenset[str]:
        """Return the uids of all objects that were told and not deleted."""
        return frozenset(self._told[plural])

    def drop(self, plural: str, uids: frozenset[str]) -> None:
        """Tell of deletions that the watch did not tell."""
        for uid in uids & self._told[plural].keys():
            told = self._told[plural].pop(uid)
            _LOG.warning("deletion_missed", extra={"plural": plural, "uid": uid})
            metadata = {"uid": uid, "namespace": told.namespace, "name": told.name}
            self._sink.object_deleted(plural, {"metadata": metadata})

    async def wait_until_told(
        self, plural: str, listed: Mapping[str, str], *, within: timedelta
    ) -> Mapping[str, str]:
        """Wait until all of a list was told in its version or a later one; return what was not."""
        told = self._told[plural]
        self._awaited = {
            uid: int(version)
            for uid, version in listed.items()
            if uid not in told or told[uid].version < int(version)
        }
        try:
            async with asyncio.timeout(within.total_seconds()):
                while self._awaited:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass
        untold, self._awaited = self._awaited, {}
        return {uid: listed[uid] for uid in untold}


class WatchKeeper:
    """Compares the watch with lists: at the start until all was told once, then at every interval."""

    def __init__(
        self,
        watch: Watch,
        sink: EventSink,
        cluster: MetadataLister,
        *,
        interval: timedelta,
        patience: timedelta = WATCH_PATIENCE,
        retry: timedelta = timedelta(seconds=2),
    ) -> None:
        self._watch = watch
        self._sink = sink
        self._cluster = cluster
        self._interval = interval
        self._patience = patience
        self._retry = retry
        self._silent: dict[str, int] = {}
        self.is_synced = False

    def find_problem(self) -> str | None:
        """Say which watch is silent, or None. Found at the next comparison, not before."""
        if not self._silent:
            return None
        found = ", ".join(f"{count} {plural}" for plural, count in sorted(self._silent.items()))
        return f"the watch did not tell of changes of {found}"

    async def run(self) -> None:
        """Compare for ever."""
        for plural in PLURALS:
            await self._compare_until_told(plural)
        self.is_synced = True
        self._sink.watch_synced()
        _LOG.info("watch_synced", extra={plural: len(self._watch.list_told(plural)) for plural in PLURALS})
        while True:
            await asyncio.sleep(self._interval.total_seconds())
            for plural in PLURALS:
                await self.compare(plural)

    async def compare(self, plural: str) -> bool:
        """Compare one kind with a list; True if all of it was told. Tells deletions that were missed."""
        try:
            untold = await self._list_untold(plural)
        except ApiFailure as failure:
            _LOG.warning("watch_not_compared", extra={"plural": plural, "error": failure.message})
            return False
        self._silent.pop(plural, None)
        if untold:
            self._silent[plural] = len(untold)
            _LOG.error("watch_silent", extra={"plural": plural, "untold": len(untold)})
        return not untold

    async def _compare_until_told(self, plural: str) -> None:
        while True:
            if await self.compare(plural):
                return
            await asyncio.sleep(self._retry.total_seconds())

    async def _list_untold(self, plural: str) -> Mapping[str, str]:
        """List what the watch has not told within the patience, and is still there.

        An object that went after the list was made, before the watch began, is never told: lists at growing
        intervals find that out, where one at the end would make the start of an operator wait for it.
        """
        before = self._watch.list_told(plural)
        untold = await self._cluster.list_metadata(plural)
        self._watch.drop(plural, before - untold.keys())
        for pause in _double(self._retry, self._patience):
            untold = await self._watch.wait_until_told(plural, untold, within=pause)
            if not untold:
                break
            again = await self._cluster.list_metadata(plural)
            untold = {uid: version for uid, version in untold.items() if uid in again}
        return await self._watch.wait_until_told(plural, untold, within=timedelta(0))


def _double(first: timedelta, total: timedelta) -> Iterator[timedelta]:
    """Yield pauses, each twice as long as the one before, until they make up the total."""
    while total > timedelta(0):
        yield min(first, total)
        first, total = 2 * first, total - first
