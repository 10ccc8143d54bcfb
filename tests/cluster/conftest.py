"""One cluster with a real node for all tests of this folder, see `tests.support.installed`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.cluster.node import Node
    from tests.support.real_cluster import RealCluster


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
