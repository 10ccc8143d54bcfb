"""The operator without kopf: takes watch events in, runs the queue, owns start and stop.

event -> world -> queue -> reconciler (observe, plan, apply, report) -> queue again
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.storage import OpenStores, StoreOpener
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.errors import ApiFailure, Conflict, Gone, OperatorError
from dtool_operator.logs import log_reconcile
from dtool_operator.metrics import Census, Metrics
from dtool_operator.names import BUCKET_KIND, BUCKET_PLURAL, DATASET_KIND, DATASET_PLURAL
from dtool_operator.planning.observed import Policy
from dtool_operator.planning.plan import Backoff, ListDatasets, Plan
from dtool_operator.planning.transfer import TransferState
from dtool_operator.reconcile.bucket import BucketReconciler
from dtool_operator.reconcile.dataset import CrashPoint, DatasetReconciler, Surroundings, pass_by
from dtool_operator.reconcile.dataset_index import Dataset
from dtool_operator.reconcile.invalid import InvalidReconciler
from dtool_operator.reconcile.job_service import JobService
from dtool_operator.reconcile.metering import TransferMeter, take_census
from dtool_operator.reconcile.queue import Key, WorkQueue
from dtool_operator.reconcile.relations import Bucket, object_key
from dtool_operator.reconcile.status_writer import StatusWriter
from dtool_operator.reconcile.waking import Waking
from dtool_operator.reconcile.world import World
from dtool_operator.transfers.executor import Executor, OnChange
from dtool_s3.errors import DtoolS3Error

CLUSTER_NAMESPACE = "kube-system"

_LOG = logging.getLogger(__name__)

ExecutorFactory = Callable[[OnChange], Executor]
LookAgain = timedelta | Backoff | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one look ended."""

    actions: tuple[str, ...]
    look_again: LookAgain
    outcome: str = "ok"


