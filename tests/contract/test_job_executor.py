"""What Jobs are held to, in memory and on a real API server with its real Job controller.

The test plays the kubelet: it says how each Pod is and what its log holds.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_operator.errors import OperatorError
from dtool_operator.planning.job_state import JobState
from dtool_operator.planning.manifests import WorkerSettings, build_job_name
from dtool_operator.planning.task import (
    DatasetFacts,
    ErrorLine,
    JobPlace,
    KeysFrom,
    Location,
    ProgressLine,
    RequestCount,
    RequestsLine,
    ResultLine,
    Side,
    SigningPlace,
    Task,
    TaskKind,
    VolumePlace,
    WorkerLine,
)
from dtool_operator.planning.transfer import JobRef, TransferState
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.job import JobExecutor
from dtool_operator.transfers.job_run import JobSettings
from dtool_operator.transfers.ledger import Ledger
from dtool_s3.errors import FrozenDataset
from dtool_s3.settings import Credentials, Secret
from tests.support.datasets import UUID
from tests.support.eventually import eventually_async
from tests.support.installation import OPERATOR_NAMESPACE, install_operator
from tests.support.job_stage import (
    EVICTED,
    OOM_KILLED,
    UNSCHEDULABLE,
    FakeJobs,
    JobStage,
    RealJobs,
    build_end,
    build_ended,
    build_running,
    build_waiting,
)
from tests.support.watched_jobs import WatchedJobs

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

PATIENCE_SECONDS = 30.0
LAB = Location(bucket="lab-data", prefix="u/alice/", endpoint="http://127.0.0.1:1", region="us-east-1")
FACTS = DatasetFacts(
    name="sample",
    creator_username="olssont",
    created_at=1.0,
    frozen_at=2.0,
    items=3,
    size_bytes=30,
    etag_md5=0,
    read=3,
    same_as_source=0,
    unproven=0,
)


class Signing:
    """The grants of a signing endpoint, as the executor gives and takes them."""

    def __init__(self) -> None:
        self.given: dict[str, JobRef] = {}
        self.refreshed: list[str] = []
        self.refusal: FrozenDataset | None = None
        self.asked = asyncio.Event()
        self.times_asked = 0
        self.hold: asyncio.Event | None = None

    async def give(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:  # noqa: ARG002
        self.asked.set()
        self.times_asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        self.given[task.key] = job

    def refresh(self, key: str, credentials: TaskCredentials) -> None:  # noqa: ARG002
        self.refreshed.append(key)

    async def withdraw(self, key: str) -> None:
        self.given.pop(key, None)


@dataclass
class Scene(WatchedJobs):
    """An executor of Jobs, and the stage on which they are played."""

    patience_seconds = PATIENCE_SECONDS

    stage: JobStage
    signing: Signing = field(default_factory=Signing)
    changes: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, str, int]] = field(default_factory=list)
    credentials: TaskCredentials = field(
        default_factory=lambda: TaskCredentials(Credentials("AKIA1", Secret("first")), version="1")
    )

    def __post_init__(self) -> None:
        self.settings = JobSettings(
            self.stage.operator_namespace,
            WorkerSettings("localhost/dtool-operator:1"),
            SigningPlace(url="https://127.0.0.1:8443", ca_pem="PEM", token_file=""),
            poll_seconds=0.1,
            gone_seconds=20,
        )
        self.executor = self.build_executor()

    def build_executor(self) -> JobExecutor:
        return JobExecutor(
            self.settings,
            ledger=Ledger(self.changes.append, lambda: datetime.now(UTC)),
            api=self.stage.api,
            secrets=self.stage.secrets,
            grants=self.signing,
            on_requests=lambda *told: self.requests.append(told),
        )

    def task(
        self, kind: TaskKind = TaskKind.DOWNLOAD, keys: KeysFrom = KeysFrom.SIGNING, **changes: Any
    ) -> Task:
        is_volume = keys is not KeysFrom.OPERATOR
        shards = changes.pop("shards", 1)
        namespace = self.stage.namespace if is_volume else self.stage.operator_namespace
        given: dict[str, Any] = {
            "kind": kind,
            "key": str(uuid.uuid4()),
            "namespace": self.stage.namespace,
            "fingerprint": "0123456789abcdef",
            "uuid": UUID,
            "target": LAB,
            "source": LAB,
            "volume": VolumePlace(claim="scratch", path="run/") if is_volume else None,
            "job": JobPlace(namespace=namespace, keys=keys, shards=shards),
            "bucket_key": "dtool-system/lab",
            "source_bucket_key": "dtool-system/lab",
        }
        return Task(**(given | changes))

    async def start(self, task: Task) -> JobRef:
        """Start a task and wait until its Job is told."""
        await self.executor.start(task, self.credentials)
        return await self.created(task.key)

    async def begin(self, task: Task) -> JobRef:
        """Start a task and let its Job begin."""
        job = await self.start(task)
        await self.executor.release(task.key)
        return job

    async def created(self, key: str) -> JobRef:
        async def check() -> JobRef:
            record = self.executor.record(key)
            assert record is not None
            assert record.error is None, record.error
            assert record.job is not None
            return record.job

        return await eventually_async(check, within=PATIENCE_SECONDS)

    async def gone(self, job: JobRef) -> None:
        async def check() -> None:
            assert await self.stage.get_job(job) is None

        await eventually_async(check, within=PATIENCE_SECONDS)

    async def finish(self, job: JobRef, *lines: WorkerLine, code: int = 0, index: int = 0) -> None:
        """Let a Pod write these lines and end."""
        self.stage.write_log(job, log(*lines), index=index)
        await self.stage.set_pod_status(job, build_end(code), index=index)


def log(*lines: WorkerLine) -> str:
    return "".join(f"{line.model_dump_json()}\n" for line in lines)


def progress(items: int) -> ProgressLine:
    return ProgressLine(phase="Copying", items=items, items_total=10, bytes=items * 10, bytes_total=100)


def failure(reason: str = "VolumeFull", *, retryable: bool = True) -> ErrorLine:
    return ErrorLine(reason=reason, message=f"{reason} it is", retryable=retryable)


@pytest.fixture(scope="module")
def kubeconfig(control_plane: "ControlPlane") -> Path:
    return install_operator(control_plane)


@pytest.fixture(params=["memory", "api server"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    if request.param == "memory":
        scene = Scene(FakeJobs())
        yield scene
        await scene.executor.close()
        return
    control_plane: ControlPlane = request.getfixturevalue("control_plane")
    kubeconfig: Path = request.getfixturevalue("kubeconfig")
    namespace: str = request.getfixturevalue("namespace")
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    stage = RealJobs(control_plane, kubeconfig, namespace=namespace, operator_namespace=OPERATOR_NAMESPACE)
    await stage.let_operator_run_jobs()
    scene = Scene(stage)
    yield scene
    await scene.executor.close()
    await stage.close()


async def test_a_job_is_told_before_it_begins(scene: Scene) -> None:
    task = scene.task()

    job = await scene.start(task)

    record = scene.executor.record(task.key)
    assert record is not None
    assert (record.state, record.is_released) == (TransferState.RUNNING, False)
    assert record.task == task
    assert (job.namespace, job.name) == (scene.stage.namespace, build_job_name(task))
    assert task.key in scene.changes
    body = await scene.stage.get_job(job)
    assert body is not None
    assert body["spec"]["suspend"] is True
    assert not await scene.stage.get_pods(job)
    assert not scene.signing.given


async def test_a_released_job_runs_tells_progress_and_succeeds(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    assert scene.signing.given == {task.key: job}
    scene.stage.write_log(job, "library noise\n" + log(progress(3)))
    await scene.stage.set_pod_status(job, build_running())
    running = await scene.until(task.key, lambda record: record.progress is not None)

    await scene.finish(job, progress(10), ResultLine(facts=FACTS))

    record = await scene.ended(task.key)
    assert running.is_released
    assert running.progress == progress(3)
    assert (record.state, record.facts, record.error) == (TransferState.SUCCEEDED, FACTS, None)
    assert record.progress == progress(10)
    assert not scene.signing.given
    assert not scene.executor.running()


async def test_releasing_again_or_nothing_is_fine(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)

    await scene.executor.release(task.key)
    await scene.executor.release("nobody")

    await scene.finish(job, ResultLine(facts=FACTS))
    assert (await scene.ended(task.key)).state is TransferState.SUCCEEDED


async def test_a_worker_that_says_why_it_failed_is_quoted(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)

    await scene.finish(job, failure(), code=1)

    record = await scene.ended(task.key)
    assert record.state is TransferState.FAILED
    assert record.error == failure()


async def test_a_worker_that_needed_too_much_memory_is_explained(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)

    await scene.stage.set_pod_status(job, build_ended(OOM_KILLED))

    record = await scene.ended(task.key)
    assert record.error is not None
    assert (record.error.reason, record.error.retryable) == ("OutOfMemory", True)


async def test_a_worker_that_ended_without_a_word_is_a_failed_transfer(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)

    await scene.stage.set_pod_status(job, build_end(143))

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "TransferFailed"
    assert "SIGTERM" in record.error.message


async def test_trouble_is_told_while_it_lasts_and_no_end(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    await scene.stage.set_pod_status(job, UNSCHEDULABLE)
    first = await scene.until(task.key, lambda record: record.trouble is not None)
    await scene.stage.set_pod_status(job, build_waiting("ImagePullBackOff", "no such image"))
    second = await scene.until(
        task.key, lambda record: record.trouble is not None and record.trouble.reason == "ImagePullFailed"
    )

    await scene.stage.set_pod_status(job, build_running())

    assert first.trouble is not None
    assert first.trouble.reason == "Unschedulable"
    assert "Insufficient memory" in first.trouble.message
    assert second.trouble is not None
    assert "no such image" in second.trouble.message
    well = await scene.until(task.key, lambda record: record.trouble is None)
    assert well.state is TransferState.RUNNING


async def test_a_quota_that_leaves_no_room_is_told(scene: Scene) -> None:
    await scene.stage.allow_no_pods()
    task = scene.task()

    await scene.begin(task)

    record = await scene.until(task.key, lambda record: record.trouble is not None)
    assert record.trouble is not None
    assert record.trouble.reason == "PodQuotaExceeded"
    assert record.state is TransferState.RUNNING


async def test_an_evicted_pod_is_told_and_replaced(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    await scene.stage.set_pod_status(job, build_running())

    await scene.stage.set_pod_status(job, EVICTED)

    async def replaced() -> None:
        assert len(await scene.stage.get_pods(job)) == 2

    await eventually_async(replaced, within=PATIENCE_SECONDS)
    await scene.finish(job, ResultLine(facts=FACTS))
    assert (await scene.ended(task.key)).state is TransferState.SUCCEEDED


async def test_a_job_deleted_by_hand_is_lost_and_can_be_begun_again(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    await scene.stage.set_pod_status(job, build_running())

    await scene.stage.delete_job(job)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobLost"
    again = await scene.begin(task)
    assert again.uid != job.uid
    started = scene.executor.record(task.key)
    assert started is not None
    assert started.attempts == 2


async def test_a_cancelled_job_and_its_pods_are_gone(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    await scene.stage.set_pod_status(job, build_running())

    await scene.executor.cancel(task.key)

    assert scene.executor.record(task.key) is None
    assert await scene.stage.get_job(job) is None
    assert not await scene.stage.get_pods(job)
    assert not scene.signing.given


async def test_a_job_is_cancelled_before_anybody_knows_of_it(scene: Scene) -> None:
    task = scene.task()
    await scene.executor.start(task, scene.credentials)

    await scene.executor.cancel(task.key)

    assert scene.executor.record(task.key) is None
    assert await scene.stage.api.find(scene.stage.namespace, build_job_name(task)) is None


async def test_a_job_that_was_made_and_whose_answer_is_on_its_way_is_cancelled() -> None:
    stage = _Unanswered()
    scene = Scene(stage)
    task = scene.task()
    await scene.executor.start(task, scene.credentials)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await stage.is_made.wait()

    await scene.executor.cancel(task.key)

    assert scene.executor.record(task.key) is None
    assert not stage.jobs
    await scene.executor.close()


class _Unanswered(FakeJobs):
    """Makes Jobs, and its answers do not arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.is_made = asyncio.Event()

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> JobState:
        await super().create(namespace, manifest)
        self.is_made.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_job_is_cancelled_at_the_moment_it_begins(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)  # its follower is woken by that, and has not run yet

    async with asyncio.timeout(20):
        await scene.executor.cancel(task.key)

    assert await scene.stage.get_job(job) is None


