"""What a process does that cannot begin: it lives, is not ready, says why once, and begins when it can.

CRDs that come later: `test_handlers.py`. The process is the operator's, with a stand-in for its work where
that does not matter, and the operator itself, signing endpoint included, where its own start is tried.
"""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
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
WHOLE_OPERATOR = ("-m", "dtool_operator", "run")


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

    def assert_logged(self, event: str) -> None:
        """Assert that there are lines of an event."""
        assert self.read_log(event), event

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

    def start(kubeconfig: Path, *, whole: bool = False, **settings: str) -> Started:
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
            arguments = WHOLE_OPERATOR if whole else (str(SCRIPT), str(tmp_path / "work"))
            process = subprocess.Popen([sys.executable, *arguments], env=environment, stderr=output)
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
    mine = f"--selector=test={name}"
    control_plane.kubectl("delete", "clusterrolebinding", name, "--ignore-not-found")
    control_plane.kubectl("delete", "clusterrolebindings,clusterroles", mine)


@pytest.fixture
def signing(namespace: str, tmp_path: Path) -> dict[str, str]:
    """Settings of the whole operator, as the chart's: one that looks at nothing but its own namespace."""
    from sandbox.port import find_free_ports

    (port,) = find_free_ports(1)
    return {
        "namespace": namespace,
        "watch_namespaces": namespace,
        "state_dir": str(tmp_path / "state"),
        "leader_election": "true",
        "signing_url": f"https://127.0.0.1:{port}",
        "signing_port": str(port),
    }


def bind_cluster_role(control_plane: "ControlPlane", namespace: str) -> None:
    subject = f"--serviceaccount={namespace}:{ACCOUNT}"
    control_plane.kubectl("create", "clusterrolebinding", namespace, "--clusterrole=dtool-operator", subject)


def bind_cluster_role_but(control_plane: "ControlPlane", namespace: str, verb: str, resource: str) -> None:
    """Bind what the chart's ClusterRole gives, but for one verb on one resource."""
    role = json.loads(control_plane.kubectl("get", "clusterrole", "dtool-operator", "--output=json"))
    for rule in role["rules"]:
        if resource in rule["resources"]:
            rule["verbs"] = [given for given in rule["verbs"] if given != verb]
    name = f"{namespace}-lacks-{verb}-{resource}"
    labelled = {"metadata": {"name": name, "labels": {"test": namespace}}}
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
    for document in (role, binding):
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps(document | labelled))


def bind_role(control_plane: "ControlPlane", namespace: str, verbs: str, resource: str) -> None:
    """Give rights in the operator's own namespace."""
    place = ("--namespace", namespace)
    name = f"{resource}.{verbs.replace(',', '-')}"
    control_plane.kubectl("create", "role", name, f"--verb={verbs}", f"--resource={resource}", *place)
    subject = f"--serviceaccount={namespace}:{ACCOUNT}"
    control_plane.kubectl("create", "rolebinding", name, f"--role={name}", subject, *place)


def bind_lease_role(control_plane: "ControlPlane", namespace: str) -> None:
    bind_role(control_plane, namespace, "get,create,update", "leases.coordination.k8s.io")


def assert_told_once(told: Sequence[dict[str, Any]], *words: str) -> None:
    """Assert that there is a line for each of these words, in this order, and no other."""
    assert {line["level"] for line in told} == {"warning"}
    assert len(told) == len(words), told
    for line, word in zip(told, words, strict=True):
        assert word in line["why"]


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


@pytest.mark.parametrize("resource", ["namespaces", "dtoolbuckets"])
def test_without_the_right_to_watch_it_waits_and_begins_when_it_has_it(
    control_plane: "ControlPlane", namespace: str, start: Start, resource: str
) -> None:
    bind_cluster_role_but(control_plane, namespace, "watch", resource)
    started = start(control_plane.service_account_kubeconfig(namespace, ACCOUNT), namespace=namespace)

    eventually(lambda: started.assert_waits_for("rights are missing", f"watch {resource}"), within=20)
    bind_cluster_role(control_plane, namespace)

    eventually(started.assert_ready, within=30)
    assert_told_once(started.read_log("waiting_to_begin"), f"watch {resource}")


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


