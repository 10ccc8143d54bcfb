"""Runs one task document with stores that are given, and tells how it goes as worker lines.

Owns the translation from the library's values. Knows nothing of processes, files and credentials: a worker
process and an executor inside this process run the same code.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dtool_operator.planning.task import (
    DatasetFacts,
    ErrorLine,
    Location,
    MismatchLine,
    ProgressLine,
    ResultLine,
    Task,
    TaskKind,
    WorkerLine,
)
from dtool_operator.transfers.throttle import Throttle
from dtool_s3.documents import AdminMetadata
from dtool_s3.errors import DtoolS3Error, SettingsError, WrittenWhileFreezing
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.layout import DatasetLayout
from dtool_s3.proto_freezing import freeze_dataset
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress, ProgressSink
from dtool_s3.transfer.removal import remove_dataset
from dtool_s3.transfer.verify import Verification, require_complete, verify_dataset

PROGRESS_INTERVAL_SECONDS = 0.5
_MAX_MESSAGE_CHARACTERS = 2000

#: Opens a bucket as the identity of a location sees it; no I/O yet. Whoever gives it closes what it opened.
StoreOpener = Callable[[Location], Store]
#: Opens a dataset that was published at a URL; as above.
PublishedOpener = Callable[[str], Store]
Emit = Callable[[WorkerLine], None]


def refuse_published(url: str) -> Store:
    """Open nothing: for whoever reads no published datasets. Raises SettingsError."""
    raise SettingsError(f"datasets published over http(s) are not read here: {url[:200]!r}")


async def run_task(
    task: Task, open_store: StoreOpener, emit: Emit, *, open_published: PublishedOpener = refuse_published
) -> None:
    """Run a task; emit progress (at most twice a second, the last always), then one result or error.

    Failures that the library names become an ErrorLine; anything else is raised, as is a cancellation, after
    unfinished uploads were aborted.
    """
    latest: list[ProgressLine] = []
    throttle = Throttle(lambda: emit(latest[-1]), interval_seconds=PROGRESS_INTERVAL_SECONDS)

    def on_progress(progress: Progress) -> None:
        latest[:] = [_progress_line(progress)]
        throttle.request()

    work = _Work(task, open_store, open_published, on_progress)
    try:
        line = await work.perform()
    except DtoolS3Error as error:
        line = _error_line(error)
    except BaseException:
        throttle.drop()
        raise
    throttle.flush()
    emit(line)


def build_internal_error(error: BaseException) -> ErrorLine:
    """Describe a failure that nobody foresaw: by its class alone, its text may hold anything."""
    message = f"the worker failed unexpectedly: {type(error).__name__}"
    return ErrorLine(reason="InternalError", message=message, retryable=True)


@dataclass(frozen=True, slots=True)
class _Work:
    """One task, and what it is done with."""

    task: Task
    open_store: StoreOpener
    open_published: PublishedOpener
    on_progress: ProgressSink

    async def perform(self) -> WorkerLine:
        match self.task.kind:
            case TaskKind.COPY:
                return await self._copy()
            case TaskKind.INGEST:
                return await self._ingest()
            case TaskKind.FREEZE:
                return await self._freeze()
            case TaskKind.VERIFY:
                return await self._verify()
            case TaskKind.REMOVE:
                return await self._remove()

    @property
    def layout(self) -> DatasetLayout:
        return DatasetLayout(self.task.target.prefix, self.task.uuid)

    async def _copy(self) -> ResultLine:
        task, new = self.task, self.task.new
        source_uuid = task.uuid if new is None else new.source_uuid
        if source_uuid is None:
            raise SettingsError("a derived dataset needs the uuid of its source")
        source, source_prefix = self._open_source()
        request = CopyRequest(
            uuid=source_uuid,
            source_prefix=source_prefix,
            target_prefix=task.target.prefix,
            server_side=task.server_side,
            concurrency=task.concurrency,
            target_uuid=None if new is None else task.uuid,
            name=None if new is None else new.name,
            creator_username=None if new is None else new.creator_username,
            manifest_sha256=task.manifest_sha256,
            max_size_bytes=task.max_size_bytes,
        )
        target = self.open_store(task.target)
        return _moved(await copy_dataset(source, target, request, on_progress=self.on_progress))

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
            target_prefix=task.target.prefix,
            name=new.name,
            creator_username=new.creator_username,
            readme=new.readme,
            server_side=task.server_side,
            concurrency=task.concurrency,
            max_size_bytes=task.max_size_bytes,
        )
        source, target = self.open_store(task.source), self.open_store(task.target)
        return _moved(await ingest_objects(source, target, request, on_progress=self.on_progress))

    async def _freeze(self) -> WorkerLine:
        self.on_progress(Progress(Phase.FREEZING, 0, 0, 0, 0))
        found = await freeze_dataset(
            self.open_store(self.task.target),
            self.layout,
            quiet_seconds=self.task.quiet_seconds,
            on_progress=self.on_progress,
        )
        facts = _facts(found.admin, found.verification)
        try:
            require_complete(found.verification)
        except DtoolS3Error as error:  # it was complete when it was frozen
            return _error_line(WrittenWhileFreezing(str(error)), facts)
        return ResultLine(facts=facts)

    async def _verify(self) -> WorkerLine:
        self.on_progress(Progress(Phase.VERIFYING, 0, 0, 0, 0))
        found = await verify_dataset(
            self.open_store(self.task.target),
            self.layout,
            method=self.task.method,
            concurrency=self.task.concurrency,
            on_progress=self.on_progress,
        )
        facts = _facts(found.admin, found.verification)
        try:
            require_complete(found.verification)
        except DtoolS3Error as error:
            return _error_line(error, facts)
        return ResultLine(facts=facts)

    async def _remove(self) -> ResultLine:
        self.on_progress(Progress(Phase.REMOVING, 0, 0, 0, 0))
        store, only_proto = self.open_store(self.task.target), self.task.only_proto
        await remove_dataset(store, self.layout, only_proto=only_proto, on_progress=self.on_progress)
        return ResultLine()


def _moved(result: CopyResult) -> ResultLine:
    return ResultLine(facts=_facts(result.admin, result.verification, moved=result.moved))


def _error_line(error: DtoolS3Error, facts: DatasetFacts | None = None) -> ErrorLine:
    return ErrorLine(
        reason=error.reason,
        message=str(error)[:_MAX_MESSAGE_CHARACTERS],
        retryable=error.retryable,
        facts=facts,
    )


def _progress_line(progress: Progress) -> ProgressLine:
    return ProgressLine(
        phase=progress.phase.value,
        items=progress.items,
        items_total=progress.items_total,
        bytes=progress.bytes,
        bytes_total=progress.bytes_total,
    )


def _facts(admin: AdminMetadata, verification: Verification, *, moved: int = 0) -> DatasetFacts:
    mismatches = verification.mismatches
    return DatasetFacts(
        name=admin.name,
        creator_username=admin.creator_username,
        created_at=admin.created_at,
        frozen_at=admin.frozen_at,
        items=verification.items,
        size_bytes=verification.size_bytes,
        etag_md5=verification.evidence.get(Evidence.ETAG_MD5, 0),
        read=verification.evidence.get(Evidence.READ, 0),
        same_as_source=verification.evidence.get(Evidence.SAME_AS_SOURCE, 0),
        unproven=verification.unproven,
        mismatch_count=verification.mismatch_count,
        mismatches=tuple(
            MismatchLine(relpath=m.relpath, expected=m.expected, found=m.found) for m in mismatches
        ),
        moved=moved,
    )
