"""The chart's life on a real API server: installed, upgraded, rolled back, uninstalled, installed again.

There is no node: objects are made and kept, and nothing runs. tests/cluster shows what Pods do.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.controlplane import ControlPlane, running_control_plane
from sandbox.errors import HelmError, KubectlError
from sandbox.helm import run_helm
from sandbox.operator_process import start_operator
from tests.chart.cases import CASES, read_values
from tests.support.chart import CHART, NAMESPACE, pod_of, render
from tests.support.chart_release import CRDS, write_next_version
from tests.support.eventually import eventually

KINDS = "dtoolbuckets,dtooldatasets"
BUCKET = {
    "apiVersion": "dtool.dev/v1alpha1",
    "kind": "DtoolBucket",
    "metadata": {"name": "lab", "namespace": NAMESPACE},
    "spec": {"bucket": "lab-data", "credentials": {"secretRef": {"name": "x"}}},
}
DATASET = {
    "apiVersion": "dtool.dev/v1alpha1",
    "kind": "DtoolDataset",
    "metadata": {"name": "rnaseq", "namespace": NAMESPACE},
    "spec": {"bucketRef": {"name": "lab"}},
}


class Cluster:
    """A control plane with nothing of ours on it."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self.kubectl = control_plane.kubectl

    def helm(self, *arguments: str) -> str:
        return run_helm(*arguments, kubeconfig=self.control_plane.admin_kubeconfig)

    def apply(self, body: dict[str, Any], *arguments: str) -> None:
        self.kubectl("apply", "--filename=-", *arguments, stdin=json.dumps(body))

    def install(
        self, *arguments: str, name: str = "dtool-operator", chart: Path = CHART, namespace: str = NAMESPACE
    ) -> None:
        self.helm("install", name, str(chart), f"--namespace={namespace}", "--create-namespace", *arguments)
        self.wait_for_kinds()

    def wait_for_kinds(self) -> None:
        self.kubectl(
            "wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in CRDS)
        )

    def list_uids(self) -> dict[str, str]:
        items = json.loads(self.kubectl("get", KINDS, "--all-namespaces", "--output=json"))["items"]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["uid"] for one in items}

    def list_names(self, kinds: str) -> set[str]:
        return set(self.kubectl("get", kinds, "--all-namespaces", "--output=name").split())


@pytest.fixture
def cluster(control_plane_programs: None, tmp_path: Path) -> Iterator[Cluster]:
    """A control plane of this test alone: whether CRDs are there is what it is about."""
    with running_control_plane(tmp_path / "control-plane") as control_plane:
        yield Cluster(control_plane)


