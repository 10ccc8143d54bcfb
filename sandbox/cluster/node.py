"""A real Kubernetes node on this machine: containerd, runc and kubelet in namespaces of their own.

Owns starting them, ending them without a trace, and what only the node can do: images, volumes, a kubelet
that dies. Must not know the control plane beyond the files that it wrote.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.binaries import NodeBinaries
from sandbox.cluster import node_init
from sandbox.cluster.control_group import (
    ControlGroup,
    create_control_group,
    find_hierarchies,
    remove_abandoned_groups,
)
from sandbox.cluster.debian import ContainerPrograms, find_container_programs
from sandbox.cluster.image import compose_pause_image, compose_tools_image, write_image
from sandbox.cluster.node_file import ADDRESS, PAUSE_IMAGE, SOCKET, NodeShape, write_node_files
from sandbox.errors import ProcessError, SandboxError
from sandbox.port import find_free_ports, with_free_ports
from sandbox.process import Process, load_process, start_process, stop_processes
from sandbox.readiness import is_answering, wait_until_ready

NAME = "localhost"
"""Of the node: the API server reaches kubelet under it."""
TOOLS_IMAGE = "localhost/sandbox-tools:1"
"""An image with a shell and its tools, which the node always has."""
NAMES = ("kubelet", "containerd", "node-init")
"""In the order in which they end."""
START_SECONDS = 60.0
IMAGE_SECONDS = 20.0
IMPORT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Node:
    """A node that was started in a directory; everything else is read from there."""

    directory: Path
    group: ControlGroup
    health_url: str
    """Kubelet's."""

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its processes, alive or not, in the order in which they end; containers are not among them."""
        found = (load_process(self.directory, name) for name in NAMES)
        return tuple(process for process in found if process is not None)

    @property
    def root(self) -> Path:
        """The file system as the node's programs see it, from outside."""
        return Path("/proc") / self._init_pid() / "root"

    def is_running(self) -> bool:
        """Whether kubelet, containerd and process 1 are alive."""
        processes = self.processes
        return len(processes) == len(NAMES) and all(process.is_alive() for process in processes)

    def run(self, *command: str, stdin: Path | None = None) -> str:
        """Run a program in the node's namespaces; return its output; raises ProcessError with its words."""
        with (stdin or Path(os.devnull)).open("rb") as given:
            done = subprocess.run(
                [*self._enter(), *command],
                stdin=given,
                env=_environment(find_container_programs()),
                capture_output=True,
                text=True,
                check=False,
                timeout=IMPORT_SECONDS,
            )
        if done.returncode != 0:
            raise ProcessError(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()}")
        return done.stdout

    def load_image(self, archive: Path) -> tuple[str, ...]:
        """Import an OCI or docker archive; return the names by which pods find what was in it.

        Replaces an image of the same name. Raises ProcessError for what is no archive.
        """
        ctr = (str(find_container_programs().ctr), f"--address={SOCKET}", "--namespace=k8s.io")
        told = self.run(*ctr, "images", "import", "-", stdin=archive)
        names = tuple(re.findall(r"^unpacking (\S+) \(", told, re.MULTILINE))
        if not names:
            raise ProcessError(f"there is no image with a name in {archive}: {told.strip()}")
        # kubelet knows an image once containerd's Kubernetes side has looked at it and marked it
        deadline = time.monotonic() + IMAGE_SECONDS
        for name in names:
            while "io.cri-containerd.image=managed" not in self.run(*ctr, "images", "ls", f"name=={name}"):
                if time.monotonic() > deadline:
                    raise ProcessError(f"containerd does not offer {name} to Kubernetes")
        return names

    def kill_kubelet(self) -> None:
        """Kill kubelet as a crash would, and return when it is gone; its containers go on."""
        kubelet = self._required("kubelet")
        kubelet.send(signal.SIGKILL)
        stop_processes(kubelet, grace_seconds=0)
        deadline = time.monotonic() + START_SECONDS
        while is_answering(self.health_url):  # what nsenter started ends a moment after it
            if time.monotonic() > deadline:
                raise ProcessError("kubelet still answers, although it was killed")

    def start_kubelet(self) -> None:
        """Start kubelet again after `kill_kubelet`, on its old ports; return when it is healthy."""
        kubelet = self._required("kubelet")
        self._start("kubelet", kubelet.argv, tied=kubelet.is_tied)
        self._wait_for_kubelet()

    def stop(self) -> None:
        """End everything, containers included, and remove the control group; the directory stays."""
        stop_processes(*self.processes, grace_seconds=0)
        self.group.remove()

    def start_programs(self, programs: ContainerPrograms, kubelet: list[str], *, tied: bool) -> None:
        """Start process 1, containerd, which gets the node's own images, and kubelet."""
        settings = str(self.directory / "node.json")
        unshare = [_find("unshare"), "--mount", "--pid", "--cgroup", "--fork", "--kill-child"]
        inner = [*_script("init"), settings]
        self._start("node-init", [*_script("join"), settings, *unshare, *inner], tied=tied)
        self._wait("the node's namespaces", (self.directory / "init.pid").exists)
        door = [*_script("join"), settings, *self._enter()]
        containerd = [str(programs.containerd), f"--config={self.directory / 'containerd.toml'}"]
        self._start("containerd", [*door, *containerd], tied=tied)
        self._wait("containerd", (self.root / SOCKET.lstrip("/")).exists)
        for source in (
            compose_pause_image(programs.busybox, PAUSE_IMAGE),
            compose_tools_image(programs.busybox, TOOLS_IMAGE),
        ):
            archive = self.directory / "image.tar"
            self.load_image(write_image(archive, source))
            archive.unlink()
        self._start("kubelet", [*door, *kubelet], tied=tied)
        self._wait_for_kubelet()

    def _start(self, name: str, argv: tuple[str, ...] | list[str], *, tied: bool) -> None:
        environment = _environment(find_container_programs())
        start_process(name, argv, directory=self.directory, tied=tied, environment=environment)

    def _wait_for_kubelet(self) -> None:
        self._wait("kubelet", functools.partial(is_answering, self.health_url))

    def _wait(self, what: str, is_ready: Callable[[], bool]) -> None:
        wait_until_ready(is_ready, what=what, processes=self.processes, within_seconds=START_SECONDS)

    def _enter(self) -> list[str]:
        """Compose the beginning of a command line in the node's namespaces: it ends with its caller."""
        door = [_find("nsenter"), f"--target={self._init_pid()}", "--mount", "--pid", "--cgroup", "--"]
        return [*door, _find("setpriv"), "--pdeathsig=KILL", "--"]

    def _init_pid(self) -> str:
        return (self.directory / "init.pid").read_text().strip()

    def _required(self, name: str) -> Process:
        process = load_process(self.directory, name)
        if process is None:
            raise SandboxError(f"no {name} was ever started in {self.directory}")
        return process


