"""Fixtures of a cluster with a real node, and of the chart on it; naming them here starts nothing.

`DTOOL_E2E_ON_CLUSTER=1` plays the stories of tests/e2e with the operator in its Pod, under the chart's roles.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import pytest

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore
    from tests.support.chart_release import ChartRelease
    from tests.support.real_cluster import RealCluster

ON_CLUSTER = bool(os.environ.get("DTOOL_E2E_ON_CLUSTER"))
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find, fetch or build what the cluster needs before the first test; else end with a clear line."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly or not wanted & {"cluster", "cluster_programs"}:
        return
    from sandbox.binaries import find_binaries
    from sandbox.cluster.cluster import find_cluster_programs
    from sandbox.errors import SandboxError
    from sandbox.helm import find_helm
    from sandbox.operator_image.build import ensure_image
    from sandbox.say import say_at_once
    from tests.support.real_cluster import named_context, named_image

    capture = session.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            if named_context() is None:
                find_cluster_programs(say_at_once)
                find_binaries(say_at_once)
            find_helm(say_at_once)
            if "operator_image" in wanted and named_image() is None:
                ensure_image(say_at_once)
        except SandboxError as error:
            pytest.exit(f"{type(error).__name__}: {error}", returncode=1)


@pytest.fixture(scope="session")
def cluster_programs() -> None:
    """The sandbox's cluster can be started: see pytest_collection_finish."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A cluster shared by the session's tests: keep to your own namespaces."""
    from sandbox.cluster.cluster import running_cluster
    from tests.support.real_cluster import named_context, open_named_cluster

    directory = tmp_path_factory.mktemp("cluster")
    context = named_context()
    if context is not None:
        yield open_named_cluster(context, directory)
        return
    with running_cluster(directory / "cluster") as cluster:
        yield cluster
    for folder in ("control-plane/etcd", "node/containerd", "node/volumes"):  # the logs stay
        shutil.rmtree(directory / "cluster" / folder, ignore_errors=True)


@pytest.fixture(scope="session")
def operator_image(cluster: RealCluster) -> str:
    """The operator's image, which the nodes have."""
    from sandbox.operator_image.build import IMAGE, ensure_image
    from tests.support.real_cluster import named_image

    named = named_image()
    if named is not None:
        return named
    names = cluster.load_image(ensure_image())
    assert not names or IMAGE in names, names
    return IMAGE


@pytest.fixture(scope="session")
def make_release(cluster: RealCluster, operator_image: str) -> Callable[..., ChartRelease]:
    """A function that prepares a release, not installed yet, in a namespace that enforces `restricted`.

    It is given the endpoints that the operator may use; whoever asks for it calls its `clear` at the end.
    """
    from tests.support.chart import NAMESPACE
    from tests.support.chart_release import ChartRelease, build_values

    def make(*endpoints: str) -> ChartRelease:
        metadata = {"name": NAMESPACE, "labels": RESTRICTED}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        cluster.kubectl("apply", "--filename=-", stdin=json.dumps(namespace))
        return ChartRelease(cluster, build_values(cluster, operator_image, *endpoints))

    return make


class RunningOperator(Protocol):
    """The operator of the session, wherever it runs: killed and started again by tests."""

    def start(self) -> None:
        """Start it, if it is not running, and wait until it is ready."""
        ...

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        ...

    def stop(self) -> None:
        """End it in an orderly way."""
        ...

    def log(self) -> str:
        """Return what it logged."""
        ...

    def metrics(self) -> str:
        """Return its metrics as Prometheus reads them."""
        ...


@dataclass
class OperatorInPod:
    """The operator of a release, for the stories of tests/e2e: killed and started again by tests."""

    release: ChartRelease
    control_plane: ControlPlane
    object_store: ObjectStore
    is_installed: bool = False

    def start(self) -> None:
        """Install it, or start it again, and wait until it works."""
        if not self.is_installed:
            self.release.install()
            self.is_installed = True
        self.release.scale(1)

    def kill(self) -> None:
        """End it, as `ChartRelease.kill` does; another one is started at once."""
        self.release.kill()

    def stop(self) -> None:
        """End it in an orderly way."""
        self.release.scale(0)

    def log(self) -> str:
        """Return what it logged."""
        return self.release.log()

    def metrics(self) -> str:
        """Return its metrics as Prometheus reads them."""
        return self.release.metrics()


def open_operator_in_pod(
    cluster: RealCluster, object_store: ObjectStore, release: ChartRelease
) -> OperatorInPod:
    """Let the stories' people use a cluster as they use the sandbox's control plane."""
    # of it they use what every cluster has: kubectl
    control_plane = getattr(cluster, "control_plane", cluster)
    return OperatorInPod(release, cast("ControlPlane", control_plane), object_store)
