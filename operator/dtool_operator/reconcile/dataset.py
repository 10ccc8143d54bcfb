"""One look at one DtoolDataset: observe, plan, apply, report. Decides nothing itself.

observe is the only place that reads (`dataset_look` asks S3), apply the only one that writes
(`dataset_actions`); the plan between them is pure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.storage import OpenStores
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import OperatorError
from dtool_operator.names import DATASET_PLURAL
from dtool_operator.planning.conclusion import DatasetPlan
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.failure import plan_failure
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import (
    CatalogView,
    ObservedDataset,
    Policy,
    Refusal,
    Slots,
    Usage,
)
from dtool_operator.planning.plan import (
    Backoff,
    CreateProto,
    EnsureOwner,
    StartTransfer,
    SyncMetadata,
)
from dtool_operator.planning.standing import is_running
from dtool_operator.planning.status import build_dataset_status
from dtool_operator.planning.verdict import Refused
from dtool_operator.planning.work import bucket_key
from dtool_operator.reconcile.dataset_actions import DatasetActions, dataset_ref
from dtool_operator.reconcile.dataset_look import DatasetLooks
from dtool_operator.reconcile.failure import explain
from dtool_operator.reconcile.relations import admits_others
from dtool_operator.reconcile.status_writer import StatusWriter
from dtool_operator.reconcile.world import TakeIn, World
from dtool_operator.transfers.executor import Executor
from dtool_s3.errors import DtoolS3Error

#: Actions that bind a prefix to a namespace, or write below it.
_BINDING = EnsureOwner | StartTransfer | CreateProto | SyncMetadata

#: What the last listing of a bucket object's bucket shows of a uuid; None: it was not listed yet.
FindEntry = Callable[[str, str | None], CatalogView | None]

#: Told before and after every action, by name; tests end the process there.
CrashPoint = Callable[[str], None]


def pass_by(name: str) -> None:
    """Do nothing at a crash point."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place among the transfers."""

    bucket_key: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the reconcilers of both kinds work with."""

    world: World
    cluster: Cluster
    stores: OpenStores
    writer: StatusWriter
    policy: Policy
    take_in: TakeIn
    clock: Callable[[], datetime]
    crash_point: CrashPoint = pass_by


#: An end that is not in the status after this time is not reported for a while: what is there is not counted.
_REPORTED_WITHIN = timedelta(minutes=1)


class DatasetReconciler:
    """Reconciles DtoolDatasets, one at a time per object."""

    def __init__(self, around: Surroundings, *, executor: Executor, find_entry: FindEntry) -> None:
        self._around, self._executor, self._find_entry = around, executor, find_entry
        self._world, self._writer, self._clock = around.world, around.writer, around.clock
        self._starting: dict[str, _Place] = {}
        self._looks = DatasetLooks(cluster=around.cluster, stores=around.stores, clock=around.clock)
        self._actions = DatasetActions(
            world=around.world,
            cluster=around.cluster,
            executor=executor,
            looks=self._looks,
            take_in=around.take_in,
            clock=around.clock,
        )

    async def reconcile(self, dataset: DtoolDataset) -> tuple[DatasetPlan, timedelta | Backoff | None]:
        """Look once; return the plan and when to look again."""
        seen = await self.observe(dataset)
        plan = plan_dataset(seen)
        if any(isinstance(action, StartTransfer) for action in plan.actions):
            plan = self._reserve(seen, plan)
        try:
            return await self._carry_out(seen, plan)
        finally:
            self._starting.pop(dataset.uid, None)

    def _reserve(self, seen: ObservedDataset, plan: DatasetPlan) -> DatasetPlan:
        """Take a place before anything is awaited, or plan again: another look may have taken the last."""
        start = next(action for action in plan.actions if isinstance(action, StartTransfer))
        bucket = self._world.bucket_of(seen.dataset)
        slots = self._count_slots(bucket, seen.dataset.namespace)
        if start.task.max_size_bytes is not None and bucket is not None:
            # what others add counts before this one begins, or the quota would be exceeded by all together
            seen = replace(seen, usage=self._world.find_usage(seen.dataset, bucket))
            is_known = all(self._is_size_known(one) for one in self._world.datasets(seen.dataset.namespace))
            slots = slots if is_known else replace(slots, running=slots.allowed)
            plan = plan_dataset(seen)
        if not slots.is_free:
            return plan_dataset(replace(seen, slots=slots))
        self._starting[seen.dataset.uid] = _Place(start.task.bucket_key, seen.dataset.namespace)
        return plan

    def _is_size_known(self, dataset: DtoolDataset) -> bool:
        """Tell whether the usage counts what a worker of this object brings, or brought a moment ago."""
        status, record = dataset.status, self._executor.record(dataset.uid)
        if status.size_bytes is not None or status.progress is not None:
            return True
        if record is None:
            return dataset.uid not in self._starting
        if record.trouble is not None:  # nobody knows whether it ever begins
            return True
        is_over = record.finished_at is not None and self._clock() - record.finished_at > _REPORTED_WITHIN
        return is_over or record.error is not None or record.task.max_size_bytes is None

    async def _carry_out(
        self, seen: ObservedDataset, plan: DatasetPlan
    ) -> tuple[DatasetPlan, timedelta | Backoff | None]:
        dataset = seen.dataset
        if any(isinstance(action, _BINDING) for action in plan.actions):
            await self._actions.check_namespace(dataset)
        for action in plan.actions:
            self._around.crash_point(f"{type(action).__name__}:before")
            try:
                dataset = await self._actions.apply(dataset, action)
            except (DtoolS3Error, OperatorError) as error:
                plan = plan_failure(seen, explain(error), action)
                break
            self._around.crash_point(f"{type(action).__name__}:after")
        if not is_running(self._executor.record(dataset.uid)):
            self._looks.forget(dataset.uid)  # of ten thousand frozen ones nothing need be remembered
        pause = await self._report(dataset, plan.status)
        return plan, plan.look_again if pause is None else pause

    async def report_crash(self, dataset: DtoolDataset, error: Exception) -> None:
        """Say on the object that the operator itself failed; only the log has the details."""
        refusal = Refusal(Reason.INTERNAL_ERROR, f"The operator failed: {type(error).__name__}; see its log.")
        status = build_dataset_status(dataset, None, Refused(refusal), self._clock())
        await self._report(dataset, status)

    async def forget(self, uid: str) -> None:
        """End what runs for an object that is gone."""
        self._looks.forget(uid)
        self._writer.forget(uid)
        await self._executor.cancel(uid)

    async def observe(self, dataset: DtoolDataset) -> ObservedDataset:
        """Gather all that the plan needs; ask S3 only where what is known does not decide."""
        seen = ObservedDataset(
            now=self._clock(),
            dataset=dataset,
            cluster=self._world.view(),
            policy=self._around.policy,
            siblings=self._world.rivals(dataset),
            source_dataset=self._world.source_of(dataset),
            transfer=self._executor.record(dataset.uid),
        )
        bucket = self._world.bucket_of(dataset)
        if bucket is None:
            seen = replace(seen, slots=self._count_slots(None, dataset.namespace))
        else:
            seen = self._observe_bucket(seen, bucket)
        inquiry = find_inquiry(seen)
        if inquiry is None:
            self._looks.forget(dataset.uid)
            return seen
        return replace(seen, storage=await self._looks.ask(seen, inquiry))

    def _observe_bucket(self, seen: ObservedDataset, bucket: DtoolBucket) -> ObservedDataset:
        """Add what is known of the dataset's bucket: usage, free places, and what the last listing showed."""
        dataset, limits = seen.dataset, bucket.spec.limits.per_namespace
        has_limits = limits.datasets is not None or limits.size_bytes is not None
        return replace(
            seen,
            usage=self._world.find_usage(dataset, bucket) if has_limits else Usage(),
            catalog=self._find_entry(bucket.uid, dataset.status.uuid),
            slots=self._count_slots(bucket, dataset.namespace),
        )

    def _count_slots(self, bucket: DtoolBucket | None, namespace: str) -> Slots:
        """Count who runs; `bucket` None: for a volume, which has no limit of its own.

        A Job that does not get on (no node takes it, its claim does not exist) waits at its own namespace's
        cost: for others its place is free, else a few wrong names would hold up everybody (rule 17).
        """
        running = [
            _Place(task.bucket_key, task.namespace)
            for task in self._executor.running()
            if task.namespace == namespace or not self._is_held_up(task.key)
        ]
        taken = [*running, *self._starting.values()]
        slots = Slots(
            running=len(taken),
            allowed=self._around.policy.max_transfers,
            running_in_namespace=sum(place.namespace == namespace for place in taken),
            is_shared=self._world.is_shared,
        )
        if bucket is None:
            return slots
        return replace(
            slots,
            running_in_bucket=sum(place.bucket_key == bucket_key(bucket) for place in taken),
            allowed_in_bucket=bucket.spec.limits.concurrent_transfers,
            is_bucket_shared=admits_others(bucket),
        )

    def _is_held_up(self, uid: str) -> bool:
        record = self._executor.record(uid)
        return record is not None and record.trouble is not None

    async def _report(self, dataset: DtoolDataset, status: DtoolDatasetStatus | None) -> timedelta | None:
        if status is None:
            return None
        answer = await self._writer.write(
            dataset_ref(dataset), dataset.status, status, resource_version=dataset.meta.resource_version
        )
        if answer is not None and not isinstance(answer, timedelta):
            self._around.take_in(DATASET_PLURAL, answer)
        return answer if isinstance(answer, timedelta) else None
