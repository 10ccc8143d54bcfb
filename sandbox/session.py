"""One sandbox in one directory: control plane, S3 server and operator, brought up and down together.

Owns the directory's layout and the lines to export. `python -m sandbox` is its front.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sandbox.controlplane import ControlPlane, load_control_plane, start_control_plane
from sandbox.directory_lock import locked_directory
from sandbox.errors import SandboxError
from sandbox.exports import compose_exports
from sandbox.kubectl import find_kubectl
from sandbox.operator_process import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    Operator,
    install_operator,
    is_operator_runnable,
    load_operator,
    start_operator,
)
from sandbox.process import Process
from sandbox.say import Say, say_at_once
from sandbox.seaweedfs import ObjectStore, load_object_store, start_object_store

CONTROL_PLANE, OBJECT_STORE = "control-plane", "object-store"

#: People who try things out do not wait half a minute for a proto dataset to be quiet.
SETTINGS = {"DTOOL_OPERATOR_FREEZE_QUIET_PERIOD": "2s"}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What runs in a directory."""

    directory: Path
    control_plane: ControlPlane
    object_store: ObjectStore

    def is_running(self) -> bool:
        """Whether control plane and S3 server are up; the operator may be down."""
        return self.control_plane.is_running() and self.object_store.is_running()

    def exports(self) -> str:
        """Compose the shell lines that make kubectl, dtool and the AWS tools use this sandbox."""
        kubeconfig = self.control_plane.admin_kubeconfig
        return compose_exports(kubeconfig, self.object_store, [find_kubectl()])


def bring_up(directory: Path, say: Say = say_at_once) -> Sandbox:
    """Start what is not running, the operator included; a directory left by a crash is cleaned first."""
    with locked_directory(directory):
        sandbox = _load(directory)
        if sandbox is not None and sandbox.is_running():
            say(f"the sandbox in {directory} is already running")
        else:
            if any(each is not None for each in _find(directory)):
                say(f"cleaning up what an earlier sandbox left in {directory}:\n{describe(directory)}")
            _stop(directory)
            _empty(directory)
            sandbox = _start(directory, say)
        _start_operator(sandbox, say)
    return sandbox


def bring_up_operator(directory: Path, say: Say = say_at_once) -> Operator:
    """Start the operator again, if it is not running; raises SandboxError without a running sandbox."""
    with locked_directory(_existing(directory)):
        sandbox = _load(directory)
        if sandbox is None or not sandbox.is_running():
            raise SandboxError(f"no sandbox is running in {directory}: start one with `make sandbox`")
        operator = _start_operator(sandbox, say)
    if operator is None:
        raise SandboxError("there is no operator to start: `python -m dtool_operator` does not exist")
    return operator


def bring_down(directory: Path, say: Say = say_at_once) -> None:
    """End everything that was started in a directory and remove the directory."""
    if not directory.exists():
        say(f"no sandbox in {directory}")
        return
    with locked_directory(directory):
        _stop(directory)
        shutil.rmtree(directory)
    say(f"the sandbox in {directory} is gone")


def describe(directory: Path) -> str:
    """Compose a line for each process: whether it is alive, or the end of its log."""
    processes: list[Process] = []
    control_plane, store, operator = _find(directory)
    if control_plane is not None:
        processes += control_plane.processes
    if store is not None and (server := store.process) is not None:
        processes.append(server)
    if operator is not None:
        processes.append(operator.process)
    lines = []
    for each in processes:
        if each.is_alive():
            lines.append(f"{each.name:<24} running, pid {each.pid}, log {each.log}")
        else:
            lines.append(f"{each.name:<24} ENDED; its log ends with:\n{each.log_tail()}")
    return "\n".join(lines) if lines else f"no sandbox in {directory}"


def is_whole(directory: Path) -> bool:
    """Whether control plane, S3 server and, where there is one, operator are running."""
    sandbox, operator = _load(directory), load_operator(directory)
    if sandbox is None or not sandbox.is_running():
        return False
    return operator.process.is_alive() if operator is not None else not is_operator_runnable()


def _start(directory: Path, say: Say) -> Sandbox:
    control_plane = start_control_plane(directory / CONTROL_PLANE, say=say)
    try:
        say(f"Kubernetes is ready at {control_plane.server}")
        sandbox = Sandbox(directory, control_plane, start_object_store(directory / OBJECT_STORE))
        say(f"S3 is ready at {sandbox.object_store.endpoint}")
        environment = directory / "env"
        environment.touch(mode=0o600)
        environment.write_text(sandbox.exports())
    except BaseException:  # an interrupt too must leave nothing running
        _stop(directory)
        raise
    return sandbox


def _start_operator(sandbox: Sandbox, say: Say) -> Operator | None:
    operator = load_operator(sandbox.directory)
    if operator is not None and operator.process.is_alive():
        say(f"the operator is already running, pid {operator.process.pid}")
        return operator
    if not is_operator_runnable():
        say("no operator in this environment: not started")
        return None
    operator = start_operator(
        sandbox.directory,
        kubeconfig=install_operator(sandbox.control_plane),
        endpoints=[sandbox.object_store.endpoint],
        settings=SETTINGS,
    )
    say(f"the operator is ready, pid {operator.process.pid}, as ServiceAccount {NAMESPACE}/{SERVICE_ACCOUNT}")
    return operator


def _find(directory: Path) -> tuple[ControlPlane | None, ObjectStore | None, Operator | None]:
    control_plane = load_control_plane(directory / CONTROL_PLANE)
    return control_plane, load_object_store(directory / OBJECT_STORE), load_operator(directory)


def _load(directory: Path) -> Sandbox | None:
    control_plane, store, _ = _find(directory)
    return None if control_plane is None or store is None else Sandbox(directory, control_plane, store)


def _stop(directory: Path) -> None:
    """End whatever was started here, in the order in which one needs the other."""
    control_plane, store, operator = _find(directory)
    for each in (operator, store, control_plane):
        if each is not None:
            each.stop()


def _empty(directory: Path) -> None:
    """Remove what is ours in the directory, which stays: the lock is on it."""
    for name in (CONTROL_PLANE, OBJECT_STORE, "operator"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for path in [directory / "env", *directory.glob("operator*")]:
        path.unlink(missing_ok=True)


def _existing(directory: Path) -> Path:
    if not directory.exists():
        raise SandboxError(f"no sandbox is running in {directory}: start one with `make sandbox`")
    return directory
