"""Runs tasks inside this process, on stores that the test gives; held to the contract of every executor."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

from dtool_operator.planning.task import ErrorLine, ProgressLine, RequestsLine, ResultLine, Task, WorkerLine
from dtool_operator.planning.transfer import TransferRecord
from dtool_operator.transfers.executor import OnChange, TaskCredentials
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.task_run import (
    PublishedOpener,
    StoreOpener,
    refuse_published,
    run_task,
)
from dtool_operator.transfers.telling import build_internal_error


class InlineExecutor:
    """Implements `transfers.executor.Executor` with asyncio tasks.

    `credentials` holds what each running task was given last, for tests to look at.
    """

    def __init__(
        self,
        open_store: StoreOpener,
        on_change: OnChange,
        clock: Callable[[], datetime],
        open_published: PublishedOpener = refuse_published,
    ) -> None:
        self._open_store = open_store
        self._open_published = open_published
        self._ledger = Ledger(on_change, clock)
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._is_closed = False
        self.credentials: dict[str, TaskCredentials] = {}

    def prepare(self) -> None:
        """See the protocol: nothing is left on this machine."""

    def record(self, key: str) -> TransferRecord | None:
        """See the protocol."""
        return self._ledger.record(key)

    def running(self) -> tuple[Task, ...]:
        """See the protocol."""
        return self._ledger.running()

    async def sweep(self, known_keys: Collection[str]) -> None:
        """See the protocol: nothing outlives this process."""

    def forget(self, key: str) -> None:
        """See the protocol. Raises ValueError for a task that runs."""
        self._ledger.forget(key)

    async def start(self, task: Task, credentials: TaskCredentials) -> None:
        """See the protocol."""
        if self._is_closed:
            raise ValueError("the executor is closed")
        self._ledger.begin(task)
        ends: list[ResultLine | ErrorLine] = []

        def emit(line: WorkerLine) -> None:
            match line:
                case ProgressLine():
                    self._ledger.note_progress(task.key, line)
                case ResultLine() | ErrorLine():
                    ends.append(line)
                case RequestsLine():  # pragma: no cover - the process around the task makes these
                    raise AssertionError("a task itself counts no requests")

        def settle(run: asyncio.Task[None]) -> None:
            del self._runs[task.key], self.credentials[task.key]
            if run.cancelled():
                return
            problem = run.exception()
            self._ledger.finish(task.key, ends[0] if problem is None else build_internal_error(problem))

        self.credentials[task.key] = credentials
        work = run_task(task, self._open_store, emit, open_published=self._open_published)
        self._runs[task.key] = asyncio.create_task(work)
        self._runs[task.key].add_done_callback(settle)

    async def cancel(self, key: str) -> None:
        """See the protocol."""
        run = self._runs.get(key)
        if run is not None:
            run.cancel()
            await asyncio.wait({run})
        self._ledger.drop(key)

    async def refresh_credentials(self, key: str, credentials: TaskCredentials) -> None:
        """See the protocol."""
        if key not in self._runs:
            return
        self.credentials[key] = credentials
        if credentials.version is not None:
            self._ledger.note_credentials(key, credentials.version)

    async def close(self) -> None:
        """See the protocol."""
        self._is_closed = True
        await asyncio.gather(*(self.cancel(key) for key in list(self._runs)))
