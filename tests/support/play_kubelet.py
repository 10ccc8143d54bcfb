"""The kubelet of Jobs' Pods where there is no node: their workers run for real, as processes of this machine.

Owns those processes and the directories that stand for claims. Each worker gets the environment of its Pod,
with the paths in its task moved to this machine, and a token of its ServiceAccount that is bound to the Pod.
What the kubelet of a node would say of the Pod is said here; logs are given to whoever asks `log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING

from dtool_operator.planning.job_environment import TASK_VARIABLE, gather
from dtool_operator.planning.task import Task
from tests.support.admin_api import MERGE_PATCH, AdminApi, Body

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_SECONDS = 0.15
_ENDED = ("Succeeded", "Failed")


@dataclass
class Worker:
    """A Pod's worker."""

    namespace: str
    name: str
    uid: str
    job: str
    """Name of the Job that controls the Pod."""
    directory: Path
    task: Task
    """As the worker has it."""
    process: subprocess.Popen[bytes]
    ends_by: float | None = None
    is_told: bool = False

    @property
    def path(self) -> str:
        """Of the Pod."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def log(self) -> str:
        """What it has written."""
        return (self.directory / "log").read_text()


@dataclass
class PlayKubelet:
    """Runs the Pods of namespaces whose name contains `suffix`, on a node of that name; `close` ends it.

    `workers`: all that were begun, by the uid of their Pod, in order.
    """

    api: AdminApi
    directory: Path
    suffix: str
    workers: dict[str, Worker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self.node = f"play-{self.suffix}"
        self.api.ask("POST", "/api/v1/nodes", {"metadata": {"name": self.node}})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def volume(self, namespace: str, claim: str) -> Path:
        """Return the directory that is a claim."""
        path = self.directory / "volumes" / namespace / claim
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, namespace: str, name: str) -> str | None:
        """Return a Pod's log; None: it has not begun."""
        for worker in list(self.workers.values()):
            if (worker.namespace, worker.name) == (namespace, name):
                return worker.log()
        return None

    def close(self) -> None:
        """Kill all workers and look at nothing any more."""
        self._ending.set()
        self._thread.join()
        for worker in self.workers.values():
            worker.process.kill()
            worker.process.wait()
        self.api.ask("DELETE", f"/api/v1/nodes/{self.node}")

    def _run(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            with suppress(OSError, HTTPException):  # the API server is away
                self._look()

    def _look(self) -> None:
        _, listed = self.api.ask("GET", "/api/v1/pods")
        pods = {pod["metadata"]["uid"]: pod for pod in listed.get("items", [])}
        for uid, worker in self.workers.items():
            self._attend(worker, pods.get(uid))
        for uid, pod in pods.items():
            is_ours = self.suffix in pod["metadata"]["namespace"] and not pod["metadata"].get(
                "deletionTimestamp"
            )
            if is_ours and uid not in self.workers and pod["status"].get("phase") not in _ENDED:
                self._begin(pod)

    def _begin(self, pod: Body) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        directory = self.directory / metadata["uid"]
        directory.mkdir(parents=True)
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        target = {"kind": "Node", "name": self.node}
        status, _ = self.api.ask("POST", path, {"metadata": {"name": metadata["name"]}, "target": target})
        if status >= 300:
            directory.rmdir()
            return
        for volume in spec.get("volumes", ()):
            for source in volume.get("projected", {}).get("sources", ()):
                (directory / source["serviceAccountToken"]["path"]).write_text(self._issue_token(pod, source))
        environment, task = self._build_environment(pod, directory)
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dtool_operator", *spec["containers"][0]["args"]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        job = next(owner["name"] for owner in metadata["ownerReferences"] if owner.get("controller"))
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        worker = self.workers[uid] = Worker(namespace, name, uid, job, directory, task, process)
        self._say(worker, "Running", {"running": {}})

    def _issue_token(self, pod: Body, source: Body) -> str:
        metadata, asked = pod["metadata"], source["serviceAccountToken"]
        account = pod["spec"]["serviceAccountName"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        seconds = asked["expirationSeconds"]
        spec = {"audiences": [asked["audience"]], "expirationSeconds": seconds, "boundObjectRef": bound}
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        _, body = self.api.ask("POST", path, {"spec": spec})
        token: str = body["status"]["token"]
        return token

    def _build_environment(self, pod: Body, directory: Path) -> tuple[dict[str, str], Task]:
        env = pod["spec"]["containers"][0]["env"]
        given = {one["name"]: one.get("value", "").replace("$$", "$") for one in env}
        task = Task.model_validate_json(gather(given, TASK_VARIABLE) or "")
        updates: dict[str, object] = {}
        if task.volume is not None:
            root = self.volume(pod["metadata"]["namespace"], task.volume.claim)
            updates["volume"] = task.volume.model_copy(update={"directory": str(root)})
        if task.signing is not None:
            token_file = str(directory / "token")
            updates["signing"] = task.signing.model_copy(update={"token_file": token_file})
        task = task.model_copy(update=updates)
        moved = {TASK_VARIABLE: task.model_dump_json()}
        own = {"HOME": str(directory), "TMPDIR": str(directory), "PATH": os.environ["PATH"]}
        return given | own | moved, task

    def _attend(self, worker: Worker, pod: Body | None) -> None:
        """Say how a worker ended; end one whose Pod is to go, and let the Pod go then."""
        is_unwanted = pod is None or bool(pod["metadata"].get("deletionTimestamp"))
        code = worker.process.poll()
        if code is None:
            if is_unwanted and worker.ends_by is None:
                grace = 30 if pod is None else pod["metadata"].get("deletionGracePeriodSeconds", 30)
                worker.ends_by = time.monotonic() + grace
                worker.process.send_signal(signal.SIGTERM)
            elif worker.ends_by is not None and time.monotonic() > worker.ends_by:
                worker.process.kill()
            return
        if not worker.is_told and pod is not None:
            ended = {
                "exitCode": code if code >= 0 else 128 - code,
                "reason": "Error" if code else "Completed",
            }
            self._say(worker, "Failed" if code else "Succeeded", {"terminated": ended})
            worker.is_told = True
        if is_unwanted and pod is not None:
            self.api.ask(
                "DELETE", worker.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": worker.uid}}
            )

    def _say(self, worker: Worker, phase: str, state: Body) -> None:
        container = {"name": "worker", "image": "x", "imageID": "", "restartCount": 0}
        container |= {"ready": phase == "Running", "state": state}
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        status = {"phase": phase, "conditions": [ready], "containerStatuses": [container]}
        self.api.ask("PATCH", f"{worker.path}/status", {"status": status}, content_type=MERGE_PATCH)
