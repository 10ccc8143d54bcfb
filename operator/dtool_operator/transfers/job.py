"""Runs tasks as Kubernetes Jobs, which outlive the operator and are found again.

Owns which runs there are, and which Jobs are left to be deleted. What a Pod says is progress, never evidence.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from dataclasses import replace
from typing import Any, Final

from dtool_operator.errors import OperatorError
from dtool_operator.planning.task import ErrorLine, SigningPlace, Task
from dtool_operator.planning.transfer import JobRef, RequestObserver, TransferRecord
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.job_api import Grants, JobsApi
from dtool_operator.transfers.job_keys import KeySecrets
from dtool_operator.transfers.job_look import Outcome
from dtool_operator.transfers.job_removal import find_unrecorded, is_of, remove_and_wait
from dtool_operator.transfers.job_run import JobRun, JobSettings, JobTools
from dtool_operator.transfers.ledger import Ledger, build_failure

#: Following Jobs stays below some thirty requests a second, however many Pods there are.
_SECONDS_PER_POD: Final = 0.1
_CLOSE_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class JobExecutor:
    """Implements `transfers.executor.Executor` for tasks with a JobPlace; its records are in `ledger`.

    `on_requests` counts the S3 requests of Jobs in the operator's own namespace. A Job that ended stays, for
    people to look at, until its task is forgotten, cancelled or begun again; then for a day at most.
    """

    def __init__(
        self,
        settings: JobSettings,
        *,
        ledger: Ledger,
        api: JobsApi,
        secrets: KeySecrets,
        grants: Grants | None = None,
        on_requests: RequestObserver = lambda *_: None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._api = api
        self._tools = JobTools(settings, ledger, api, secrets, grants, on_requests)
        self._runs: dict[str, tuple[JobRun, asyncio.Task[Outcome]]] = {}
        self._left: dict[str, JobRef] = {}
        """Jobs that nobody follows any more and that are still to be deleted, by key."""
        self._chores: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def reach_signing_at(self, place: SigningPlace) -> None:
        """Tell the Pods of Jobs that are made from now on where the signing endpoint is."""
        self._settings = replace(self._settings, signing=place)
        self._tools = replace(self._tools, settings=self._settings)

    def prepare(self) -> None:
        """See the protocol: nothing is left on this machine."""

    def record(self, key: str) -> TransferRecord | None:
        """See the protocol."""
        return self._ledger.record(key)

    def running(self) -> tuple[Task, ...]:
        """See the protocol."""
        return self._ledger.running()

    async def start(self, task: Task, credentials: TaskCredentials) -> None:
        """See the protocol. A Job that cannot be made is a failed task, not an exception."""
        run = self._build_run(task, credentials)
        self._ledger.begin(task, is_released=False)
        self._begin(run, self._create_and_follow(run))

    async def adopt(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:
        """See the protocol."""
        run = self._build_run(task, credentials, adopted=job)
        self._ledger.begin(task, job=job, is_released=False)
        self._begin(run, run.follow(self._choose_pause))

    async def release(self, key: str) -> None:
        """See the protocol."""
        if key in self._runs:
            await self._runs[key][0].release()

    async def cancel(self, key: str) -> None:
        """See the protocol. A Job whose end cannot be seen goes on being ended, and is a failed task then."""
        if key in self._runs:
            run, follower = self._runs[key]
            follower.cancel()
            await asyncio.wait({follower})
            try:
                await self._end(run, within_seconds=self._settings.gone_seconds)
            except OperatorError as error:
                if follower.cancelled():  # else its outcome is known
                    self._note_left(run, error)
                    self._begin(run, self._go_on_ending(run))
                raise
        elif (job := self._left.get(key)) is not None:
            await self.remove_job(job)
            self._drop_left(key, job)
        self._ledger.drop(key)

    async def _end(self, run: JobRun, *, within_seconds: float) -> None:
        """Delete the Job of a run that nobody follows any more. Raises OperatorError."""
        if run.ref is None:
            found = await find_unrecorded(self._api, run.task)  # made while it was cancelled
            run.ref = found.ref if found is not None and is_of(found, run.task) else None
        if run.ref is not None:
            self._left[run.task.key] = run.ref
            await remove_and_wait(self._api, run.ref, within_seconds=within_seconds)
            self._drop_left(run.task.key, run.ref)

    async def _go_on_ending(self, run: JobRun) -> Outcome:
        """Try until the Job and its Pods are gone: else its record would run for ever, with no follower."""
        while True:
            await asyncio.sleep(max(self._choose_pause(), self._settings.gone_seconds / 2))
            try:
                await self._end(run, within_seconds=0)
            except OperatorError as error:
                self._note_left(run, error)
            else:
                return build_failure("the work was ended before it was done")

    def _note_left(self, run: JobRun, error: OperatorError) -> None:
        trouble = ErrorLine(reason=error.reason, message=error.message, retryable=True)
        self._ledger.note_trouble(run.task.key, trouble)

    def _drop_left(self, key: str, job: JobRef) -> None:
        if self._left.get(key) == job:
            del self._left[key]

    def forget(self, key: str) -> None:
        """See the protocol."""
        self._ledger.forget(key)
        self.discard(key)

    def discard(self, key: str) -> None:
        """Delete in the background what is left of a task that ended; nothing left is fine."""
        if (job := self._left.pop(key, None)) is not None:
            self._do_in_background(self._api.delete(job))

    async def refresh_credentials(self, key: str, credentials: TaskCredentials) -> None:
        """See the protocol."""
        if key not in self._runs:
            return
        await self._runs[key][0].refresh(credentials)
        if credentials.version is not None and key in self._runs:
            self._ledger.note_credentials(key, credentials.version)

    async def remove_job(self, job: JobRef) -> None:
        """See the protocol. Its Secret goes with it."""
        await remove_and_wait(self._api, job, within_seconds=self._settings.gone_seconds)

    async def sweep(self, known_keys: Collection[str]) -> None:
        """See the protocol."""
        for job in await self._api.list_managed(self._settings.operator_namespace):
            if job.key is None or job.key in known_keys or job.key in self._runs or job.is_deleting:
                continue
            _log.info("job_swept", extra={"namespace": job.ref.namespace, "job": job.ref.name})
            await self._api.delete(job.ref)

    async def close(self) -> None:
        """See the protocol. Nothing can be started afterwards."""
        self._is_closed = True
        runs = dict(self._runs)
        for _, follower in runs.values():
            follower.cancel()
        if runs:
            await asyncio.wait({follower for _, follower in runs.values()})
        for key in runs:
            self._ledger.drop(key)
        if self._chores:
            await asyncio.wait(self._chores, timeout=_CLOSE_SECONDS)

    def _build_run(
        self, task: Task, credentials: TaskCredentials, *, adopted: JobRef | None = None
    ) -> JobRun:
        if self._is_closed:
            raise ValueError("the executor is closed")
        return JobRun(self._tools, task, credentials, adopted=adopted)

    def _begin(self, run: JobRun, work: Coroutine[Any, Any, Outcome]) -> None:
        follower = asyncio.create_task(work, name=f"job of {run.task.key}")
        self._runs[run.task.key] = run, follower
        follower.add_done_callback(lambda ended: self._settle(run, ended))

    async def _create_and_follow(self, run: JobRun) -> Outcome:
        key = run.task.key
        earlier = self._left.get(key)
        refusal = await run.create(earlier)
        if earlier is not None and refusal is None:
            self._drop_left(key, earlier)
        return refusal or await run.follow(self._choose_pause)

    def _choose_pause(self) -> float:
        """Return the seconds between two looks: longer where many Pods are followed."""
        pods = sum(run.place.shards for run, _ in self._runs.values())
        return max(self._settings.poll_seconds, pods * _SECONDS_PER_POD)

    def _settle(self, run: JobRun, follower: asyncio.Task[Outcome]) -> None:
        """Record the outcome of a task unless it was cancelled."""
        key = run.task.key
        self._runs.pop(key, None)
        if run.ref is not None:
            self._left[key] = run.ref
        if follower.cancelled():
            return
        problem = follower.exception()
        if problem is not None:
            _log.error("job_follower_crashed", extra={"task": key}, exc_info=problem)
        outcome = build_failure("the Job could not be followed") if problem else follower.result()
        if isinstance(outcome, ErrorLine):
            extra = {"task": key, "namespace": run.task.namespace, "reason": outcome.reason}
            _log.warning("job_failed", extra=extra)
        self._ledger.finish(key, outcome)

    def _do_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.create_task(work)
        self._chores.add(chore)

        def settle(chore: asyncio.Task[None]) -> None:
            self._chores.discard(chore)
            if not chore.cancelled() and (problem := chore.exception()) is not None:
                _log.warning("job_left", extra={"error": str(problem)})  # its time to live ends it

        chore.add_done_callback(settle)
