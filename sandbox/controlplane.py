"""A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager, RBAC on.

Owns starting it, stopping it and talking to it as its administrator. There are no nodes unless `cluster` adds
one: Pods stay Pending. Must not know what is tried on it.
"""

import contextlib
import dataclasses
import functools
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.binaries import Binaries, find_binaries
from sandbox.certificates import Authority, create_authority, create_signing_key
from sandbox.errors import SandboxError
from sandbox.flag import (
    ADDRESS,
    NO_NODE,
    Network,
    compose_api_server_flags,
    compose_controller_manager_flags,
    compose_etcd_flags,
)
from sandbox.kubectl import run_kubectl, write_certificate_kubeconfig, write_token_kubeconfig
from sandbox.port import find_free_ports, with_free_ports
from sandbox.process import Process, load_process, start_process, stop_processes
from sandbox.readiness import is_answering, wait_until_ready
from sandbox.say import Say, say_at_once

START_SECONDS = 90.0
GRACE_SECONDS = 2.0  # the state is thrown away
GATEWAY_SECONDS = 10.0
TOKEN_SECONDS = 24 * 60 * 60
MASTERS = "system:masters"
NAMES = ("kube-controller-manager", "kube-apiserver", "etcd")
"""In the order in which they end."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A control plane that was started in a directory; everything else is read from there."""

    directory: Path
    server: str
    """URL of the API server."""

    @property
    def ca_file(self) -> Path:
        """The certificate authority behind the API server's certificate."""
        return self.directory / "pki" / "ca.crt"

    @property
    def admin_kubeconfig(self) -> Path:
        """The configuration for a member of system:masters."""
        return self.directory / "admin.kubeconfig"

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its processes, alive or not, in the order in which they end."""
        found = (load_process(self.directory, name) for name in NAMES)
        return tuple(process for process in found if process is not None)

    def is_running(self) -> bool:
        """Whether all of its processes are alive."""
        processes = self.processes
        return len(processes) == len(NAMES) and all(process.is_alive() for process in processes)

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl, as administrator unless told otherwise; raises KubectlError with its stderr."""
        return run_kubectl(arguments, kubeconfig=kubeconfig or self.admin_kubeconfig, stdin=stdin)

    def service_account_kubeconfig(
        self, namespace: str, name: str, *, lifetime_seconds: int = TOKEN_SECONDS
    ) -> Path:
        """Write a configuration with a fresh token (TokenRequest) of a ServiceAccount that exists."""
        duration = f"--duration={lifetime_seconds}s"
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", duration).strip()
        path = self.directory / f"{namespace}.{name}.kubeconfig"
        return write_token_kubeconfig(path, server=self.server, ca_file=self.ca_file, token=token)

    def stop_api_server(self) -> None:
        """End the API server alone, as in an outage; what it stored stays in etcd."""
        stop_processes(_required(self.directory, "kube-apiserver"), grace_seconds=GRACE_SECONDS)

    def start_api_server(self) -> None:
        """Start the API server again on its old port, and wait for it."""
        _required(self.directory, "kube-apiserver").restart()
        self.wait_until_ready()

    def compact_history(self) -> None:
        """Forget all history in etcd: a watch that goes on from an earlier version is told 410.

        So it is once the API server was started again: it keeps some of the history itself.
        """
        version = json.loads(self.kubectl("get", "--raw", "/api/v1/namespaces"))["metadata"]
        body = json.dumps({"revision": version["resourceVersion"], "physical": True})
        flag = "--listen-client-urls=https://"
        argv = _required(self.directory, "etcd").argv
        (address,) = (each.removeprefix(flag) for each in argv if each.startswith(flag))
        tls = ssl.create_default_context(cafile=str(self.ca_file))
        pki = self.directory / "pki"
        tls.load_cert_chain(pki / "etcd-client.crt", pki / "etcd-client.key")
        connection = http.client.HTTPSConnection(address, context=tls, timeout=GATEWAY_SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", "/v3/kv/compaction", body)
            answer = connection.getresponse()
            if answer.status != 200:
                raise SandboxError(f"etcd did not forget its history: {answer.read(500)!r}")

    def wait_until_ready(self) -> None:
        """Wait until the API server answers and is ready, RBAC's own roles included."""
        self.wait_for("/readyz")

    def wait_for(self, path: str) -> None:
        """Wait until a GET of the path as administrator is answered with 200."""
        tls = ssl.create_default_context(cafile=str(self.ca_file))
        tls.load_cert_chain(self.directory / "pki" / "admin.crt", self.directory / "pki" / "admin.key")
        wait_until_ready(
            functools.partial(is_answering, f"{self.server}{path}", tls=tls),
            what=f"{self.server}{path}",
            processes=self.processes,
            within_seconds=START_SECONDS,
        )

    def stop(self) -> None:
        """End everything; the directory with its logs stays."""
        stop_processes(*self.processes, grace_seconds=GRACE_SECONDS)


def start_control_plane(
    directory: Path, *, tied: bool = False, say: Say = say_at_once, network: Network = NO_NODE
) -> ControlPlane:
    """Start a control plane with its state in a new directory, and return when it is ready.

    `tied`: its processes die with this one. The first call on a machine compiles it, see `binaries`.
    Raises PrerequisiteError, BuildError, ProcessError; what had been started by then is ended.
    """
    binaries = find_binaries(say)
    directory.mkdir(parents=True, mode=0o700)
    authority = create_authority(directory / "pki")
    create_signing_key(directory / "pki")
    return with_free_ports(lambda: _start(directory, binaries, authority, tied, network))


def load_control_plane(directory: Path) -> ControlPlane | None:
    """Find a control plane that was started in this directory, running or not."""
    try:
        record = json.loads((directory / "control-plane.json").read_text())
    except FileNotFoundError:
        return None
    return ControlPlane(directory, record["server"])


@contextlib.contextmanager
def running_control_plane(
    directory: Path, *, tied: bool = True, say: Say = say_at_once
) -> Iterator[ControlPlane]:
    """Start a control plane, and end it when the block is left."""
    control_plane = start_control_plane(directory, tied=tied, say=say)
    try:
        yield control_plane
    finally:
        control_plane.stop()


def _start(
    directory: Path, binaries: Binaries, authority: Authority, tied: bool, network: Network
) -> ControlPlane:
    etcd_port, free_port, manager_port = find_free_ports(3)
    network = dataclasses.replace(network, port=network.port or free_port)
    control_plane = ControlPlane(directory, f"https://{network.address}:{network.port}")
    _write_credentials(control_plane, authority, network)
    (directory / "control-plane.json").write_text(json.dumps({"server": control_plane.server}))
    start = functools.partial(start_process, directory=directory, tied=tied)
    try:
        start("etcd", [*binaries.etcd, *compose_etcd_flags(directory, etcd_port)])
        start(
            "kube-apiserver", [*binaries.api_server, *compose_api_server_flags(directory, etcd_port, network)]
        )
        control_plane.wait_until_ready()
        # Only now: it gives up when it finds no API server for 10 s.
        manager = compose_controller_manager_flags(directory, manager_port, network)
        start("kube-controller-manager", [*binaries.controller_manager, *manager])
        # The ServiceAccount shows that the controllers work.
        control_plane.wait_for("/api/v1/namespaces/default/serviceaccounts/default")
    except BaseException:  # an interrupt too must leave nothing behind
        control_plane.stop()
        raise
    return control_plane


def _write_credentials(control_plane: ControlPlane, authority: Authority, network: Network) -> None:
    authority.issue_server("server", ADDRESS, network.address)
    authority.issue_client("etcd-client", group="sandbox")
    # The controllers' own roles would need a ServiceAccount each before the first of them could start.
    users = {name: authority.issue_client(name, group=MASTERS) for name in ("admin", "controller-manager")}
    if network.node is not None:
        users["scheduler"] = authority.issue_client("scheduler", group=MASTERS)
        users["kubelet"] = authority.issue_client(f"system:node:{network.node}", group="system:nodes")
        authority.issue_server("kubelet", ADDRESS)
        authority.issue_client("kubelet-client", group=MASTERS)
    for name, pair in users.items():
        path = control_plane.directory / f"{name}.kubeconfig"
        write_certificate_kubeconfig(
            path, server=control_plane.server, ca_file=control_plane.ca_file, pair=pair
        )


def _required(directory: Path, name: str) -> Process:
    process = load_process(directory, name)
    if process is None:
        raise SandboxError(f"no {name} was ever started in {directory}")
    return process