def start_node(
    directory: Path, binaries: NodeBinaries, *, control_plane: Path, dns_address: str, tied: bool = False
) -> Node:
    """Start a node with its state in a new directory, for the control plane whose directory is given.

    Returns when kubelet is healthy. Raises PrerequisiteError, ProcessError; what was started is ended.
    """
    programs = find_container_programs()
    remove_abandoned_groups()
    return with_free_ports(lambda: _start(directory, binaries, programs, control_plane, dns_address, tied))


def load_node(directory: Path) -> Node | None:
    """Find a node that was started in this directory, running or not."""
    try:
        record = json.loads((directory / "node.json").read_text())
    except FileNotFoundError:
        return None
    return Node(directory, ControlGroup(record["group"]), record["health_url"])


def _start(
    directory: Path,
    binaries: NodeBinaries,
    programs: ContainerPrograms,
    control_plane: Path,
    dns_address: str,
    tied: bool,
) -> Node:
    shutil.rmtree(directory, ignore_errors=True)  # of an attempt whose port was taken
    directory.mkdir(parents=True, mode=0o700)
    kubelet_port, health_port = find_free_ports(2)
    shape = NodeShape(directory, control_plane / "pki", kubelet_port, health_port, dns_address)
    write_node_files(shape, programs)
    node = Node(directory, create_control_group(), f"http://{ADDRESS}:{health_port}/healthz")
    (directory / "node.json").write_text(json.dumps(_build_record(node)))
    kubelet = [
        *binaries.kubelet,
        f"--config={directory / 'kubelet.yaml'}",
        f"--kubeconfig={control_plane / 'kubelet.kubeconfig'}",
        f"--cert-dir={directory / 'kubelet-pki'}",
        f"--hostname-override={NAME}",
    ]
    try:
        node.start_programs(programs, kubelet, tied=tied)
    except BaseException:  # an interrupt too must leave nothing behind
        node.stop()
        raise
    return node


def _build_record(node: Node) -> dict[str, object]:
    """Build what is read again by `load_node`, and by the script that is process 1."""
    hierarchies = [
        {"name": each.name, "options": each.mount_options, "group": str(each.folder / node.group.name)}
        for each in find_hierarchies()
    ]
    return {
        "group": node.group.name,
        "health_url": node.health_url,
        "directory": str(node.directory),
        "hierarchies": hierarchies,
    }


def _script(what: str) -> list[str]:
    return [sys.executable, "-I", "-S", node_init.__file__, what]


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise SandboxError(f"{program} is not on PATH (package util-linux)")
    return found


def _environment(programs: ContainerPrograms) -> dict[str, str]:
    """Compose the variables of the node's programs: none of the user's, no proxy."""
    folders = [programs.containerd.parent, programs.runc.parent]
    machine = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return {"PATH": ":".join([*map(str, folders), *machine]), "HOME": "/root"}
