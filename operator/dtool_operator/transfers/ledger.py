"""What became of every task: owns the records of an executor and when it tells of their changes.

No I/O. Memory only: losing it costs one more look at the target, never data.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from dtool_operator.planning.task import (
    KINDS_WITHOUT_FACTS,
    ErrorLine,
    ProgressLine,
    ResultLine,
    Task,
    TaskKind,
)
from dtool_operator.planning.transfer import JobRef, TransferRecord, TransferState
from dtool_operator.transfers.executor import OnChange
from dtool_operator.transfers.throttle import Throttle

NOTICE_INTERVAL_SECONDS = 1.0


@dataclass(slots=True)
class _Entry:
    record: TransferRecord
    notice: Throttle


class Ledger:
    """Records by task key. `clock` gives aware UTC times; one event loop only.

    `on_change` is told of progress at most once a second per key; of an end, of a Job that was created and of
    a change of its trouble at once; of nothing else. It is called from the event loop, so that what it does
    or raises cannot disturb the executor.
    """

    def __init__(self, on_change: OnChange, clock: Callable[[], datetime]) -> None:
        self._on_change = on_change
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def record(self, key: str) -> TransferRecord | None:
        """Return the record of a task; None for an unknown key."""
        entry = self._entries.get(key)
        return None if entry is None else entry.record

    def running(self) -> tuple[Task, ...]:
        """Return the tasks that run."""
        return tuple(entry.record.task for entry in self._entries.values() if _is_running(entry.record))

    def begin(self, task: Task, *, job: JobRef | None = None, is_released: bool = True) -> None:
        """Record a start. Raises ValueError while a task with the same key runs."""
        previous = self.record(task.key)
        if previous is not None and _is_running(previous):
            raise ValueError(f"task {task.key} is running; it must be cancelled first")
        is_again = previous is not None and previous.task.fingerprint == task.fingerprint
        attempts = previous.attempts + 1 if previous is not None and is_again else 1
        record = TransferRecord(
            task,
            TransferState.RUNNING,
            attempts,
            started_at=self._clock(),
            job=job,
            is_released=is_released,
        )
        notice = Throttle(lambda: self._tell(task.key), interval_seconds=NOTICE_INTERVAL_SECONDS)
        self._entries[task.key] = _Entry(record, notice)

    def note_progress(self, key: str, line: ProgressLine) -> None:
        """Record how far a running task is."""
        entry = self._entries[key]
        entry.record = replace(entry.record, progress=line, progress_at=self._clock())
        entry.notice.request()

    def note_job(self, key: str, job: JobRef) -> None:
        """Record which Job a task is; the reconciler writes it down before it lets the Job begin."""
        entry = self._entries[key]
        entry.record = replace(entry.record, job=job)
        self._tell(key)

    def note_release(self, key: str) -> None:
        """Record that the Job of a task has begun, or may."""
        entry = self._entries[key]
        entry.record = replace(entry.record, is_released=True)

    def note_trouble(self, key: str, trouble: ErrorLine | None) -> None:
        """Record why a task does not get on; None: it does."""
        entry = self._entries[key]
        if entry.record.trouble != trouble:
            entry.record = replace(entry.record, trouble=trouble)
            self._tell(key)

    def note_credentials(self, key: str, version: str) -> None:
        """Record which version of the Secrets a running task has now."""
        entry = self._entries[key]
        task = entry.record.task.model_copy(update={"credentials_version": version})
        entry.record = replace(entry.record, task=task)

    def finish(self, key: str, line: ResultLine | ErrorLine) -> None:
        """Record how a task ended. A result without the facts that its kind tells is none."""
        entry = self._entries[key]
        if isinstance(line, ResultLine) and not _is_whole(line, entry.record.task.kind):
            line = build_failure("the worker gave a result without facts")
        ended = replace(entry.record, finished_at=self._clock(), trouble=None)
        match line:
            case ResultLine():
                entry.record = replace(
                    ended, state=TransferState.SUCCEEDED, facts=line.facts, source=line.source
                )
            case ErrorLine():
                entry.record = replace(ended, state=TransferState.FAILED, error=line, facts=line.facts)
        entry.notice.drop()
        self._tell(key)

    def forget(self, key: str) -> None:
        """Drop the record of a task that does not run. Raises ValueError if it does."""
        record = self.record(key)
        if record is not None and _is_running(record):
            raise ValueError(f"task {key} is running; it must be cancelled first")
        self.drop(key)

    def drop(self, key: str) -> None:
        """Drop a record whatever its state, and what was still to be told of it."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.notice.drop()

    def _tell(self, key: str) -> None:
        asyncio.get_running_loop().call_soon(self._on_change, key)


def build_failure(message: str) -> ErrorLine:
    """Describe the end of a worker that could not say itself why."""
    return ErrorLine(reason="TransferFailed", message=message, retryable=True)


def _is_whole(line: ResultLine, kind: TaskKind) -> bool:
    if kind is TaskKind.INSPECT:
        return line.source is not None
    return line.facts is not None or kind in KINDS_WITHOUT_FACTS


def _is_running(record: TransferRecord) -> bool:
    return record.state is TransferState.RUNNING
