"""Where a watch on a real API server is dead (silent, stale, ended) /healthz is false or the process ends."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_operator.adapters.cluster import KubernetesCluster
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.handlers.app import OperatorProcess
from dtool_operator.handlers.informer import Login
from dtool_operator.settings import read_settings
from tests.integration.test_handlers import SPEC, TIMES, Recorder, get, wait_for, wait_for_body
from tests.support.api_proxy import Answer, ApiProxy, Asked, api_proxy
from tests.support.eventually import eventually, eventually_async
from tests.support.installation import OPERATOR_NAMESPACE, ROOT, SERVICE_ACCOUNT, install_operator
from tests.support.kopf_sessions import IGNORED, kopfs_sessions
from tests.support.replica import SCRIPT, Replica
from tests.support.service_account import write_service_account
from tests.support.stage import RealStage

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

__all__ = ["kopfs_sessions"]

pytestmark = IGNORED

PATIENCE = timedelta(seconds=2)


@pytest.fixture
def proxy(
    control_plane: "ControlPlane", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[ApiProxy]:
    """The API server, through a proxy that can harm watches, for this process."""
    kubeconfig = install_operator(control_plane)
    with api_proxy(control_plane) as proxy:
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig.read_text().replace(control_plane.server, proxy.url))
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield proxy


@pytest.fixture
async def stage(
    control_plane: "ControlPlane", make_namespace: Callable[..., str]
) -> AsyncIterator[RealStage]:
    """A namespace, in which a user works without the proxy."""
    cluster = KubernetesCluster(Connection(), operator_namespace=OPERATOR_NAMESPACE)
    yield RealStage(cluster, make_namespace(), control_plane)
    await cluster.close()


def build(recorder: Recorder) -> OperatorProcess:
    cluster = KubernetesCluster(Connection(), operator_namespace=OPERATOR_NAMESPACE)
    return OperatorProcess(read_settings(TIMES), cluster, recorder, watch_patience=PATIENCE)


async def end(process: OperatorProcess, running: asyncio.Task[None]) -> None:
    process.stop.set()
    async with asyncio.timeout(20):
        await running


async def test_a_watch_that_is_silent_or_tells_old_versions_makes_health_false_until_it_speaks(
    proxy: ApiProxy, stage: RealStage
) -> None:
    stage.create("before", SPEC)
    recorder = Recorder()
    process = build(recorder)
    running = asyncio.create_task(process.run())
    await wait_for(recorder, "synced")
    assert (await get(process, "/healthz"))[0] == 200

    proxy.refuses_watches = True
    proxy.cut_watches()
    stage.create("unheard", SPEC)
    stage.update_spec("before", {"suspend": True})  # what was told of it is old now

    async def is_ill() -> None:
        status, text = await get(process, "/healthz")
        assert status == 500
        assert text == "the watch did not tell of changes of 2 dtooldatasets"
        assert (await get(process, "/readyz"))[0] == 503

    await eventually_async(is_ill, within=30)
    proxy.refuses_watches = False

    async def is_well() -> None:
        assert (await get(process, "/healthz"))[0] == 200

    await eventually_async(is_well, within=30)
    await wait_for_body(recorder, "unheard", lambda body: bool(body["spec"]))
    await end(process, running)


def test_a_watch_that_has_ended_for_good_ends_the_process_and_its_workers(
    proxy: ApiProxy, tmp_path: Path
) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path / "work")]
    environment = {**os.environ, **TIMES, "PYTHONPATH": str(ROOT), "DTOOL_OPERATOR_IDENTITY": "it"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        replica = Replica(process, tmp_path / "work", 0)
        eventually(replica.assert_works, within=30)

        def refuse_watches(asked: Asked) -> Answer | None:
            return Answer(404, "NotFound") if asked.is_watch else None

        proxy.harm = refuse_watches
        proxy.cut_watches()

        _, log = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "injected" in log  # and the worker, which holds the other end of this pipe, has ended too


async def test_in_a_pod_the_token_is_read_from_files_and_a_new_one_when_the_old_one_is_refused(
    control_plane: "ControlPlane",
    monkeypatch: pytest.MonkeyPatch,
    make_namespace: Callable[..., str],
    tmp_path: Path,
) -> None:
    install_operator(control_plane)
    place = ("--namespace", OPERATOR_NAMESPACE)
    secret = ("secret", f"holder-{secrets.token_hex(4)}")
    control_plane.kubectl("create", "secret", "generic", secret[1], *place)
    bound = ("--bound-object-kind=Secret", f"--bound-object-name={secret[1]}")

    def create_token(*options: str) -> str:
        return control_plane.kubectl("create", "token", SERVICE_ACCOUNT, *place, *options).strip()

    ca, first = control_plane.ca_file.read_text(), create_token(*bound)
    for directory in (tmp_path / "pod", tmp_path / "old"):
        directory.mkdir()
        write_service_account(directory, token=first, ca=ca)
    host, _, port = control_plane.server.removeprefix("https://").partition(":")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    cluster = KubernetesCluster(
        Connection(service_account_dir=tmp_path / "pod"), operator_namespace=OPERATOR_NAMESPACE
    )
    recorder = Recorder()
    process = OperatorProcess(
        read_settings(TIMES),
        cluster,
        recorder,
        login=Login(timedelta(seconds=1), tmp_path / "pod"),
    )
    running = asyncio.create_task(process.run())
    await wait_for(recorder, "synced")

    write_service_account(tmp_path / "pod", token=create_token(), ca=ca)
    control_plane.kubectl("delete", *secret, *place)
    await eventually_async(lambda: assert_refused(tmp_path / "old"), within=40)
    stage = RealStage(cluster, make_namespace(), control_plane)
    stage.create("after", SPEC)

    await wait_for_body(recorder, "after", lambda body: bool(body["spec"]))
    assert await cluster.read_namespace_uid("kube-system")
    assert await get(process, "/healthz") == (200, "ok")
    await end(process, running)


async def assert_refused(service_account_dir: Path) -> None:
    """The API server remembers for some seconds that a token was good."""
    connection = Connection(service_account_dir=service_account_dir)
    refusal = None
    try:
        await connection.read("/api/v1/namespaces/kube-system")
    except Refused as refused:
        refusal = refused.status
    finally:
        await connection.close()
    assert refusal == 401
