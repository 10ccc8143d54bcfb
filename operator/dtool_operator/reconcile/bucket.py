"""One look at one DtoolBucket: observe, plan, apply, report. Decides nothing itself.

What self-tests and listings found is memory: losing it costs one more test and one more listing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster, ObjectRef
from dtool_operator.adapters.credentials import read_credentials
from dtool_operator.adapters.storage import OpenStores, answering_soon
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.choice import AccessMode
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import OperatorError
from dtool_operator.names import BUCKET_KIND, BUCKET_PLURAL
from dtool_operator.planning.bucket import BucketPlan, admitted_prefixes, build_bucket_status, plan_bucket
from dtool_operator.planning.bucket_spec import check_bucket_spec
from dtool_operator.planning.observed import Listed, ObservedBucket, Policy, Refusal, Tested
from dtool_operator.planning.plan import Backoff, BucketAction, ListDatasets, SelfTest, time_left
from dtool_operator.reconcile.failure import explain
from dtool_operator.reconcile.status_writer import StatusWriter
from dtool_operator.reconcile.world import TakeIn, World, lies_in
from dtool_s3.catalog import EMPTY_CATALOG, list_datasets
from dtool_s3.errors import DtoolS3Error
from dtool_s3.ownership import Owner, read_owner
from dtool_s3.selftest import check_store
from dtool_s3.store.protocol import Store

_LOG = logging.getLogger(__name__)

#: How many admitted namespaces are asked for their owner marker before a test that may write.
OWNERS_ASKED = 32


@dataclass(slots=True)
class _Memory:
    """What is known of one bucket object's bucket."""

    tested: Tested | None = None
    listed: Listed | None = None
    owned: Owner | None = None
    searched_at: datetime | None = None
    #: How often a dataset was said to have arrived: one that did so during a listing may not be in it.
    arrivals: int = 0


