"""Objects whose spec means nothing: says so, ends what runs for them, never holds up their deletion."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from dtool_operator.adapters.cluster import Cluster, EventType, ObjectRef
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.errors import ApiFailure, Gone, OperatorError
from dtool_operator.names import BUCKET_KIND, BUCKET_PLURAL, DATASET_KIND, DATASET_PLURAL, FINALIZER
from dtool_operator.planning.invalid import build_invalid_bucket_status, build_invalid_dataset_status
from dtool_operator.planning.transfer import read_job
from dtool_operator.reconcile.invalid_object import Invalid
from dtool_operator.reconcile.status_writer import StatusWriter
from dtool_operator.reconcile.world import TakeIn
from dtool_operator.transfers.executor import Executor

_LOG = logging.getLogger(__name__)


class InvalidReconciler:
    """Reconciles objects of both kinds that could not be parsed."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        executor: Executor,
        writer: StatusWriter,
        take_in: TakeIn,
        clock: Callable[[], datetime],
        on_left_behind: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster, self._executor, self._writer = cluster, executor, writer
        self._take_in, self._clock, self._on_left_behind = take_in, clock, on_left_behind

    async def reconcile_bucket(self, bucket: Invalid[DtoolBucketStatus]) -> None:
        """Report InvalidSpec."""
        meta = bucket.meta
        status = build_invalid_bucket_status(meta, bucket.status, bucket.message, self._clock())
        ref = ObjectRef(BUCKET_PLURAL, BUCKET_KIND, meta.namespace, meta.name, meta.uid)
        answer = await self._writer.write(ref, bucket.status, status, resource_version=meta.resource_version)
        if answer is not None and not isinstance(answer, timedelta):
            self._take_in(BUCKET_PLURAL, answer)

    async def reconcile_dataset(self, dataset: Invalid[DtoolDatasetStatus]) -> None:
        """Cancel what runs; report InvalidSpec, or release an object that is being deleted."""
        meta = dataset.meta
        try:
            await self._executor.cancel(meta.uid)
        except OperatorError as error:
            if meta.deletion_timestamp is None:
                raise
            # its Job goes with it, and is ended by whoever looks for what has no object any more
            _LOG.warning("job_left", extra={"object": f"{meta.namespace}/{meta.name}", "why": error.message})
        ref = ObjectRef(DATASET_PLURAL, DATASET_KIND, meta.namespace, meta.name, meta.uid)
        if meta.deletion_timestamp is not None and FINALIZER in meta.finalizers:
            await self._report_left_behind(ref, dataset)
            others = tuple(finalizer for finalizer in meta.finalizers if finalizer != FINALIZER)
            version = meta.resource_version
            self._take_in(
                DATASET_PLURAL,
                await self._cluster.patch_metadata(ref, resource_version=version, finalizers=others),
            )
            return
        if dataset.status.job is not None:
            await self._executor.remove_job(read_job(dataset.status.job))
        status = build_invalid_dataset_status(meta, dataset.status, dataset.message, self._clock())
        answer = await self._writer.write(ref, dataset.status, status, resource_version=meta.resource_version)
        if answer is not None and not isinstance(answer, timedelta):
            self._take_in(DATASET_PLURAL, answer)

    async def _report_left_behind(self, ref: ObjectRef, dataset: Invalid[DtoolDatasetStatus]) -> None:
        """Tell log, metric and an Event of it: without a spec nobody knows which bucket object it was."""
        name, what = f"{ref.namespace}/{ref.name}", dataset.status.uri or "an unfinished copy"
        why = f"its spec means nothing ({dataset.message}): what there is of {what} is left behind"
        _LOG.warning("data_left_behind", extra={"object": name, "why": why})
        self._on_left_behind()
        try:
            await self._cluster.create_event(
                ref, type=EventType.WARNING, reason="DataLeftBehind", message=f"DtoolDataset {name}: {why}"
            )
        except (Gone, ApiFailure) as error:
            _LOG.info("event_not_written", extra={"object": name, "why": error.message})
