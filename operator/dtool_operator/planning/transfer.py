"""What became of a task so far, as a value; the executors make it, the planner reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dtool_operator.api.work_status import JobReference
from dtool_operator.planning.task import DatasetFacts, ErrorLine, ProgressLine, SourceFacts, Task

#: Told of S3 requests that were answered: bucket key, operation, "ok" or an error's reason, how many.
RequestObserver = Callable[[str, str, str, int], None]


class TransferState(StrEnum):
    """Where a task is."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class JobRef:
    """A Kubernetes Job; the uid tells it from an earlier or a later one of the same name."""

    namespace: str
    name: str
    uid: str


def read_job(known: JobReference) -> JobRef:
    """Return the Job that a status names."""
    return JobRef(known.namespace, known.name, known.uid)


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """A task and what became of it so far; `attempts` counts starts of this fingerprint.

    `job`: where it runs as a Job; until `is_released` it waits for its uid to be in the object's status.
    `trouble`: why a Job that is not given up does not get on, in the API's vocabulary (a Pod that cannot be
    scheduled, an image that cannot be pulled).
    """

    task: Task
    state: TransferState
    attempts: int
    started_at: datetime
    progress: ProgressLine | None = None
    progress_at: datetime | None = None
    finished_at: datetime | None = None
    facts: DatasetFacts | None = None
    error: ErrorLine | None = None
    source: SourceFacts | None = None
    job: JobRef | None = None
    is_released: bool = True
    trouble: ErrorLine | None = None
