"""A cluster's Jobs inside this process: they outlive the operator that made them, as Jobs do.

Their Pods run on the stores and the directories that the test gives.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dtool_operator.errors import OperatorError
from dtool_operator.planning.manifests import build_job_name
from dtool_operator.planning.task import ErrorLine, ProgressLine, ResultLine, Task, WorkerLine
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.task_run import StoreOpener, run_task
from dtool_operator.transfers.telling import build_internal_error


@dataclass(slots=True)
class InlineJob:
    """A Job: suspended until `run`; `changed` is told of everything."""

    ref: JobRef
    task: Task
    run: asyncio.Task[None] | None = None
    progress: ProgressLine | None = None
    end: ResultLine | ErrorLine | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class InlineJobs:
    """Jobs by uid. `on_moment` is told of what becomes of each: created, released, ended, removed.

    `volumes`: directories by the name of their claim.
    """

    def __init__(self, open_store: StoreOpener, volumes: Mapping[str, Path]) -> None:
        self._open_store = open_store
        self._volumes = volumes
        self._count = 0
        self.by_uid: dict[str, InlineJob] = {}
        self.history: list[tuple[str, str]] = []
        """What became of them: kind of the task, moment."""
        self.refusals: list[OperatorError] = []
        """What the API server says to the next requests to let a Job begin, or to remove one."""
        self.on_moment: Callable[[str, str], None] = lambda *_: None

    def create(self, task: Task) -> InlineJob:
        """Make a Job, suspended; one of the same name that nobody recorded is replaced."""
        assert task.job is not None
        name = build_job_name(task)
        for job in [one for one in self.by_uid.values() if one.ref.name == name]:
            self.remove(job.ref)
        self._count += 1
        job = InlineJob(JobRef(task.job.namespace, name, f"job-{self._count}"), task)
        self.by_uid[job.ref.uid] = job
        self._tell(job, "created")
        return job

    def release(self, job: InlineJob) -> None:
        """Let it begin; it may have. Raises OperatorError."""
        self._refuse()
        if job.run is not None:
            return
        job.run = asyncio.create_task(self._work(job))
        self._tell(job, "released")

    def remove(self, ref: JobRef) -> asyncio.Task[None] | None:
        """Delete a Job; return its Pods, if they still run. Gone already is fine. Raises OperatorError."""
        self._refuse()
        job = self.by_uid.pop(ref.uid, None)
        if job is None:
            return None
        self._tell(job, "removed")
        job.changed.set()
        if job.run is not None:
            job.run.cancel()
        return job.run

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    async def _work(self, job: InlineJob) -> None:
        task = job.task
        if task.volume is not None:
            directory = str(self._volumes[task.volume.claim])
            volume = task.volume.model_copy(update={"directory": directory})
            task = task.model_copy(update={"volume": volume})

        def emit(line: WorkerLine) -> None:
            match line:
                case ProgressLine():
                    job.progress = line
                case ResultLine() | ErrorLine():
                    job.end = line
                case _:
                    raise AssertionError("a task itself counts no requests")

        try:
            for shard in range(1 if task.job is None else task.job.shards):
                await run_task(task, self._open_store, emit, shard=shard)
        except Exception as error:  # noqa: BLE001 - whatever it is, the Pod has failed
            job.end = build_internal_error(error)
        self._tell(job, "ended")
        job.changed.set()

    def _tell(self, job: InlineJob, moment: str) -> None:
        kind = job.task.kind.value
        self.history.append((kind, moment))
        self.on_moment(kind, moment)
