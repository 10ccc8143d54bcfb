"""The operator's process on a real API server, with a recorder in the operator's place."""

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import kopf
import pytest

from dtool_operator.adapters.cluster import NAMESPACES, Cluster, KubernetesCluster
from dtool_operator.adapters.connection import Connection
from dtool_operator.errors import ApiFailure
from dtool_operator.handlers import app
from dtool_operator.handlers.app import OperatorProcess
from dtool_operator.handlers.informer import Login
from dtool_operator.names import DATASET_PLURAL
from dtool_operator.settings import read_settings
from tests.support.eventually import eventually_async
from tests.support.installation import OPERATOR_NAMESPACE, install_operator
from tests.support.kopf_sessions import IGNORED, kopfs_sessions
from tests.support.stage import RealStage, build_ref

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

__all__ = ["kopfs_sessions"]

pytestmark = IGNORED

SPEC = {"bucketRef": {"name": "lab"}}
TIMES = {"DTOOL_OPERATOR_RESYNC_INTERVAL": "1s", "DTOOL_OPERATOR_HEALTH_PORT": "0"}


class Recorder:
    """An operator that only remembers: bodies by plural and name; the rest in order."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.deleted: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.synced_with: set[tuple[str, str]] = set()
        self.problem: str | None = None

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        self.bodies[plural, body["metadata"]["name"]] = body

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        self.deleted.append((plural, body["metadata"]["name"]))

    def watch_synced(self) -> None:
        self.calls.append("synced")
        self.synced_with = set(self.bodies)

    async def prepare(self) -> None:
        pass

    async def start(self) -> None:
        self.calls.append("started")

    async def stop(self) -> None:
        self.calls.append("stopped")

    def is_healthy(self) -> str | None:
        return self.problem


@pytest.fixture(scope="module")
def kubeconfig(control_plane: "ControlPlane") -> Path:
    return install_operator(control_plane)


@pytest.fixture
async def stage(
    kubeconfig: Path,
    control_plane: "ControlPlane",
    make_namespace: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[RealStage]:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    cluster = KubernetesCluster(Connection(), operator_namespace=OPERATOR_NAMESPACE)
    yield RealStage(cluster, make_namespace(), control_plane)
    await cluster.close()


def build(
    recorder: Recorder, *, cluster: Cluster | None = None, login: Login | None = None
) -> OperatorProcess:
    cluster = cluster or KubernetesCluster(Connection(), operator_namespace=OPERATOR_NAMESPACE)
    return OperatorProcess(read_settings(TIMES), cluster, recorder, login=login)


@asynccontextmanager
async def running(
    recorder: Recorder, *, cluster: Cluster | None = None, login: Login | None = None
) -> AsyncIterator[OperatorProcess]:
    """Run the process until the block is left, and wait for its end."""
    process = build(recorder, cluster=cluster, login=login)
    task = asyncio.create_task(process.run())
    try:
        yield process
    finally:
        process.stop.set()
        async with asyncio.timeout(20):
            await task


async def wait_for(recorder: Recorder, call: str) -> None:
    async def was_called() -> None:
        assert call in recorder.calls

    await eventually_async(was_called, within=20)


async def wait_for_body(recorder: Recorder, name: str, is_as_wanted: Callable[[Any], bool]) -> None:
    async def is_told() -> None:
        body = recorder.bodies.get((DATASET_PLURAL, name))
        assert body is not None
        assert is_as_wanted(body)

    await eventually_async(is_told, within=20)


async def wait_for_log(caplog: pytest.LogCaptureFixture, message: str) -> None:
    async def is_logged() -> None:
        assert message in caplog.messages

    await eventually_async(is_logged, within=20)


async def get(process: OperatorProcess, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{process.health.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, (await answer.text()).strip()


async def test_what_users_do_arrives(stage: RealStage) -> None:
    stage.create("before", SPEC)
    recorder = Recorder()

    async with running(recorder):
        await wait_for(recorder, "synced")
        assert {(DATASET_PLURAL, "before"), (NAMESPACES, stage.namespace)} <= recorder.synced_with
        stage.create("after", SPEC)
        await wait_for_body(recorder, "after", lambda body: body["metadata"]["generation"] == 1)
        stage.update_spec("before", {"suspend": True})
        await wait_for_body(recorder, "before", lambda body: body["spec"].get("suspend"))
        stage.delete("after")

        async def is_deleted() -> None:
            assert (DATASET_PLURAL, "after") in recorder.deleted

        await eventually_async(is_deleted, within=20)

    assert recorder.calls == ["started", "synced", "stopped"]


async def test_our_own_status_comes_back(stage: RealStage) -> None:
    ref = build_ref(stage.create("raw", SPEC))
    recorder = Recorder()

    async with running(recorder):
        await wait_for(recorder, "synced")
        written = await stage.cluster.apply_status(ref, {"state": "Pending"})
        await wait_for_body(recorder, "raw", lambda body: body.get("status", {}).get("state") == "Pending")

    assert recorder.bodies[DATASET_PLURAL, "raw"] == written


async def test_watching_writes_nothing_to_objects(stage: RealStage) -> None:
    before = stage.create("raw", SPEC)

    recorder = Recorder()
    async with running(recorder):
        await wait_for(recorder, "synced")

    assert stage.get("raw") == before


async def test_probes_tell_how_it_is(stage: RealStage) -> None:
    recorder = Recorder()

    async with running(recorder) as process:
        await wait_for(recorder, "synced")
        assert await get(process, "/healthz") == (200, "ok")
        assert await get(process, "/readyz") == (200, "ok")

        recorder.problem = "the queue stands still"

        assert await get(process, "/healthz") == (500, "the queue stands still")
        assert await get(process, "/readyz") == (503, "the queue stands still")


async def test_it_waits_for_the_crds_alive_but_not_ready(stage: RealStage) -> None:
    class NoKindsYet(KubernetesCluster):
        kinds_are_missing = True

        async def list_served_plurals(self) -> frozenset[str]:
            return frozenset() if self.kinds_are_missing else await super().list_served_plurals()

    cluster = NoKindsYet(Connection(), operator_namespace=OPERATOR_NAMESPACE)
    recorder = Recorder()

    async with running(recorder, cluster=cluster) as process:

        async def is_alive() -> None:
            assert process.health.port
            assert await get(process, "/healthz") == (200, "ok")
            status, text = await get(process, "/readyz")
            assert status == 503
            assert text.startswith("CRDs are missing: dtoolbuckets, dtooldatasets")

        await eventually_async(is_alive, within=20)
        assert recorder.calls == []
        cluster.kinds_are_missing = False
        await wait_for(recorder, "synced")


async def test_it_can_be_stopped_while_it_waits(stage: RealStage) -> None:
    class NoKinds(KubernetesCluster):
        async def list_served_plurals(self) -> frozenset[str]:
            return frozenset()

    recorder = Recorder()

    async with running(recorder, cluster=NoKinds(Connection(), operator_namespace=OPERATOR_NAMESPACE)):
        pass

    assert recorder.calls == []


async def test_a_signal_ends_it_in_order_and_soon(stage: RealStage) -> None:
    recorder = Recorder()
    running = asyncio.create_task(build(recorder).run())
    await wait_for(recorder, "synced")

    os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(app.STOP_PATIENCE.total_seconds() - 0.5):
        await running
    assert recorder.calls == ["started", "synced", "stopped"]


async def test_what_the_operator_began_is_left_to_it_to_end(stage: RealStage) -> None:
    class Worker(Recorder):
        work: asyncio.Task[bool] | None = None
        was_left_alone = False

        def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
            super().object_changed(plural, body)
            self.work = self.work or asyncio.create_task(asyncio.Event().wait())

        async def stop(self) -> None:
            assert self.work is not None
            self.was_left_alone = not self.work.done()
            self.work.cancel()

    worker = Worker()

    async with running(worker):
        await wait_for(worker, "synced")

    assert worker.was_left_alone


async def test_an_outage_of_the_api_server_and_a_login_that_ran_out_are_survived(
    stage: RealStage, control_plane: "ControlPlane", caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recorder = Recorder()

    async with running(recorder, login=Login(timedelta(seconds=1))) as process:
        await wait_for(recorder, "synced")
        await asyncio.to_thread(control_plane.stop_api_server)
        await wait_for_log(caplog, "watch_not_compared")
        control_plane.start_api_server()  # in this thread: the server dies with the thread that started it
        await wait_for_log(caplog, "Re-authentication has finished.")
        stage.create("after", SPEC)
        await wait_for_body(recorder, "after", lambda body: bool(body["spec"]))
        assert await get(process, "/healthz") == (200, "ok")


async def test_a_kopf_that_does_not_stop_holds_nothing_up(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As happens where its login is renewed at the moment of the stop."""
    recorder, ended_with = Recorder(), list[str]()

    async def hang(*, ready_flag: asyncio.Event, **_: Any) -> None:
        ready_flag.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended_with.extend(recorder.calls)

    monkeypatch.setattr(kopf, "operator", hang)
    monkeypatch.setattr(app, "STOP_PATIENCE", timedelta(seconds=0.2))

    async with running(recorder):
        await wait_for(recorder, "started")

    assert ended_with == ["started", "stopped"], "kopf would have cancelled what the operator still does"
    assert "kopf_does_not_stop" in caplog.text


async def test_a_port_that_is_taken_is_an_error(stage: RealStage) -> None:
    recorder = Recorder()

    async with running(recorder) as process:
        await wait_for(recorder, "synced")
        settings = read_settings({**TIMES, "DTOOL_OPERATOR_HEALTH_PORT": str(process.health.port)})
        cluster = KubernetesCluster(Connection(), operator_namespace=OPERATOR_NAMESPACE)

        with pytest.raises(OSError, match="address already in use"):
            await OperatorProcess(settings, cluster, Recorder()).run()


@pytest.fixture
def stale_kubeconfig(kubeconfig: Path, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig.read_text().replace("token: ", "token: stale"))
    return path


async def test_a_token_that_was_replaced_is_read_again(kubeconfig: Path, stale_kubeconfig: Path) -> None:
    connection = Connection(environment={"KUBECONFIG": str(stale_kubeconfig)})
    cluster = KubernetesCluster(connection, operator_namespace=OPERATOR_NAMESPACE)
    with pytest.raises(ApiFailure, match="401"):
        await cluster.list_metadata(DATASET_PLURAL)

    shutil.copy(kubeconfig, stale_kubeconfig)

    assert await cluster.read_namespace_uid("kube-system")
    await cluster.close()
