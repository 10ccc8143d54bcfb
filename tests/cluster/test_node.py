"""The sandbox's node itself: what the tests of Jobs, volumes and the chart rely on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.cluster.cluster import Cluster, load_cluster, running_cluster
from sandbox.cluster.control_group import ControlGroup, remove_abandoned_groups
from sandbox.cluster.image import ImageSource, write_image
from sandbox.cluster.node import Node
from sandbox.cluster.session import bring_down_cluster, bring_up_cluster
from sandbox.errors import KubectlError
from sandbox.kubectl import find_kubectl
from tests.support.eventually import eventually
from tests.support.processes import is_running
from tests.support.real_cluster import RealCluster, build_job, build_pod, create, read

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
#: What Pod Security `restricted` asks of a pod, and of a container.
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def test_a_job_runs_to_its_end_and_its_log_can_be_read(cluster: RealCluster, namespace: str) -> None:
    create(cluster, namespace, build_job("hello", "echo hello from $(id -u)", image=cluster.tools_image))

    wait(cluster, namespace, "condition=Complete", "job/hello")

    assert cluster.kubectl("logs", "job/hello", f"--namespace={namespace}") == "hello from 0\n"


def test_a_command_runs_in_a_pod(cluster: RealCluster, namespace: str) -> None:
    create(cluster, namespace, build_pod("waiting", "sleep 600", image=cluster.tools_image))
    wait(cluster, namespace, "condition=Ready", "pod/waiting")

    told = cluster.kubectl("exec", "waiting", f"--namespace={namespace}", "--", "sh", "-c", "echo $((6 * 7))")

    assert told == "42\n"


def test_a_pod_reads_a_secret_and_leaves_a_file_on_its_volume(cluster: RealCluster, namespace: str) -> None:
    folder = cluster.provide_volume(namespace, "results")
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "keys"}}
    secret["stringData"] = {"key": "abc"}
    mounts = [{"name": "keys", "mountPath": "/keys"}, {"name": "results", "mountPath": "/results"}]
    job = build_job(
        "write",
        "cat /keys/key | tee /results/copy",
        image=cluster.tools_image,
        securityContext=POD_SECURITY,
        container={"securityContext": CONTAINER_SECURITY, "volumeMounts": mounts},
        volumes=[
            {"name": "keys", "secret": {"secretName": "keys"}},
            {"name": "results", "persistentVolumeClaim": {"claimName": "results"}},
        ],
    )
    create(cluster, namespace, secret, job)

    wait(cluster, namespace, "condition=Complete", "job/write")

    assert cluster.kubectl("logs", "job/write", f"--namespace={namespace}") == "abc"
    if folder is not None:
        assert (folder / "copy").read_text() == "abc"


def test_a_volume_of_a_limited_size_becomes_full(node: Node, cluster: RealCluster, namespace: str) -> None:
    folder = cluster.provide_volume(namespace, "small", "1Mi", full_at_size=True)
    job = build_job(
        "fill",
        "dd if=/dev/zero of=/small/zeros bs=65536 count=32",
        container={"volumeMounts": [{"name": "small", "mountPath": "/small"}]},
        volumes=[{"name": "small", "persistentVolumeClaim": {"claimName": "small"}}],
    )
    create(cluster, namespace, job)

    wait(cluster, namespace, "condition=Failed", "job/fill")

    assert "No space left on device" in cluster.kubectl("logs", "job/fill", f"--namespace={namespace}")
    assert folder is not None
    assert (folder / "zeros").stat().st_size == 2**20


def test_a_namespace_that_enforces_restricted_takes_a_restricted_pod_alone(
    cluster: RealCluster, make_namespace: Callable[..., str]
) -> None:
    namespace = make_namespace(**RESTRICTED)
    free = build_pod("free", "true", image=cluster.tools_image)
    bound = build_pod(
        "bound",
        "id -u; touch /here 2>/dev/null || echo cannot write; grep -E 'CapEff|Seccomp:' /proc/self/status",
        image=cluster.tools_image,
        securityContext=POD_SECURITY,
        container={"securityContext": CONTAINER_SECURITY},
    )

    with pytest.raises(KubectlError, match=r'violates PodSecurity "restricted:latest"'):
        create(cluster, namespace, free)
    create(cluster, namespace, bound)

    wait(cluster, namespace, "jsonpath={.status.phase}=Succeeded", "pod/bound")
    told = cluster.kubectl("logs", "bound", f"--namespace={namespace}").split()
    assert told == ["65532", "cannot", "write", "CapEff:", "0" * 16, "Seccomp:", "2"]


def test_an_image_is_loaded_whose_pods_reach_the_api_server_with_the_rights_of_their_role(
    cluster: RealCluster, namespace: str, tmp_path: Path
) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps", here)
    subject = f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", subject, here)
    content = {"bin/kubectl": find_kubectl().read_bytes()}
    source = ImageSource("localhost/test-kubectl:1", content, ("/bin/kubectl",), folders=("tmp",))
    cluster.load_image(write_image(tmp_path / "image.tar", source))
    for kind in ("configmaps", "secrets"):
        asking = {"command": ["/bin/kubectl", "get", kind, "--output=name"]}
        create(cluster, namespace, build_pod(f"ask-{kind}", "", image=source.name, container=asking))

    wait(cluster, namespace, "jsonpath={.status.phase}=Succeeded", "pod/ask-configmaps")
    wait(cluster, namespace, "jsonpath={.status.phase}=Failed", "pod/ask-secrets")

    assert cluster.kubectl("logs", "ask-configmaps", here) == "configmap/kube-root-ca.crt\n"
    refusal = f'"system:serviceaccount:{namespace}:default" cannot list resource "secrets"'
    assert refusal in cluster.kubectl("logs", "ask-secrets", here)


def test_a_container_above_its_memory_is_killed_and_the_pod_says_so(
    cluster: RealCluster, namespace: str
) -> None:
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    pod = build_pod("greedy", "tail /dev/zero", image=cluster.tools_image, container=limits)
    create(cluster, namespace, pod)

    wait(cluster, namespace, "jsonpath={.status.phase}=Failed", "pod/greedy")

    assert container_state(cluster, namespace, "greedy")["terminated"]["reason"] == "OOMKilled"


def test_an_image_that_is_nowhere_is_reported(cluster: RealCluster, namespace: str) -> None:
    create(cluster, namespace, build_pod("missing", "true", image="localhost/no-such-image:1"))

    def check() -> None:
        waiting = container_state(cluster, namespace, "missing").get("waiting", {})
        assert waiting.get("reason") in {"ErrImagePull", "ImagePullBackOff"}

    eventually(check, within=60)


def test_a_pod_outlives_a_kubelet_that_is_killed_and_started_again(
    node: Node, cluster: RealCluster, namespace: str
) -> None:
    job = build_job("long", "until [ -e /end ]; do sleep 0.2; done; echo ended as it should")
    create(cluster, namespace, job)
    here = f"--namespace={namespace}"
    eventually(lambda: ready_pod(cluster, namespace, "job-name=long"), within=60)
    pod = ready_pod(cluster, namespace, "job-name=long")

    node.kill_kubelet()
    assert not node.is_running()
    node.start_kubelet()
    # it takes a moment until kubelet knows its pods again
    eventually(lambda: obtain(cluster, "exec", pod, here, "--", "touch", "/end"), within=30)

    wait(cluster, namespace, "condition=Complete", "job/long")
    assert cluster.kubectl("logs", pod, here) == "ended as it should\n"
    found = read(cluster, namespace, "pod", pod)
    assert found["status"]["containerStatuses"][0]["restartCount"] == 0


def test_what_a_cluster_started_is_gone_when_it_ends(cluster_programs: None, tmp_path: Path) -> None:
    before = machine_state()

    with running_cluster(tmp_path / "other", say=lambda _: None) as other:
        other.kubectl("create", "namespace", "busy")
        other.provide_volume("busy", "small", "1Mi", full_at_size=True)
        volumes = [{"name": "small", "persistentVolumeClaim": {"claimName": "small"}}]
        mounts = [{"name": "small", "mountPath": "/small"}]
        busy = build_pod("busy", "sleep 600", container={"volumeMounts": mounts}, volumes=volumes)
        other.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace=busy", "--timeout=30s")
        create(other, "busy", busy)
        wait(other, "busy", "condition=Ready", "pod/busy")
        processes = processes_below(other)
        assert len(processes) > 8  # shims and containers too

    have_ended(processes)
    assert machine_state() == before


def test_a_cluster_that_crashed_is_cleaned_up_by_the_next_start(
    cluster_programs: None, tmp_path: Path
) -> None:
    directory, no_image = tmp_path / "kept", tmp_path / "none"
    before = machine_state()
    said: list[str] = []
    crashed = bring_up_cluster(directory, said.append, archive=no_image)
    assert "there is no image of the operator yet" in said[-1]
    assert f"export KUBECONFIG={crashed.cluster.kubeconfig}\n" in crashed.exports()
    processes = processes_below(crashed.cluster)
    crashed.cluster.node.processes[-1].send(signal.SIGKILL)
    eventually(lambda: have_ended({each.pid for each in crashed.cluster.node.processes}), within=10)
    said.clear()

    found = bring_up_cluster(directory, said.append, archive=no_image)

    assert f"the cluster in {directory} is already running" not in said
    assert found.is_running()
    have_ended(processes)
    bring_up_cluster(directory, said.append, archive=no_image)
    assert f"the cluster in {directory} is already running" in said
    bring_down_cluster(directory, said.append)
    assert not directory.exists()
    assert machine_state() == before


def test_a_cluster_ends_with_the_program_that_was_killed_and_the_next_one_clears_up(
    cluster_programs: None, tmp_path: Path
) -> None:
    before = machine_state()
    program = f"""
