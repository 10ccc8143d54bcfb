"""Looks at one Job: what its Pods say becomes progress, trouble and, once it ended, an outcome.

Reads only. A Job's logs are claims, see `job_output`.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dtool_operator.errors import OperatorError
from dtool_operator.planning.job_state import JobState, PodState, find_newest
from dtool_operator.planning.job_trouble import explain_failure, find_trouble, is_worth_asking
from dtool_operator.planning.task import KINDS_WITHOUT_FACTS, ErrorLine, ResultLine, Side, Task
from dtool_operator.planning.transfer import RequestObserver
from dtool_operator.transfers.executor import UNKNOWN_BUCKET
from dtool_operator.transfers.job_api import JobsApi
from dtool_operator.transfers.job_output import (
    END_BYTES,
    END_LINES,
    PROGRESS_BYTES,
    PROGRESS_LINES,
    Claims,
    add_progress,
    read_claims,
)
from dtool_operator.transfers.ledger import Ledger, build_failure

_LOGS_AT_ONCE: Final = 4
#: How often the log of a Pod that ended is asked for before its outcome is told without it.
_LOG_ATTEMPTS: Final = 5

Outcome = ResultLine | ErrorLine


@dataclass(frozen=True, slots=True)
class _Said:
    """What the Pod of a uid said; `is_whole`: it has ended, and said no more."""

    uid: str
    claims: Claims
    is_whole: bool = False


class JobLook:
    """What has been seen of one Job so far.

    `on_requests` is told what its workers say of their S3 requests; None: nobody believes them.
    """

    def __init__(self, api: JobsApi, ledger: Ledger, task: Task, on_requests: RequestObserver | None) -> None:
        self._api = api
        self._ledger = ledger
        self._task = task
        self._on_requests = on_requests
        self._claims: dict[int, _Said] = {}
        """By index, what its newest Pod said: Pods may come and go without end, or be gone by now."""
        self._log_failures = 0
        self._logs = asyncio.Semaphore(_LOGS_AT_ONCE)

    async def observe(self, job: JobState, *, is_released: bool) -> Outcome | None:
        """Look once; return what became of the task once its Job has ended. Raises OperatorError."""
        if not is_released and not job.is_finished:
            return None
        # anybody may make Pods that name our Job as their owner; of other indices than it has none is its
        shards = 1 if self._task.job is None else self._task.job.shards
        pods = [pod for pod in await self._api.list_pods(job.ref) if pod.index < shards]
        newest = find_newest(pods)
        await asyncio.gather(*(self._read(job, pod) for pod in newest.values()))
        if job.is_finished:
            return self._conclude(job, pods)
        self._note_progress(newest)
        self._ledger.note_trouble(self._task.key, await self._find_trouble(job, pods))
        return None

    async def _read(self, job: JobState, pod: PodState) -> None:
        """Read what a Pod has said since the last look; of one that ended once, and more."""
        said = self._find_said(pod)
        if pod.phase == "Pending" or (said is not None and said.is_whole):
            return
        lines, max_bytes = (END_LINES, END_BYTES) if pod.is_ended else (PROGRESS_LINES, PROGRESS_BYTES)
        try:
            async with self._logs:
                log = await self._api.read_log(job.ref.namespace, pod.name, lines=lines, max_bytes=max_bytes)
        except OperatorError:
            self._log_failures += 1
            if job.is_finished and self._log_failures < _LOG_ATTEMPTS:
                raise
            return
        claims = read_claims(log)
        before = Claims() if said is None else said.claims
        kept = Claims(claims.progress or before.progress, claims.outcome)
        self._claims[pod.index] = _Said(pod.uid, kept, is_whole=pod.is_ended)
        if pod.is_ended:
            self._tell_requests(claims)

    def _find_said(self, pod: PodState) -> _Said | None:
        said = self._claims.get(pod.index)
        return said if said is not None and said.uid == pod.uid else None

    def _list_claims(self, newest: Iterable[PodState]) -> list[Claims]:
        return [said.claims for pod in newest if (said := self._find_said(pod)) is not None]

    def _note_progress(self, newest: Mapping[int, PodState]) -> None:
        said = (claims.progress for claims in self._list_claims(newest.values()))
        progress = add_progress(line for line in said if line is not None)
        record = self._ledger.record(self._task.key)
        if progress is not None and record is not None and record.progress != progress:
            self._ledger.note_progress(self._task.key, progress)

    async def _find_trouble(self, job: JobState, pods: Sequence[PodState]) -> ErrorLine | None:
        namespace = job.ref.namespace
        of_job = () if pods else await self._api.list_warnings(namespace, job.ref.uid)
        silent = next((pod for pod in find_newest(pods).values() if is_worth_asking(pod)), None)
        of_pod = () if silent is None else await self._api.list_warnings(namespace, silent.uid)
        return find_trouble(job, pods, of_job, of_pod)

    def _conclude(self, job: JobState, pods: Sequence[PodState]) -> Outcome:
        self._note_progress(find_newest(pods))
        newest = find_newest(pods).values()
        claims = self._list_claims(newest) if newest else [said.claims for said in self._claims.values()]
        said = [one.outcome for one in claims]  # Pods may be gone
        errors = [line for line in said if isinstance(line, ErrorLine)]
        if not job.is_complete:
            return min(errors, key=lambda line: line.retryable, default=explain_failure(job, pods))
        if self._task.kind in KINDS_WITHOUT_FACTS:
            return ResultLine()
        result = next((line for line in said if isinstance(line, ResultLine)), None)
        return result or build_failure("the Job is complete, but its worker's result is not to be had")

    def _tell_requests(self, claims: Claims) -> None:
        if self._on_requests is None:
            return
        task = self._task
        buckets = {Side.TARGET: task.bucket_key, Side.SOURCE: task.source_bucket_key or UNKNOWN_BUCKET}
        for line in claims.requests[-1:]:  # each has all of the Pod's up to then
            for one in line.counts:
                self._on_requests(buckets[one.side], one.operation, one.result, one.count)
