"""One task's Job from its creation to its end: created suspended, told, let begin, followed.

The uid is told before the Job may begin; a Job that was never let begin has done nothing. Follows as long as
it is not cancelled, whatever the API server answers.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dtool_operator.api.reasons import Reason
from dtool_operator.errors import Conflict, Gone, OperatorError
from dtool_operator.planning.job_state import JobState
from dtool_operator.planning.job_trouble import build_lost
from dtool_operator.planning.manifests import JobInputs, WorkerSettings, build_job, build_job_name
from dtool_operator.planning.task import ErrorLine, KeysFrom, SigningPlace, Task
from dtool_operator.planning.transfer import JobRef, RequestObserver
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.job_api import Grants, JobsApi
from dtool_operator.transfers.job_keys import KeySecrets, put_keys, replace_keys
from dtool_operator.transfers.job_look import JobLook, Outcome
from dtool_operator.transfers.job_removal import find_unrecorded, is_of, remove_and_wait
from dtool_operator.transfers.ledger import Ledger
from dtool_s3.errors import DtoolS3Error

_ATTEMPTS: Final = 4
_LONGEST_PAUSE_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What Jobs need of the operator's settings.

    `worker` None: none is started, those that run are followed. `signing`: the endpoint's address and
    certificate; None: there is none. `gone_seconds`: how long a cancellation waits for Pods; one on a node
    that is gone may stay for ever.
    """

    operator_namespace: str
    worker: WorkerSettings | None
    signing: SigningPlace | None = None
    poll_seconds: float = 2.0
    gone_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class JobTools:
    """What all runs share. `polls` bounds how many look at the same time."""

    settings: JobSettings
    ledger: Ledger
    api: JobsApi
    secrets: KeySecrets
    grants: Grants | None
    on_requests: RequestObserver
    polls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))


