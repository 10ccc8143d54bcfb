"""What the executor of Jobs asks of the cluster and of the signing endpoint: protocols only, no I/O."""

from collections.abc import Mapping
from typing import Any, Protocol

from dtool_operator.planning.job_state import JobState, PodState, Words
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.executor import TaskCredentials


class JobsApi(Protocol):
    """Jobs at the API server.

    Every method raises OperatorError: JobsForbidden, JobRefused, PodQuotaExceeded, or ApiFailure.
    """

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> JobState:
        """Create a Job. Raises Conflict if the name is taken, Gone if the namespace goes.

        After an ApiFailure without an answer (status 0) it may exist.
        """

    async def find(self, namespace: str, name: str) -> JobState | None:
        """Return the Job of a name; None if there is none."""

    async def read(self, job: JobRef) -> JobState | None:
        """Return a Job; None if it is gone, or its name another's."""

    async def release(self, job: JobState) -> None:
        """Let a suspended Job begin. Raises Conflict if it changed since it was read, Gone if it is gone."""

    async def delete(self, job: JobRef) -> None:
        """Delete a Job, its Pods follow; gone already is fine."""

    async def list_managed(self, namespace: str) -> tuple[JobState, ...]:
        """List the Jobs of a namespace that carry the operator's labels: whoever may label makes more."""

    async def list_pods(self, job: JobRef) -> tuple[PodState, ...]:
        """List the Pods that the Job controls, oldest first."""

    async def list_warnings(self, namespace: str, uid: str) -> tuple[Words, ...]:
        """List what Events warn of an object, the newest last."""

    async def read_log(self, namespace: str, pod: str, *, lines: int, max_bytes: int) -> str:
        """Return the last lines of a worker's log; empty where there is none, or not yet."""


class Grants(Protocol):
    """Which Jobs the signing endpoint signs for."""

    async def give(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:
        """Sign for Pods of exactly this Job what its task needs; raises DtoolS3Error."""

    def refresh(self, key: str, credentials: TaskCredentials) -> None:
        """Sign with other keys from now on; unknown keys are fine."""

    async def withdraw(self, key: str) -> None:
        """Sign for the task of this key no more; unknown keys are fine."""