class Operator:
    """Keeps the world and the queue, and looks at one key per worker at a time."""

    def __init__(  # noqa: PLR0913 - each is said by name
        self,
        *,
        cluster: Cluster,
        executor: ExecutorFactory,
        open_store: StoreOpener,
        policy: Policy,
        workers: int = 8,
        metrics: Metrics | None = None,
        jobs: JobService | None = None,
        crash_point: CrashPoint = pass_by,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.world = World()
        self.queue = WorkQueue(backoff_base=policy.backoff_base, backoff_cap=policy.backoff_cap)
        self._cluster, self._policy, self._clock, self._workers = cluster, policy, clock, workers
        self._stores = OpenStores(open_store)
        self._executor = executor(self._transfer_changed)
        self._writer = StatusWriter(cluster, clock)
        self._metrics = metrics or Metrics()
        self._metrics.take_census_by(self.take_census)
        self._meter = TransferMeter(self._metrics)
        shared: dict[str, Any] = {
            "cluster": cluster,
            "writer": self._writer,
            "take_in": self._take_in,
            "clock": clock,
        }
        eyes: dict[str, Any] = {"world": self.world, "stores": self._stores, "policy": policy}
        self.buckets = BucketReconciler(crash_point=crash_point, **shared, **eyes)
        around = Surroundings(
            self.world, cluster, self._stores, self._writer, policy, self._take_in, clock, crash_point
        )
        self.datasets = DatasetReconciler(around, executor=self._executor, find_entry=self.buckets.find_entry)
        self._invalid = InvalidReconciler(
            executor=self._executor, on_left_behind=lambda: self._metrics.observe_left_behind(""), **shared
        )
        self._waking = Waking(
            world=self.world, queue=self.queue, buckets=self.buckets, places=policy.max_transfers
        )
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []
        self._synced = asyncio.Event()

    # ---- watch events ------------------------------------------------------------------------------

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        """Take in an object that was created or changed."""
        self._waking.add(self.world.put(plural, body))

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        """Take in that an object is gone."""
        metadata = body["metadata"]
        self._waking.add(self.world.remove(plural, metadata["uid"], metadata["name"]))

    def watch_synced(self) -> None:
        """Take in that every object that exists has been seen; only now is anything decided."""
        self._synced.set()

    def _take_in(self, plural: str, body: Mapping[str, Any]) -> None:
        """Take in the answer to an own write; others, or a user's edit, may have to be looked at."""
        self._waking.add(self.world.absorb(plural, body))

    def _transfer_changed(self, uid: str) -> None:
        dataset = self.world.dataset(uid)
        if dataset is not None:
            self.queue.add(object_key(DATASET_PLURAL, dataset.meta))
        record = self._executor.record(uid)
        if record is not None:
            self._meter.observe(record)
        if record is None or record.state is not TransferState.RUNNING or record.trouble is not None:
            self._waking.place_is_free()

    # ---- life --------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Get from the API server what `start` needs, once. Raises OperatorError: call it again."""
        if not self.world.cluster_uid:
            uid = await self._cluster.read_namespace_uid(CLUSTER_NAMESPACE)
            if uid is None:
                raise ApiFailure(f"there is no namespace {CLUSTER_NAMESPACE}: its uid stands for the cluster")
            self.world.cluster_uid = uid
        if self._jobs is not None:
            await self._jobs.prepare()

    async def start(self) -> None:
        """Start the workers; they wait for the watch to be synced. Raises OSError, what `prepare` does."""
        self._executor.prepare()
        await self.prepare()
        if self._jobs is not None:
            await self._jobs.start()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        if self._policy.jobs is not None:
            self._tasks.append(asyncio.create_task(self._sweep(), name="sweep"))

    async def stop(self) -> None:
        """End workers and transfers, close connections; copies resume at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.queue.close()
        if self._jobs is not None:
            await self._jobs.stop()
        await self._executor.close()
        self._stores.close()
        await self._cluster.close()

    def is_healthy(self) -> str | None:
        """Say what is wrong, or None."""
        dead = [task for task in self._tasks if task.done()]
        return f"{len(dead)} of {len(self._tasks)} tasks have ended" if dead else None

    def running(self) -> Mapping[str, int]:
        """Count the transfers that run, by bucket object."""
        return Counter(task.bucket_key for task in self._executor.running())

    def is_quiet(self, horizon: timedelta) -> bool:
        """Tell whether nothing is to be done now or within `horizon`, and no transfer runs."""
        return self.queue.is_quiet(horizon) and not any(self.running().values())

    def take_census(self) -> Census:
        """Count how things are, for the metrics."""
        return take_census(
            self.world.datasets(),
            self.world.view().buckets,
            now=self._clock(),
            queue_depth=len(self.queue),
            queue_oldest_seconds=self.queue.find_oldest_wait().total_seconds(),
            find_transfer=self._executor.record,
        )

    async def _work(self) -> None:
        await self._synced.wait()
        while True:
            key = await self.queue.get()
            look_again: LookAgain = Backoff()
            try:
                look_again = await self._look(key)
            finally:
                self.queue.done(key, look_again)
                if look_again is None and self._find(key) is None:
                    self.queue.forget(key)

    async def _sweep(self) -> None:
        """End, now and then, the Jobs whose object went while no operator looked, or by force."""
        await self._synced.wait()
        while True:
            try:
                await self._executor.sweep({one.uid for one in self.world.datasets()})
            except OperatorError as error:
                _LOG.warning("sweep_failed", extra={"why": error.message})
            await asyncio.sleep(self._policy.resync.total_seconds())

    # ---- one look ----------------------------------------------------------------------------------

    async def _look(self, key: Key) -> LookAgain:
        """Look at one object; whatever goes wrong is logged and tried again later."""
        started = time.monotonic()
        try:
            outcome = await self._reconcile(key)
        except Gone:
            outcome = Outcome((), None, "gone")
        except Conflict as error:
            outcome = Outcome((), Backoff(), f"conflict: {error.message}")
        except (OperatorError, DtoolS3Error) as error:
            outcome = Outcome((), Backoff(), f"failed: {error}")
        except Exception as error:  # noqa: BLE001
            # the last line of defence: one object's trouble must not end the operator
            _LOG.exception("reconcile_crashed", extra={"plural": key.plural, "uid": key.uid})
            outcome = Outcome((), Backoff(), await self._report_crash(key, error))
        self._log(key, outcome, time.monotonic() - started)
        return outcome.look_again

    async def _report_crash(self, key: Key, error: Exception) -> str:
        one = self._find(key)
        try:
            if isinstance(one, DtoolBucket):
                await self.buckets.report_crash(one, error)
            elif isinstance(one, DtoolDataset):
                await self.datasets.report_crash(one, error)
        except OperatorError as failure:
            return f"crashed, and not reported: {failure.message}"
        return "crashed"

    async def _reconcile(self, key: Key) -> Outcome:
        if key.plural == BUCKET_PLURAL:
            return await self._reconcile_bucket(key.uid)
        return await self._reconcile_dataset(key)

    async def _reconcile_bucket(self, uid: str) -> Outcome:
        bucket = self.world.bucket(uid)
        if bucket is None:
            self.buckets.forget(uid)
            return Outcome((), None, "gone")
        if isinstance(bucket, DtoolBucket):
            plan, look_again = await self.buckets.reconcile(bucket)
            if any(isinstance(action, ListDatasets) for action in plan.actions):
                self._waking.bucket_was_listed(bucket)
            return Outcome(_names(plan), look_again)
        await self._invalid.reconcile_bucket(bucket)
        return Outcome((), None, "invalid")

    async def _reconcile_dataset(self, key: Key) -> Outcome:
        uid = key.uid
        dataset = self.world.dataset(uid)
        if dataset is None:
            await self.datasets.forget(uid)
            self._meter.cancel(uid)
            self._waking.dataset_is_gone(key)
            return Outcome((), None, "gone")
        if isinstance(dataset, DtoolDataset):
            plan, look_again = await self.datasets.reconcile(dataset)
            self._meter.observe_plan(dataset, plan.actions)
            self._waking.dataset_was_looked_at(key, dataset, plan)
            return Outcome(_names(plan), look_again)
        await self._invalid.reconcile_dataset(dataset)
        self._waking.dataset_is_gone(key)
        return Outcome((), None, "invalid")

    def _find(self, key: Key) -> Bucket | Dataset | None:
        return self.world.bucket(key.uid) if key.plural == BUCKET_PLURAL else self.world.dataset(key.uid)

    def _log(self, key: Key, outcome: Outcome, seconds: float) -> None:
        one = self._find(key)
        kind = BUCKET_KIND if key.plural == BUCKET_PLURAL else DATASET_KIND
        self._metrics.observe_reconcile(kind, outcome.outcome, seconds)
        log_reconcile(
            kind=kind,
            namespace=key.namespace,
            name=key.uid if one is None else one.meta.name,
            generation=0 if one is None else one.meta.generation,
            actions=outcome.actions,
            outcome=outcome.outcome,
            seconds=seconds,
        )


def _names(plan: Plan[Any, Any]) -> tuple[str, ...]:
    return tuple(type(action).__name__ for action in plan.actions)
