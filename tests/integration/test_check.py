"""`dtool-operator check` as administrators run it, on a real API server and a real S3 server."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.eventually import eventually
from tests.support.installation import OPERATOR_NAMESPACE, ROOT, install_operator
from tests.support.scripted_api import write_kubeconfig

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore

CLOSED = "http://127.0.0.1:9"


def run(
    kubeconfig: Path, state_dir: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DTOOL_OPERATOR_")}
    variables = {"KUBECONFIG": str(kubeconfig), "DTOOL_OPERATOR_STATE_DIR": str(state_dir)}
    variables |= {f"DTOOL_OPERATOR_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "dtool_operator", "check", *arguments]
    return subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=False
    )


def check(kubeconfig: Path, state_dir: Path, **settings: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run it; return its exit code and findings by check."""
    done = run(kubeconfig, state_dir, "--output=json", **settings)
    assert not done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in document["checks"]:
        found.setdefault(finding["check"], []).append(finding)
    return done.returncode, found


@pytest.fixture
def kubeconfig(control_plane: "ControlPlane") -> Path:
    return install_operator(control_plane)


@pytest.fixture
def endpoint_bucket(
    control_plane: "ControlPlane", object_store: "ObjectStore", kubeconfig: Path
) -> Iterator[str]:
    """A bucket object of an administrator for the S3 server, gone afterwards."""
    name = f"check-{secrets.token_hex(3)}"
    apply_bucket(control_plane, name, object_store.endpoint)
    yield name
    control_plane.kubectl("delete", "dtoolbucket", name, "--namespace", OPERATOR_NAMESPACE, "--wait=false")


def apply_bucket(control_plane: "ControlPlane", name: str, endpoint: str, **spec: Any) -> None:
    body = {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolBucket",
        "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
        "spec": {"bucket": name, "endpoint": endpoint, "credentials": {"secretRef": {"name": "x"}}, **spec},
    }
    control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(body))


