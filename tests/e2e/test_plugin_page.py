"""docs/kubectl-dtool.md: every command on the page is run, in its order, by a user with few rights."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.support.datasets import UUID
from tests.support.lab import ADMIN_NAMESPACE, Lab
from tests.support.plugin import Plugin, install_plugin

PAGE = (Path(__file__).parents[2] / "docs" / "kubectl-dtool.md").read_text()
EARLIER = "3f5c0d52-6f0e-4c39-8e43-0b7d9c1b2a11"

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_script(lab: Lab) -> str:
    """Return the page's commands with the names of this lab."""
    script = "\n".join(["set -euxo pipefail", *_BLOCK.findall(PAGE)])
    for name, ours in (
        ("dtool-system/lab", f"{ADMIN_NAMESPACE}/{lab.bucket}"),
        ("policy lab", f"policy {lab.bucket}"),
        ("instrument-data", lab.instruments),
        ("=alice", f"={lab.alice}"),
        ("--namespace alice", f"--namespace {lab.alice}"),
    ):
        assert name in script, name
        script = script.replace(name, ours)
    return script


def employ(lab: Lab, directory: Path) -> Plugin:
    """Give somebody the role edit in alice's namespace, and the bucket object to read; nothing else."""
    kubectl, account = lab.control_plane.kubectl, f"{lab.alice}:researcher"
    kubectl("create", "serviceaccount", "researcher", f"--namespace={lab.alice}")
    for role, namespace in (("edit", lab.alice), ("dtool-view", ADMIN_NAMESPACE)):
        words = ("create", "rolebinding", account.replace(":", "-"), f"--clusterrole={role}")
        kubectl(*words, f"--serviceaccount={account}", f"--namespace={namespace}")
    return install_plugin(directory, lab.control_plane.service_account_kubeconfig(lab.alice, "researcher"))


def test_every_command_of_the_page_works_for_a_user_with_few_rights(lab: Lab, tmp_path: Path) -> None:
    assert f"/{UUID} --to-bucket" in PAGE
    lab.write(lab.instruments)
    lab.write(lab.bucket, uuid=EARLIER, prefix=f"u/{lab.alice}/")
    plugin = employ(lab, tmp_path)

    done = subprocess.run(
        ["bash"],
        input=read_script(lab),
        env=plugin.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
    made = lab.datasets()
    assert {name: one["status"]["state"] for name, one in made.items()} == {
        "rnaseq": "Frozen",
        "rnaseq-derived": "Frozen",
        "earlier": "Frozen",
    }
    assert made["rnaseq"]["spec"]["tags"] == ["raw"]
    assert made["rnaseq"]["status"]["lastHandledVerifyAt"]
    assert f"u/{lab.alice}/" in json.dumps(json.loads((tmp_path / "alice.json").read_text()))


def test_a_plan_is_what_the_operator_then_does(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.instruments)
    plugin = employ(lab, tmp_path)
    words = ("cp", lab.uri(UUID), f"--to-bucket={ADMIN_NAMESPACE}/{lab.bucket}", f"--namespace={lab.alice}")
    (tmp_path / "copy.yaml").write_text(plugin.say(*words, "--dry-run", "--name=raw"))
    file = str(tmp_path / "copy.yaml")

    (foreseen,) = json.loads(plugin.say("plan", "-f", file, "-n", lab.alice, "-o", "json"))["plans"]
    lab.control_plane.kubectl("apply", f"--filename={file}")
    status = lab.wait_state("raw", "Frozen")

    assert foreseen["place"].startswith(f"s3://{lab.bucket}/u/{lab.alice}/{status['uuid']} ")
    assert [one["action"] for one in foreseen["actions"]] == ["MarkObject", "EnsureOwner", "StartTransfer"]
    assert f"u/{lab.alice}/.dtool-owner" in lab.keys(lab.bucket)


def test_a_verification_that_finds_damage_has_an_exit_code_of_its_own(lab: Lab, tmp_path: Path) -> None:
    fixture = lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen")
    key = next(key for key in lab.keys(lab.bucket) if "/data/" in key)
    lab.put(lab.bucket, key, b"something else")
    plugin = employ(lab, tmp_path)

    done = plugin.run("verify", "raw", "--wait", "--timeout=60s", "-o", "json", f"--namespace={lab.alice}")

    assert done.returncode == 3, f"{done.stdout[-6000:]} {lab.status('raw')}"
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["name"], last["state"], last["uuid"]) == ("raw", "Damaged", fixture.uuid)


def test_a_copy_that_cannot_be_ends_the_wait(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.bucket, prefix="elsewhere/")
    lab.write(lab.instruments)
    plugin = employ(lab, tmp_path)
    words = ("cp", lab.uri(UUID), f"--to-bucket={ADMIN_NAMESPACE}/{lab.bucket}", "--name=raw", "--wait")

    done = plugin.run(*words, "--timeout=60s", f"--namespace={lab.alice}")

    assert (done.returncode, done.stdout) == (3, "dtooldataset.dtool.dev/raw\n"), done
    assert "Failed AlreadyInBucket" in done.stderr
