"""What the cluster is made of, without starting it: the machine is judged, images and groups are composed."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sandbox.cluster import control_group, machine
from sandbox.cluster.cluster import build_volume
from sandbox.cluster.control_group import find_hierarchies
from sandbox.cluster.image import ImageSource, write_image
from sandbox.cluster.machine import check_machine
from sandbox.cluster.session import bring_down_cluster
from sandbox.errors import PrerequisiteError, SandboxError
from tests.support.real_cluster import named_context

TOOL = ImageSource(
    "localhost/tool:1", {"bin/tool": b"content"}, ("/bin/tool",), {"bin/other": "tool"}, ("tmp",)
)


def test_without_root_it_is_said_at_once_and_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(PrerequisiteError, match=r"(?s)it needs root.*`make demo`.* do without it"):
        check_machine()


def test_another_system_than_linux_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")

    with pytest.raises(PrerequisiteError, match="it needs Linux, and this is darwin"):
        check_machine()


def test_everything_that_is_missing_is_said_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "find_hierarchies", tuple)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PrerequisiteError) as refused:
        check_machine()

    assert "not on PATH: unshare, nsenter, setpriv, mount, umount (package util-linux)" in str(refused.value)
    assert "no cgroup v1 hierarchy for cpu, cpuacct, cpuset, memory," in str(refused.value)


def test_hierarchies_are_read_with_the_options_that_mount_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "mountinfo"
    listed.write_text(
        "25 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "39 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "40 31 0:38 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls\n"
        "41 31 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    monkeypatch.setattr(control_group, "MOUNTS", listed)

    found = {each.name: (str(each.folder), each.mount_options) for each in find_hierarchies()}

    assert found == {
        "cpu,cpuacct": ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
        "systemd": ("/sys/fs/cgroup/systemd", "none,name=systemd"),
    }


def test_an_image_of_the_same_files_is_the_same_archive(tmp_path: Path) -> None:
    one, other = write_image(tmp_path / "one", TOOL), write_image(tmp_path / "other", TOOL)

    assert one.read_bytes() == other.read_bytes()


def test_an_image_holds_its_files_and_its_name(tmp_path: Path) -> None:
    with tarfile.open(write_image(tmp_path / "image", TOOL)) as archive:

        def content(name: str) -> bytes:
            found = archive.extractfile(name)
            assert found is not None
            return found.read()

        def blob(described: dict[str, Any]) -> bytes:
            return content(f"blobs/{described['digest'].replace(':', '/')}")

        (named,) = json.loads(content("index.json"))["manifests"]
        manifest = json.loads(blob(named))
        (layer,) = manifest["layers"]
        config = json.loads(blob(manifest["config"]))
        with tarfile.open(fileobj=io.BytesIO(blob(layer))) as files:
            listed = {each.name: (each.mode, each.linkname) for each in files}

    assert named["annotations"] == {"org.opencontainers.image.ref.name": "localhost/tool:1"}
    assert config["config"]["Entrypoint"] == ["/bin/tool"]
    assert listed == {
        "bin": (0o755, ""),
        "tmp": (0o1777, ""),
        "bin/tool": (0o755, ""),
        "bin/other": (0o777, "tool"),
    }


def test_a_volume_is_reserved_for_its_claim(tmp_path: Path) -> None:
    volume, claim = build_volume("alice", "results", "5Gi", tmp_path)

    assert volume["spec"]["claimRef"] == {"namespace": "alice", "name": "results"}  # type: ignore[index]
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]  # type: ignore[index]


def test_there_is_nothing_to_end_where_no_cluster_was_started(tmp_path: Path) -> None:
    said: list[str] = []

    bring_down_cluster(tmp_path / "none", said.append)

    assert said == [f"no cluster in {tmp_path / 'none'}"]


@pytest.mark.parametrize(
    ("context", "listed"), [("kind-lab", ""), ("minikube", ""), ("testbed", "other,testbed")]
)
def test_a_context_for_trying_things_out_may_be_named(
    context: str, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTOOL_TEST_CONTEXT", context)
    monkeypatch.setenv("DTOOL_TEST_ALLOWED_CONTEXTS", listed)

    assert named_context() == context


def test_any_other_context_is_refused_with_the_way_to_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTOOL_TEST_CONTEXT", "production")
    monkeypatch.delenv("DTOOL_TEST_ALLOWED_CONTEXTS", raising=False)

    with pytest.raises(SandboxError, match="set DTOOL_TEST_ALLOWED_CONTEXTS=production"):
        named_context()


def test_without_a_named_context_the_sandboxs_cluster_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DTOOL_TEST_CONTEXT", raising=False)

    assert named_context() is None
