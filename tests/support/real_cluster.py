"""A cluster with a real node for tests: the sandbox's, or one that the user names by its context.

`DTOOL_TEST_CONTEXT=kind-lab` runs the tests of tests/cluster on that cluster of the user's own configuration.
Never the current context, and only those that are known to be for trying things out: of kind, k3d and
minikube, and those that DTOOL_TEST_ALLOWED_CONTEXTS lists, separated by commas. The image is built and loaded
with `kind load`; for other clusters `DTOOL_TEST_IMAGE` names one that their nodes can get. The S3 server runs
beside the tests: `DTOOL_TEST_S3_ADDRESS` is the address of this machine by which Pods reach it.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sandbox.cluster.cluster import build_claim
from sandbox.cluster.node import TOOLS_IMAGE
from sandbox.errors import SandboxError
from sandbox.helm import run_helm
from sandbox.kubectl import find_kubectl, run_kubectl

CONTEXT, ALLOWED = "DTOOL_TEST_CONTEXT", "DTOOL_TEST_ALLOWED_CONTEXTS"
IMAGE = "DTOOL_TEST_IMAGE"
KNOWN = ("kind-*", "k3d-*", "minikube")


class RealCluster(Protocol):
    """What tests ask of a cluster; `sandbox.cluster.cluster.Cluster` is one."""

    @property
    def kubeconfig(self) -> Path:
        """The configuration of an administrator."""
        ...

    @property
    def tools_image(self) -> str:
        """An image with a shell, `/bin/sh`, and the usual tools."""
        ...

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl, as administrator unless told otherwise."""
        ...

    def helm(self, *arguments: str) -> str:
        """Run helm as administrator."""
        ...

    def load_image(self, archive: Path) -> tuple[str, ...]:
        """Give the nodes an image; return the names by which pods find it."""
        ...

    def provide_volume(
        self, namespace: str, claim: str, size: str = "1Gi", *, full_at_size: bool = False
    ) -> Path | None:
        """Make a claim with a volume; return its folder where this machine sees it."""
        ...


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """A cluster the user named; its nodes are somebody else's."""

    kubeconfig: Path
    context: str
    tools_image: str = "docker.io/library/busybox:1.36"

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        return run_kubectl(arguments, kubeconfig=kubeconfig or self.kubeconfig, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        return run_helm(*arguments, kubeconfig=self.kubeconfig)

    def load_image(self, archive: Path) -> tuple[str, ...]:
        if not self.context.startswith("kind-"):
            raise SandboxError(
                f"load {archive} into the nodes of {self.context} yourself, and name the image by {IMAGE}"
            )
        name = self.context.removeprefix("kind-")
        command = ["kind", "load", "image-archive", f"--name={name}", str(archive)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return ()

    def provide_volume(
        self,
        namespace: str,
        claim: str,
        size: str = "1Gi",
        *,
        full_at_size: bool = False,  # noqa: ARG002
    ) -> None:
        """Make a claim for the cluster's own storage class, whose limit is its own matter."""
        self.kubectl("apply", "--filename=-", stdin=json.dumps(build_claim(namespace, claim, size)))


def named_context() -> str | None:
    """Return the context the user names; None: the sandbox's cluster. Raises SandboxError: not allowed."""
    context = os.environ.get(CONTEXT)
    if not context:
        return None
    allowed = [*KNOWN, *filter(None, os.environ.get(ALLOWED, "").split(","))]
    if not any(fnmatch.fnmatchcase(context, pattern) for pattern in allowed):
        raise SandboxError(
            f"{CONTEXT}={context} is not one of {', '.join(allowed)}: tests make and delete namespaces, "
            f"volumes and custom resource definitions. If that cluster is for it, set {ALLOWED}={context}"
        )
    return context


def named_image() -> str | None:
    """Return the operator's image that the user names; None: it is built here."""
    return os.environ.get(IMAGE) or None


def open_named_cluster(context: str, directory: Path) -> NamedCluster:
    """Write the configuration of this context alone into a directory, from the user's own."""
    view = ["config", "view", "--minify", "--flatten", "--raw", f"--context={context}"]
    told = subprocess.run([str(find_kubectl()), *view], check=True, capture_output=True, text=True).stdout
    path = directory / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(told)
    return NamedCluster(path, context)


def build_pod(name: str, script: str, *, image: str = TOOLS_IMAGE, **spec: Any) -> dict[str, Any]:
    """Build a pod that runs a shell script once; further keyword arguments are of its spec."""
    container = {"name": "main", "image": image, "command": ["/bin/sh", "-c", script]}
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **spec,
        },
    }


def build_job(name: str, script: str, *, image: str = TOOLS_IMAGE, **spec: Any) -> dict[str, Any]:
    """Build a Job that runs a shell script in one pod, once; further keyword arguments are as for a pod."""
    pod = build_pod(name, script, image=image, **spec)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod["spec"]}},
    }


def create(cluster: RealCluster, namespace: str, *documents: dict[str, Any]) -> None:
    """Create objects in a namespace."""
    for document in documents:
        cluster.kubectl("create", f"--namespace={namespace}", "--filename=-", stdin=json.dumps(document))


def read(cluster: RealCluster, namespace: str, kind: str, name: str) -> dict[str, Any]:
    """Read an object."""
    found = cluster.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json")
    return dict(json.loads(found))
