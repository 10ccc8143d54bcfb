"""What is seen in one look at a DtoolBucket: the cluster, the Secret, and a few owner markers. Reads only.

Owns what is remembered of a bucket object between looks; losing it costs one more test and one more listing.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.credentials import read_credentials
from dtool_operator.adapters.storage import LOOKS_IN_FLIGHT, OpenStores, answering_soon
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.errors import OperatorError
from dtool_operator.planning.bucket import admitted_prefixes, describe_test
from dtool_operator.planning.bucket_spec import check_bucket_spec
from dtool_operator.planning.imported import is_kept_in
from dtool_operator.planning.observed import Findings, Listed, ObservedBucket, Policy, Tested
from dtool_operator.planning.overrides import find_changed, refuse_change
from dtool_operator.planning.plan import time_left
from dtool_operator.planning.prefix_policy import storage_key
from dtool_operator.reconcile.failure import explain
from dtool_operator.reconcile.world import World
from dtool_s3.concurrency import map_bounded
from dtool_s3.errors import AccessDenied, DtoolS3Error, InvalidOwnerMarker
from dtool_s3.ownership import Owner, read_owner
from dtool_s3.store.protocol import Store

_LOG = logging.getLogger(__name__)

#: How many namespaces whose prefixOverrides were changed are asked for their marker in one look.
OVERRIDES_ASKED = 64


@dataclass(slots=True)
class BucketMemory:
    """What is known of one bucket object's bucket."""

    tested: Tested | None = None
    listed: Listed | None = None
    #: The bucket that was listed last: another one has another catalog.
    storage: tuple[str, str] | None = None
    owned: Owner | None = None
    #: The bucket that `owned` was found in: in another one nothing is ours until it is found.
    owned_in: tuple[str, str] | None = None
    searched_at: datetime | None = None
    #: How often a dataset was said to have arrived: one that did so during a listing may not be in it.
    arrivals: int = 0
    #: Namespaces whose changed override no marker forbids, in the spec of this generation.
    cleared: set[str] = field(default_factory=set)
    cleared_generation: int = 0

    def note_findings(self, **changes: object) -> None:
        """Take in what was done about the last listing."""
        if self.listed is not None:
            found = replace(self.listed.found or Findings(), **changes)  # type: ignore[arg-type]
            self.listed = replace(self.listed, found=found)

    def note_tried(self, what: str) -> None:
        """Take in that something was tried: the next listing decides whether it is tried again."""
        if self.listed is not None and self.listed.found is not None:
            self.note_findings(tried=self.listed.found.tried | {what})


