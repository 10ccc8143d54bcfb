"""What a Job executor tells of its tasks, waited for: shared by the stages it is tried on."""

from collections.abc import Callable
from typing import ClassVar

from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_operator.transfers.job import JobExecutor
from tests.support.eventually import eventually_async


class WatchedJobs:
    """A stage's executor; subclasses set `executor`, and how long its tasks may take."""

    patience_seconds: ClassVar[float]
    executor: JobExecutor

    async def until(self, key: str, is_so: Callable[[TransferRecord], bool]) -> TransferRecord:
        """Wait until something is so of a task's record."""

        async def check() -> TransferRecord:
            record = self.executor.record(key)
            assert record is not None
            assert is_so(record), record
            return record

        return await eventually_async(check, within=self.patience_seconds)

    async def ended(self, key: str) -> TransferRecord:
        """Wait until a task runs no more."""
        return await self.until(key, lambda record: record.state is not TransferState.RUNNING)
