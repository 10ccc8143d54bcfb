"""Jobs on a real node: what happens to them, what the executor says of it, and that it goes on."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dtool_operator.adapters.connection import Connection
from dtool_operator.adapters.job_secrets import JobSecrets
from dtool_operator.adapters.jobs import KubernetesJobs
from dtool_operator.adapters.own_secrets import KubernetesOwnSecrets
from dtool_operator.planning.manifests import WorkerSettings
from dtool_operator.planning.task import JobPlace, KeysFrom, PodChoices, Task, TaskKind, VolumePlace
from dtool_operator.planning.transfer import JobRef, TransferRecord, TransferState
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.job import JobExecutor
from dtool_operator.transfers.job_run import JobSettings
from dtool_operator.transfers.ledger import Ledger
from sandbox.cluster.node import Node
from tests.support.datasets import UUID
from tests.support.eventually import eventually_async
from tests.support.play_worker import IMAGE, write_play_worker
from tests.support.real_cluster import RealCluster
from tests.support.watched_jobs import WatchedJobs

PATIENCE_SECONDS = 120.0
NOTHING = TaskCredentials(None)


@dataclass
class Scene(WatchedJobs):
    """An executor on the cluster, and a namespace that enforces Pod Security `restricted`."""

    patience_seconds = PATIENCE_SECONDS

    cluster: RealCluster
    namespace: str
    connection: Connection

    def __post_init__(self) -> None:
        self.executor = self.build_executor()

    def build_executor(self, image: str = IMAGE) -> JobExecutor:
        secrets = KubernetesOwnSecrets(self.connection, namespace=self.namespace)
        return JobExecutor(
            JobSettings(self.namespace, WorkerSettings(image, "Never"), poll_seconds=0.5),
            ledger=Ledger(lambda _: None, lambda: datetime.now(UTC)),
            api=KubernetesJobs(self.connection, operator_namespace=self.namespace),
            secrets=JobSecrets(secrets),
        )

    def task(self, what: str, *, claim: str | None = None, pod: PodChoices | None = None) -> Task:
        return Task(
            kind=TaskKind.DOWNLOAD,
            key=str(uuid.uuid4()),
            namespace=self.namespace,
            fingerprint=what,
            uuid=UUID,
            volume=None if claim is None else VolumePlace(claim=claim),
            job=JobPlace(namespace=self.namespace, keys=KeysFrom.NONE, pod=pod or PodChoices()),
            bucket_key="dtool-system/lab",
        )

    async def begin(self, task: Task) -> JobRef:
        await self.executor.start(task, NOTHING)
        record = await self.until(task.key, lambda record: record.job is not None)
        await self.executor.release(task.key)
        assert record.job is not None
        return record.job

    async def in_trouble(self, key: str, reason: str) -> TransferRecord:
        return await self.until(
            key, lambda record: record.trouble is not None and record.trouble.reason == reason
        )

    async def running(self, key: str) -> None:
        await self.until(key, lambda record: record.progress is not None)

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        here = f"--namespace={self.namespace}"
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, here, stdin=stdin)

    async def pods(self, job: JobRef) -> list[dict[str, Any]]:
        selector = f"--selector=batch.kubernetes.io/controller-uid={job.uid}"
        found: list[dict[str, Any]] = json.loads(
            await self.kubectl("get", "pods", selector, "--output=json")
        )["items"]
        return found


@pytest.fixture(scope="module")
def play_worker(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The node has the image of the play's worker."""
    cluster.load_image(write_play_worker(tmp_path_factory.mktemp("play") / "image.tar"))


@pytest.fixture
async def scene(
    play_worker: None, cluster: RealCluster, make_namespace: Callable[..., str]
) -> AsyncIterator[Scene]:
    namespace = await asyncio.to_thread(
        make_namespace, **{"pod-security.kubernetes.io/enforce": "restricted"}
    )
    connection = Connection(environment={"KUBECONFIG": str(cluster.kubeconfig)})
    scene = Scene(cluster, namespace, connection)
    yield scene
    await scene.executor.close()
    await connection.close()


@pytest.fixture
def volume(scene: Scene) -> Path:
    """The folder of a claim named `scratch`."""
    folder = scene.cluster.provide_volume(scene.namespace, "scratch")
    if folder is None:
        pytest.skip("the volumes of a named cluster are not ours to look into")
    folder.chmod(0o777)
    return folder


