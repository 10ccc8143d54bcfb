"""Runs one task document with stores that are given, and tells how it goes as worker lines.

Owns the translation from the library's values. Knows nothing of processes, files and credentials: a worker
process and an executor inside this process run the same code.
"""

from collections.abc import Callable

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
from dtool_s3.errors import DtoolS3Error, SettingsError
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress, ProgressSink
from dtool_s3.transfer.removal import remove_dataset
from dtool_s3.transfer.verify import Verification, require_complete, verify_dataset

PROGRESS_INTERVAL_SECONDS = 0.5
_MAX_MESSAGE_CHARACTERS = 2000

#: Opens a bucket as the identity of a location sees it; no I/O yet. Whoever gives it closes what it opened.
StoreOpener = Callable[[Location], Store]
Emit = Callable[[WorkerLine], None]


async def run_task(task: Task, open_store: StoreOpener, emit: Emit) -> None:
    """Run a task; emit progress (at most twice a second, the last always), then one result or error.

    Failures that the library names become an ErrorLine; anything else is raised, as is a cancellation, after
    unfinished uploads were aborted.
    """
    latest: list[ProgressLine] = []
    throttle = Throttle(lambda: emit(latest[-1]), interval_seconds=PROGRESS_INTERVAL_SECONDS)

    def on_progress(progress: Progress) -> None:
        latest[:] = [_progress_line(progress)]
        throttle.request()

    try:
        line = await _perform(task, open_store, on_progress)
    except DtoolS3Error as error:
        line = ErrorLine(
            reason=error.reason,
            message=str(error)[:_MAX_MESSAGE_CHARACTERS],
            retryable=error.retryable,
        )
    except BaseException:
        throttle.drop()
        raise
    throttle.flush()
    emit(line)


def build_internal_error(error: BaseException) -> ErrorLine:
    """Describe a failure that nobody foresaw: by its class alone, its text may hold anything."""
    message = f"the worker failed unexpectedly: {type(error).__name__}"
    return ErrorLine(reason="InternalError", message=message, retryable=True)


async def _perform(task: Task, open_store: StoreOpener, on_progress: ProgressSink) -> WorkerLine:
    layout = DatasetLayout(task.target.prefix, task.uuid)
    match task.kind:
        case TaskKind.COPY:
            return await _copy(task, open_store, on_progress)
        case TaskKind.VERIFY:
            on_progress(Progress(Phase.VERIFYING, 0, 0, 0, 0))
            found = await verify_dataset(open_store(task.target), layout)
            require_complete(found.verification)
            return ResultLine(facts=_facts(found.admin, found.verification))
        case TaskKind.REMOVE:
            on_progress(Progress(Phase.REMOVING, 0, 0, 0, 0))
            await remove_dataset(open_store(task.target), layout, only_proto=True, on_progress=on_progress)
            return ResultLine()


async def _copy(task: Task, open_store: StoreOpener, on_progress: ProgressSink) -> ResultLine:
    if task.source is None:
        raise SettingsError("a copy needs a source")
    request = CopyRequest(
        uuid=task.uuid,
        source_prefix=task.source.prefix,
        target_prefix=task.target.prefix,
        server_side=task.server_side,
        concurrency=task.concurrency,
    )
    result = await copy_dataset(
        open_store(task.source), open_store(task.target), request, on_progress=on_progress
    )
    return ResultLine(facts=_facts(result.admin, result.verification, moved=result.moved))


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
