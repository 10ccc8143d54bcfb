"""The chart as a release on a cluster with a real node: installed, upgraded, uninstalled by administrators.

Pods share the node's network on the sandbox's cluster: everything listens on loopback there, on free ports.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sandbox.cluster.cluster import Cluster
from sandbox.errors import HelmError, KubectlError
from sandbox.port import find_free_ports
from tests.support.chart import CHART, NAMESPACE, RELEASE, ROOT
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.support.real_cluster import RealCluster

CRDS = ("dtoolbuckets.dtool.dev", "dtooldatasets.dtool.dev")
PATIENCE = "3m"
VALUES = "DTOOL_TEST_VALUES"
STORY_VALUES = ROOT / "sandbox" / "story" / "cluster-values.yaml"
SUSPEND = f"{16 * ' '}suspend:\n"
COLOUR = f"{16 * ' '}colour: {{type: string, description: New in this version.}}\n"


@dataclass
class ChartRelease:
    """One release in the namespace of administrators."""

    cluster: RealCluster
    values: dict[str, Any]

    def install(self, **values: Any) -> None:
        """Install it, and wait until the operator works."""
        self._apply("install", CHART, values)

    def upgrade(self, chart: Path = CHART, **values: Any) -> None:
        """Upgrade it, and wait until the new Pod works."""
        self._apply("upgrade", chart, values)

    def roll_back(self) -> None:
        """Go back to the revision before, and wait until its Pod works."""
        self.cluster.helm("rollback", RELEASE, f"--namespace={NAMESPACE}", "--wait", f"--timeout={PATIENCE}")

    def uninstall(self) -> str:
        """Uninstall it, and wait until its Pod is gone; return what helm said."""
        said = self.cluster.helm("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--wait")
        pods = (self._selector, f"--namespace={NAMESPACE}")
        self.cluster.kubectl("wait", "--for=delete", "pod", *pods, "--timeout=90s")
        return said

    def scale(self, replicas: int) -> None:
        """Let it have so many Pods, and wait until they work, or are gone."""
        here = f"--namespace={NAMESPACE}"
        self.cluster.kubectl("scale", f"deployment/{RELEASE}", here, f"--replicas={replicas}")
        self.cluster.kubectl("rollout", "status", f"deployment/{RELEASE}", here, f"--timeout={PATIENCE}")
        if not replicas:
            self.cluster.kubectl("wait", "--for=delete", "pod", self._selector, here, "--timeout=90s")

    def kill(self) -> None:
        """End the operator with SIGKILL on the sandbox's node, elsewhere with a second's notice.

        Kubelet, or the Deployment, starts another one at once.
        """
        if not isinstance(self.cluster, Cluster):
            here = (self._selector, f"--namespace={NAMESPACE}", "--grace-period=1")
            self.cluster.kubectl("delete", "pod", *here)
            return
        (pid,) = [pid for pid in _list_pids(self.cluster) if _is_operator(pid)]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: _assert_gone(pid), within=10)

    def metrics(self) -> str:
        """Return what the operator tells Prometheus, asked for inside the Pod."""
        port = self.values.get("healthPort", 8080)
        program = f"from urllib.request import urlopen as o; print(o('http://127.0.0.1:{port}/metrics').read().decode())"
        command = ("--", "/opt/dtool-operator/bin/python", "-c", program)
        return self.cluster.kubectl("exec", f"deployment/{RELEASE}", f"--namespace={NAMESPACE}", *command)

    def log(self) -> str:
        """Return what the operator logged."""
        return self.cluster.kubectl("logs", f"deployment/{RELEASE}", f"--namespace={NAMESPACE}")

    def clear(self) -> None:
        """Leave nothing of it behind, objects and kinds included."""
        self.cluster.helm("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait")
        self.cluster.kubectl("delete", "crd", *CRDS, "--ignore-not-found", "--wait=false")

    def _describe(self) -> str:
        """Say what became of the Pods, and what they said last: helm says neither."""
        here = (self._selector, f"--namespace={NAMESPACE}")
        with suppress(KubectlError):
            last = self.cluster.kubectl("logs", *here, "--tail=20")
            return f"{self.cluster.kubectl('get', 'pods', *here)}\n{last}"
        return self.cluster.kubectl("describe", "pods", *here)

    @property
    def _selector(self) -> str:
        return f"--selector=app.kubernetes.io/instance={RELEASE}"

    def _apply(self, verb: str, chart: Path, values: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({**self.values, **values}, file)
            file.flush()
            where = (f"--namespace={NAMESPACE}", "--wait", f"--timeout={PATIENCE}")
            try:
                self.cluster.helm(verb, RELEASE, str(chart), *where, f"--values={file.name}")
            except HelmError as error:
                raise AssertionError(f"{error}\n{self._describe()}") from error


def build_values(cluster: RealCluster, image: str, *endpoints: str) -> dict[str, Any]:
    """Build values: what the sandbox's node needs, else the chart's own; short waits, small requests.

    `DTOOL_TEST_VALUES` names a JSON file of values that a named cluster needs beside them.
    """
    if isinstance(cluster, Cluster):
        values = yaml.safe_load(STORY_VALUES.read_text()) | choose_ports()
    else:
        repository, _, tag = image.rpartition(":")
        values = {"image": {"repository": repository, "tag": tag}}
        values |= json.loads(Path(os.environ[VALUES]).read_text()) if os.environ.get(VALUES) else {}
    return {
        **values,
        "allowedEndpoints": list(endpoints),
        "signing": {**values.get("signing", {}), "expiry": "5s"},
        "settings": {"freezeQuietPeriod": "1s", "backoffBase": "1s", "backoffCap": "10s"},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
    }


def choose_ports() -> dict[str, Any]:
    """Choose free ports for a release on the sandbox's node, whose Pods share this machine's network."""
    health, signing = find_free_ports(2)
    return {
        "healthPort": health,
        "signing": {"port": signing, "url": f"https://127.0.0.1:{signing}", "expiry": "5s"},
        # two Pods could not listen on one port
        "strategy": "Recreate",
    }


def write_next_version(folder: Path) -> Path:
    """Write a chart of a later version, in which DtoolDatasets have a field more, `spec.colour`."""
    shutil.copytree(CHART, folder)
    _replace_once(folder / "Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.2.0")
    _replace_once(folder / "templates/crds/dtooldatasets.yaml", SUSPEND, COLOUR + SUSPEND)
    return folder


def _list_pids(cluster: Cluster) -> set[int]:
    """List what runs on the sandbox's node."""
    files = (path for folder in cluster.node.group.folders for path in folder.rglob("cgroup.procs"))
    return {int(line) for path in files for line in path.read_text().split()}


def _is_operator(pid: int) -> bool:
    """Whether a process is the operator itself, none of its workers."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return False
    return command[-3:-1] == [b"/opt/dtool-operator/bin/dtool-operator", b"run"]


def _assert_gone(pid: int) -> None:
    assert not _is_operator(pid)


def _replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
