"""What the reconciler asks of whoever runs transfers: a protocol and its values; no I/O here.

A record is memory only: losing it costs one more look at the target, never data. One record per dataset
object; the newest task replaces it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import JobRef, TransferRecord
from dtool_s3.settings import Credentials


@dataclass(frozen=True, slots=True)
class TaskCredentials:
    """Keys for the two sides of a task; None: the ambient chain. Their repr shows no secret.

    `version` is that of the Secrets they come from, for the record of a task that gets them while it runs.
    `target_ca`, `source_ca`: PEM text of the certificates to trust; None: the public ones.
    """

    target: Credentials | None
    source: Credentials | None = None
    version: str | None = None
    target_ca: str | None = None
    source_ca: str | None = None


#: The bucket key of requests to a source that no DtoolBucket is known for.
UNKNOWN_BUCKET = "unknown"

#: Told the key of a task whose record changed: progress (at most every second), Job, trouble, end.
OnChange = Callable[[str], None]


class Runner(Protocol):
    """Runs tasks of one sort. All methods are for one event loop."""

    def prepare(self) -> None:
        """Remove what an operator that was killed left on this machine. Raises OSError."""

    def record(self, key: str) -> TransferRecord | None:
        """Return the newest record of a dataset object; None if nothing was started or it was forgotten."""

    def running(self) -> tuple[Task, ...]:
        """Return the tasks that run."""

    async def start(self, task: Task, credentials: TaskCredentials) -> None:
        """Start a task; a running one with the same key must have been cancelled before.

        A Job is created suspended, in the background: the record names it (`on_change` is told) or says why
        there is none. It begins with `release`, once its uid is recorded.
        """

    async def cancel(self, key: str) -> None:
        """End a running task, wait until its worker is gone, forget its record; unknown keys are fine.

        Raises OperatorError where a Job's end could not be seen: the record stays, cancel again.
        """

    def forget(self, key: str) -> None:
        """Drop the record of a task that does not run; its Job is deleted in the background.

        Raises ValueError for a task that runs.
        """

    async def refresh_credentials(self, key: str, credentials: TaskCredentials) -> None:
        """Replace the keys of a running task atomically, if they differ; unknown keys are fine.

        The record's task has their version afterwards. A change between keys and the ambient chain, or
        of certificates (for a child process: between own and public ones), takes effect with the next start.
        Raises OSError or OperatorError.
        """

    async def close(self) -> None:
        """End all child processes, and remove what they left on this machine; Jobs go on without us."""


class Executor(Runner, Protocol):
    """Runs all tasks: those with a JobPlace as Jobs, the others as child processes."""

    async def adopt(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:
        """Follow a Job that an earlier operator started, of exactly this name and uid; then it has a record.

        One that is gone, another's, or of another task (its fingerprint is annotated) is a failed task with
        reason JobLost; what is left of it is deleted. One that is still suspended waits for `release`.
        Raises ValueError for a task that is no Job.
        """

    async def release(self, key: str) -> None:
        """Let the Job of a started task begin; unknown keys, and Jobs that have begun, are fine.

        Raises OperatorError. A store that keeps the signing endpoint from signing is a failed task.
        """

    async def remove_job(self, job: JobRef) -> None:
        """End a Job that no record is kept of, and wait until its Pods are gone; gone already is fine.

        Raises OperatorError: JobsForbidden, PodEvicted (the Pods do not go), ApiFailure.
        """

    async def sweep(self, known_keys: Collection[str]) -> None:
        """Delete Jobs in the operator's own namespace that are of none of these dataset objects.

        Those elsewhere go with their dataset object. Raises OperatorError.
        """
