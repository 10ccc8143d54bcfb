"""The README's story on a cluster, line by line, and what else teams do with volumes; all on the real node.

From a directory on a volume into a bucket, into another bucket, and onto the volume of another namespace.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.cluster.cluster import Cluster
from sandbox.cluster.session import ClusterSession
from tests.support.chart import NAMESPACE, ROOT
from tests.support.chart_release import ChartRelease, choose_ports
from tests.support.eventually import eventually
from tests.support.installed import RESTRICTED, open_operator_in_pod
from tests.support.lab import Lab, find_condition
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore
    from tests.support.real_cluster import RealCluster

BUCKETS = ("lab-data", "archive-data")
STORY = (("alice", "run-17"), ("alice", "run-17-archive"), ("bob", "run-17-scratch"))
TEAMS = ("alice", "bob")
ACCOUNT = f"--serviceaccount={NAMESPACE}:dtool-operator"
WATCH = "kubectl dtool status --all-namespaces --watch"
SHELL = """
set -euo pipefail
make() { :; }  # done: the cluster runs, and its node has the image
helm() { command helm "$@" --values ports.json; }
"""
# the image, where it is not up to date, takes minutes
pytestmark = pytest.mark.timeout(1200)


@dataclass
class Scene:
    """A checkout in which the README's commands are typed, and what they work on."""

    folder: Path
    cluster: Cluster
    object_store: ObjectStore
    release: ChartRelease

    @property
    def volumes(self) -> Path:
        """Where the volumes of the story lie."""
        return self.folder / ".cluster" / "volumes"

    def is_installed(self) -> bool:
        """Whether there is an operator: tests come in any order."""
        return bool(self.cluster.helm("list", f"--namespace={NAMESPACE}", "--short"))

    def type(self, commands: str) -> str:
        """Run commands in a shell, the README's, or what follows them."""
        done = subprocess.run(
            ["bash", "-c", SHELL + commands],
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    @contextmanager
    def following(self, command: str, log: Path) -> Iterator[None]:
        """Let a command that does not end by itself write into a file."""
        with log.open("w") as file:
            words = ["bash", "-c", f"source .cluster/env && exec {command}"]
            process = subprocess.Popen(words, cwd=self.folder, stdout=file, stderr=subprocess.STDOUT)
            try:
                yield
            finally:
                process.terminate()
                process.wait(timeout=20)

    def upstream(self, bucket: str) -> Dtool:
        """Upstream's dtool, for a bucket and for directories."""
        keys = self.object_store.identity("admin")
        where = (self.object_store.endpoint, keys.access_key, keys.secret_key, self.folder / "home")
        return Dtool(ensure_upstream() / "bin", bucket_environment(bucket, *where))

    def lab(self) -> Lab:
        """What tests ask of people and objects."""
        operator = open_operator_in_pod(self.cluster, self.object_store, self.release)
        return Lab(operator.control_plane, self.object_store, operator)


@pytest.fixture(scope="module")
def scene(
    cluster: RealCluster,
    object_store: ObjectStore,
    make_release: Callable[..., ChartRelease],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """A checkout, a cluster in it, and no operator yet."""
    if not isinstance(cluster, Cluster):
        pytest.skip("the story's volumes are directories of the sandbox's node")
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("charts", "sandbox"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "ports.json").write_text(json.dumps(choose_ports()))
    session = ClusterSession(folder / ".cluster", cluster, object_store)
    session.directory.mkdir()
    (session.directory / "env").write_text(session.exports())
    release = make_release(object_store.endpoint)
    yield Scene(folder, cluster, object_store, release)
    cluster.kubectl("delete", "namespace", *TEAMS, "--ignore-not-found", "--timeout=90s")
    release.clear()


@pytest.fixture
def lab(scene: Scene) -> Lab:
    """The operator works."""
    if not scene.is_installed():
        scene.release.install()
    return scene.lab()


@pytest.fixture
def team(lab: Lab, scene: Scene, make_namespace: Callable[..., str]) -> str:
    """A namespace that enforces `restricted` and lets the operator run Jobs in it."""
    name = make_namespace(**RESTRICTED, **lab.label)
    bind(lab, name, "dtool-operator-job-runner")
    return name


def test_the_readmes_story_comes_to_its_end_and_outlives_the_operator(scene: Scene, tmp_path: Path) -> None:
    lab = scene.lab()
    if scene.is_installed():
        scene.release.uninstall()
    commands, rest = read_story().split(WATCH)
    assert "\n" not in rest.strip()
    with scene.following("kubectl get secrets --all-namespaces --watch --no-headers", tmp_path / "secrets"):
        scene.type(commands)
        with scene.following(WATCH, tmp_path / "watched"):
            for namespace, name in STORY:
                lab.wait_state(name, "Frozen", namespace=namespace, within=240)
            eventually(lambda: assert_watched(tmp_path / "watched"), within=20)
    for namespace, name in STORY:
        lab.wait_ready("dtooldataset", name, namespace)
        assert_verified(lab, name, namespace)
    seen = {tuple(line.split()[:2]) for line in (tmp_path / "secrets").read_text().splitlines()}
    assert (NAMESPACE, "lab-s3") in seen
    assert not [secret for secret in seen if secret[0] in TEAMS]

    files = read_files(scene.volumes / "results" / "run-17")
    uuid = lab.status("run-17", "alice")["uuid"]
    assert len(files) > 10
    for bucket in BUCKETS:
        assert "All good" in scene.upstream(bucket).run("verify", "--full", f"s3://{bucket}/{uuid}")
    directory = scene.volumes / "scratch" / "datasets" / "run-17"
    assert "All good" in scene.upstream("none").run("verify", "--full", str(directory))
    assert read_files(directory / "data") == files

    before = told(scene, lab)
    assert "kept due to the resource policy" in scene.release.uninstall()
    assert told(scene, lab) == before
    scene.release.install()
    asked = {key: lab.request("dtooldataset", key[1], namespace=key[0]) for key in STORY}
    for (namespace, name), value in asked.items():
        lab.wait_handled("dtooldataset", name, value, namespace=namespace)
        lab.wait_ready("dtooldataset", name, namespace)
    assert told(scene, lab) == before


def test_a_dataset_directory_on_a_volume_becomes_the_same_dataset_in_s3(
    lab: Lab, team: str, scene: Scene, tmp_path: Path
) -> None:
    lab.set_up()
    folder = scene.cluster.provide_volume(team, "results")
    upstream = scene.upstream(lab.bucket)
    (tmp_path / "plate.csv").write_text("well,value\nA1,7\n")
    upstream.run("create", "plate", str(folder))
    upstream.run("add", "item", str(tmp_path / "plate.csv"), str(folder / "plate"))
    upstream.run("freeze", str(folder / "plate"))
    written = json.loads((folder / "plate" / ".dtool" / "dtool").read_text())

    source = {"volume": {"claimName": "results", "path": "plate", "layout": "Dataset"}}
    lab.dataset("plate", namespace=team, source=source)

    status = lab.wait_state("plate", "Frozen", namespace=team, within=120)
    assert (status["uuid"], status["name"]) == (written["uuid"], "plate")
    assert_verified(lab, "plate", team)
    assert "All good" in upstream.run("verify", "--full", status["uri"])
    assert lab.read(lab.bucket, f"u/{team}/{status['uuid']}/manifest.json")


def test_a_job_beside_its_own_teams_bucket_mounts_that_buckets_secret(
    lab: Lab, team: str, scene: Scene, tmp_path: Path
) -> None:
    folder = scene.cluster.provide_volume(team, "results")
    (folder / "run").mkdir()
    (folder / "run" / "a.txt").write_text("alpha\n")
    lab.object_store.create_bucket(lab.bucket)
    lab.secret(namespace=team, name="own")
    bind(lab, team, "dtool-operator-secret-reader")
    own = {"credentials": {"secretRef": {"name": "own"}}, "allowedNamespaces": {"from": "Same"}}
    lab.bucket_object("own", namespace=team, bucket=lab.bucket, **own)
    mounted = "{.spec.template.spec.volumes[*].secret.secretName}"

    with scene.following(
        f"kubectl get jobs --namespace={team} --watch --output=jsonpath='{mounted} '", tmp_path / "jobs"
    ):
        source = {"volume": {"claimName": "results", "path": "run"}}
        lab.dataset("run", namespace=team, bucketRef={"name": "own"}, source=source)
        status = lab.wait_state("run", "Frozen", namespace=team, within=120)

    assert set((tmp_path / "jobs").read_text().split()) == {"own"}
    assert_verified(lab, "run", team)
    assert "All good" in scene.upstream(lab.bucket).run("verify", "--full", status["uri"])


def read_story() -> str:
    """Read the commands of the README's section."""
    section = (ROOT / "README.md").read_text().partition("\n## On a cluster\n")[2].partition("\n## ")[0]
    return section.split("\n```\n")[1]


def bind(lab: Lab, namespace: str, role: str) -> None:
    """Bind a role of the chart's to the operator, as teams do."""
    lab.control_plane.kubectl(
        "create", "rolebinding", role, f"--clusterrole={role}", ACCOUNT, f"--namespace={namespace}"
    )


def assert_verified(lab: Lab, name: str, namespace: str) -> None:
    assert find_condition(lab.status(name, namespace), "Verified")["status"] == "True"


def read_files(folder: Path) -> list[bytes]:
    """Read the contents of all files of a directory, whatever their names are now."""
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def assert_watched(log: Path) -> None:
    """The plugin has shown every dataset of the story frozen."""
    watched = log.read_text()
    for namespace, name in STORY:
        assert re.search(rf"{namespace}/{name} .*Frozen", watched), watched


def told(scene: Scene, lab: Lab) -> dict[str, Any]:
    """Tell what is there: objects' conditions, keys with the times of their writing, files with theirs."""
    conditions = {
        f"{namespace}/{name}": lab.status(name, namespace)["conditions"] for namespace, name in STORY
    }
    keys = {
        f"{bucket}/{key}": listed["LastModified"]
        for bucket in BUCKETS
        for key, listed in lab.lasting_keys(bucket).items()
    }
    files = {str(path): path.stat().st_mtime_ns for path in (scene.volumes / "scratch").rglob("*")}
    return {"conditions": conditions, "keys": keys, "files": files}