def test_objects_survive_upgrade_rollback_uninstallation_and_the_next_installation(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.install()
    cluster.apply(BUCKET)
    cluster.apply(DATASET)
    uids = cluster.list_uids()
    assert len(uids) == 2

    cluster.helm(
        "upgrade", "dtool-operator", str(write_next_version(tmp_path / "next")), f"--namespace={NAMESPACE}"
    )

    eventually(lambda: assert_field_is_served(cluster), within=30)
    assert cluster.list_uids() == uids

    cluster.helm("rollback", "dtool-operator", "1", f"--namespace={NAMESPACE}")

    eventually(lambda: assert_field_is_served(cluster, is_served=False), within=30)
    assert cluster.list_uids() == uids

    said = cluster.helm("uninstall", "dtool-operator", f"--namespace={NAMESPACE}")

    assert "kept due to the resource policy" in said
    assert cluster.list_uids() == uids
    left = cluster.list_names(
        "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,configmaps"
    )
    assert not {name for name in left if "dtool" in name}

    cluster.install()

    assert cluster.list_uids() == uids


def assert_field_is_served(cluster: Cluster, *, is_served: bool = True) -> None:
    crd = cluster.kubectl("get", f"crd/{CRDS[1]}", "--output=json")
    assert ("colour" in crd) == is_served
    coloured = {**DATASET, "spec": {"bucketRef": {"name": "lab"}, "colour": "red"}}
    said = ""
    try:
        cluster.apply(coloured, "--dry-run=server", "--validate=strict")
    except KubectlError as refusal:
        said = refusal.stderr
    assert ('unknown field "spec.colour"' in said) == (not is_served), said


def test_without_keep_the_kinds_go_with_the_chart(cluster: Cluster) -> None:
    cluster.install()
    cluster.apply(DATASET)

    cluster.helm("upgrade", "dtool-operator", str(CHART), f"--namespace={NAMESPACE}", "--set=crds.keep=false")
    cluster.helm("uninstall", "dtool-operator", f"--namespace={NAMESPACE}")

    def assert_gone() -> None:
        assert not {name for name in cluster.list_names("customresourcedefinitions") if "dtool" in name}

    eventually(assert_gone, within=60)


def test_the_operator_finds_all_it_needs_under_the_charts_roles(cluster: Cluster, tmp_path: Path) -> None:
    cluster.install(name="storage", namespace="storage")
    kubeconfig = cluster.control_plane.service_account_kubeconfig("storage", "storage-dtool-operator")

    done = check(kubeconfig, tmp_path, NAMESPACE="storage", LEASE_NAME="storage-dtool-operator")

    assert done.returncode == 0, done.stdout
    assert "rights" in done.stdout
    assert "failed" not in done.stdout


def check(kubeconfig: Path, state_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `dtool-operator check` with the settings of Jobs, as the Deployment would."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DTOOL_", "AWS_"))}
    settings |= {"STATE_DIR": str(state_dir), "WORKER_IMAGE": "x", "SIGNING_URL": "https://x.example.org"}
    variables = {f"DTOOL_OPERATOR_{name}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "dtool_operator", "check"],
        env={**environment, **variables, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_second_installation_stands_beside_the_first(cluster: Cluster) -> None:
    cluster.install()

    with pytest.raises(HelmError, match=r"dtool-operator.*exists and cannot be imported"):
        cluster.install(namespace="second", chart=CHART)
    cluster.install(
        "--set=crds.enabled=false,rbac.sharedRoles=false,fullnameOverride=dtool-chem,watchNamespaces={chem}",
        name="chem",
        namespace="second",
    )
    cluster.helm("uninstall", "chem", "--namespace=second")

    assert "clusterrole.rbac.authorization.k8s.io/dtool-operator-secret-reader" in cluster.list_names(
        "clusterroles"
    )
    assert "clusterrole.rbac.authorization.k8s.io/dtool-chem" not in cluster.list_names("clusterroles")


def test_objects_outside_the_named_namespaces_are_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    cluster.install()
    for name in ("alice", "bob"):
        cluster.kubectl("create", "namespace", name)
        cluster.apply({**DATASET, "metadata": {"name": "rnaseq", "namespace": name}})
    kubeconfig = cluster.control_plane.service_account_kubeconfig(NAMESPACE, "dtool-operator")

    operator = start_operator(
        tmp_path,
        kubeconfig=kubeconfig,
        endpoints=["aws"],
        tied=True,
        settings={"DTOOL_OPERATOR_WATCH_NAMESPACES": "alice"},
    )
    try:
        eventually(lambda: assert_reason(cluster, "alice", "BucketNotFound"), within=30)
        cluster.kubectl("annotate", "dtooldataset/rnaseq", "--namespace=bob", "touched=yes")
        cluster.kubectl("delete", "dtooldataset/rnaseq", "--namespace=alice")  # its finalizer goes
        assert_reason(cluster, "bob", "")
    finally:
        operator.stop()


def assert_reason(cluster: Cluster, namespace: str, reason: str) -> None:
    path = '{.status.conditions[?(@.type=="Ready")].reason}'
    found = cluster.kubectl(
        "get", "dtooldataset/rnaseq", f"--namespace={namespace}", f"--output=jsonpath={path}"
    )
    assert found == reason


@pytest.mark.parametrize("case", ["defaults", "everything", "loopback"])
def test_the_api_server_takes_the_pod_where_restricted_is_enforced(cluster: Cluster, case: str) -> None:
    """PodSecurity is a plugin of the API server: it judges without a node."""
    assert case in CASES
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforced}}
    cluster.apply(namespace)
    cluster.install("--set=workers.enabled=false")
    template = pod_of(render(read_values(case)))
    metadata = {"name": "try", "namespace": NAMESPACE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}

    cluster.apply(pod, "--dry-run=server")

    worse = {
        **template["spec"],
        "securityContext": {**template["spec"]["securityContext"], "runAsNonRoot": False},
    }
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.apply({**pod, "spec": worse}, "--dry-run=server")
