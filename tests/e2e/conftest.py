"""The operator once a session, beside the sandbox or in its Pod; a lab of its own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.front import Front, running_front
from tests.support.installed import ON_CLUSTER, OperatorInPod, open_operator_in_pod
from tests.support.lab import Lab, OperatorProcess

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore
    from tests.support.chart_release import ChartRelease
    from tests.support.moto import MotoServer
    from tests.support.real_cluster import RealCluster


@dataclass(frozen=True, slots=True)
class TlsFront:
    """The S3 server behind https, with a certificate that only `ca_file` vouches for."""

    front: Front
    ca_file: Path


@pytest.fixture(scope="session")
def tls_front(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFront]:
    """A front with TLS before the S3 server; the operator may use it."""
    from sandbox.certificates import create_authority

    authority = create_authority(tmp_path_factory.mktemp("tls") / "pki")
    certificate = authority.issue_server("front", "127.0.0.1")
    with running_front(object_store.endpoint, certificate) as front:
        yield TlsFront(front, authority.certificate_file)


@pytest.fixture(scope="session")
def moto_front(moto_server: MotoServer) -> Iterator[Front]:
    """A front before another S3 server, which encrypts; the operator may use it."""
    with running_front(moto_server.url) as front:
        yield front


@pytest.fixture(scope="session")
def held_front(object_store: ObjectStore) -> Iterator[FaultProxy]:
    """A front before the S3 server that holds requests back when told to; the operator may use it."""
    with fault_proxy(object_store.endpoint) as front:
        yield front


@pytest.fixture(scope="session")
def operator_beside(
    control_plane: ControlPlane,
    object_store: ObjectStore,
    tls_front: TlsFront,
    moto_front: Front,
    held_front: FaultProxy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProcess]:
    """The operator, as its ServiceAccount, under the RBAC rules of the chart."""
    process = OperatorProcess(
        tmp_path_factory.mktemp("operator"),
        control_plane,
        object_store,
        settings={
            "DTOOL_OPERATOR_FREEZE_QUIET_PERIOD": "1s",
            "DTOOL_OPERATOR_ALLOWED_HTTP_HOSTS": object_store.endpoint.removeprefix("http://"),
        },
        more_endpoints=(tls_front.front.url, moto_front.url, held_front.url),
    )
    yield process
    process.stop()


@pytest.fixture(scope="session")
def operator_in_pod(
    cluster: RealCluster,
    make_release: Callable[..., ChartRelease],
    object_store: ObjectStore,
    tls_front: TlsFront,
    moto_front: Front,
    held_front: FaultProxy,
) -> Iterator[OperatorInPod]:
    """The operator in its Pod, under the roles of the chart."""
    release = make_release(object_store.endpoint, tls_front.front.url, moto_front.url, held_front.url)
    release.values["allowedHTTPHosts"] = [object_store.endpoint.removeprefix("http://")]
    yield open_operator_in_pod(cluster, object_store, release)
    release.clear()


# what `lab` asks for decides which servers are started, and which programs are looked for before
operator_process = operator_in_pod if ON_CLUSTER else operator_beside


@pytest.fixture
def lab(operator_process: OperatorProcess | OperatorInPod) -> Lab:
    """A lab that is ready: the operator runs, both bucket objects are Ready."""
    operator_process.start()
    lab = Lab(operator_process.control_plane, operator_process.object_store, operator_process)
    lab.set_up()
    return lab
