"""Runs tasks inside this process, on stores that the test gives; held to the contract of every executor."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from dtool_operator.planning.job_trouble import build_lost
from dtool_operator.planning.task import ErrorLine, ProgressLine, RequestsLine, ResultLine, Task, WorkerLine
from dtool_operator.planning.transfer import JobRef, TransferRecord
from dtool_operator.transfers.executor import OnChange, TaskCredentials
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.task_run import (
    PublishedOpener,
    StoreOpener,
    refuse_published,
    run_task,
)
from dtool_operator.transfers.telling import build_internal_error
from tests.support.inline_jobs import InlineJob, InlineJobs


class InlineExecutor:
    """Implements `transfers.executor.Executor` with asyncio tasks.

    `credentials` holds what each running task was given last, for tests to look at. `jobs`: where those of
    its tasks run that are Jobs; they outlive it.
    """

    def __init__(
        self,
        open_store: StoreOpener,
        on_change: OnChange,
        clock: Callable[[], datetime],
        open_published: PublishedOpener = refuse_published,
        jobs: InlineJobs | None = None,
    ) -> None:
        self._open_store = open_store
        self._open_published = open_published
        self._ledger = Ledger(on_change, clock)
        self._jobs = jobs
        self._followed: dict[str, InlineJob] = {}
        self._runs: dict[str, asyncio.Task[Any]] = {}
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
        self._discard(key)

    async def start(self, task: Task, credentials: TaskCredentials) -> None:
        """See the protocol."""
        if self._is_closed:
            raise ValueError("the executor is closed")
        if task.job is not None:
            self._start_job(task, credentials)
            return
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
        if key in self._followed:
            await self.remove_job(self._followed.pop(key).ref)
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
        self._followed.clear()  # Jobs go on without us
        await asyncio.gather(*(self.cancel(key) for key in list(self._runs)))

    # ---- Jobs ----------------------------------------------------------------------------------------

    async def adopt(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:
        """See the protocol."""
        found = None if self._jobs is None else self._jobs.by_uid.get(job.uid)
        self._ledger.begin(task, job=job, is_released=False)
        if found is None or found.task.fingerprint != task.fingerprint:
            self._ledger.finish(task.key, build_lost(f"the Job {job.namespace}/{job.name} is gone"))
            return
        if found.run is not None:
            self._ledger.note_release(task.key)
        self._follow(task, found, credentials)

    async def release(self, key: str) -> None:
        """See the protocol."""
        if self._jobs is not None and key in self._followed:
            self._jobs.release(self._followed[key])
            self._ledger.note_release(key)

    async def remove_job(self, job: JobRef) -> None:
        """See the protocol."""
        pods = None if self._jobs is None else self._jobs.remove(job)
        if pods is not None:
            await asyncio.wait({pods})

    def _start_job(self, task: Task, credentials: TaskCredentials) -> None:
        assert self._jobs is not None, "this test's cluster has no Jobs"
        self._discard(task.key)
        self._ledger.begin(task, is_released=False)
        job = self._jobs.create(task)
        self._ledger.note_job(task.key, job.ref)
        self._follow(task, job, credentials)

    def _discard(self, key: str) -> None:
        left = self._followed.pop(key, None)
        if left is not None and self._jobs is not None:
            self._jobs.remove(left.ref)

    def _follow(self, task: Task, job: InlineJob, credentials: TaskCredentials) -> None:
        self._followed[task.key] = job
        self.credentials[task.key] = credentials
        self._runs[task.key] = asyncio.create_task(job.changed.wait(), name=f"follows {job.ref.name}")

        def settle(run: asyncio.Task[Any]) -> None:
            del self._runs[task.key], self.credentials[task.key]
            if not run.cancelled():
                end = job.end or build_lost(f"the Job {job.ref.namespace}/{job.ref.name} is gone")
                self._ledger.finish(task.key, end)

        self._runs[task.key].add_done_callback(settle)