async def test_a_job_whose_end_cannot_be_seen_fails_once_it_is_gone_and_can_be_begun_again() -> None:
    stage = FakeJobs()
    scene = Scene(stage)
    scene.settings = replace(scene.settings, gone_seconds=0.2)
    scene.executor = scene.build_executor()
    task = scene.task()
    job = await scene.begin(task)
    await stage.take_rights_away()

    with pytest.raises(OperatorError):
        await scene.executor.cancel(task.key)

    # nobody cancels again: whoever asked for it has changed his mind
    record = await scene.until(task.key, lambda record: record.trouble is not None)
    assert (record.state, record.trouble and record.trouble.reason) == (
        TransferState.RUNNING,
        "JobsForbidden",
    )
    await scene.executor.release(task.key)
    assert not scene.signing.given, "what is being ended gets no permission"
    stage.is_forbidden = False
    record = await scene.ended(task.key)
    assert record.state is TransferState.FAILED
    assert await stage.get_job(job) is None
    again = await scene.begin(task)
    assert again.uid != job.uid
    await scene.executor.close()


async def test_a_permission_that_comes_after_the_end_is_taken_back(scene: Scene) -> None:
    task = scene.task()
    job = await scene.start(task)
    scene.signing.hold = asyncio.Event()
    releasing = asyncio.create_task(scene.executor.release(task.key))
    await asyncio.wait_for(scene.signing.asked.wait(), PATIENCE_SECONDS)

    await scene.stage.delete_job(job)  # while S3 is asked whether the dataset is open
    await scene.ended(task.key)
    scene.signing.hold.set()
    await releasing

    assert not scene.signing.given