class JobRun:
    """A task that runs as a Job; `ref` None: it is not made yet."""

    def __init__(
        self, tools: JobTools, task: Task, credentials: TaskCredentials, *, adopted: JobRef | None = None
    ) -> None:
        if task.job is None:
            raise ValueError(f"task {task.key} is no Job")
        self.task = task
        self.place = task.job
        self.ref = adopted
        self._tools = tools
        self._credentials = credentials
        self._is_adopted = adopted is not None
        self._granting = asyncio.Lock()
        self._is_granted = False
        self._is_over = False
        self._was_forbidden = False
        self._refusal: ErrorLine | None = None
        self._wake = asyncio.Event()
        is_own = self.place.namespace == tools.settings.operator_namespace
        self._look = JobLook(tools.api, tools.ledger, task, tools.on_requests if is_own else None)

    async def create(self, earlier: JobRef | None) -> ErrorLine | None:
        """Make the Job, once the earlier one is gone; return why there is none."""
        try:
            if earlier is not None:  # it may have the same name
                await self._remove(earlier)
            await self._create()
        except ValueError as error:
            return ErrorLine(reason=Reason.JOB_REFUSED, message=str(error), retryable=True)
        except OperatorError as error:
            return ErrorLine(reason=error.reason, message=error.message, retryable=error.retryable)
        return None

    async def follow(self, pause_seconds: Callable[[], float]) -> Outcome:
        """Look at the Job until it has ended. An API server that does not answer is waited for."""
        failures = 0
        try:
            while True:
                outcome, failures = await self._try_to_look(failures)
                if outcome is not None:
                    await self._clear_keys()
                    return outcome
                seconds = pause_seconds() * 2 ** min(failures, 8)
                await self._sleep(min(seconds, max(_LONGEST_PAUSE_SECONDS, pause_seconds())))
        finally:
            self._is_over = True
            await self._withdraw()

    async def release(self) -> None:
        """Let the Job begin. Raises OperatorError; what keeps the endpoint from signing ends the task."""
        if self.ref is None or self._is_over:
            return
        for _ in range(_ATTEMPTS):
            job = await self._tools.api.read(self.ref)
            if job is None or job.is_finished:
                break  # whoever follows it says so
            try:
                await self._grant()
                if self._is_over:  # it was seen to have ended while S3 was asked
                    await self._withdraw()
                    return
                if job.is_suspended:
                    await self._tools.api.release(job)
            except Conflict:
                continue
            except Gone:
                break
            except DtoolS3Error as error:
                self._refusal = _build_refusal(error)
                break
            if self._tools.ledger.record(self.task.key) is not None:
                self._tools.ledger.note_release(self.task.key)
            break
        else:
            raise Conflict(
                f"the Job {self.ref.namespace}/{self.ref.name} kept changing while it was released"
            )
        self._wake.set()

    async def refresh(self, credentials: TaskCredentials) -> None:
        """Give the Job other keys; a bucket's own Secret is replaced by its owner. Raises ApiFailure."""
        before, self._credentials = self._credentials, credentials
        is_same = (before.target, before.source) == (credentials.target, credentials.source)
        if self.place.keys is KeysFrom.OPERATOR and self.ref is not None and not is_same:
            await replace_keys(self._tools.secrets, self.ref, credentials)
        elif self.place.keys is KeysFrom.SIGNING and self._tools.grants is not None:
            self._tools.grants.refresh(self.task.key, credentials)

    async def _create(self) -> None:
        tools, task = self._tools, self.task
        manifest = self._build_manifest()
        for _ in range(_ATTEMPTS):
            try:
                job = (await tools.api.create(self.place.namespace, manifest)).ref
                break
            except Conflict:
                await self._remove_leftover()
        else:
            raise OperatorError(Reason.JOB_REFUSED, f"the name {build_job_name(task)} stays taken")
        self.ref = job
        if self.place.keys is KeysFrom.OPERATOR:
            await put_keys(tools.secrets, job, self._credentials)
        tools.ledger.note_job(task.key, job)

    def _build_manifest(self) -> dict[str, object]:
        settings = self._tools.settings
        if settings.worker is None:
            raise OperatorError(Reason.JOBS_DISABLED, "the operator is set to run no Jobs")
        has_signing = settings.signing is not None and self._tools.grants is not None
        if self.place.keys is KeysFrom.SIGNING and not has_signing:
            raise OperatorError(Reason.JOBS_DISABLED, "the operator has no signing endpoint")
        given = self._credentials
        inputs = JobInputs(
            target_ca=given.target_ca,
            source_ca=given.source_ca,
            has_target_keys=given.target is not None,
            has_source_keys=given.source is not None,
            signing=settings.signing,
        )
        return build_job(
            self.task,
            worker=settings.worker,
            inputs=inputs,
            operator_namespace=settings.operator_namespace,
        )

    async def _remove_leftover(self) -> None:
        """Delete the Job of this name that was made for this object and that nobody wrote down."""
        found = await find_unrecorded(self._tools.api, self.task)
        if found is None:
            return
        if not is_of(found, self.task):
            message = f"a Job {found.ref.name} that the operator did not make is in the way: delete it"
            raise OperatorError(Reason.JOB_REFUSED, message)
        await self._remove(found.ref)

    async def _remove(self, job: JobRef) -> None:
        await remove_and_wait(self._tools.api, job, within_seconds=self._tools.settings.gone_seconds)

    async def _try_to_look(self, failures: int) -> tuple[Outcome | None, int]:
        """Return the outcome, and how many looks have failed one after another."""
        try:
            async with self._tools.polls:
                return await self._look_once(), 0
        except OperatorError as error:
            if error.reason == Reason.JOBS_FORBIDDEN:
                # consent was taken back: nothing is signed for a Job that may not be looked at
                self._was_forbidden = True
                await self._withdraw()
                line = ErrorLine(reason=error.reason, message=error.message, retryable=True)
                self._tools.ledger.note_trouble(self.task.key, line)
            return None, failures + 1

    async def _look_once(self) -> Outcome | None:
        assert self.ref is not None
        if self._refusal is not None:
            return self._refusal
        job = await self._tools.api.read(self.ref)
        where = f"the Job {self.ref.namespace}/{self.ref.name}"
        if job is None:
            return build_lost(f"{where} is gone")
        if self._is_adopted and (job.fingerprint, job.key) != (self.task.fingerprint, self.task.key):
            if is_of(job, self.task):
                await self._tools.api.delete(self.ref)
            return build_lost(f"{where} was made for other work")
        if not job.is_finished and not job.is_suspended:
            await self._give_again(job)
        record = self._tools.ledger.record(self.task.key)
        assert record is not None
        return await self._look.observe(job, is_released=record.is_released)

    async def _give_again(self, job: JobState) -> None:
        """Give a running Job what an earlier operator gave it, or what was taken back for a while."""
        key, ledger = self.task.key, self._tools.ledger
        record = ledger.record(key)
        is_released = record is not None and record.is_released
        if self._is_adopted and record is not None and not is_released:
            if self.place.keys is KeysFrom.OPERATOR:
                await replace_keys(self._tools.secrets, job.ref, self._credentials)
            ledger.note_release(key)
        if not self._is_adopted and not (self._was_forbidden and is_released):
            return
        try:
            await self._grant()
        except DtoolS3Error as error:
            line = _build_refusal(error)
            ledger.note_trouble(key, line)
            self._refusal = None if error.retryable else line

    async def _grant(self) -> None:
        """Let the signing endpoint sign for the Job, where it has no keys. Raises DtoolS3Error.

        Once: a second permission in place of the first would refuse what the worker asks at that moment.
        """
        async with self._granting:
            if self._is_granted or self.ref is None:
                return
            if self.place.keys is KeysFrom.SIGNING and self._tools.grants is not None:
                await self._tools.grants.give(self.task, self.ref, self._credentials)
            self._is_granted = True

    async def _withdraw(self) -> None:
        self._is_granted = False
        if self._tools.grants is not None:
            await self._tools.grants.withdraw(self.task.key)

    async def _clear_keys(self) -> None:
        """Remove the keys of a Job that has ended; else they go with it."""
        if self.place.keys is not KeysFrom.OPERATOR or self.ref is None:
            return
        try:
            await self._tools.secrets.delete(self.ref.name)
        except OperatorError as error:
            _log.warning("job_keys_left", extra={"job": self.ref.name, "error": error.message})

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            # not wait_for: until Python 3.12 it loses a cancellation that comes with the wake
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _build_refusal(error: DtoolS3Error) -> ErrorLine:
    return ErrorLine(reason=error.reason, message=str(error), retryable=error.retryable)
