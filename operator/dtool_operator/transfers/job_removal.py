"""How Jobs are ended: deleted by uid, and waited for until no Pod of theirs runs."""

import asyncio
from typing import Final

from dtool_operator.api.reasons import Reason
from dtool_operator.errors import OperatorError
from dtool_operator.planning.job_state import JobState
from dtool_operator.planning.manifests import build_job_name
from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.job_api import JobsApi

_SECONDS_BETWEEN: Final = 0.5


async def remove_and_wait(api: JobsApi, job: JobRef, *, within_seconds: float) -> None:
    """Delete a Job and wait until it and its Pods are gone; gone already is fine.

    Raises OperatorError: PodEvicted where Pods stay, as on a node that is not heard of, else what the API
    server refuses. Safe to repeat.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_seconds
    await api.delete(job)
    while True:
        is_gone = await api.read(job) is None
        pods = await api.list_pods(job) if is_gone else ()
        if is_gone and all(pod.is_ended for pod in pods):
            return
        if loop.time() > deadline:
            names = ", ".join(pod.name for pod in pods[:3])
            what = f"Pods of its Job {job.name} ({names})" if pods else f"its Job {job.name}"
            message = f"the work was ended, but {what} in namespace {job.namespace} did not go yet"
            raise OperatorError(Reason.POD_EVICTED, message)
        await asyncio.sleep(_SECONDS_BETWEEN)


async def find_unrecorded(api: JobsApi, task: Task) -> JobState | None:
    """Return the Job that has the name of a task's; None: there is none."""
    assert task.job is not None
    return await api.find(task.job.namespace, build_job_name(task))


def is_of(job: JobState, task: Task) -> bool:
    """Tell whether the operator made this Job for the task's dataset object, as far as annotations say."""
    return job.is_managed and job.key == task.key
