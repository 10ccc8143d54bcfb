"""Carries out the actions of a dataset's plan: the only writes of its reconcile beside the status.

Decides nothing: what is no longer as it was planned is a Conflict, and the dataset is looked at again.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from dtool_operator.adapters.cluster import Cluster, EventType, ObjectRef
from dtool_operator.adapters.credentials import BucketCredentials, read_credentials
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.errors import ApiFailure, Conflict, Gone
from dtool_operator.names import (
    BUCKET_KIND,
    BUCKET_PLURAL,
    DATASET_KIND,
    DATASET_PLURAL,
    FINALIZER,
    LABEL_UUID,
)
from dtool_operator.planning.plan import (
    AdoptJob,
    CancelTransfer,
    CreateProto,
    DatasetAction,
    EnsureOwner,
    ForgetTransfer,
    MarkObject,
    RefreshCredentials,
    ReleaseJob,
    RemoveImported,
    RemoveJob,
    ReportLeftBehind,
    StartTransfer,
    SyncMetadata,
)
from dtool_operator.planning.task import Task
from dtool_operator.reconcile.dataset_look import DatasetLooks
from dtool_operator.reconcile.owner_marker import write_owner
from dtool_operator.reconcile.world import TakeIn, World
from dtool_operator.transfers.executor import Executor, TaskCredentials
from dtool_s3.creation import create_proto
from dtool_s3.layout import DatasetLayout
from dtool_s3.metadata import apply_change
from dtool_s3.store.protocol import Store

_LOG = logging.getLogger(__name__)


class DatasetActions:
    """Does one thing at a time for one dataset."""

    def __init__(
        self,
        *,
        world: World,
        cluster: Cluster,
        executor: Executor,
        looks: DatasetLooks,
        take_in: TakeIn,
        clock: Callable[[], datetime],
    ) -> None:
        self._world, self._cluster, self._executor, self._looks = world, cluster, executor, looks
        self._take_in, self._clock = take_in, clock

    async def apply(self, dataset: DtoolDataset, action: DatasetAction) -> DtoolDataset:
        """Do one thing; return the object as it is afterwards."""
        match action:
            case MarkObject():
                return await self._mark(dataset, action)
            case EnsureOwner() | CreateProto() | SyncMetadata():
                await self._write(dataset, action)
            case StartTransfer() | RefreshCredentials() | CancelTransfer() | ForgetTransfer():
                await self._direct(dataset, action)
            case ReleaseJob() | AdoptJob() | RemoveJob():
                await self._direct_job(dataset, action)
            case ReportLeftBehind(message):
                await self._report_left_behind(dataset, message)
            case RemoveImported():
                version = dataset.meta.resource_version
                await self._cluster.delete_object(dataset_ref(dataset), resource_version=version)
        return dataset

    async def _write(self, dataset: DtoolDataset, action: EnsureOwner | CreateProto | SyncMetadata) -> None:
        """Write the few small objects that need no worker."""
        match action:
            case EnsureOwner():
                await self._ensure_owner(dataset, action)
            case CreateProto():
                await self._create(dataset, action)
            case SyncMetadata(uuid, change, is_frozen):
                store, layout = await self._open_target(dataset, uuid)
                await apply_change(store, layout, change, is_frozen=is_frozen, clock=self._now)

    async def _direct(
        self,
        dataset: DtoolDataset,
        action: StartTransfer | RefreshCredentials | CancelTransfer | ForgetTransfer,
    ) -> None:
        """Tell the executor what becomes of the dataset's worker."""
        match action:
            case StartTransfer():
                await self._start(action)
            case RefreshCredentials(task, source_key):
                credentials = await self._task_credentials(task, source_key)
                await self._executor.refresh_credentials(dataset.uid, credentials)
            case CancelTransfer():
                await self._executor.cancel(dataset.uid)
            case ForgetTransfer():
                self._executor.forget(dataset.uid)

    async def _direct_job(self, dataset: DtoolDataset, action: ReleaseJob | AdoptJob | RemoveJob) -> None:
        match action:
            case ReleaseJob():
                await self._executor.release(dataset.uid)
            case AdoptJob(task, job, source_key):
                credentials = await self._task_credentials(task, source_key)
                await self._executor.adopt(task, job, credentials)
            case RemoveJob(job):
                await self._executor.remove_job(job)

    async def _start(self, action: StartTransfer) -> None:
        credentials = await self._task_credentials(action.task, action.source_bucket)
        await self._executor.start(action.task, credentials)

    async def _create(self, dataset: DtoolDataset, action: CreateProto) -> None:
        store, layout = await self._open_target(dataset, action.uuid)
        await create_proto(
            store,
            layout,
            name=action.name,
            creator_username=action.creator_username,
            readme=action.readme,
            clock=self._now if action.created_at is None else lambda: action.created_at or 0.0,
            frozen_at=action.frozen_at,
        )

    async def _open_target(self, dataset: DtoolDataset, uuid: str) -> tuple[Store, DatasetLayout]:
        target = self._looks.target(dataset.uid)
        store, _ = await self._looks.open(target.bucket)
        return store, DatasetLayout(target.prefix, uuid)

    def _now(self) -> float:
        return self._clock().timestamp()

    async def _mark(self, dataset: DtoolDataset, action: MarkObject) -> DtoolDataset:
        others = tuple(f for f in dataset.meta.finalizers if f != FINALIZER)
        body = await self._cluster.patch_metadata(
            dataset_ref(dataset),
            resource_version=dataset.meta.resource_version,
            finalizers=(*others, FINALIZER) if action.has_finalizer else others,
            labels=None if action.uuid is None else {LABEL_UUID: action.uuid},
        )
        self._take_in(DATASET_PLURAL, body)
        known = self._world.dataset(dataset.uid)
        return known if isinstance(known, DtoolDataset) else dataset

    async def check_namespace(self, dataset: DtoolDataset) -> None:
        """Raise Conflict where the namespace is another one by now than the watch has told of (rule 4)."""
        known = self._world.view().namespaces.get(dataset.namespace)
        if known is None or known.uid != await self._cluster.read_namespace_uid(dataset.namespace):
            raise Conflict(f"Namespace {dataset.namespace} is not the one that was looked at.")

    async def _ensure_owner(self, dataset: DtoolDataset, action: EnsureOwner) -> None:
        store, _ = await self._looks.open(self._looks.target(dataset.uid).bucket)
        found = await write_owner(store, action)
        if found != action.owner:
            raise Conflict(f"Prefix {action.owner.prefix!r} was taken by {found} in the meantime.")

    async def _task_credentials(self, task: Task, source_key: str | None) -> TaskCredentials:
        """Read the keys of the sides that a task has, and their version as a look at them words it."""
        target = None if task.target is None else await self._credentials_of(task.bucket_key)
        source = None if source_key is None else await self._credentials_of(source_key)
        versions = ["" if target is None else target.version] + ([] if source is None else [source.version])
        return TaskCredentials(
            None if target is None else target.credentials,
            None if source is None else source.credentials,
            "|".join(versions),
            target_ca=None if target is None else target.ca_bundle,
            source_ca=None if source is None else source.ca_bundle,
        )

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
                dataset_ref(dataset) if place is None else _bucket_ref(place),
                type=EventType.WARNING,
                reason="DataLeftBehind",
                message=f"DtoolDataset {name} ({dataset.status.uuid}): {message}",
            )
        except (Gone, ApiFailure) as error:
            _LOG.info("event_not_written", extra={"object": name, "why": error.message})


def dataset_ref(dataset: DtoolDataset) -> ObjectRef:
    """Return what names an object to the API server."""
    return ObjectRef(DATASET_PLURAL, DATASET_KIND, dataset.namespace, dataset.name, dataset.uid)


def _bucket_ref(bucket: DtoolBucket) -> ObjectRef:
    return ObjectRef(BUCKET_PLURAL, BUCKET_KIND, bucket.namespace, bucket.name, bucket.uid)
