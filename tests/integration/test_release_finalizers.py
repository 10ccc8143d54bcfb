"""`dtool-operator release-finalizers` on a real API server, as the runbook of uninstalling has it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_operator.adapters.connection import Connection
from dtool_operator.commands.finalizers import Released, release_finalizers
from dtool_operator.names import FINALIZER
from tests.support.installation import install_operator
from tests.support.scripted_api import Answer, scripted_api, write_kubeconfig

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

OTHERS = "example.org/another"


@pytest.fixture
def kubeconfig(control_plane: "ControlPlane") -> Path:
    """The operator's own ServiceAccount has all the rights that this needs."""
    return install_operator(control_plane)


def create(control_plane: "ControlPlane", namespace: str, name: str, *finalizers: str) -> None:
    metadata = {"name": name, "namespace": namespace, "finalizers": list(finalizers)}
    spec = {"bucketRef": {"name": "lab"}}
    body = {"apiVersion": "dtool.dev/v1alpha1", "kind": "DtoolDataset", "metadata": metadata, "spec": spec}
    control_plane.kubectl("create", "--filename=-", stdin=json.dumps(body))


def read_finalizers(control_plane: "ControlPlane", namespace: str) -> dict[str, list[str]]:
    found = control_plane.kubectl("get", "dtooldatasets", "--namespace", namespace, "--output=json")
    metadata = [item["metadata"] for item in json.loads(found)["items"]]
    return {one["name"]: one.get("finalizers", []) for one in metadata}


def run(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dtool_operator", "release-finalizers", *arguments]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_only_ours_goes_and_only_when_told_so(
    control_plane: "ControlPlane", kubeconfig: Path, namespace: str
) -> None:
    create(control_plane, namespace, "ours", FINALIZER)
    create(control_plane, namespace, "both", OTHERS, FINALIZER)
    create(control_plane, namespace, "none")
    create(control_plane, namespace, "dying", FINALIZER)
    control_plane.kubectl("delete", "dtooldataset", "dying", "--namespace", namespace, "--wait=false")
    before = read_finalizers(control_plane, namespace)

    listed = run(kubeconfig, "--namespace", namespace)

    assert listed.returncode == 0
    assert set(listed.stdout.splitlines()) == {
        f"would release {namespace}/both",
        f"would release {namespace}/dying, being deleted",
        f"would release {namespace}/ours",
        "3 DtoolDatasets have the finalizer; --yes takes it off",
    }
    assert read_finalizers(control_plane, namespace) == before

    done = run(kubeconfig, "--namespace", namespace, "--yes")

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "released 3 of 3 DtoolDatasets"
    assert read_finalizers(control_plane, namespace) == {"ours": [], "both": [OTHERS], "none": []}

    again = run(kubeconfig, "--namespace", namespace, "--yes")

    assert again.stdout.splitlines() == ["released 0 of 0 DtoolDatasets"]


def test_all_namespaces_are_the_default(
    control_plane: "ControlPlane", kubeconfig: Path, namespace: str
) -> None:
    create(control_plane, namespace, "ours", FINALIZER)

    listed = run(kubeconfig)

    assert f"would release {namespace}/ours" in listed.stdout


async def test_edits_meanwhile_are_survived(
    control_plane: "ControlPlane", kubeconfig: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"raw-{number}" for number in range(8)]
    for name in names:
        create(control_plane, namespace, name, FINALIZER)
    connection = Connection(environment={"KUBECONFIG": str(kubeconfig)})
    write, edited = connection.write, set[str]()

    async def write_after_an_edit(method: str, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if name not in edited:
            edited.add(name)
            label = ("label", "dtooldataset", name, "edited=meanwhile", f"--namespace={namespace}")
            await asyncio.to_thread(control_plane.kubectl, *label)
        return await write(method, path, *args, **options)

    monkeypatch.setattr(connection, "write", write_after_an_edit)
    said: list[str] = []
    try:
        done = await release_finalizers(connection, namespace=namespace, is_dry_run=False, say=said.append)
    finally:
        await connection.close()

    assert edited == set(names)
    assert done == Released(found=8, released=8)
    assert read_finalizers(control_plane, namespace) == {name: [] for name in names}


async def test_a_conflict_is_looked_at_again_and_one_that_never_ends_is_said(tmp_path: Path) -> None:
    def body(version: str) -> dict[str, Any]:
        metadata = {"name": "raw", "namespace": "alice", "uid": "1", "resourceVersion": version}
        return {"metadata": {**metadata, "finalizers": [FINALIZER]}}

    page = Answer(200, {"items": [body("1")], "metadata": {}})
    conflict, read = Answer(409), Answer(200, body("2"))
    for answers, expected in (
        ((page, conflict, read, Answer(200, body("3"))), Released(1, 1)),
        ((page, conflict, Answer(404)), Released(1, 1)),
        ((page, *(conflict, read) * 10), Released(1, 0)),
    ):
        async with scripted_api(*answers) as api:
            path = write_kubeconfig(tmp_path / "kubeconfig", server=api.url)
            connection = Connection(environment={"KUBECONFIG": str(path)})

            done = await release_finalizers(connection, namespace=None, is_dry_run=False, say=lambda _: None)

            assert done == expected
            await connection.close()


def test_a_cluster_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", server="http://127.0.0.1:9")

    done = run(kubeconfig, "--yes")

    assert done.returncode == 1
    assert done.stderr.startswith("dtool-operator: the API server does not answer")
    assert len(done.stderr.splitlines()) == 1
