"""Where the programs that the sandbox runs come from; owns which they are and where they are looked for.

The control plane's come from the folder named by KUBEBUILDER_ASSETS, or from one multi-call binary built from
`sandbox/go`; a node's kubelet and scheduler are a second one, built only where a node is wanted.
"""

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import PrerequisiteError
from sandbox.go_program import GoProgram, compose_kubernetes_flags, find_go_program
from sandbox.say import Say, say_at_once

SOURCES = Path(__file__).parent / "go"
SOURCE_NAMES = ("go.mod", "go.sum", "main.go")
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
CONTROL_PLANE = GoProgram(
    name="controlplane",
    title="the Kubernetes control plane",
    cost="about 7 minutes on two cores the first time, and about 3 GB of memory",
    sources=SOURCES,
    source_names=SOURCE_NAMES,
    compose_flags=compose_kubernetes_flags,
)
NODE = GoProgram(
    name="node",
    title="kubelet and scheduler",
    cost="about 2 minutes on two cores after the control plane, and about 3 GB of memory",
    sources=SOURCES / "node",
    source_names=SOURCE_NAMES,
    compose_flags=compose_kubernetes_flags,
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """How to call each program: the first elements of its command line."""

    etcd: tuple[str, ...]
    api_server: tuple[str, ...]
    controller_manager: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeBinaries:
    """How to call what a node adds: the first elements of its command line."""

    kubelet: tuple[str, ...]
    scheduler: tuple[str, ...]


def find_binaries(say: Say = say_at_once) -> Binaries:
    """Find the control plane's programs, building them when that was never done on this machine.

    `say` is told what a long step does and for how long. Raises PrerequisiteError and BuildError.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        return _find_assets(Path(assets))
    binary = str(find_go_program(CONTROL_PLANE, say))
    return Binaries(*((binary, program) for program in PROGRAMS))


def find_node_binaries(say: Say = say_at_once) -> NodeBinaries:
    """Find kubelet and scheduler, building them when that was never done on this machine."""
    binary = str(find_go_program(NODE, say))
    return NodeBinaries((binary, "kubelet"), (binary, "kube-scheduler"))


def find_script(name: str, package: str) -> Path:
    """Find a program that a Python package installed beside this interpreter."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise PrerequisiteError(f"{name} is not in {path.parent}: install the package {package} (`uv sync`)")
    return path


def _find_assets(folder: Path) -> Binaries:
    missing = [program for program in PROGRAMS if not (folder / program).exists()]
    if missing:
        raise PrerequisiteError(f"KUBEBUILDER_ASSETS={folder} has no {', '.join(missing)}")
    return Binaries(*((str(folder / program),) for program in PROGRAMS))
