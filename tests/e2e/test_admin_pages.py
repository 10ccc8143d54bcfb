"""The administrators' pages: their commands are executed, in the pages' order, as one would follow them.

What needs the chart's Deployment (`helm`, `deployment/…`) is tried on a cluster with a node instead.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.kubectl import find_kubectl
from tests.support.eventually import eventually
from tests.support.lab import ADMIN_NAMESPACE, Lab, find_condition

ROOT = Path(__file__).parents[2]
#: Words of a command that only an installation by the chart can follow.
OF_THE_CHART = re.compile(r"\bhelm\b|deployment/|port-forward|127\.0\.0\.1:8080")


class Reader:
    """Somebody who follows the pages, with names of this lab's in place of the pages'."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        self.team = f"team-{lab.suffix}"
        keys = lab.object_store.identity("admin")
        self.environment = {
            **os.environ,
            "PATH": f"{find_kubectl().parent}:{os.environ['PATH']}",
            "KUBECONFIG": str(lab.control_plane.admin_kubeconfig),
            "KUBECACHEDIR": str(directory / "kubectl-cache"),
            **{f"{new}ACCESS_KEY_ID": keys.access_key for new in ("", "NEW_")},
            **{f"{new}SECRET_ACCESS_KEY": keys.secret_key for new in ("", "NEW_")},
        }
        (directory / "gitops").symlink_to(ROOT / "gitops")
        (directory / "crds").symlink_to(ROOT / "crds")
        self.names = {
            r"https://s3\.example\.org": lab.object_store.endpoint,
            r"\b(lab|classic)-data\b": rf"\1-of-{self.team}",
            r"\b(alice|TEAM)\b(?!@)": self.team,
        }

    def adapt(self, text: str) -> str:
        """Put this lab's names in place of a page's."""
        for pattern, name in self.names.items():
            text = re.sub(pattern, name, text)
        return text

    def read(self, page: str, language: str) -> list[str]:
        """Return the blocks of a page in a language."""
        text = (ROOT / "docs" / f"{page}.md").read_text()
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        return [self.adapt(block) for block in blocks]

    def follow(self, page: str, **names: str) -> str:
        """Execute every command of a page that needs no chart; `names` stand for words in capitals."""
        said = ""
        for block in self.read(page, "sh"):
            commands = re.split(r"(?<!\\)\n(?!  )", block.strip())
            script = "\n".join(one for one in commands if not OF_THE_CHART.search(one))
            for word, name in names.items():
                script = re.sub(rf"\b{word}\b", name, script)
            said += self.run(script)
        return said

    def clear(self) -> None:
        """Take away what the pages make in the operator's namespace, and other tests by the same names."""
        for kind in ("dtoolbucket/lab", "dtoolbucket/classic", "secret/lab-s3", "secret/classic-s3"):
            self.lab.control_plane.kubectl(
                "delete", kind, f"--namespace={ADMIN_NAMESPACE}", "--ignore-not-found", "--timeout=60s"
            )

    def run(self, script: str) -> str:
        """Execute a script; whatever fails in it fails the test."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        # `kubectl auth can-i` ends with 1 where it says no
        assert done.returncode == 0 or done.stdout.endswith("no\n"), f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(lab: Lab, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(lab, tmp_path)
    reader.clear()
    for name in ("lab", "classic"):
        lab.object_store.create_bucket(f"{name}-of-{reader.team}")
    yield reader
    reader.clear()
    lab.control_plane.kubectl("delete", "namespace", reader.team, "--ignore-not-found", "--wait=false")


def test_the_commands_of_the_administrators_pages_do_what_the_pages_say(reader: Reader) -> None:
    lab = reader.lab
    for block in reader.read("install", "yaml"):
        name = re.match(r"# (\S+\.yaml)", block)
        assert name, block
        (reader.directory / name[1]).write_text(block)

    said = reader.follow("install")
    assert "plate-reader   Proto" in said

    said = reader.follow("tenants")
    assert "yes\nno\n" in said
    lab.control_plane.kubectl("label", "namespace", reader.team, "dtool.dev/lab=true")

    reader.run("kubectl --namespace=dtool-system delete secret lab-s3")
    lab.request("dtoolbucket", "lab", namespace=ADMIN_NAMESPACE)
    lab.wait_reason("dtoolbucket", "lab", "SecretNotFound", namespace=ADMIN_NAMESPACE)
    said = reader.follow("credentials")
    assert "secret/lab-s3 configured" in said
    lab.wait_ready("dtoolbucket", "lab", ADMIN_NAMESPACE)

    follow_existing_buckets(reader)

    names = {"NAME": "plate-reader", "NAMESPACE": reader.team, "UUID": "x"}
    script = "\n".join(reader.read("troubleshooting", "sh"))
    assert "annotate dtoolbucket NAME" in script
    reader.run(f"kubectl config set-context --current --namespace={reader.team}")
    said = reader.run(
        re.sub(
            r"dtoolbucket NAME( --namespace NAMESPACE)?",
            f"dtoolbucket lab --namespace {ADMIN_NAMESPACE}",
            script,
        )
        .replace(" --namespace NAMESPACE", f" --namespace {names['NAMESPACE']}")
        .replace("NAME", names["NAME"])
    )
    assert "Events" in said

    reader.follow("monitoring")
    reader.follow("upgrade-and-backup", **names)
    assert "kind: DtoolDataset" in (reader.directory / "dtool-objects.yaml").read_text()


def follow_existing_buckets(reader: Reader) -> None:
    """A bucket that was there before, as that page describes it."""
    lab = reader.lab
    lab.secret(name="classic-s3")
    described = reader.read("existing-buckets", "yaml")[0]
    placed = described.replace("spec:\n", f"spec:\n  endpoint: {lab.object_store.endpoint}\n", 1)
    (reader.directory / "classic.yaml").write_text(placed)
    reader.run("kubectl apply --filename=classic.yaml")
    lab.wait_ready("dtoolbucket", "classic", ADMIN_NAMESPACE)

    reader.follow("existing-buckets")

    def assert_listed() -> None:
        status = lab.get("dtoolbucket", "classic", ADMIN_NAMESPACE)["status"]
        assert find_condition(status, "Listed").get("status") == "True", status

    eventually(assert_listed, within=40)


def test_argo_cd_is_taught_by_the_command_of_the_page(reader: Reader) -> None:
    """Argo CD's own keys stay."""
    kubectl = reader.lab.control_plane.kubectl
    reader.run(
        "kubectl create namespace argocd\n"
        "kubectl create configmap argocd-cm --namespace=argocd --from-literal=url=https://argocd.example.org"
    )

    reader.follow("gitops")

    data = kubectl("get", "configmap", "argocd-cm", "--namespace=argocd", "--output=jsonpath={.data}")
    assert "https://argocd.example.org" in data
    assert "resource.customizations.health.dtool.dev_DtoolDataset" in data
    kubectl("delete", "namespace", "argocd", "--wait=false")
