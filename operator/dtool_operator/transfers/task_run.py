"""Runs one task document with stores that are given, and tells how it goes as worker lines.

Owns the translation to the library's calls. Knows nothing of processes, files and credentials: a worker
process and an executor inside this process run the same code.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dtool_operator.planning.task import Location, ProgressLine, ResultLine, Task, TaskKind, WorkerLine
from dtool_operator.transfers.telling import (
    describe_dataset,
    tell_error,
    tell_frozen,
    tell_progress,
    tell_source,
    tell_verified,
)
from dtool_operator.transfers.throttle import Throttle
from dtool_operator.transfers.volume_run import VolumeWork
from dtool_s3.errors import DtoolS3Error, SettingsError, WrittenWhileFreezing
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.layout import DatasetLayout
from dtool_s3.proto_freezing import freeze_dataset
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.progress import Phase, Progress, ProgressSink
from dtool_s3.transfer.removal import remove_dataset
from dtool_s3.transfer.shard import Shard
from dtool_s3.transfer.share import copy_items
from dtool_s3.transfer.verify import require_complete, verify_dataset
from dtool_s3.volume.inspection import inspect_stored
from dtool_s3.volume.publishing import PublishRequest, publish_uploaded

PROGRESS_INTERVAL_SECONDS = 0.5

#: Opens a bucket as the identity of a location sees it; no I/O yet. Whoever gives it closes what it opened.
StoreOpener = Callable[[Location], Store]
#: Opens a dataset that was published at a URL; as above.
PublishedOpener = Callable[[str], Store]
Emit = Callable[[WorkerLine], None]


def refuse_published(url: str) -> Store:
    """Open nothing: for whoever reads no published datasets. Raises SettingsError."""
    raise SettingsError(f"datasets published over http(s) are not read here: {url[:200]!r}")


async def run_task(
    task: Task,
    open_store: StoreOpener,
    emit: Emit,
    *,
    open_published: PublishedOpener = refuse_published,
    shard: int = 0,
) -> None:
    """Run a task; emit progress (at most twice a second, the last always), then one result or error.

    `shard`: which share of the items this worker copies, where the task's Job has several.

    Failures that the library names become an ErrorLine; anything else is raised, as is a cancellation, after
    unfinished uploads were aborted.
    """
    latest: list[ProgressLine] = []
    throttle = Throttle(lambda: emit(latest[-1]), interval_seconds=PROGRESS_INTERVAL_SECONDS)

    def on_progress(progress: Progress) -> None:
        latest[:] = [tell_progress(progress)]
        throttle.request()

    work = _Work(task, open_store, open_published, on_progress, shard)
    try:
        line = await work.perform()
    except DtoolS3Error as error:
        line = tell_error(error)
    except BaseException:
        throttle.drop()
        raise
    throttle.flush()
    emit(line)


@dataclass(frozen=True, slots=True)
class _Work:
    """One task, and what it is done with."""

    task: Task
    open_store: StoreOpener
    open_published: PublishedOpener
    on_progress: ProgressSink
    shard: int = 0

    async def perform(self) -> WorkerLine:
        if self.task.volume is not None:
            return await VolumeWork(self.task, self.task.volume, self.open_store, self.on_progress).perform()
        perform: dict[TaskKind, Callable[[], Awaitable[WorkerLine]]] = {
            TaskKind.COPY: self._copy,
            TaskKind.COPY_ITEMS: self._copy_items,
            TaskKind.FREEZE: self._freeze,
            TaskKind.INGEST: self._ingest,
            TaskKind.INSPECT: self._inspect,
            TaskKind.PUBLISH: self._publish,
            TaskKind.REMOVE: self._remove,
            TaskKind.VERIFY: self._verify,
        }
        chosen = perform.get(self.task.kind)
        if chosen is None:
            raise SettingsError(f"work of kind {self.task.kind} needs a volume")
        return await chosen()

    @property
    def target(self) -> Location:
        if self.task.target is None:
            raise SettingsError(f"work of kind {self.task.kind} needs a target")
        return self.task.target

    @property
    def layout(self) -> DatasetLayout:
        return DatasetLayout(self.target.prefix, self.task.uuid)

    async def _copy(self) -> ResultLine:
        source, request = self._prepare_copy()
        target = self.open_store(self.target)
        return tell_frozen(await copy_dataset(source, target, request, on_progress=self.on_progress))

    async def _copy_items(self) -> ResultLine:
        source, request = self._prepare_copy()
        shard = Shard(self.shard, 1 if self.task.job is None else self.task.job.shards)
        target = self.open_store(self.target)
        await copy_items(source, target, request, shard, on_progress=self.on_progress)
        return ResultLine()

    def _prepare_copy(self) -> tuple[Store, CopyRequest]:
        task, new = self.task, self.task.new
        source_uuid = task.uuid if new is None else new.source_uuid
        if source_uuid is None:
            raise SettingsError("a derived dataset needs the uuid of its source")
        source, source_prefix = self._open_source()
        return source, CopyRequest(
            uuid=source_uuid,
            source_prefix=source_prefix,
            target_prefix=self.target.prefix,
            server_side=task.server_side,
            concurrency=task.concurrency,
            target_uuid=None if new is None else task.uuid,
            name=None if new is None else new.name,
            creator_username=None if new is None else new.creator_username,
            manifest_sha256=task.manifest_sha256,
            max_size_bytes=task.max_size_bytes,
        )

    def _open_source(self) -> tuple[Store, str]:
        """Return the source of a copy and the dataset's prefix there."""
        task = self.task
        if (task.source is None) == (task.source_url is None):
            raise SettingsError("a copy needs a source, and one only")
        if task.source is not None:
            return self.open_store(task.source), task.source.prefix
        assert task.source_url is not None
        return self.open_published(task.source_url), ""

    async def _ingest(self) -> ResultLine:
        task, new = self.task, self.task.new
        if task.source is None or new is None:
            raise SettingsError("plain objects need a source, and a name as a dataset")
        request = IngestRequest(
            uuid=task.uuid,
            source_prefix=task.source.prefix,
            target_prefix=self.target.prefix,
            name=new.name,
            creator_username=new.creator_username,
            readme=new.readme,
            server_side=task.server_side,
            concurrency=task.concurrency,
            max_size_bytes=task.max_size_bytes,
        )
        source, target = self.open_store(task.source), self.open_store(self.target)
        return tell_frozen(await ingest_objects(source, target, request, on_progress=self.on_progress))

    async def _freeze(self) -> WorkerLine:
        self.on_progress(Progress(Phase.FREEZING, 0, 0, 0, 0))
        found = await freeze_dataset(
            self.open_store(self.target),
            self.layout,
            quiet_seconds=self.task.quiet_seconds,
            on_progress=self.on_progress,
        )
        facts = describe_dataset(found.admin, found.verification)
        try:
            require_complete(found.verification)
        except DtoolS3Error as error:  # it was complete when it was frozen
            return tell_error(WrittenWhileFreezing(str(error)), facts)
        return ResultLine(facts=facts)

    async def _verify(self) -> WorkerLine:
        self.on_progress(Progress(Phase.VERIFYING, 0, 0, 0, 0))
        found = await verify_dataset(
            self.open_store(self.target),
            self.layout,
            method=self.task.method,
            concurrency=self.task.concurrency,
            on_progress=self.on_progress,
        )
        return tell_verified(found)

    async def _inspect(self) -> ResultLine:
        if self.task.source is None:
            raise SettingsError("an inspection needs a source")
        layout = DatasetLayout(self.task.source.prefix, self.task.uuid)
        return tell_source(await inspect_stored(self.open_store(self.task.source), layout))

    async def _publish(self) -> ResultLine:
        request = PublishRequest(
            quiet_seconds=self.task.quiet_seconds,
            max_size_bytes=self.task.max_size_bytes,
            manifest_sha256=self.task.manifest_sha256,
            content_sha256=self.task.content_sha256,
        )
        store = self.open_store(self.target)
        return tell_frozen(await publish_uploaded(store, self.layout, request, on_progress=self.on_progress))

    async def _remove(self) -> ResultLine:
        self.on_progress(Progress(Phase.REMOVING, 0, 0, 0, 0))
        store, only_proto = self.open_store(self.target), self.task.only_proto
        await remove_dataset(store, self.layout, only_proto=only_proto, on_progress=self.on_progress)
        return ResultLine()