def test_without_rights_on_secrets_it_waits_alive_without_the_lease_and_begins_when_it_has_them(
    control_plane: "ControlPlane", namespace: str, start: Start, signing: dict[str, str]
) -> None:
    bind_cluster_role(control_plane, namespace)
    bind_lease_role(control_plane, namespace)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)

    started = start(kubeconfig, whole=True, **signing)

    missing = ("rights are missing", "dtool-operator check")
    eventually(lambda: started.assert_waits_for(*missing, 'cannot get resource "secrets"'), within=20)
    bind_role(control_plane, namespace, "get", "secrets")
    eventually(lambda: started.assert_waits_for(*missing, 'cannot create resource "secrets"'), within=20)
    leases = control_plane.kubectl("get", "leases", "--namespace", namespace, "--output=name")
    assert leases.split() == []  # another that can work may have it
    bind_role(control_plane, namespace, "create", "secrets")

    eventually(started.assert_ready, within=20)
    assert started.process.poll() is None
    assert_told_once(started.read_log("waiting_to_begin"), "cannot get", "cannot create")
    eventually(lambda: started.assert_logged("signing_served"), within=20)


def test_without_the_right_to_read_kube_system_it_waits_alive_and_begins_when_it_has_it(
    control_plane: "ControlPlane", namespace: str, start: Start, signing: dict[str, str]
) -> None:
    bind_cluster_role_but(control_plane, namespace, "get", "namespaces")
    bind_lease_role(control_plane, namespace)
    bind_role(control_plane, namespace, "get,create", "secrets")
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)

    started = start(kubeconfig, whole=True, **signing)

    eventually(
        lambda: started.assert_waits_for("rights are missing", 'cannot get resource "namespaces"'), within=20
    )
    bind_cluster_role(control_plane, namespace)

    eventually(started.assert_ready, within=20)
    assert started.process.poll() is None
    assert_told_once(started.read_log("waiting_to_begin"), "kube-system")


def test_one_that_waits_for_rights_is_stopped_within_seconds(
    control_plane: "ControlPlane", namespace: str, start: Start, signing: dict[str, str]
) -> None:
    bind_cluster_role(control_plane, namespace)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)
    started = start(kubeconfig, whole=True, **signing)
    eventually(lambda: started.assert_waits_for('cannot get resource "secrets"'), within=20)

    started.process.terminate()

    assert started.process.wait(timeout=10) == 0
    assert started.read_log("operator_stopped")


def test_one_that_waits_for_a_silent_api_server_is_stopped_within_seconds(
    control_plane: "ControlPlane", namespace: str, start: Start, signing: dict[str, str], tmp_path: Path
) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"https://127.0.0.1:{silent.getsockname()[1]}"
        path = tmp_path / "silent"
        path.write_text(kubeconfig.read_text().replace(control_plane.server, server))
        started = start(path, whole=True, **signing)
        eventually(lambda: started.assert_waits_for("has not been asked yet"), within=20)

        started.process.terminate()

        assert started.process.wait(timeout=10) == 0


def test_a_port_of_the_signing_endpoint_that_is_taken_ends_it_with_a_line(
    control_plane: "ControlPlane", namespace: str, start: Start, signing: dict[str, str]
) -> None:
    bind_cluster_role(control_plane, namespace)
    bind_lease_role(control_plane, namespace)
    bind_role(control_plane, namespace, "get,create", "secrets")
    kubeconfig = control_plane.service_account_kubeconfig(namespace, ACCOUNT)

    with socket.create_server(("127.0.0.1", int(signing["signing_port"]))):
        started = start(kubeconfig, whole=True, **signing)

        assert started.process.wait(timeout=30) == 1
    (failed,) = started.read_log("operator_failed")
    assert "address already in use" in failed["why"]
