"""What became of a task so far, as a value; the executors make it, the planner reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dtool_operator.planning.task import DatasetFacts, ErrorLine, ProgressLine, Task

#: Told of S3 requests that were answered: bucket key, operation, "ok" or an error's reason, how many.
RequestObserver = Callable[[str, str, str, int], None]


class TransferState(StrEnum):
    """Where a task is."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """A task and what became of it so far; `attempts` counts starts of this fingerprint."""

    task: Task
    state: TransferState
    attempts: int
    started_at: datetime
    progress: ProgressLine | None = None
    progress_at: datetime | None = None
    finished_at: datetime | None = None
    facts: DatasetFacts | None = None
    error: ErrorLine | None = None
