"""The operator as a process beside the sandbox, with a ServiceAccount's token under the chart's RBAC rules.

Owns what an administrator does before (CRDs, namespace, roles) and the process itself. Must not import the
operator: `python -m dtool_operator run` and its environment are the whole interface. Not named `operator`: as
the folder of a script, `sandbox/` would then hide the standard library's module of that name.
"""

import functools
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sandbox.controlplane import ControlPlane
from sandbox.errors import SandboxError
from sandbox.port import find_free_ports, with_free_ports
from sandbox.process import Process, load_process, start_process, stop_processes
from sandbox.readiness import is_answering, wait_until_ready

PROJECT = Path(__file__).parent.parent
NAME = "operator"
NAMESPACE = "dtool-system"
SERVICE_ACCOUNT = "dtool-operator"
START_SECONDS = 60.0
GRACE_SECONDS = 10.0  # it ends its transfers
# What the user has set for himself must not reach the operator: its keys come from Secrets alone.
DROPPED_PREFIXES = ("AWS_", "DTOOL_", "KUBE")
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator that was started, alive or not."""

    process: Process
    health_url: str
    """Serves /healthz and /readyz."""

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL."""
        stop_processes(self.process, grace_seconds=GRACE_SECONDS)


def is_operator_runnable() -> bool:
    """Whether `python -m dtool_operator` exists in this environment."""
    return (
        importlib.util.find_spec("dtool_operator") is not None
        and importlib.util.find_spec("dtool_operator.__main__") is not None
    )


def install_operator(control_plane: ControlPlane) -> Path:
    """Apply CRDs, namespace and RBAC rules as an administrator does; return the operator's kubeconfig.

    Applying again changes nothing. The kubeconfig holds a fresh ServiceAccount token, good for a day.
    """
    crds = [argument for path in _manifests("crds") for argument in ("--filename", str(path))]
    control_plane.kubectl("apply", *crds)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(namespace))
    roles = _manifests("charts/dtool-operator/rbac")
    control_plane.kubectl("apply", *(each for path in roles for each in ("--filename", str(path))))
    return control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT)


def start_operator(
    directory: Path,
    *,
    kubeconfig: Path,
    endpoints: Sequence[str],
    tied: bool = False,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Operator:
    """Start `python -m dtool_operator run` and return when it says that it is ready.

    Its log is DIRECTORY/operator.log, its pid is in DIRECTORY/operator.pid, its workers' files are in
    DIRECTORY/operator. It may use the S3 `endpoints` and no others. `settings` are further variables
    `DTOOL_OPERATOR_...`. Raises ProcessError.
    """
    return with_free_ports(lambda: _start(directory, kubeconfig, endpoints, tied, settings))


def load_operator(directory: Path) -> Operator | None:
    """Find an operator that was started in this directory, running or not."""
    process = load_process(directory, NAME)
    if process is None:
        return None
    return Operator(process, json.loads((directory / "operator-health.json").read_text())["health_url"])


def _start(
    directory: Path, kubeconfig: Path, endpoints: Sequence[str], tied: bool, settings: Mapping[str, str]
) -> Operator:
    (port,) = find_free_ports(1)
    health_url = f"http://127.0.0.1:{port}"
    scratch = directory / NAME
    scratch.mkdir(exist_ok=True, mode=0o700)
    (directory / "operator-health.json").write_text(json.dumps({"health_url": health_url}))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
    process = start_process(
        NAME,
        [sys.executable, "-m", "dtool_operator", "run"],
        directory=directory,
        tied=tied,
        environment={
            **inherited,
            "KUBECONFIG": str(kubeconfig),
            "DTOOL_OPERATOR_NAMESPACE": NAMESPACE,
            "DTOOL_OPERATOR_ALLOWED_ENDPOINTS": ",".join(endpoints),
            "DTOOL_OPERATOR_STATE_DIR": str(scratch),
            "DTOOL_OPERATOR_HEALTH_PORT": str(port),
            **settings,
        },
    )
    (directory / "operator.pid").write_text(f"{process.pid}\n")
    operator = Operator(process, health_url)
    try:
        wait_until_ready(
            functools.partial(is_answering, f"{health_url}/readyz"),
            what="the operator",
            processes=[process],
            within_seconds=START_SECONDS,
        )
    except BaseException:  # an interrupt too must leave nothing behind
        operator.stop()
        (directory / "operator.pid").unlink()
        raise
    return operator


def _manifests(folder: str) -> list[Path]:
    found = sorted((PROJECT / folder).glob("*.yaml"))
    if not found:
        raise SandboxError(f"no *.yaml in {PROJECT / folder}")
    return found
