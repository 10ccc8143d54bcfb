"""One look at one DtoolDataset: observe, plan, apply, report. Decides nothing itself.

observe is the only place that reads, apply the only one that writes; the plan between them is pure.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster, EventType, ObjectRef
from dtool_operator.adapters.credentials import BucketCredentials, read_credentials
from dtool_operator.adapters.storage import OpenStores, answering_soon
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import ApiFailure, Conflict, Gone, OperatorError
from dtool_operator.names import (
    BUCKET_KIND,
    BUCKET_PLURAL,
    DATASET_KIND,
    DATASET_PLURAL,
    FINALIZER,
    LABEL_UUID,
)
from dtool_operator.planning.dataset import DatasetPlan, find_places, plan_dataset, plan_failure
from dtool_operator.planning.observed import ObservedDataset, Policy, Refusal, Slots, StorageView
from dtool_operator.planning.placement import SourcePlace, Target
from dtool_operator.planning.plan import (
    Backoff,
    CancelTransfer,
    DatasetAction,
    EnsureOwner,
    ForgetTransfer,
    MarkObject,
    RefreshCredentials,
    ReportLeftBehind,
    StartTransfer,
    time_left,
)
from dtool_operator.planning.status import Refused, build_dataset_status
from dtool_operator.planning.transfer import TransferState
from dtool_operator.reconcile.failure import explain
from dtool_operator.reconcile.status_writer import StatusWriter
from dtool_operator.reconcile.world import TakeIn, World
from dtool_operator.transfers.executor import Executor, TaskCredentials
from dtool_s3.errors import DtoolS3Error
from dtool_s3.layout import DatasetLayout
from dtool_s3.ownership import ensure_owner, read_owner
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.inventory import read_admin_metadata

_LOG = logging.getLogger(__name__)

#: While a worker runs, S3 is asked about its dataset no more often than this.
LOOK_INTERVAL = timedelta(seconds=25)


@dataclass(frozen=True, slots=True)
class _Look:
    """What S3 said of a dataset, and when."""

    at: datetime
    target: Target
    view: StorageView | Refusal


class DatasetReconciler:
    """Reconciles DtoolDatasets, one at a time per object."""

    def __init__(
        self,
        *,
        world: World,
        cluster: Cluster,
        stores: OpenStores,
        executor: Executor,
        writer: StatusWriter,
        policy: Policy,
        take_in: TakeIn,
        clock: Callable[[], datetime],
    ) -> None:
        self._world, self._cluster, self._stores = world, cluster, stores
        self._executor, self._writer = executor, writer
        self._policy, self._take_in, self._clock = policy, take_in, clock
        self._looks: dict[str, _Look] = {}

    async def reconcile(self, dataset: DtoolDataset) -> tuple[DatasetPlan, timedelta | Backoff | None]:
        """Look once; return the plan and when to look again."""
        seen = await self.observe(dataset)
        plan = plan_dataset(seen)
        if any(isinstance(action, EnsureOwner | StartTransfer) for action in plan.actions):
            await self._check_namespace(dataset)
        try:
            for action in plan.actions:
                dataset = await self._apply(dataset, action)
        except (DtoolS3Error, OperatorError) as error:
            plan = plan_failure(seen, explain(error))
        pause = await self._report(dataset, plan.status)
        return plan, plan.look_again if pause is None else pause

    async def report_crash(self, dataset: DtoolDataset, error: Exception) -> None:
        """Say on the object that the operator itself failed; only the log has the details."""
        refusal = Refusal(Reason.INTERNAL_ERROR, f"The operator failed: {type(error).__name__}; see its log.")
        status = build_dataset_status(dataset, None, Refused(refusal), self._clock())
        await self._report(dataset, status)

    async def forget(self, uid: str) -> None:
        """End what runs for an object that is gone."""
        self._looks.pop(uid, None)
        self._writer.forget(uid)
        await self._executor.cancel(uid)

    async def observe(self, dataset: DtoolDataset) -> ObservedDataset:
        """Gather all that the plan needs; ask S3 only where the cluster alone does not decide."""
        seen = ObservedDataset(
            now=self._clock(),
            dataset=dataset,
            cluster=self._world.view(),
            policy=self._policy,
            siblings=self._world.rivals(dataset),
            transfer=self._executor.record(dataset.uid),
        )
        places = find_places(seen)
        if places is None:
            self._looks.pop(dataset.uid, None)
            return seen
        target, source = places
        return replace(seen, storage=await self._look(seen, target, source), slots=self._slots(target))

    def _slots(self, target: Target) -> Slots:
        running = self._executor.running()
        key = f"{target.bucket.namespace}/{target.bucket.name}"
        return Slots(
            running=sum(running.values()),
            allowed=self._policy.max_transfers,
            running_in_bucket=running.get(key, 0),
            allowed_in_bucket=target.bucket.spec.limits.concurrent_transfers,
        )

    async def _look(
        self, seen: ObservedDataset, target: Target, source: SourcePlace | None
    ) -> StorageView | Refusal:
        last = self._looks.get(seen.dataset.uid)
        is_running = seen.transfer is not None and seen.transfer.state is TransferState.RUNNING
        if last and is_running and last.target == target and time_left(last.at, LOOK_INTERVAL, seen.now):
            return last.view
        try:
            async with answering_soon():
                view: StorageView | Refusal = await self._read(target, source, seen.dataset.namespace)
        except (DtoolS3Error, OperatorError) as error:
            view = explain(error)
        self._looks[seen.dataset.uid] = _Look(seen.now, target, view)
        return view

    async def _read(self, target: Target, source: SourcePlace | None, namespace: str) -> StorageView:
        store, version = await self._open(target.bucket)
        layout = DatasetLayout(target.prefix, target.uuid)
        owner, registered, admin = await asyncio.gather(
            read_owner(store, target.prefix),
            read_registration(store, target.uuid),
            read_admin_metadata(store, layout),
        )
        view = StorageView(owner, registered, admin, credentials_version=version)
        return view if source is None else await self._read_source(source, view, namespace)

    async def _read_source(self, source: SourcePlace, view: StorageView, namespace: str) -> StorageView:
        """Find the dataset through the oldest bucket object; go on with the one that a worker will use."""
        first = source.candidates[0]
        store, version = await self._open(first)
        prefix = await read_registration(store, source.uuid)
        chosen = first if prefix is None else source.choose(namespace, prefix) or first
        if chosen.uid != first.uid:
            store, version = await self._open(chosen)
        view = replace(view, credentials_version=f"{view.credentials_version}|{version}")
        if prefix is None:
            return view
        admin = await read_admin_metadata(store, DatasetLayout(prefix, source.uuid))
        return replace(view, source_prefix=prefix, source_admin=admin)

    async def _apply(self, dataset: DtoolDataset, action: DatasetAction) -> DtoolDataset:
        """Do one thing; return the object as it is afterwards."""
        match action:
            case MarkObject():
                return await self._mark(dataset, action)
            case EnsureOwner():
                await self._ensure_owner(dataset, action)
            case StartTransfer():
                await self._start(dataset, action)
            case RefreshCredentials(task, source_key):
                credentials = await self._task_credentials(task.bucket_key, source_key)
                await self._executor.refresh_credentials(dataset.uid, credentials)
            case CancelTransfer():
                await self._executor.cancel(dataset.uid)
            case ForgetTransfer():
                self._executor.forget(dataset.uid)
            case ReportLeftBehind(message):
                await self._report_left_behind(dataset, message)
        return dataset

    async def _start(self, dataset: DtoolDataset, action: StartTransfer) -> None:
        """Start a worker, unless another look took the last place since this one was planned."""
        credentials = await self._task_credentials(action.task.bucket_key, action.source_bucket)
        if not self._slots(self._looks[dataset.uid].target).is_free:
            raise OperatorError(Reason.QUEUED, "Waits for a running transfer to end.")
        await self._executor.start(action.task, credentials)

    async def _mark(self, dataset: DtoolDataset, action: MarkObject) -> DtoolDataset:
        others = tuple(f for f in dataset.meta.finalizers if f != FINALIZER)
        body = await self._cluster.patch_metadata(
            _ref(dataset),
            resource_version=dataset.meta.resource_version,
            finalizers=(*others, FINALIZER) if action.has_finalizer else others,
            labels=None if action.uuid is None else {LABEL_UUID: action.uuid},
        )
        self._take_in(DATASET_PLURAL, body)
        known = self._world.dataset(dataset.uid)
        return known if isinstance(known, DtoolDataset) else dataset

    async def _check_namespace(self, dataset: DtoolDataset) -> None:
        """Raise Conflict where the namespace is another one by now than the watch has told of (rule 4)."""
        known = self._world.view().namespaces.get(dataset.namespace)
        if known is None or known.uid != await self._cluster.read_namespace_uid(dataset.namespace):
            raise Conflict(f"Namespace {dataset.namespace} is not the one that was looked at.")

    async def _ensure_owner(self, dataset: DtoolDataset, action: EnsureOwner) -> None:
        store, _ = await self._open(self._looks[dataset.uid].target.bucket)
        found = await ensure_owner(store, action.owner.prefix, action.owner)
        if found != action.owner:
            raise Conflict(f"Prefix {action.owner.prefix!r} was taken by {found} in the meantime.")

    async def _open(self, bucket: DtoolBucket) -> tuple[Store, str]:
        """Open a bucket with its keys as they are now; return their version too."""
        credentials = await read_credentials(self._cluster, bucket)
        return self._stores.open(bucket, credentials), credentials.version

    async def _task_credentials(self, target_key: str, source_key: str | None) -> TaskCredentials:
        target = await self._credentials_of(target_key)
        if source_key is None:
            return TaskCredentials(target.credentials, version=target.version)
        source = await self._credentials_of(source_key)
        return TaskCredentials(target.credentials, source.credentials, f"{target.version}|{source.version}")

    async def _credentials_of(self, key: str) -> BucketCredentials:
        namespace, _, name = key.partition("/")
        bucket = self._world.view().find_bucket(namespace, name)
        if bucket is None:
            raise Conflict(f"DtoolBucket {key} is gone.")
        return await read_credentials(self._cluster, bucket)

    async def _report_left_behind(self, dataset: DtoolDataset, message: str) -> None:
        """Tell the log, and the Events of the bucket object; where there is none, the dataset's own."""
        name = f"{dataset.namespace}/{dataset.name}"
        _LOG.warning("data_left_behind", extra={"object": name, "why": message})
        ref, place = dataset.spec.bucket_ref, None
        # without a uuid in its status it never had a place there: its bucket's administrator is not told
        if ref is not None and dataset.status.uuid is not None:
            place = self._world.view().find_bucket(ref.namespace or dataset.namespace, ref.name)
        try:
            await self._cluster.create_event(
                _ref(dataset) if place is None else _bucket_ref(place),
                type=EventType.WARNING,
                reason="DataLeftBehind",
                message=f"DtoolDataset {name} ({dataset.status.uuid}): {message}",
            )
        except (Gone, ApiFailure) as error:
            _LOG.info("event_not_written", extra={"object": name, "why": error.message})

    async def _report(self, dataset: DtoolDataset, status: DtoolDatasetStatus | None) -> timedelta | None:
        if status is None:
            return None
        answer = await self._writer.write(
            _ref(dataset), dataset.status, status, resource_version=dataset.meta.resource_version
        )
        if answer is not None and not isinstance(answer, timedelta):
            self._take_in(DATASET_PLURAL, answer)
        return answer if isinstance(answer, timedelta) else None


def _ref(dataset: DtoolDataset) -> ObjectRef:
    return ObjectRef(DATASET_PLURAL, DATASET_KIND, dataset.namespace, dataset.name, dataset.uid)


def _bucket_ref(bucket: DtoolBucket) -> ObjectRef:
    return ObjectRef(BUCKET_PLURAL, BUCKET_KIND, bucket.namespace, bucket.name, bucket.uid)