class BucketLook:
    """Looks at bucket objects."""

    def __init__(
        self,
        world: World,
        cluster: Cluster,
        stores: OpenStores,
        policy: Policy,
        clock: Callable[[], datetime],
    ) -> None:
        self._world, self._cluster, self._stores = world, cluster, stores
        self._policy, self._clock = policy, clock

    async def observe(self, bucket: DtoolBucket, memory: BucketMemory) -> ObservedBucket:
        """Gather all that the plan needs; the Secret is read at every look."""
        seen = self.observe_cluster(bucket, memory)
        if bucket.spec.suspend or check_bucket_spec(bucket, seen.cluster, seen.policy) is not None:
            return seen
        try:
            credentials = await read_credentials(self._cluster, bucket)
        except OperatorError as error:
            return replace(seen, credentials=explain(error))
        seen = replace(seen, credentials=credentials.version)
        store = self._stores.open(bucket, credentials)
        seen = replace(seen, owned_prefix=await self._find_owned_prefix(store, seen, memory))
        return await self._check_overrides(store, seen, memory)

    def observe_cluster(self, bucket: DtoolBucket, memory: BucketMemory) -> ObservedBucket:
        """Gather what the watches show, and what is remembered."""
        objects = self._list_objects(bucket)
        return ObservedBucket(
            now=self._clock(),
            bucket=bucket,
            cluster=self._world.view(),
            policy=self._policy,
            objects=objects,
            tested=memory.tested,
            listed=memory.listed,
            described={
                one.status.uuid: one.status.size_bytes
                for one in objects
                if one.status.uuid and one.status.size_bytes is not None and is_kept_in(one, bucket)
            },
        )

    def _list_objects(self, bucket: DtoolBucket) -> tuple[DtoolDataset, ...]:
        """List the datasets in this S3 bucket, through whichever bucket object."""
        storage = storage_key(bucket.spec)
        same = (one for one in self._world.view().buckets if storage_key(one.spec) == storage)
        places = {(one.namespace, one.name) for one in same}
        return tuple(one for one in self._world.datasets() if _place(one) in places)

    async def _find_owned_prefix(
        self, store: Store, seen: ObservedBucket, memory: BucketMemory
    ) -> str | None:
        """Find the first admitted namespace (by name) whose owner marker is ours.

        A find is remembered for as long as that namespace exists and is admitted; in vain it is looked for
        once every listing interval.
        """
        if seen.bucket.spec.access_mode is AccessMode.READ_ONLY:
            return None
        storage = storage_key(seen.bucket.spec)
        if memory.owned_in != storage:
            memory.owned_in, memory.owned, memory.searched_at = storage, None, None
        prefixes = sorted(admitted_prefixes(seen).items(), key=lambda pair: pair[1])
        expected = [Owner(seen.cluster.uid, seen.cluster.namespaces[n].uid, n, p) for p, n in prefixes]
        if memory.owned is not None and any(_is_same(memory.owned, one) for one in expected):
            return memory.owned.prefix
        memory.owned = None
        interval = seen.bucket.spec.listing.interval
        was_searched = memory.searched_at is not None and time_left(memory.searched_at, interval, seen.now)
        if memory.tested is None or memory.tested.refusal is not None or was_searched:
            return None
        memory.searched_at = seen.now
        memory.owned = await self._find_marker(store, expected)
        return None if memory.owned is None else memory.owned.prefix

    async def _find_marker(self, store: Store, expected: list[Owner]) -> Owner | None:
        for first in range(0, len(expected), LOOKS_IN_FLIGHT):
            batch = expected[first : first + LOOKS_IN_FLIGHT]
            try:
                async with answering_soon():
                    owners = await read_owners(
                        store, [one.prefix for one in batch], leaving_out=(AccessDenied, InvalidOwnerMarker)
                    )
            except DtoolS3Error as error:
                _LOG.info("owner_markers_unread", extra={"bucket": store.bucket, "why": str(error)})
                return None
            found = next((ours for ours in batch if owners.get(ours.prefix) == ours), None)
            if found is not None:
                return found
        return None

    async def _check_overrides(
        self, store: Store, seen: ObservedBucket, memory: BucketMemory
    ) -> ObservedBucket:
        """Ask namespaces whose prefix would change for their marker, some in each look (rule 3).

        What a look has found out holds for this spec; a namespace that does not exist owns nothing.
        """
        bucket, tested = seen.bucket, memory.tested
        changed = find_changed(bucket)
        is_tested = tested is not None and tested.refusal is None and tested.version == describe_test(seen)
        if not changed or not is_tested:
            return seen
        if memory.cleared_generation != bucket.meta.generation:
            memory.cleared, memory.cleared_generation = set(), bucket.meta.generation
        waiting = [name for name in changed if name not in memory.cleared]
        asked = waiting[:OVERRIDES_ASKED]
        try:
            async with answering_soon():
                owners = await read_owners(store, [changed[name] for name in asked])
        except DtoolS3Error as error:
            return replace(seen, override_refusal=explain(error))
        for name in asked:
            view, owner = seen.cluster.namespaces.get(name), owners.get(changed[name])
            if view and owner and (owner.cluster, owner.namespace_uid) == (seen.cluster.uid, view.uid):
                return replace(seen, override_refusal=refuse_change(bucket, name, changed[name]))
            memory.cleared.add(name)
        return replace(seen, overrides_unasked=len(waiting) > len(asked))


async def read_owners(
    store: Store,
    prefixes: Iterable[str],
    *,
    leaving_out: tuple[type[DtoolS3Error], ...] = (InvalidOwnerMarker,),
) -> dict[str, Owner | None]:
    """Read the markers of several prefixes; those that end in one of these errors are left out."""

    async def read(prefix: str) -> tuple[str, Owner | None] | None:
        try:
            return prefix, await read_owner(store, prefix)
        except leaving_out as error:
            _LOG.info("owner_marker_unreadable", extra={"prefix": prefix, "why": str(error)})
            return None

    found = await map_bounded(read, prefixes, limit=LOOKS_IN_FLIGHT)
    return dict(one for one in found if one is not None)


def _place(dataset: DtoolDataset) -> tuple[str, str] | None:
    ref = dataset.spec.bucket_ref
    return None if ref is None else (ref.namespace or dataset.namespace, ref.name)


def _is_same(one: Owner, other: Owner) -> bool:
    """Compare identities and places: an override gives the same namespace another prefix."""
    return one == other and one.prefix == other.prefix
