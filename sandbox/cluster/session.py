"""A cluster and an S3 server in one directory, brought up and down together, for people.

Owns the directory's layout and what is said. `python -m sandbox cluster` is its front. The operator is not
started: a user installs it with Helm.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster.cluster import Cluster, load_cluster, start_cluster, stop_what_is_there
from sandbox.cluster.node import NAME
from sandbox.directory_lock import locked_directory
from sandbox.errors import SandboxError
from sandbox.exports import compose_exports
from sandbox.helm import find_helm
from sandbox.kubectl import find_kubectl
from sandbox.operator_image.build import ARCHIVE
from sandbox.say import Say, say_at_once
from sandbox.seaweedfs import ObjectStore, load_object_store, start_object_store

CLUSTER, OBJECT_STORE = "cluster", "object-store"


@dataclass(frozen=True, slots=True)
class ClusterSession:
    """What runs in a directory."""

    directory: Path
    cluster: Cluster
    object_store: ObjectStore

    def is_running(self) -> bool:
        """Whether all processes are up."""
        return self.cluster.is_running() and self.object_store.is_running()

    def exports(self) -> str:
        """Compose the shell lines that make kubectl, helm and the AWS tools use this cluster."""
        programs = (find_kubectl(), find_helm())
        return compose_exports(self.cluster.kubeconfig, self.object_store, programs)


def bring_up_cluster(directory: Path, say: Say = say_at_once, *, archive: Path = ARCHIVE) -> ClusterSession:
    """Start what is not running, and load the operator's image from `archive` where it was built.

    A directory left by a crash is cleaned first. Raises SandboxError; then nothing is left running.
    """
    with locked_directory(directory):
        session = load_session(directory)
        if session is not None and session.is_running():
            say(f"the cluster in {directory} is already running")
        else:
            _stop(directory)
            _empty(directory)
            session = _start(directory, say)
        if archive.exists():
            names = ", ".join(session.cluster.load_image(archive))
            say(f"the node has the image {names}")
        else:
            say("there is no image of the operator yet: `make image` builds it, `make cluster` loads it")
    return session


def bring_down_cluster(directory: Path, say: Say = say_at_once) -> None:
    """End everything that was started in a directory and remove the directory."""
    if not directory.exists():
        say(f"no cluster in {directory}")
        return
    with locked_directory(directory):
        _stop(directory)
        shutil.rmtree(directory)
    say(f"the cluster in {directory} is gone")


def load_image(directory: Path, archive: Path, say: Say = say_at_once) -> None:
    """Import an image into the running cluster's node."""
    session = load_session(directory)
    if session is None or not session.is_running():
        raise SandboxError(f"no cluster is running in {directory}: start one with `make cluster`")
    say(f"the node has the image {', '.join(session.cluster.load_image(archive))}")


def load_session(directory: Path) -> ClusterSession | None:
    """Find what was started in this directory, running or not; None when a start got nowhere."""
    cluster, store = load_cluster(directory / CLUSTER), load_object_store(directory / OBJECT_STORE)
    return None if cluster is None or store is None else ClusterSession(directory, cluster, store)


def _start(directory: Path, say: Say) -> ClusterSession:
    try:
        cluster = start_cluster(directory / CLUSTER, say=say)
        say(f"Kubernetes is ready at {cluster.control_plane.server}, with the node {NAME}")
        session = ClusterSession(directory, cluster, start_object_store(directory / OBJECT_STORE))
        say(f"S3 is ready at {session.object_store.endpoint}")
        environment = directory / "env"
        environment.touch(mode=0o600)
        environment.write_text(session.exports())
    except BaseException:  # an interrupt too must leave nothing running
        _stop(directory)
        raise
    return session


def _stop(directory: Path) -> None:
    store = load_object_store(directory / OBJECT_STORE)
    if store is not None:
        store.stop()
    stop_what_is_there(directory / CLUSTER)


def _empty(directory: Path) -> None:
    """Remove what is ours in the directory, which stays: the lock is on it."""
    for name in (CLUSTER, OBJECT_STORE):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "env").unlink(missing_ok=True)
