"""Sends each task where it runs: to a child process, or to a Kubernetes Job. Owns nothing else."""

import asyncio
from collections.abc import Collection

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.task import ErrorLine, Task
from dtool_operator.planning.transfer import JobRef, TransferRecord
from dtool_operator.transfers.executor import Runner, TaskCredentials
from dtool_operator.transfers.job import JobExecutor
from dtool_operator.transfers.ledger import Ledger


class RoutingExecutor:
    """Implements `transfers.executor.Executor` with two executors that keep their records in one ledger.

    `jobs` None: tasks with a JobPlace fail (JobsDisabled).
    """

    def __init__(self, ledger: Ledger, *, process: Runner, jobs: JobExecutor | None = None) -> None:
        self._ledger = ledger
        self._process = process
        self._jobs = jobs

    def prepare(self) -> None:
        """See the protocol."""
        self._process.prepare()

    def record(self, key: str) -> TransferRecord | None:
        """See the protocol."""
        return self._ledger.record(key)

    def running(self) -> tuple[Task, ...]:
        """See the protocol."""
        return self._ledger.running()

    async def start(self, task: Task, credentials: TaskCredentials) -> None:
        """See the protocol."""
        if task.job is None:
            await self._process.start(task, credentials)
            if self._jobs is not None:
                self._jobs.discard(task.key)
        elif self._jobs is None:
            self._refuse(task)
        else:
            await self._jobs.start(task, credentials)

    async def adopt(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:
        """See the protocol."""
        if self._jobs is None:
            self._refuse(task)
        else:
            await self._jobs.adopt(task, job, credentials)

    async def release(self, key: str) -> None:
        """See the protocol."""
        if self._jobs is not None:
            await self._jobs.release(key)

    async def remove_job(self, job: JobRef) -> None:
        """See the protocol."""
        if self._jobs is not None:
            await self._jobs.remove_job(job)

    async def sweep(self, known_keys: Collection[str]) -> None:
        """See the protocol."""
        if self._jobs is not None:
            await self._jobs.sweep(known_keys)

    async def cancel(self, key: str) -> None:
        """See the protocol. A child process may run after a Job of the same key has ended."""
        record = self._ledger.record(key)
        if self._jobs is None or (record is not None and record.task.job is None):
            await self._process.cancel(key)
        if self._jobs is not None:
            await self._jobs.cancel(key)

    def forget(self, key: str) -> None:
        """See the protocol."""
        self._ledger.forget(key)
        if self._jobs is not None:
            self._jobs.discard(key)

    async def refresh_credentials(self, key: str, credentials: TaskCredentials) -> None:
        """See the protocol."""
        await self._process.refresh_credentials(key, credentials)
        if self._jobs is not None:
            await self._jobs.refresh_credentials(key, credentials)

    async def close(self) -> None:
        """See the protocol."""
        closing = [self._process.close()] + ([] if self._jobs is None else [self._jobs.close()])
        await asyncio.gather(*closing)

    def _refuse(self, task: Task) -> None:
        message = "the operator is set to run no Jobs"
        self._ledger.begin(task)
        self._ledger.finish(task.key, ErrorLine(reason=Reason.JOBS_DISABLED, message=message, retryable=True))
