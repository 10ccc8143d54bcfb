"""The sandbox itself, with real servers: what the other tests and the demo rely on."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.controlplane import ControlPlane, load_control_plane, running_control_plane, start_control_plane
from sandbox.errors import KubectlError, ProcessError
from sandbox.identity import create_identity
from sandbox.operator_process import load_operator
from sandbox.process import Process
from sandbox.seaweedfs import ObjectStore, load_object_store, running_object_store
from sandbox.session import bring_up, is_whole
from tests.support.eventually import eventually

MakeDirectory = Callable[[str], Path]


def test_a_service_account_without_rights_is_forbidden(control_plane: ControlPlane, namespace: str) -> None:

    # the controllers make it a moment after the namespace
    eventually(lambda: has(control_plane, "serviceaccount", "default", namespace), within=30)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "default")

    with pytest.raises(KubectlError) as refused:
        control_plane.kubectl("get", "secrets", "-n", namespace, kubeconfig=kubeconfig)

    assert (
        f'"system:serviceaccount:{namespace}:default" cannot list resource "secrets"' in refused.value.stderr
    )
    assert "(Forbidden)" in refused.value.stderr


def test_a_service_account_may_do_what_a_role_allows(control_plane: ControlPlane, namespace: str) -> None:
    eventually(lambda: has(control_plane, "serviceaccount", "default", namespace), within=30)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "default")
    rules = ("--verb=list", "--resource=secrets")
    control_plane.kubectl("create", "role", "reader", *rules, "-n", namespace)

    subject = f"--serviceaccount={namespace}:default"
    control_plane.kubectl("create", "rolebinding", "reader", "--role=reader", subject, "-n", namespace)

    def list_secrets() -> str:
        try:
            return control_plane.kubectl(
                "get", "secrets", "-n", namespace, "-o", "name", kubeconfig=kubeconfig
            )
        except KubectlError as error:  # the authorizer hears of the binding a moment later
            raise AssertionError(str(error)) from error

    assert eventually(list_secrets, within=30) == ""


def test_a_deleted_namespace_goes_away_with_what_is_in_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "configmap", "something", "-n", namespace)

    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")

    eventually(lambda: has_not(control_plane, "namespace", namespace), within=60)


def test_an_owned_object_goes_with_its_owner(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "owner", "-n", namespace)
    owner = json.loads(control_plane.kubectl("get", "configmap", "owner", "-n", namespace, "-o", "json"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    metadata = {"name": "owned", "namespace": namespace, "ownerReferences": [reference]}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(owned))

    control_plane.kubectl("delete", "configmap", "owner", "-n", namespace)

    eventually(lambda: has_not(control_plane, "configmap", "owned", namespace), within=60)


def test_a_limited_identity_writes_below_its_prefix_and_nowhere_else(object_store: ObjectStore) -> None:
    object_store.create_bucket("lab-data")
    object_store.client().put_object(Bucket="lab-data", Key="u/bob/theirs", Body=b"bob")
    alice = object_store.client(object_store.identity("alice"))

    alice.put_object(Bucket="lab-data", Key="u/alice/mine", Body=b"alice")
    alice.put_object(Bucket="lab-data", Key="dtool-of-alice", Body=b"")

    assert alice.get_object(Bucket="lab-data", Key="u/bob/theirs")["Body"].read() == b"bob"
    for key in ("u/bob/theirs", "u/alicex", "elsewhere"):
        assert refusal(alice.put_object, Bucket="lab-data", Key=key, Body=b"") == "AccessDenied"
        assert refusal(alice.delete_object, Bucket="lab-data", Key=key) == "AccessDenied"


def test_the_instruments_bucket_is_written_by_its_writer_alone(object_store: ObjectStore) -> None:
    object_store.create_bucket("instrument-data")
    reader = object_store.client(object_store.identity("instruments"))
    writer = object_store.client(object_store.identity("instrument-writer"))

    writer.put_object(Bucket="instrument-data", Key="run-1", Body=b"counts")

    assert reader.get_object(Bucket="instrument-data", Key="run-1")["Body"].read() == b"counts"
    assert [each["Key"] for each in reader.list_objects_v2(Bucket="instrument-data")["Contents"]] == ["run-1"]
    assert refusal(reader.put_object, Bucket="instrument-data", Key="run-2", Body=b"") == "AccessDenied"
    assert refusal(writer.get_object, Bucket="lab-data", Key="run-1") in {"AccessDenied", "NoSuchBucket"}


def test_a_key_is_created_once_only_when_asked_so(object_store: ObjectStore, bucket_name: str) -> None:
    client = object_store.client()
    client.put_object(Bucket=bucket_name, Key="once", Body=b"first", IfNoneMatch="*")

    again = refusal(client.put_object, Bucket=bucket_name, Key="once", Body=b"second", IfNoneMatch="*")

    assert again == "PreconditionFailed"
    assert client.get_object(Bucket=bucket_name, Key="once")["Body"].read() == b"first"


def test_identities_change_while_the_server_runs(object_store_programs: None, tmp_path: Path) -> None:

    carol, dave = create_identity("carol", "Read:lab-data"), create_identity("dave", "Read:lab-data")
    with running_object_store(tmp_path / "store", identities=[carol]) as store:
        store.create_bucket("lab-data")
        store.client().put_object(Bucket="lab-data", Key="a", Body=b"here")

        store.replace_identities([dave])

        question = {"Bucket": "lab-data", "Key": "a"}
        assert refusal(store.client(carol).get_object, **question) == "InvalidAccessKeyId"
        assert store.client(dave).get_object(**question)["Body"].read() == b"here"
        assert [each.name for each in store.identities] == ["admin", "dave"]


def test_servers_keep_their_data_through_an_outage(
    control_plane_programs: None, object_store_programs: None, tmp_path: Path
) -> None:

    with (
        running_control_plane(tmp_path / "control-plane") as control_plane,
        running_object_store(tmp_path / "store") as store,
    ):
        control_plane.kubectl("create", "namespace", "kept")
        store.client().create_bucket(Bucket="kept")
        store.client().put_object(Bucket="kept", Key="a", Body=b"kept")

        control_plane.stop_api_server()
        store.stop()
        with pytest.raises(KubectlError, match="refused"):
            control_plane.kubectl("get", "namespace", "kept")
        control_plane.start_api_server()
        store.start_again()

        assert control_plane.kubectl("get", "namespace", "kept", "-o", "name") == "namespace/kept\n"
        assert store.client().get_object(Bucket="kept", Key="a")["Body"].read() == b"kept"


def test_a_process_that_ends_early_is_reported_with_its_log(
    control_plane_programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    broken = tmp_path / "assets"
    broken.mkdir()
    for name in ("etcd", "kube-apiserver", "kube-controller-manager"):
        (broken / name).write_text(f"#!/bin/sh\necho {name} cannot read its disk\nexit 3\n")
        (broken / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(broken))

    with pytest.raises(ProcessError, match=r"ended; its log ends with:\n.* cannot read its disk"):
        start_control_plane(tmp_path / "control-plane")


def test_two_sandboxes_live_side_by_side_and_leave_nothing(
    control_plane_programs: None, object_store_programs: None, make_sandbox_directory: MakeDirectory
) -> None:
    one, other = make_sandbox_directory("one"), make_sandbox_directory("other")
    commands = [
        [sys.executable, "-m", "sandbox", "up", "--directory", str(directory)] for directory in (one, other)
    ]
    starting = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in commands]
    outputs = [each.communicate(timeout=200)[0] for each in starting]
    assert [each.returncode for each in starting] == [0, 0], outputs
    processes = processes_of(one) + processes_of(other)
    ports = [port for each in processes for port in listening_ports(each)]
    assert all(each.is_alive() for each in processes)
    assert len(processes) >= 8
    assert len(set(ports)) == len(ports) >= 16

    def namespaces(directory: Path) -> str:
        lines = (directory / "env").read_text()
        asked = f"{lines}\nkubectl get namespaces -o name"
        return subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True).stdout

    shell = f"{(one / 'env').read_text()}\nkubectl create namespace only-here"
    subprocess.run(["sh", "-c", shell], check=True, capture_output=True)
    assert "namespace/only-here" in namespaces(one)
    assert "namespace/only-here" not in namespaces(other)

    second = subprocess.run(commands[0], capture_output=True, text=True, check=True, timeout=200)
    assert "already running" in second.stdout

    for directory in (one, other):
        down = [sys.executable, "-m", "sandbox", "down", "--directory", str(directory)]
        subprocess.run(down, check=True, capture_output=True, timeout=120)
    assert not any(each.is_alive() for each in processes)
    assert not one.exists()
    assert not other.exists()
    assert not set(ports) & set(listening())


def test_what_a_crash_left_is_cleaned_before_a_new_start(
    control_plane_programs: None,
    object_store_programs: None,
    make_sandbox_directory: MakeDirectory,
    capfd: pytest.CaptureFixture[str],
) -> None:

    directory = make_sandbox_directory("sandbox")
    first = bring_up(directory)
    left, old_admin = processes_of(directory), first.object_store.identity("admin")
    crashed = next(each for each in left if each.name == "kube-apiserver")
    crashed.send(signal.SIGKILL)
    eventually(lambda: is_gone(crashed), within=10)
    assert not is_whole(directory)

    second = bring_up(directory)

    assert "kube-apiserver           ENDED; its log ends with:" in capfd.readouterr().out
    assert second.is_running()
    assert second.object_store.identity("admin") != old_admin
    assert not any(each.is_alive() for each in left)


def has(control_plane: ControlPlane, kind: str, name: str, namespace: str = "default") -> None:
    found = control_plane.kubectl("get", kind, name, "-n", namespace, "-o", "name", "--ignore-not-found")
    assert found, f"there is no {kind} {name}"


def has_not(control_plane: ControlPlane, kind: str, name: str, namespace: str = "default") -> None:
    found = control_plane.kubectl("get", kind, name, "-n", namespace, "-o", "name", "--ignore-not-found")
    assert not found, f"{found.strip()} is still there"


def is_gone(process: Process) -> None:
    assert not process.is_alive(), f"{process.name} still runs"


def refusal(call: Callable[..., Any], **arguments: object) -> str:
    """Return the S3 error code with which a call is refused."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return str(refused.value.response["Error"]["Code"])


def processes_of(directory: Path) -> list[Process]:

    control_plane, store = (
        load_control_plane(directory / "control-plane"),
        load_object_store(directory / "object-store"),
    )
    assert control_plane is not None
    assert store is not None
    assert store.process is not None
    operator = load_operator(directory)
    return [*control_plane.processes, store.process, *([operator.process] if operator else [])]


def listening_ports(process: Process) -> list[int]:
    """Read from /proc on which TCP ports a process listens, see proc(5)."""
    inodes = {
        target.removeprefix("socket:[").removesuffix("]")
        for each in Path(f"/proc/{process.pid}/fd").iterdir()
        if (target := str(each.readlink())).startswith("socket:[")
    }
    return [port for port, inode in listening().items() if inode in inodes]


def listening() -> dict[int, str]:
    """Read the TCP ports on which anybody listens (state 0A), each with its socket's inode."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(fields[1].rpartition(":")[2], 16): fields[9] for fields in lines if fields[3] == "0A"}
