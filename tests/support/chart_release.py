"""The chart as a release on a cluster with a real node: installed, upgraded, uninstalled by administrators.

Pods share the node's network on the sandbox's cluster: everything listens on loopback there, on free ports.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.port import find_free_ports
from tests.support.chart import CHART, NAMESPACE, RELEASE

if TYPE_CHECKING:
    from tests.support.real_cluster import RealCluster

CRDS = ("dtoolbuckets.dtool.dev", "dtooldatasets.dtool.dev")
PATIENCE = "3m"
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
        pods = ("--selector", f"app.kubernetes.io/instance={RELEASE}", f"--namespace={NAMESPACE}")
        self.cluster.kubectl("wait", "--for=delete", "pod", *pods, "--timeout=90s")
        return said

    def log(self) -> str:
        """Return what the operator logged."""
        return self.cluster.kubectl("logs", f"deployment/{RELEASE}", f"--namespace={NAMESPACE}")

    def clear(self) -> None:
        """Leave nothing of it behind, objects and kinds included."""
        self.cluster.helm("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait")
        self.cluster.kubectl("delete", "crd", *CRDS, "--ignore-not-found", "--wait=false")

    def _apply(self, verb: str, chart: Path, values: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({**self.values, **values}, file)
            file.flush()
            where = (f"--namespace={NAMESPACE}", "--wait", f"--timeout={PATIENCE}")
            self.cluster.helm(verb, RELEASE, str(chart), *where, f"--values={file.name}")


def build_values(image: str, endpoint: str) -> dict[str, Any]:
    """Build values for the sandbox's node: an image that it has, an S3 server on loopback."""
    repository, _, tag = image.rpartition(":")
    health, signing = find_free_ports(2)
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "bindAddress": "127.0.0.1",
        "healthPort": health,
        "signing": {"port": signing, "url": f"https://127.0.0.1:{signing}"},
        # two Pods could not listen on one port
        "strategy": "Recreate",
        "allowedEndpoints": [endpoint],
        "settings": {"freezeQuietPeriod": "1s"},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
    }


def write_next_version(folder: Path) -> Path:
    """Write a chart of a later version, in which DtoolDatasets have a field more, `spec.colour`."""
    shutil.copytree(CHART, folder)
    _replace_once(folder / "Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.2.0")
    _replace_once(folder / "templates/crds/dtooldatasets.yaml", SUSPEND, COLOUR + SUSPEND)
    return folder


def _replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