def test_all_is_well_under_the_charts_roles(
    kubeconfig: Path, endpoint_bucket: str, object_store: "ObjectStore", tmp_path: Path
) -> None:
    done = run(kubeconfig, tmp_path, ALLOWED_ENDPOINTS=object_store.endpoint)

    assert done.stderr == ""
    # bucket objects of other tests may have endpoints that have gone
    lines = [line for line in done.stdout.splitlines() if "endpoint" not in line or endpoint_bucket in line]
    assert {line.split()[0] for line in lines} == {"ok"}, done.stdout
    assert {line[8:20].strip() for line in lines} == {
        *("settings", "state dir", "api server", "kinds", "rights", "lease", "endpoint")
    }
    assert any(object_store.endpoint in line for line in lines)
    assert done.returncode == int("failed" in done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_rights_that_are_missing_are_named(
    control_plane: "ControlPlane", kubeconfig: Path, tmp_path: Path
) -> None:
    role = ("clusterrole", "dtool-operator")
    control_plane.kubectl(
        "patch",
        *role,
        "--type=json",
        '--patch=[{"op": "remove", "path": "/rules/0/verbs/2"}]',
    )
    try:

        def is_said() -> None:
            code, found = check(kubeconfig, tmp_path)
            (rights,) = found["rights"]
            assert code == 1
            assert rights["message"] == (
                "not allowed: watch dtoolbuckets.dtool.dev, watch dtooldatasets.dtool.dev"
            )
            assert "chart" in rights["advice"]

        eventually(is_said, within=10)
    finally:
        install_operator(control_plane)


def test_somebody_without_any_rights_learns_so(control_plane: "ControlPlane", tmp_path: Path) -> None:
    install_operator(control_plane)
    kubeconfig = control_plane.service_account_kubeconfig("default", "default")

    code, found = check(kubeconfig, tmp_path)

    assert code == 1
    assert [finding["ok"] for name in ("rights", "lease", "endpoint") for finding in found[name]] == [
        False
    ] * 3


def test_crds_that_are_missing_or_old_are_named(
    control_plane: "ControlPlane", kubeconfig: Path, tmp_path: Path
) -> None:
    crd = "dtooldatasets.dtool.dev"
    schema = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/verified"
    patch = json.dumps([{"op": "remove", "path": schema}])

    control_plane.kubectl("patch", "crd", crd, "--type=json", f"--patch={patch}")
    try:

        def is_said() -> None:
            code, found = check(kubeconfig, tmp_path)
            (kinds,) = found["kinds"]
            assert code == 1
            assert kinds["message"] == "not served: DtoolDataset.status.verified"

        eventually(is_said, within=20)
    finally:
        control_plane.kubectl("apply", "--filename", str(ROOT / "crds"))


def test_an_api_server_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", server=CLOSED)

    code, found = check(kubeconfig, tmp_path)

    assert code == 1
    (server,) = found["api server"]
    assert "does not answer" in server["message"]
    assert "rights" not in found


def test_an_endpoint_that_cannot_be_reached_is_named_and_another_is_never_asked(
    control_plane: "ControlPlane", kubeconfig: Path, object_store: "ObjectStore", tmp_path: Path
) -> None:
    name = f"check-{secrets.token_hex(3)}"
    apply_bucket(control_plane, name, CLOSED)
    try:
        code, found = check(kubeconfig, tmp_path, ALLOWED_ENDPOINTS=CLOSED)
        (mine,) = [finding for finding in found["endpoint"] if name in finding["message"]]
        assert code == 1
        assert mine["message"].startswith(f"{CLOSED} cannot be reached")

        code, found = check(kubeconfig, tmp_path, ALLOWED_ENDPOINTS=object_store.endpoint)
        (mine,) = [finding for finding in found["endpoint"] if name in finding["message"]]
        assert mine["message"].startswith(f"{CLOSED} is not allowed, and was not asked")
    finally:
        place = ("--namespace", OPERATOR_NAMESPACE, "--wait=false")
        control_plane.kubectl("delete", "dtoolbucket", name, *place)


def test_a_certificate_is_judged_by_the_ca_of_the_bucket_object(
    control_plane: "ControlPlane", kubeconfig: Path, tmp_path: Path
) -> None:
    """The API server stands for an endpoint with a certificate of a private authority."""
    name, server = f"check-{secrets.token_hex(3)}", control_plane.server
    place = ("--namespace", OPERATOR_NAMESPACE)
    apply_bucket(control_plane, name, server)
    try:
        _, found = check(kubeconfig, tmp_path, ALLOWED_ENDPOINTS=server)
        (mine,) = [finding for finding in found["endpoint"] if name in finding["message"]]
        assert mine["message"].startswith(f"{server} has a certificate that is not trusted")

        authority = f"--from-file=ca.crt={control_plane.ca_file}"
        control_plane.kubectl("create", "configmap", name, authority, *place)
        ca_bundle = {"configMapKeyRef": {"name": name, "key": "ca.crt"}}
        apply_bucket(control_plane, name, server, caBundle=ca_bundle)
        _, found = check(kubeconfig, tmp_path, ALLOWED_ENDPOINTS=server)
        (mine,) = [finding for finding in found["endpoint"] if name in finding["message"]]
        assert mine["ok"], mine
    finally:
        control_plane.kubectl("delete", f"configmap/{name}", "--ignore-not-found", *place)
        control_plane.kubectl("delete", "dtoolbucket", name, "--wait=false", *place)


def test_a_state_directory_that_cannot_be_written_and_a_wrong_setting_are_named(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", server=CLOSED)
    (tmp_path / "file").touch()

    _, found = check(kubeconfig, tmp_path / "file" / "state")
    assert found["state dir"][0]["ok"] is False

    code, found = check(kubeconfig, tmp_path, ALLOWED_ENDPOINTS="s3.example.org")
    assert code == 1
    assert "DTOOL_OPERATOR_ALLOWED_ENDPOINTS" in found["settings"][0]["message"]