class BucketReconciler:
    """Reconciles DtoolBuckets, one at a time per object."""

    def __init__(
        self,
        *,
        world: World,
        cluster: Cluster,
        stores: OpenStores,
        writer: StatusWriter,
        policy: Policy,
        take_in: TakeIn,
        clock: Callable[[], datetime],
    ) -> None:
        self._world, self._cluster, self._stores = world, cluster, stores
        self._writer, self._policy, self._take_in, self._clock = writer, policy, take_in, clock
        self._memories: dict[str, _Memory] = {}

    async def reconcile(self, bucket: DtoolBucket) -> tuple[BucketPlan, timedelta | Backoff | None]:
        """Look once; return the plan and when to look again."""
        seen = await self.observe(bucket)
        plan = plan_bucket(seen)
        for action in plan.actions:
            await self._apply(bucket, seen, action)
        if plan.status is not None:
            await self._report(bucket, plan.status)
        return plan, plan.look_again

    async def report_crash(self, bucket: DtoolBucket, error: Exception) -> None:
        """Say on the object that the operator itself failed; only the log has the details."""
        refusal = Refusal(Reason.INTERNAL_ERROR, f"The operator failed: {type(error).__name__}; see its log.")
        seen = ObservedBucket(self._clock(), bucket, self._world.view(), self._policy)
        await self._report(bucket, build_bucket_status(seen, refusal))

    def forget(self, uid: str) -> None:
        """Drop what is remembered of an object that is gone."""
        self._memories.pop(uid, None)
        self._stores.drop(uid)
        self._writer.forget(uid)

    def note_owner(self, uid: str, owner: Owner) -> None:
        """Take in that a prefix of a bucket now carries a marker of ours."""
        memory = self._memories.get(uid)
        if memory is not None and memory.owned is None:
            memory.owned = owner

    def note_change(self, uid: str) -> None:
        """Take in that a dataset has arrived in a bucket: the next look lists it again."""
        memory = self._memories.setdefault(uid, _Memory())
        memory.arrivals += 1
        if memory.listed is not None:
            memory.listed = replace(memory.listed, is_stale=True)

    async def observe(self, bucket: DtoolBucket) -> ObservedBucket:
        """Gather all that the plan needs; the Secret is read at every look."""
        memory = self._memories.setdefault(bucket.uid, _Memory())
        seen = ObservedBucket(
            now=self._clock(),
            bucket=bucket,
            cluster=self._world.view(),
            policy=self._policy,
            tested=memory.tested,
            listed=memory.listed,
            described=self._described(bucket),
        )
        if bucket.spec.suspend or check_bucket_spec(bucket, seen.cluster, seen.policy) is not None:
            return seen
        try:
            credentials = await read_credentials(self._cluster, bucket)
        except OperatorError as error:
            return replace(seen, credentials=explain(error))
        seen = replace(seen, credentials=credentials.version)
        store = self._stores.open(bucket, credentials)
        return replace(seen, owned_prefix=await self._find_owned_prefix(store, seen, memory))

    def _described(self, bucket: DtoolBucket) -> dict[str, int]:
        """Return the sizes of the datasets in this bucket that DtoolDatasets describe, by uuid."""
        return {
            one.status.uuid: one.status.size_bytes
            for one in self._world.datasets()
            if one.status.uuid is not None and one.status.size_bytes is not None and lies_in(one, bucket)
        }

    async def _find_owned_prefix(self, store: Store, seen: ObservedBucket, memory: _Memory) -> str | None:
        """Find the first admitted namespace (by name) whose owner marker is ours.

        A find is remembered for as long as that namespace exists and is admitted; in vain it is looked for
        once every listing interval.
        """
        if seen.bucket.spec.access_mode is AccessMode.READ_ONLY:
            return None
        prefixes = sorted(admitted_prefixes(seen).items(), key=lambda pair: pair[1])
        expected = [Owner(seen.cluster.uid, seen.cluster.namespaces[n].uid, n, p) for p, n in prefixes]
        if memory.owned in expected:
            return memory.owned.prefix
        memory.owned = None
        interval = seen.bucket.spec.listing.interval
        was_searched = memory.searched_at is not None and time_left(memory.searched_at, interval, seen.now)
        if memory.tested is None or memory.tested.refusal is not None or was_searched:
            return None
        memory.searched_at = seen.now
        memory.owned = await self._find_marker(store, expected[:OWNERS_ASKED])
        return None if memory.owned is None else memory.owned.prefix

    async def _find_marker(self, store: Store, expected: list[Owner]) -> Owner | None:
        for ours in expected:
            try:
                async with answering_soon():
                    owner = await read_owner(store, ours.prefix)
                if owner == ours:
                    return ours
            except DtoolS3Error as error:
                _LOG.info("owner_marker_unreadable", extra={"prefix": ours.prefix, "why": str(error)})
        return None

    async def _apply(self, bucket: DtoolBucket, seen: ObservedBucket, action: BucketAction) -> None:
        memory = self._memories[bucket.uid]
        store = self._stores.open(bucket, await read_credentials(self._cluster, bucket))
        match action:
            case SelfTest(version, prefix, attempt):
                refusal = await self._test(store, bucket, prefix)
                memory.tested = Tested(version, self._clock(), refusal, attempt=attempt)
            case ListDatasets(attempt):
                arrivals = memory.arrivals
                listed = await self._list(store, seen, memory.listed)
                is_stale = memory.arrivals != arrivals
                memory.listed = replace(listed, attempt=attempt, is_stale=is_stale)

    async def _test(self, store: Store, bucket: DtoolBucket, prefix: str | None) -> Refusal | None:
        writes = bucket.spec.conditional_writes
        try:
            async with answering_soon():
                await check_store(store, prefix=prefix, conditional_writes=writes)
        except DtoolS3Error as error:
            return explain(error)
        return None

    async def _list(self, store: Store, seen: ObservedBucket, last: Listed | None) -> Listed:
        previous = last.catalog if last is not None else None
        try:
            async with answering_soon():
                await store.check_bucket()
            catalog = await list_datasets(
                store, prefixes=admitted_prefixes(seen), previous=previous or EMPTY_CATALOG
            )
        except DtoolS3Error as error:
            return Listed(self._clock(), previous, explain(error))
        return Listed(self._clock(), catalog)

    async def _report(self, bucket: DtoolBucket, status: DtoolBucketStatus) -> None:
        ref = ObjectRef(BUCKET_PLURAL, BUCKET_KIND, bucket.namespace, bucket.name, bucket.uid)
        version = bucket.meta.resource_version
        answer = await self._writer.write(ref, bucket.status, status, resource_version=version)
        if answer is not None and not isinstance(answer, timedelta):
            self._take_in(BUCKET_PLURAL, answer)
