"""What a process does that cannot begin: it lives, is not ready, says why once, and begins when it can.

CRDs that come later: `test_handlers.py`. The process is the operator's, with a stand-in for its work.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.eventually import eventually
from tests.support.installation import ROOT, install_operator
from tests.support.replica import SCRIPT

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

ACCOUNT = "newcomer"


@dataclass(frozen=True, slots=True)
class Started:
    """A process, its probes and its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str) -> tuple[int, str]:
        """Ask a probe; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode().strip()
        except OSError:
            return 0, ""

    def assert_waits_for(self, *words: str) -> None:
        """Assert that it lives, is not ready and says why."""
        status, text = self.ask("/readyz")
        assert status == 503, (status, text)
        for word in words:
            assert word in text
        assert self.ask("/healthz") == (200, "ok")

    def assert_ready(self) -> None:
        """Assert what the probe says."""
        assert self.ask("/readyz") == (200, "ok")

    def read_log(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a process with a kubeconfig and settings; it is ended after the test."""
    from sandbox.port import find_free_ports

    processes = []

    def start(kubeconfig: Path, **settings: str) -> Started:
        (port,) = find_free_ports(1)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KUBECONFIG": str(kubeconfig),
            "DTOOL_OPERATOR_HEALTH_PORT": str(port),
            **{f"DTOOL_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        }
        log = tmp_path / "log"
        with log.open("wb") as output:
            command = [sys.executable, str(SCRIPT), str(tmp_path / "work")]
            process = subprocess.Popen(command, env=environment, stderr=output)
        processes.append(process)
        return Started(process, port, log)

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def namespace(control_plane: "ControlPlane", make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace with a ServiceAccount that nobody has given any right; what it is given goes with it."""
    install_operator(control_plane)
    name = make_namespace()
    control_plane.kubectl("create", "serviceaccount", ACCOUNT, "--namespace", name)
    yield name
    control_plane.kubectl("delete", "clusterrolebinding", name, "--ignore-not-found")


def bind_cluster_role(control_plane: "ControlPlane", namespace: str) -> None:
    subject = f"--serviceaccount={namespace}:{ACCOUNT}"
    control_plane.kubectl("create", "clusterrolebinding", namespace, "--clusterrole=dtool-operator", subject)


def bind_lease_role(control_plane: "ControlPlane", namespace: str) -> None:
    place = ("--namespace", namespace)
    rights = ("--verb=get,create,update", "--resource=leases.coordination.k8s.io")
    control_plane.kubectl("create", "role", "leases", *rights, *place)
    subject = f"--serviceaccount={namespace}:{ACCOUNT}"
    control_plane.kubectl("create", "rolebinding", "leases", "--role=leases", subject, *place)


def test_without_rights_it_waits_says_which_and_begins_when_it_has_them(
    control_plane: "ControlPlane", namespace: str, start: Start
) -> None:
    started = start(control_plane.service_account_kubeconfig(namespace, ACCOUNT), namespace=namespace)

    eventually(
        lambda: started.assert_waits_for(
            "rights are missing", "cannot list resource", "dtool-operator check"
        ),
        within=20,
    )
    bind_cluster_role(control_plane, namespace)

    eventually(started.assert_ready, within=30)
    assert started.process.poll() is None
    told = started.read_log("waiting_to_begin")
    assert {line["level"] for line in told} == {"warning"}
    assert len(told) == len({line["why"] for line in told})
    assert f"system:serviceaccount:{namespace}:{ACCOUNT}" in told[0]["why"]


def test_without_rights_on_the_lease_it_is_not_ready_and_works_when_it_has_them(
    control_plane: "ControlPlane", namespace: str, start: Start
) -> None:
    bind_cluster_role(control_plane, namespace)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)

    started = start(kubeconfig, namespace=namespace, leader_election="true")

    eventually(
        lambda: started.assert_waits_for("the Lease cannot be had", "leases.coordination.k8s.io"), within=20
    )
    bind_lease_role(control_plane, namespace)
    eventually(started.assert_ready, within=30)
    assert started.process.poll() is None
    told = started.read_log("waiting_for_lease")
    assert {line["level"] for line in told} == {"warning"}
    assert len(told) == len({line["why"] for line in told})
    assert started.read_log("lease_acquired")


def test_without_an_api_server_it_waits_alive_and_says_so(
    control_plane: "ControlPlane", namespace: str, start: Start, tmp_path: Path
) -> None:
    from sandbox.port import find_free_ports

    (port,) = find_free_ports(1)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)
    nowhere = tmp_path / "nowhere"
    nowhere.write_text(kubeconfig.read_text().replace(control_plane.server, f"https://127.0.0.1:{port}"))

    started = start(nowhere, namespace=namespace)

    def has_told() -> str:
        (told,) = started.read_log("waiting_to_begin")
        return str(told["why"])

    eventually(lambda: started.assert_waits_for("does not answer"), within=60)
    assert "does not answer" in has_told()
    assert started.process.poll() is None
