"""Datasets in the middle of a Job on the sandbox's node, each in a namespace of its own, for tests of faults.

Their S3 endpoint is a proxy that holds what tests name. Must not know what goes wrong with them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtool_operator.names import API_VERSION, DATASET_KIND
from sandbox.cluster.cluster import build_volume
from sandbox.cluster.debian import find_container_programs
from sandbox.cluster.node_file import SOCKET
from sandbox.kubectl import find_kubectl
from tests.support.chart import NAMESPACE, RELEASE
from tests.support.eventually import eventually
from tests.support.fault_proxy import Fault, FaultProxy, Harm, Stage
from tests.support.installed import RESTRICTED
from tests.support.lab import ADMIN_NAMESPACE, Lab, find_condition

if TYPE_CHECKING:
    from sandbox.cluster.cluster import Cluster
    from tests.support.chart_release import ChartRelease

NAME, CLAIM = "run", "results"
ITEMS = {f"plate/{number:03}.csv": f"well,{number}\n".encode() * 9000 for number in range(40)}
PATIENCE_SECONDS = 120.0
_DONE = 10
"""So many items pass before the others wait."""
_ROLE = "dtool-operator-job-runner"
_READY = '.status.conditions[?(@.type=="Ready")]'
_TOLD = f'{{.metadata.namespace}}|{{{_READY}.reason}}|{{.status.job.uid}}|{{{_READY}.message}}{{"\\n"}}'


@dataclass
class Bench(Lab):
    """A lab on the sandbox's node whose S3 endpoint is a proxy: it holds datasets in the middle."""

    s3: FaultProxy = field(kw_only=True)
    release: ChartRelease = field(kw_only=True)
    cluster: Cluster = field(kw_only=True)
    watched: Path = field(kw_only=True)
    held: dict[str, Fault] = field(default_factory=dict)

    def bucket_object(self, name: str, *, namespace: str = ADMIN_NAMESPACE, **spec: Any) -> None:
        """See Lab; the endpoint is the proxy, and those that are held take no other's place."""
        mine = {"endpoint": self.s3.url, "limits": {"concurrentTransfers": 16}}
        super().bucket_object(name, namespace=namespace, **{**mine, **spec})

    def team(self, what: str) -> str:
        """Return the namespace of a fault."""
        return f"{what}-{self.suffix}"

    def found(self, what: str, *, may_run_jobs: bool = True) -> str:
        """Make the namespace of a fault, and return it."""
        team = self.team(what)
        metadata = {"name": team, "labels": {**self.label, **RESTRICTED}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        account = ("serviceaccount/default", f"--namespace={team}")
        self.cluster.kubectl("wait", "--for=create", *account, "--timeout=30s")
        if may_run_jobs:
            subject = f"--serviceaccount={NAMESPACE}:{RELEASE}"
            self.cluster.kubectl(
                "create", "rolebinding", _ROLE, f"--clusterrole={_ROLE}", subject, f"--namespace={team}"
            )
        return team

    def folder(self, team: str) -> Path:
        """Return where the volume of a namespace lies."""
        return self.cluster.node.directory / "volumes" / f"{team}.{CLAIM}"

    def fill(self, team: str) -> None:
        """Write files to upload, then make the claim of a namespace, so that none finds half of them."""
        for name, content in ITEMS.items():
            path = self.folder(team) / NAME / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.claim(team)

    def claim(self, team: str) -> None:
        """Make the claim of a namespace, and the volume for it."""
        for document in build_volume(team, CLAIM, "1Gi", self.folder(team)):
            self.apply(document)

    def upload(self, team: str) -> None:
        """Apply a dataset whose files are on the claim."""
        self.dataset(NAME, namespace=team, source={"volume": {"claimName": CLAIM, "path": NAME}})

    def download(self, team: str, uuid: str) -> None:
        """Apply a dataset of the instruments that is brought onto the claim."""
        spec = {"volume": {"claimName": CLAIM}, "source": {"uri": self.uri(uuid)}}
        metadata = {"name": NAME, "namespace": team}
        self.apply({"apiVersion": API_VERSION, "kind": DATASET_KIND, "metadata": metadata, "spec": spec})

    def hold(self, team: str, method: str, target: str) -> None:
        """Let some items of a dataset pass; those that follow wait until `let_go`."""
        harm = Harm(f"held back: {team}", Stage.HELD)
        self.held[team] = Fault(harm, method, target, times=None, skip=_DONE)
        self.s3.faults.append(self.held[team])

    def await_middle(self, team: str) -> dict[str, Any]:
        """Wait until a dataset is held in the middle, by a Job that is written down; return its `job`."""

        def check() -> dict[str, Any]:
            assert self.held[team].hits, self.status(NAME, team)
            return dict(self.status(NAME, team)["job"])

        return eventually(check, within=PATIENCE_SECONDS)

    def let_go(self, team: str) -> None:
        """Let the items that wait pass, and all that follow."""
        self.s3.faults.remove(self.held.pop(team))

    def await_reason(self, team: str, reason: str, words: str = "") -> str:
        """Wait until Ready has had this reason with these words, for a moment even; return its message."""

        def check() -> str:
            told = self._told(team)
            found = [message for each, _, message in told if each == reason and words in message]
            assert found, told
            return found[-1]

        return eventually(check, within=PATIENCE_SECONDS)

    def jobs(self, team: str) -> set[str]:
        """Return the uids of all Jobs that were ever told."""
        return {uid for _, uid, _ in self._told(team) if uid}

    def _told(self, team: str) -> list[tuple[str, str, str]]:
        """Return reason, uid of the Job and message of each time that something of the dataset changed."""
        lines = (line.split("|", 3) for line in self.watched.read_text().splitlines())
        return [(line[1], line[2], line[3]) for line in lines if line[0] == team and len(line) == 4]

    def await_frozen(self, team: str, items: int = len(ITEMS)) -> None:
        """Wait until the dataset is whole and Ready."""
        status = self.wait_state(NAME, "Frozen", namespace=team, within=PATIENCE_SECONDS)
        assert status["items"] == items
        assert find_condition(status, "Ready")["status"] == "True"
        assert find_condition(status, "Verified")["status"] == "True"

    def find_pod(self, team: str) -> str:
        """Return the name of the only Pod of a namespace."""
        found = self.cluster.kubectl("get", "pods", f"--namespace={team}", "--output=name")
        (name,) = found.split()
        return name.removeprefix("pod/")

    def evict(self, team: str) -> None:
        """Evict the worker's Pod, as draining a node does."""
        name = self.find_pod(team)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{team}/pods/{name}/eviction"
        self.cluster.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))

    def ctr(self, *arguments: str) -> str:
        """Ask containerd about its images."""
        program = str(find_container_programs().ctr)
        return self.cluster.node.run(
            program, f"--address={SOCKET}", "--namespace=k8s.io", "images", *arguments
        )


@contextmanager
def watching(bench: Bench) -> Iterator[None]:
    """Write down every reason that a dataset is given, also one that another follows at once."""
    words = ["get", "dtooldatasets", "--all-namespaces", "--watch", f"--output=jsonpath={_TOLD}"]
    with bench.watched.open("w") as file:
        # in the home directory, another cluster's cache might be mistaken for this one's
        cache = f"--cache-dir={bench.watched.parent / 'cache'}"
        command = [str(find_kubectl()), f"--kubeconfig={bench.cluster.kubeconfig}", cache, *words]
        process = subprocess.Popen(command, stdout=file)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)
