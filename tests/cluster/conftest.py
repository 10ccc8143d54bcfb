"""One cluster with a real node for all tests of this folder; a namespace of its own for every test."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.cluster.node import Node
    from tests.support.real_cluster import RealCluster


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find, fetch or build what the cluster needs before the first test; else end with a clear line."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly or not wanted & {"cluster", "cluster_programs"}:
        return
    from sandbox.binaries import find_binaries
    from sandbox.cluster.cluster import find_cluster_programs
    from sandbox.errors import SandboxError
    from sandbox.helm import find_helm
    from sandbox.say import say_at_once
    from tests.support.real_cluster import named_context

    capture = session.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            if named_context() is None:
                find_cluster_programs(say_at_once)
                find_binaries(say_at_once)
            find_helm(say_at_once)
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


@pytest.fixture
def node(cluster: RealCluster) -> Node:
    """The node of the sandbox's cluster, for tests that reach behind the API server."""
    from sandbox.cluster.cluster import Cluster

    if not isinstance(cluster, Cluster):
        pytest.skip("the nodes of a named cluster are not ours to kill")
    return cluster.node


@pytest.fixture
def make_namespace(cluster: RealCluster) -> Iterator[Callable[..., str]]:
    """A function that makes a namespace, with labels given by keyword; it goes with the test."""
    made: list[str] = []

    def make(**labels: str) -> str:
        made.append(f"test-{secrets.token_hex(4)}")
        metadata = {"name": made[-1], "labels": labels}
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(manifest))
        # a pod is refused until the controllers have made the ServiceAccount it runs as
        account = ("serviceaccount/default", f"--namespace={made[-1]}")
        cluster.kubectl("wait", "--for=create", *account, "--timeout=30s")
        return made[-1]

    yield make
    if made:
        cluster.kubectl("delete", "namespace", *made, "--wait=false")
