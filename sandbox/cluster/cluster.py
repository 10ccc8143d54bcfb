"""A whole Kubernetes cluster on this machine: the control plane, a scheduler and one real node.

Owns how they fit together, and what tests and users ask of a cluster. Must not know what runs on it.
"""

import contextlib
import json
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.binaries import NodeBinaries, find_node_binaries
from sandbox.cluster.debian import find_container_programs
from sandbox.cluster.machine import check_machine
from sandbox.cluster.node import NAME, TOOLS_IMAGE, Node, load_node, start_node
from sandbox.controlplane import ControlPlane, load_control_plane, start_control_plane
from sandbox.errors import ProcessError
from sandbox.flag import ADDRESS, Network
from sandbox.helm import run_helm
from sandbox.port import find_free_ports, with_free_ports
from sandbox.process import Process, load_process, start_process, stop_processes
from sandbox.say import Say, say_at_once

CONTROL_PLANE, NODE, SCHEDULER = "control-plane", "node", "kube-scheduler"
API_PORT = 443  # in-cluster clients find the API server under its Service's address and port
READY = "--timeout=60s"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that was started in a directory; everything else is read from there."""

    directory: Path
    control_plane: ControlPlane
    node: Node

    @property
    def kubeconfig(self) -> Path:
        """The configuration for a member of system:masters."""
        return self.control_plane.admin_kubeconfig

    @property
    def tools_image(self) -> str:
        """An image with a shell and its tools, which the node always has."""
        return TOOLS_IMAGE

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its processes, alive or not, in the order in which they end."""
        scheduler = load_process(self.directory, SCHEDULER)
        return (
            *self.node.processes,
            *([scheduler] if scheduler is not None else []),
            *self.control_plane.processes,
        )

    def is_running(self) -> bool:
        """Whether all of its processes are alive."""
        scheduler = load_process(self.directory, SCHEDULER)
        return (
            self.node.is_running()
            and scheduler is not None
            and scheduler.is_alive()
            and self.control_plane.is_running()
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl, as administrator unless told otherwise; raises KubectlError with its stderr."""
        return self.control_plane.kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)

    def helm(self, *arguments: str) -> str:
        """Run helm as administrator; raises HelmError with what it said."""
        return run_helm(*arguments, kubeconfig=self.kubeconfig)

    def load_image(self, archive: Path) -> tuple[str, ...]:
        """Import an OCI or docker archive; return the names by which pods find what was in it."""
        return self.node.load_image(archive)

    def provide_volume(
        self, namespace: str, claim: str, size: str = "1Gi", *, full_at_size: bool = False
    ) -> Path:
        """Make a claim in a namespace, and a volume for it alone; return the volume's folder, as seen here.

        Everybody may write into it, also without `fsGroup`. `full_at_size`: it is a file system of this size,
        in memory; else `size` is what Kubernetes is told, and the disk is the limit. Raises KubectlError.
        """
        folder = self.node.directory / "volumes" / f"{namespace}.{claim}"
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        if full_at_size:
            options = f"mode=0777,size={_parse_bytes(size)}"
            self.node.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        for document in build_volume(namespace, claim, size, folder):
            self.kubectl("apply", "--filename=-", stdin=json.dumps(document))
        return self.node.root / folder.relative_to("/") if full_at_size else folder

    def wait_until_ready(self) -> None:
        """Wait until the node takes pods; raises KubectlError when it does not within a minute."""
        self.control_plane.wait_for(f"/api/v1/nodes/{NAME}")
        self.kubectl("wait", "--for=condition=Ready", f"node/{NAME}", READY)

    def stop(self) -> None:
        """End everything, and leave no process, mount or control group; the directory with its logs stays."""
        self.node.stop()
        _stop_rest(self.directory, self.control_plane)


def find_cluster_programs(say: Say = say_at_once) -> NodeBinaries:
    """Check the machine, then find, build or fetch what a cluster needs beside the control plane."""
    check_machine()
    find_container_programs(say)
    return find_node_binaries(say)


def start_cluster(directory: Path, *, tied: bool = False, say: Say = say_at_once) -> Cluster:
    """Start a cluster with its state in a directory, and return when its node is Ready.

    `tied`: its processes die with this one. Raises PrerequisiteError (at once, where the machine cannot),
    BuildError, ProcessError; what had been started by then is ended.
    """
    binaries = find_cluster_programs(say)
    network = _find_network()
    control_plane = start_control_plane(directory / CONTROL_PLANE, tied=tied, say=say, network=network)
    try:
        _start_scheduler(directory, binaries, tied)
        node = start_node(
            directory / NODE,
            binaries,
            control_plane=control_plane.directory,
            dns_address=network.service_range.replace(".0/24", ".10"),
            tied=tied,
        )
        cluster = Cluster(directory, control_plane, node)
        cluster.wait_until_ready()
    except BaseException:  # an interrupt too must leave nothing behind
        stop_what_is_there(directory)
        raise
    return cluster


def load_cluster(directory: Path) -> Cluster | None:
    """Find a cluster that was started in this directory, running or not; None when its start got nowhere."""
    control_plane, node = load_control_plane(directory / CONTROL_PLANE), load_node(directory / NODE)
    return None if control_plane is None or node is None else Cluster(directory, control_plane, node)


def stop_what_is_there(directory: Path) -> None:
    """End whatever was started here, also where a start was interrupted half-way."""
    node = load_node(directory / NODE)
    if node is not None:
        node.stop()
    _stop_rest(directory, load_control_plane(directory / CONTROL_PLANE))


@contextlib.contextmanager
def running_cluster(directory: Path, *, tied: bool = True, say: Say = say_at_once) -> Iterator[Cluster]:
    """Start a cluster, and end it when the block is left."""
    cluster = start_cluster(directory, tied=tied, say=say)
    try:
        yield cluster
    finally:
        cluster.stop()


def build_volume(namespace: str, claim: str, size: str, folder: Path) -> list[dict[str, object]]:
    """Build a PersistentVolume reserved for a claim, and the claim."""
    name = f"{namespace}.{claim}"
    volume: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    return [volume, build_claim(namespace, claim, size, volumeName=name, storageClassName="")]


def build_claim(namespace: str, claim: str, size: str, **spec: str) -> dict[str, object]:
    """Build a PersistentVolumeClaim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


def _find_network() -> Network:
    """Find a range of loopback addresses for Services, on whose first one port 443 is free.

    That address is the Service `kubernetes`, and the API server listens on it: no proxy is needed between.
    Clusters that start at the same moment must not choose the same one: any of them may be the first tried.
    """
    first = secrets.randbelow(256)
    for third in (each % 256 for each in range(first, first + 256)):
        address = f"127.96.{third}.1"
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the API server does
            try:
                listener.bind((address, API_PORT))
            except OSError:
                continue
        return Network(address, API_PORT, f"127.96.{third}.0/24", node=NAME)
    raise ProcessError(f"port {API_PORT} is taken on every address from 127.96.0.1 to 127.96.255.1")


def _start_scheduler(directory: Path, binaries: NodeBinaries, tied: bool) -> None:
    pki = directory / CONTROL_PLANE / "pki"
    kubeconfig = directory / CONTROL_PLANE / "scheduler.kubeconfig"

    def start() -> None:
        (port,) = find_free_ports(1)
        flags = [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={ADDRESS}",
            f"--secure-port={port}",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            "--leader-elect=false",
        ]
        start_process(SCHEDULER, [*binaries.scheduler, *flags], directory=directory, tied=tied)

    with_free_ports(start)


def _stop_rest(directory: Path, control_plane: ControlPlane | None) -> None:
    scheduler = load_process(directory, SCHEDULER)
    if scheduler is not None:
        stop_processes(scheduler, grace_seconds=0)
    if control_plane is not None:
        control_plane.stop()


def _parse_bytes(size: str) -> int:
    """Parse a size such as `64Mi`, see the Kubernetes documentation on quantities."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(size[:-2]) * units[size[-2:]]