async def test_cancelling_or_forgetting_what_does_not_run_is_fine(scene: Scene) -> None:
    await scene.executor.cancel("nobody")
    scene.executor.forget("nobody")
    await scene.executor.refresh_credentials("nobody", scene.credentials)


async def test_a_closed_executor_leaves_its_jobs_and_the_next_one_finds_them(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    await scene.stage.set_pod_status(job, build_running())
    await scene.executor.close()
    assert await scene.stage.get_job(job) is not None
    scene.executor = scene.build_executor()

    await scene.executor.adopt(task, job, scene.credentials)

    await scene.until(task.key, lambda record: record.is_released and record.job == job)

    async def granted() -> None:
        assert scene.signing.given == {task.key: job}

    await eventually_async(granted, within=5)
    await scene.finish(job, ResultLine(facts=FACTS))
    assert (await scene.ended(task.key)).facts == FACTS


async def test_an_adopted_job_gets_one_permission_however_many_would_give_it() -> None:
    stage = FakeJobs()
    scene = Scene(stage)
    task = scene.task()
    job = await scene.begin(task)
    await scene.executor.close()
    scene.executor, scene.signing.hold, scene.signing.times_asked = scene.build_executor(), asyncio.Event(), 0
    await scene.executor.adopt(task, job, scene.credentials)
    scene.signing.asked.clear()
    await asyncio.wait_for(scene.signing.asked.wait(), PATIENCE_SECONDS)

    releasing = asyncio.create_task(scene.executor.release(task.key))
    await asyncio.wait({releasing}, timeout=0.2)
    scene.signing.hold.set()
    await releasing

    assert scene.signing.given == {task.key: job}
    assert scene.signing.times_asked == 1, "a second one would refuse what the worker asks at that moment"


async def test_an_adopted_job_that_never_began_waits_for_its_release(scene: Scene) -> None:
    task = scene.task()
    job = await scene.start(task)
    await scene.executor.close()
    scene.executor = scene.build_executor()
    await scene.executor.adopt(task, job, scene.credentials)
    record = scene.executor.record(task.key)
    assert record is not None
    assert not record.is_released

    await scene.executor.release(task.key)

    await scene.finish(job, ResultLine(facts=FACTS))
    assert (await scene.ended(task.key)).state is TransferState.SUCCEEDED


async def test_a_job_of_another_uid_is_not_adopted_and_not_touched(scene: Scene) -> None:
    task = scene.task()
    job = await scene.start(task)
    await scene.executor.close()
    scene.executor = scene.build_executor()

    await scene.executor.adopt(task, JobRef(job.namespace, job.name, "another"), scene.credentials)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobLost"
    assert await scene.stage.get_job(job) is not None


async def test_a_job_of_other_work_is_not_adopted_but_deleted(scene: Scene) -> None:
    task = scene.task()
    job = await scene.start(task)
    await scene.executor.close()
    scene.executor = scene.build_executor()

    await scene.executor.adopt(task.model_copy(update={"fingerprint": "other"}), job, scene.credentials)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobLost"
    await scene.gone(job)


async def test_what_was_made_and_never_written_down_is_made_anew(scene: Scene) -> None:
    task = scene.task()
    lost = await scene.start(task)
    await scene.executor.close()
    scene.executor = scene.build_executor()

    job = await scene.start(task)

    assert job.name == lost.name
    assert job.uid != lost.uid


async def test_somebody_elses_job_of_the_same_name_is_left_alone(scene: Scene) -> None:
    task = scene.task()
    await scene.stage.put_job(scene.stage.namespace, build_job_name(task))

    await scene.executor.start(task, scene.credentials)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobRefused"
    assert build_job_name(task) in record.error.message
    await scene.executor.cancel(task.key)
    assert await scene.stage.api.find(scene.stage.namespace, build_job_name(task)) is not None


async def test_without_the_right_to_run_jobs_the_command_that_gives_it_is_told(scene: Scene) -> None:
    await scene.stage.take_rights_away()
    task = scene.task()

    await scene.executor.start(task, scene.credentials)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobsForbidden"
    assert record.error.message.endswith(
        "kubectl create rolebinding dtool-operator-job-runner --clusterrole=dtool-operator-job-runner "
        f"--serviceaccount=dtool-system:dtool-operator --namespace={scene.stage.namespace}"
    )


async def test_rights_that_are_taken_away_are_told_while_the_job_goes_on(scene: Scene) -> None:
    task = scene.task()
    await scene.begin(task)

    await scene.stage.take_rights_away()

    record = await scene.until(task.key, lambda record: record.trouble is not None)
    assert record.trouble is not None
    assert record.trouble.reason == "JobsForbidden"
    assert record.state is TransferState.RUNNING
    assert not scene.signing.given, "nothing is signed for what may not be looked at"


async def test_rights_that_are_given_again_let_the_endpoint_sign_again() -> None:
    stage = FakeJobs()
    scene = Scene(stage)
    task = scene.task()
    job = await scene.begin(task)
    await stage.take_rights_away()
    await scene.until(task.key, lambda record: record.trouble is not None)

    stage.is_forbidden = False

    await scene.until(task.key, lambda _: scene.signing.given == {task.key: job})
    await scene.until(task.key, lambda record: record.trouble is None)


async def test_keys_of_a_job_are_in_a_secret_that_changes_with_them_and_goes_with_it(scene: Scene) -> None:
    task = scene.task(TaskKind.VERIFY, KeysFrom.OPERATOR)
    job = await scene.start(task)
    first = await scene.stage.read_secret(job.name)

    renewed = TaskCredentials(Credentials("AKIA2", Secret("second")), version="2")
    await scene.executor.refresh_credentials(task.key, renewed)

    second = await scene.stage.read_secret(job.name)
    assert first is not None
    assert second is not None
    assert json.loads(first["target.json"])["accessKeyId"] == "AKIA1"
    assert json.loads(second["target.json"])["secretAccessKey"] == "second"
    record = scene.executor.record(task.key)
    assert record is not None
    assert record.task.credentials_version == "2"
    body = await scene.stage.get_job(job)
    assert "first" not in json.dumps(body)
    await scene.executor.cancel(task.key)

    async def no_secret() -> None:
        assert await scene.stage.read_secret(job.name) is None

    await eventually_async(no_secret, within=PATIENCE_SECONDS)


async def test_keys_are_removed_when_a_job_has_ended_and_the_job_when_it_is_forgotten(scene: Scene) -> None:
    task = scene.task(TaskKind.VERIFY, KeysFrom.OPERATOR)
    job = await scene.begin(task)
    earlier, counts = (
        RequestsLine(counts=(RequestCount(side=Side.TARGET, operation="get", result="ok", count=count),))
        for count in (2, 3)
    )
    await scene.finish(job, earlier, counts, ResultLine(facts=FACTS))
    await scene.ended(task.key)

    assert await scene.stage.read_secret(job.name) is None
    assert scene.requests == [("dtool-system/lab", "get", "ok", 3)]
    assert await scene.stage.get_job(job) is not None
    scene.executor.forget(task.key)

    assert scene.executor.record(task.key) is None
    await scene.gone(job)


async def test_what_pods_of_a_tenant_say_of_requests_is_not_counted(scene: Scene) -> None:
    task = scene.task()
    job = await scene.begin(task)
    counts = RequestsLine(counts=(RequestCount(side=Side.TARGET, operation="get", result="ok", count=3),))

    await scene.finish(job, counts, ResultLine(facts=FACTS))

    await scene.ended(task.key)
    assert not scene.requests


async def test_shards_add_up_and_all_must_succeed(scene: Scene) -> None:
    task = scene.task(TaskKind.COPY_ITEMS, KeysFrom.OPERATOR, shards=2)
    job = await scene.begin(task)
    for index in (0, 1):
        scene.stage.write_log(job, log(progress(index + 1)), index=index)
        await scene.stage.set_pod_status(job, build_running(), index=index)
    running = await scene.until(
        task.key, lambda record: record.progress is not None and record.progress.items == 3
    )
    await scene.finish(job, progress(10), ResultLine(), index=0)
    half = scene.executor.record(task.key)

    await scene.finish(job, progress(10), ResultLine(), index=1)

    assert running.progress is not None
    assert (running.progress.items_total, running.progress.bytes) == (20, 30)
    assert half is not None
    assert half.state is TransferState.RUNNING
    record = await scene.ended(task.key)
    assert record.state is TransferState.SUCCEEDED
    assert record.progress is not None
    assert record.progress.items == 20
    await scene.executor.cancel(task.key)


async def test_the_endpoint_that_may_not_sign_ends_the_task_before_it_begins(scene: Scene) -> None:
    scene.signing.refusal = FrozenDataset("it is frozen")
    task = scene.task()

    job = await scene.begin(task)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "FrozenDataset"
    assert not await scene.stage.get_pods(job)


async def test_keys_do_not_leave_the_operators_namespace(scene: Scene) -> None:
    task = scene.task()
    place = JobPlace(namespace=scene.stage.namespace, keys=KeysFrom.OPERATOR)

    await scene.executor.start(task.model_copy(update={"job": place}), scene.credentials)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobRefused"
    assert await scene.stage.api.find(scene.stage.namespace, build_job_name(task)) is None


async def test_jobs_of_objects_that_are_gone_are_swept(scene: Scene) -> None:
    kept = scene.task(TaskKind.VERIFY, KeysFrom.OPERATOR)
    gone = scene.task(TaskKind.VERIFY, KeysFrom.OPERATOR)
    kept_job, gone_job = await scene.start(kept), await scene.start(gone)
    await scene.executor.close()
    scene.executor = scene.build_executor()

    await scene.executor.sweep({kept.key})

    await scene.gone(gone_job)
    assert await scene.stage.get_job(kept_job) is not None
    await scene.executor.remove_job(kept_job)
    assert await scene.stage.get_job(kept_job) is None
    await scene.executor.remove_job(kept_job)


async def test_nothing_starts_after_closing_and_no_job_is_made_of_a_task_without_a_place(
    scene: Scene,
) -> None:
    task = scene.task()
    with pytest.raises(ValueError, match="no Job"):
        await scene.executor.start(task.model_copy(update={"job": None}), scene.credentials)

    await scene.executor.close()

    with pytest.raises(ValueError, match="closed"):
        await scene.executor.start(task, scene.credentials)