from pathlib import Path
from sandbox.cluster.cluster import running_cluster
with running_cluster(Path({str(tmp_path / "killed")!r}), say=lambda _: None):
    print("ready", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        cluster = load_cluster(tmp_path / "killed")
        assert cluster is not None
        processes = processes_below(cluster)
        killed.kill()

    eventually(lambda: have_ended(processes), within=20)
    assert machine_state()["groups"] != before["groups"]

    remove_abandoned_groups()

    assert machine_state() == before


def wait(cluster: RealCluster, namespace: str, condition: str, *what: str) -> None:
    cluster.kubectl("wait", f"--namespace={namespace}", f"--for={condition}", "--timeout=90s", *what)


def obtain(cluster: RealCluster, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments)
    except KubectlError as error:
        raise AssertionError(str(error)) from error


def have_ended(pids: set[int]) -> None:
    running = [pid for pid in pids if is_running(pid)]
    assert not running, f"the processes {running} still run"


def container_state(cluster: RealCluster, namespace: str, pod: str) -> dict[str, Any]:
    statuses = read(cluster, namespace, "pod", pod)["status"].get("containerStatuses", [])
    return dict(statuses[0]["state"]) if statuses else {}


def ready_pod(cluster: RealCluster, namespace: str, selector: str) -> str:
    found = cluster.kubectl("get", "pods", f"--namespace={namespace}", f"--selector={selector}", "-o", "json")
    for pod in json.loads(found)["items"]:
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
        if conditions.get("Ready") == "True":
            return str(pod["metadata"]["name"])
    raise AssertionError(f"no pod of {selector} is ready")


def processes_below(cluster: Cluster) -> set[int]:
    """List what runs in the cluster's control groups, and its servers."""
    inside = {
        int(line)
        for folder in cluster.node.group.folders
        for path in folder.rglob("cgroup.procs")
        for line in path.read_text().split()
    }
    return inside | {each.pid for each in cluster.processes}


def machine_state() -> dict[str, Any]:
    """Read what a node could leave behind on this machine, or change."""
    settings = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
    # one with processes in it is of another cluster that somebody runs
    names = {path.name for path in Path("/sys/fs/cgroup").glob("*/dtool-sandbox-*")}
    groups = [name for name in names if not ControlGroup(name).has_processes()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    folders = (path for root in ("/run", "/var/lib", "/var/log") for path in Path(root).iterdir())
    return {
        "mounts": sorted(line.split(" ", 2)[2] for line in mounts),
        "groups": sorted(groups),
        "settings": {name: Path("/proc/sys", name).read_text() for name in settings},
        "folders": sorted(map(str, folders)),
    }