async def test_a_job_gets_its_task_as_it_is_and_its_log_is_read(scene: Scene) -> None:
    task = scene.task("costs $(HOME) $$")

    await scene.begin(task)

    record = await scene.ended(task.key)
    assert record.error is None
    assert record.facts is not None
    assert record.facts.items == 3
    assert record.progress is not None
    assert record.progress.items_total == 3


async def test_a_job_writes_to_its_volume_and_not_to_its_root(scene: Scene, volume: Path) -> None:
    task = scene.task("volume", claim="scratch")

    await scene.begin(task)

    assert (await scene.ended(task.key)).error is None
    assert (volume / "mine").stat().st_uid == 65532


async def test_a_worker_that_needs_too_much_memory_is_explained(scene: Scene) -> None:
    limits = PodChoices(requests=(("memory", "16Mi"),), limits=(("memory", "32Mi"),))
    task = scene.task("memory", pod=limits)

    await scene.begin(task)

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "OutOfMemory"


async def test_an_image_that_is_nowhere_is_told(scene: Scene) -> None:
    scene.executor = scene.build_executor("localhost/no-such-worker:1")
    task = scene.task("volume")

    await scene.begin(task)

    await scene.in_trouble(task.key, "ImagePullFailed")


async def test_a_pod_that_no_node_takes_is_told_and_goes_on_when_one_does(scene: Scene, node: Node) -> None:
    label = f"test-{uuid.uuid4()}"
    task = scene.task("costs $(HOME) $$", pod=PodChoices(node_selector=((label, "yes"),)))
    await scene.begin(task)
    record = await scene.in_trouble(task.key, "Unschedulable")
    assert record.trouble is not None
    assert "node" in record.trouble.message

    await scene.kubectl("label", "nodes", "--all", f"{label}=yes")

    assert (await scene.ended(task.key)).error is None
    await scene.kubectl("label", "nodes", "--all", f"{label}-")


async def test_a_claim_that_is_missing_is_told_and_waited_for(scene: Scene) -> None:
    task = scene.task("volume", claim="scratch")
    await scene.begin(task)
    await scene.in_trouble(task.key, "VolumeNotFound")

    folder = await asyncio.to_thread(scene.cluster.provide_volume, scene.namespace, "scratch")

    if folder is not None:
        folder.chmod(0o777)
    assert (await scene.ended(task.key)).error is None


async def test_a_job_outlives_a_kubelet_that_is_killed(scene: Scene, node: Node, volume: Path) -> None:
    task = scene.task("wait", claim="scratch")
    job = await scene.begin(task)
    await scene.running(task.key)

    node.kill_kubelet()
    node.start_kubelet()  # of this thread, with which it would end
    (volume / "end").touch()

    record = await scene.ended(task.key)
    assert (record.state, record.attempts, record.job) == (TransferState.SUCCEEDED, 1, job)


async def test_a_job_deleted_by_hand_is_lost_and_begun_again(scene: Scene, volume: Path) -> None:
    task = scene.task("wait", claim="scratch")
    job = await scene.begin(task)
    await scene.running(task.key)

    await scene.kubectl("delete", "job", job.name, "--wait=false")

    record = await scene.ended(task.key)
    assert record.error is not None
    assert record.error.reason == "JobLost"
    (volume / "end").touch()
    await scene.begin(task)
    assert (await scene.ended(task.key)).state is TransferState.SUCCEEDED


async def test_an_evicted_pod_is_replaced_once_it_has_ended(scene: Scene, volume: Path) -> None:
    task = scene.task("wait", claim="scratch")
    job = await scene.begin(task)
    await scene.running(task.key)
    (pod,) = await scene.pods(job)
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}

    path = f"/api/v1/namespaces/{scene.namespace}/pods/{name}/eviction"
    await scene.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))

    await scene.in_trouble(task.key, "PodEvicted")

    async def replaced() -> None:
        assert any(one["metadata"]["name"] != name for one in await scene.pods(job))

    await eventually_async(replaced, within=PATIENCE_SECONDS)
    (volume / "end").touch()
    record = await scene.ended(task.key)
    assert (record.state, record.job) == (TransferState.SUCCEEDED, job)


async def test_no_pod_of_a_cancelled_job_runs_any_more(scene: Scene, volume: Path) -> None:
    task = scene.task("wait", claim="scratch")
    job = await scene.begin(task)
    await scene.running(task.key)

    await scene.executor.cancel(task.key)

    assert scene.executor.record(task.key) is None
    assert all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in await scene.pods(job))
