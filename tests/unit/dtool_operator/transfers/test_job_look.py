"""What a look at a Job keeps of Pods that anybody made in its name."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from dtool_operator.planning.job_state import JobState, PodState, Words
from dtool_operator.planning.task import (
    ErrorLine,
    JobPlace,
    KeysFrom,
    RequestCount,
    RequestsLine,
    ResultLine,
    Side,
    Task,
    TaskKind,
)
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.job_look import JobLook
from dtool_operator.transfers.ledger import Ledger

JOB = JobRef("alice", "dtool-upload-1", "job-uid")
PLACE = JobPlace(namespace="alice", keys=KeysFrom.SIGNING)
TASK = Task(
    kind=TaskKind.UPLOAD,
    key="k",
    namespace="alice",
    fingerprint="f",
    uuid="u",
    job=PLACE,
    bucket_key="dtool-system/lab",
)
RUNS = JobState(JOB, "1")
FAILED = JobState(JOB, "1", failure=Words("BackoffLimitExceeded"))


class Logs:
    """A JobsApi with Pods and their logs; counts what is read."""

    def __init__(self) -> None:
        self.pods: Sequence[PodState] = ()
        self.logs: Mapping[str, str] = {}
        self.read: list[str] = []

    async def list_pods(self, job: JobRef) -> tuple[PodState, ...]:
        assert job == JOB
        return tuple(self.pods)

    async def list_warnings(self, namespace: str, uid: str) -> tuple[Words, ...]:  # noqa: ARG002
        return ()

    async def read_log(self, namespace: str, pod: str, *, lines: int, max_bytes: int) -> str:  # noqa: ARG002
        self.read.append(pod)
        return self.logs.get(pod, "")


def pod(number: int, *, phase: str = "Failed", index: int = 0) -> PodState:
    name = f"pod-{number:05d}"
    return PodState(name, f"uid-{number}", f"2026-11-01T12:00:{number:05d}Z", phase, index=index)


@pytest.fixture
def api() -> Logs:
    return Logs()


@pytest.fixture
async def look(api: Logs) -> JobLook:
    ledger = Ledger(lambda _key: None, lambda: datetime.now(UTC))
    ledger.begin(TASK, job=JOB)
    return JobLook(api, ledger, TASK, None)  # type: ignore[arg-type]


async def test_pods_of_an_index_that_the_job_has_not_are_not_read(api: Logs, look: JobLook) -> None:
    api.pods = [pod(number, index=number) for number in range(1000)]

    await look.observe(RUNS, is_released=True)

    assert api.read == ["pod-00000"]


async def test_pods_that_come_and_go_are_not_remembered(api: Logs, look: JobLook) -> None:
    counts = tuple(RequestCount(side=Side.TARGET, operation="put", result="ok", count=1) for _ in range(50))
    api.logs = {
        pod(number).name: RequestsLine(counts=counts).model_dump_json() + "\n" for number in range(30)
    }
    for number in range(30):
        api.pods = [pod(number)]
        await look.observe(RUNS, is_released=True)

    kept = [said.claims for said in look._claims.values()]
    assert len(kept) == 1
    assert kept[0].requests == ()
    await look.observe(RUNS, is_released=True)
    assert len(api.read) == 30, "a Pod that ended is read once"


async def test_what_a_pod_said_counts_after_it_is_gone(api: Logs, look: JobLook) -> None:
    line = ErrorLine(reason="VolumeFull", message="no room", retryable=True)
    api.pods, api.logs = [pod(1)], {pod(1).name: f"{line.model_dump_json()}\n"}
    await look.observe(RUNS, is_released=True)
    api.pods = []

    assert await look.observe(FAILED, is_released=True) == line


async def test_what_an_earlier_pod_said_is_not_the_word_of_the_one_that_came_after_it(
    api: Logs, look: JobLook
) -> None:
    api.pods = [pod(1)]
    api.logs = {pod(1).name: json.dumps({"type": "error", "reason": "X", "message": "", "retryable": True})}
    await look.observe(RUNS, is_released=True)
    api.pods = [pod(1), pod(2)]

    outcome = await look.observe(FAILED, is_released=True)

    assert isinstance(outcome, ErrorLine)
    assert outcome.reason == "TransferFailed"
    assert not isinstance(outcome, ResultLine)
