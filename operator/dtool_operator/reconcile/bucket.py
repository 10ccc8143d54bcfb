"""One look at one DtoolBucket: observe, plan, apply, report. Decides nothing itself."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster, ObjectRef
from dtool_operator.adapters.storage import OpenStores
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.names import BUCKET_KIND, BUCKET_PLURAL
from dtool_operator.planning.bucket import BucketPlan, build_bucket_status, plan_bucket
from dtool_operator.planning.observed import CatalogView, ObservedBucket, Policy, Refusal
from dtool_operator.planning.plan import Backoff
from dtool_operator.reconcile.bucket_actions import BucketActions
from dtool_operator.reconcile.bucket_look import BucketLook, BucketMemory
from dtool_operator.reconcile.status_writer import StatusWriter
from dtool_operator.reconcile.world import TakeIn, World
from dtool_s3.ownership import Owner


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
        crash_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._world, self._stores, self._writer, self._policy = world, stores, writer, policy
        self._take_in, self._clock, self._crash_point = take_in, clock, crash_point
        self._look = BucketLook(world, cluster, stores, policy, clock)
        self._actions = BucketActions(self._look, cluster, stores, take_in, clock)
        self._memories: dict[str, BucketMemory] = {}

    async def reconcile(self, bucket: DtoolBucket) -> tuple[BucketPlan, timedelta | Backoff | None]:
        """Look once; return the plan and when to look again."""
        seen = await self.observe(bucket)
        plan = plan_bucket(seen)
        for action in plan.actions:
            name = type(action).__name__
            self._crash_point(f"{name}:before")
            await self._actions.apply(seen, self._memories[bucket.uid], action)
            self._crash_point(f"{name}:after")
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
        memory = self._memories.setdefault(uid, BucketMemory())
        memory.arrivals += 1
        if memory.listed is not None:
            memory.listed = replace(memory.listed, is_stale=True)

    def find_entry(self, uid: str, uuid: str | None) -> CatalogView | None:
        """Return what the last listing of a bucket shows of a dataset; None: it failed or is to come."""
        memory = self._memories.get(uid)
        listed = None if memory is None else memory.listed
        if listed is None or listed.catalog is None or listed.refusal is not None or uuid is None:
            return None
        return CatalogView(listed.catalog.entries.get(uuid))

    async def observe(self, bucket: DtoolBucket) -> ObservedBucket:
        """Gather all that the plan needs."""
        return await self._look.observe(bucket, self._memories.setdefault(bucket.uid, BucketMemory()))

    async def _report(self, bucket: DtoolBucket, status: DtoolBucketStatus) -> None:
        ref = ObjectRef(BUCKET_PLURAL, BUCKET_KIND, bucket.namespace, bucket.name, bucket.uid)
        version = bucket.meta.resource_version
        answer = await self._writer.write(ref, bucket.status, status, resource_version=version)
        if answer is not None and not isinstance(answer, timedelta):
            self._take_in(BUCKET_PLURAL, answer)
