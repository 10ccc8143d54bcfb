"""One namespace in which Jobs are played: the test is the kubelet, and in memory the Job controller too.

On a real API server the real Job controller makes and counts the Pods. There is no node: the test says how
each Pod is and what its log holds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dtool_operator.adapters.access_review import may
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.adapters.job_secrets import JobSecrets
from dtool_operator.adapters.jobs import KubernetesJobs
from dtool_operator.adapters.own_secrets import KubernetesOwnSecrets
from dtool_operator.adapters.refusal import build_jobs_forbidden_message
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import Conflict, Gone, OperatorError
from dtool_operator.planning.job_state import (
    JobState,
    PodState,
    Words,
    parse_job,
    parse_pods,
    parse_warnings,
)
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.job_api import JobsApi
from dtool_operator.transfers.job_keys import KeySecrets
from tests.support.eventually import eventually_async

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.controlplane import ControlPlane

Body = dict[str, Any]
OOM_KILLED: Body = {"exitCode": 137, "reason": "OOMKilled"}
EVICTED: Body = {
    "phase": "Failed",
    "reason": "Evicted",
    "message": "The node was low on resource: memory.",
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}],
}
UNSCHEDULABLE: Body = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory.",
        }
    ]
}


class JobStage(Protocol):
    """What the contract's tests do as kubelet and as people of the namespace."""

    namespace: str
    operator_namespace: str

    @property
    def api(self) -> JobsApi: ...

    @property
    def secrets(self) -> KeySecrets: ...

    async def get_job(self, job: JobRef) -> Body | None: ...

    async def get_pods(self, job: JobRef) -> list[Body]: ...

    async def set_pod_status(self, job: JobRef, status: Body, *, index: int = 0) -> None: ...

    async def delete_job(self, job: JobRef) -> None: ...

    async def put_job(self, namespace: str, name: str) -> None: ...

    async def allow_no_pods(self) -> None: ...

    async def take_rights_away(self) -> None: ...

    async def read_secret(self, name: str) -> Mapping[str, str] | None: ...

    def write_log(self, job: JobRef, log: str, *, index: int = 0) -> None: ...


class _Logs:
    """What Pods have written, by Job and index: there is no kubelet to ask."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, int], str] = {}

    def find(self, pod_name: str, lines: int) -> str:
        """Return the last lines that a Pod wrote; Pods of Indexed Jobs are named after their index."""
        prefixes = [(f"{job}-{index}-", log) for (job, index), log in self.logs.items()]
        prefixes += [(f"{job}-", log) for (job, index), log in self.logs.items() if index == 0]
        found = next((log for prefix, log in prefixes if pod_name.startswith(prefix)), "")
        return "\n".join(found.splitlines()[-lines:])


def indexed_pods(pods: list[Body]) -> dict[int, Body]:
    """Return the newest Pod of each index that has not been ended yet, else the newest."""
    annotation = "batch.kubernetes.io/job-completion-index"
    found: dict[int, Body] = {}
    for pod in sorted(pods, key=lambda one: one["metadata"]["creationTimestamp"]):
        index = int(pod["metadata"].get("annotations", {}).get(annotation, "0"))
        is_over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if index not in found or not is_over:
            found[index] = pod
    return found


def build_end(code: int, reason: str = "") -> Body:
    """Return the status of a Pod whose worker ended with an exit code."""
    reason = reason or ("Completed" if code == 0 else "Error")
    return build_ended({"exitCode": code, "reason": reason})


def build_ended(terminated: Body) -> Body:
    """Return the status of a Pod whose container was ended so."""
    phase = "Succeeded" if terminated["exitCode"] == 0 else "Failed"
    return {"phase": phase, "containerStatuses": [_container({"terminated": terminated})]}


def build_running() -> Body:
    """Return the status of a Pod whose worker runs."""
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [_container({"running": {}})],
    }


def build_waiting(reason: str, message: str = "") -> Body:
    """Return the status of a Pod whose container does not start."""
    return {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [_container({"waiting": {"reason": reason, "message": message}})],
    }


def _container(state: Body) -> Body:
    common = {"name": "worker", "image": "x", "imageID": "", "restartCount": 0}
    return common | {"ready": "running" in state, "state": state}


# In memory


class FakeJobs:
    """A JobsApi, a KeySecrets and their controller in memory; hands of the namespace's people beside them."""

    def __init__(self) -> None:
        self.namespace = "alice"
        self.operator_namespace = "dtool-system"
        self.is_forbidden = False
        self.has_room = True
        self.jobs: dict[tuple[str, str], Body] = {}
        self.pods: dict[str, list[Body]] = {}
        self.stored: dict[str, dict[str, str]] = {}
        self.owners: dict[str, str] = {}
        self.logs = _Logs()
        self._version = 0

    @property
    def api(self) -> JobsApi:
        return self

    @property
    def secrets(self) -> KeySecrets:
        return _FakeSecrets(self)

    # JobsApi

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> JobState:
        self._check(namespace)
        body = copy.deepcopy(dict(manifest))
        name = body["metadata"]["name"]
        if (namespace, name) in self.jobs:
            raise Conflict(f"{name} is taken")
        body["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": namespace}
        self.jobs[namespace, name] = body
        self._touch(body)
        return parse_job(body)

    async def find(self, namespace: str, name: str) -> JobState | None:
        self._check(namespace)
        body = self.jobs.get((namespace, name))
        return None if body is None else parse_job(body)

    async def read(self, job: JobRef) -> JobState | None:
        found = await self.find(job.namespace, job.name)
        return found if found is not None and found.ref.uid == job.uid else None

    async def release(self, job: JobState) -> None:
        self._check(job.ref.namespace)
        body = self.jobs.get((job.ref.namespace, job.ref.name))
        if body is None:
            raise Gone("no Job")
        if body["metadata"]["resourceVersion"] != job.resource_version:
            raise Conflict("changed")
        body["spec"]["suspend"] = False
        self._touch(body)
        self._control(body)

    async def delete(self, job: JobRef) -> None:
        self._check(job.namespace)
        if await self.read(job) is not None:
            self._remove(self.jobs[job.namespace, job.name])

    async def list_managed(self, namespace: str) -> tuple[JobState, ...]:
        found = [parse_job(body) for (where, _), body in self.jobs.items() if where == namespace]
        return tuple(job for job in found if job.is_managed)

    async def list_pods(self, job: JobRef) -> tuple[PodState, ...]:
        self._check(job.namespace)
        return parse_pods(self.pods.get(job.uid, ()), job)

    async def list_warnings(self, namespace: str, uid: str) -> tuple[Words, ...]:  # noqa: ARG002
        if self.has_room:
            return ()
        message = 'pods "x" is forbidden: exceeded quota: none, requested: pods=1'
        return parse_warnings([{"type": "Warning", "reason": "FailedCreate", "message": message}])

    async def read_log(self, namespace: str, pod: str, *, lines: int, max_bytes: int) -> str:  # noqa: ARG002
        self._check(namespace)
        return self.logs.find(pod, lines)

    # KeySecrets

    async def create_for_job(self, job: JobRef, data: Mapping[str, str]) -> None:
        if job.name in self.stored:
            raise Conflict("taken")
        self.stored[job.name] = dict(data)
        self.owners[job.name] = job.uid

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        if name not in self.stored:
            raise Gone("no Secret")
        self.stored[name] = dict(data)

    async def delete_secret(self, name: str) -> None:
        self.stored.pop(name, None)

    # People, kubelet

    async def get_job(self, job: JobRef) -> Body | None:
        body = self.jobs.get((job.namespace, job.name))
        return body if body is not None and body["metadata"]["uid"] == job.uid else None

    async def get_pods(self, job: JobRef) -> list[Body]:
        return self.pods.get(job.uid, [])

    async def set_pod_status(self, job: JobRef, status: Body, *, index: int = 0) -> None:
        indexed_pods(self.pods[job.uid])[index]["status"] = status
        body = await self.get_job(job)
        assert body is not None
        self._control(body)

    async def delete_job(self, job: JobRef) -> None:
        self._remove(self.jobs[job.namespace, job.name])

    async def put_job(self, namespace: str, name: str) -> None:
        body = {"metadata": {"name": name, "namespace": namespace, "uid": "other"}, "spec": {}}
        self.jobs[namespace, name] = body
        self._touch(body)

    async def allow_no_pods(self) -> None:
        self.has_room = False

    async def take_rights_away(self) -> None:
        self.is_forbidden = True

    async def read_secret(self, name: str) -> Mapping[str, str] | None:
        return self.stored.get(name)

    def write_log(self, job: JobRef, log: str, *, index: int = 0) -> None:
        self.logs.logs[job.name, index] = log

    def _check(self, namespace: str) -> None:
        if self.is_forbidden and namespace == self.namespace:
            message = build_jobs_forbidden_message(namespace, "dtool-system:dtool-operator")
            raise OperatorError(Reason.JOBS_FORBIDDEN, message)

    def _touch(self, body: Body) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)

    def _remove(self, body: Body) -> None:
        metadata = body["metadata"]
        del self.jobs[metadata["namespace"], metadata["name"]]
        self.pods.pop(metadata["uid"], None)
        for name, owner in list(self.owners.items()):
            if owner == metadata["uid"]:
                self.stored.pop(name, None)

    def _control(self, body: Body) -> None:
        """Be the Job controller: make Pods, replace those that the cluster ended, count the others."""
        metadata, spec = body["metadata"], body["spec"]
        if spec.get("suspend") or not self.has_room:
            return
        pods = self.pods.setdefault(metadata["uid"], [])
        succeeded, failed = set(), set()
        for index in range(spec.get("completions", 1)):
            mine = [pod for pod in pods if _index(pod) == index]
            counted = [pod for pod in mine if not _is_disrupted(pod)]
            phases = [(pod.get("status") or {}).get("phase", "Pending") for pod in counted]
            if "Succeeded" in phases:
                succeeded.add(index)
            elif phases.count("Failed") > spec.get("backoffLimitPerIndex", spec.get("backoffLimit", 6)):
                failed.add(index)
            elif not any(phase in ("Pending", "Running") for phase in phases):
                pods.append(self._make_pod(body, index))
        ended = len(succeeded) + len(failed)
        if ended < spec.get("completions", 1):
            return
        kind, reason = ("Failed", "BackoffLimitExceeded") if failed else ("Complete", "CompletionsReached")
        body["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": ""}]}
        self._touch(body)

    def _make_pod(self, body: Body, index: int) -> Body:
        metadata = body["metadata"]
        owner = {"kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        return {
            "metadata": {
                "name": f"{metadata['name']}-{index}-{secrets.token_hex(3)}",
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).isoformat(),
                "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
                "ownerReferences": [owner],
            },
            "spec": copy.deepcopy(body["spec"]["template"]["spec"]),
            "status": {"phase": "Pending"},
        }


@dataclass
class _FakeSecrets:
    """The KeySecrets of a fake: `delete` means a Job there."""

    jobs: FakeJobs

    async def create_for_job(self, job: JobRef, data: Mapping[str, str]) -> None:
        await self.jobs.create_for_job(job, data)

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        await self.jobs.replace(name, data)

    async def delete(self, name: str) -> None:
        await self.jobs.delete_secret(name)


# On a real API server


class LoggedJobs(KubernetesJobs):
    """The real thing but for the Pods' logs, which only a node could give."""

    def __init__(self, connection: Connection, logs: _Logs, *, operator_namespace: str) -> None:
        super().__init__(connection, operator_namespace=operator_namespace)
        self._logs = logs

    async def read_log(self, namespace: str, pod: str, *, lines: int, max_bytes: int) -> str:  # noqa: ARG002
        """Return what the test wrote."""
        return self._logs.find(pod, lines)


class RealJobs:
    """A namespace of a sandbox's control plane; its Job controller runs, its kubelet is the test."""

    def __init__(
        self, control_plane: ControlPlane, kubeconfig: Path, *, namespace: str, operator_namespace: str
    ) -> None:
        self.namespace = namespace
        self.operator_namespace = operator_namespace
        self.logs = _Logs()
        self._control_plane = control_plane
        self._operator = Connection(environment={"KUBECONFIG": str(kubeconfig)})
        self._admin = Connection(environment={"KUBECONFIG": str(control_plane.admin_kubeconfig)})
        self._api = LoggedJobs(self._operator, self.logs, operator_namespace=operator_namespace)
        self._secrets = JobSecrets(KubernetesOwnSecrets(self._operator, namespace=operator_namespace))

    @property
    def api(self) -> JobsApi:
        return self._api

    @property
    def secrets(self) -> KeySecrets:
        return self._secrets

    async def close(self) -> None:
        await self._operator.close()
        await self._admin.close()

    async def get_job(self, job: JobRef) -> Body | None:
        with contextlib.suppress(Refused):
            body = await self._admin.read(f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}")
            return body if body["metadata"]["uid"] == job.uid else None
        return None

    async def get_pods(self, job: JobRef) -> list[Body]:
        query = {"labelSelector": f"batch.kubernetes.io/controller-uid={job.uid}"}
        return list(
            (await self._admin.read(f"/api/v1/namespaces/{job.namespace}/pods", query=query))["items"]
        )

    async def set_pod_status(self, job: JobRef, status: Body, *, index: int = 0) -> None:
        async def find() -> Body:
            pods = indexed_pods(await self.get_pods(job))
            assert index in pods, "the Job controller has made no such Pod yet"
            phase = (pods[index].get("status") or {}).get("phase")
            assert phase not in ("Succeeded", "Failed"), "its next Pod is not there yet"
            return pods[index]

        pod = await eventually_async(find, within=20)
        path = f"/api/v1/namespaces/{job.namespace}/pods/{pod['metadata']['name']}/status"
        await self._admin.write(
            "PATCH", path, {"status": status}, content_type="application/merge-patch+json"
        )

    async def delete_job(self, job: JobRef) -> None:
        body = {"propagationPolicy": "Background"}
        await self._admin.write("DELETE", f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}", body)

    async def put_job(self, namespace: str, name: str) -> None:
        container = {"name": "c", "image": "x"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        body = {"metadata": {"name": name}, "spec": {"suspend": True, "template": template}}
        await self._admin.write("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)

    async def allow_no_pods(self) -> None:
        body = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas"
        await self._admin.write("POST", path, body)

        async def is_counted() -> None:
            assert (await self._admin.read(f"{path}/none")).get("status")

        await eventually_async(is_counted, within=20)

    async def let_operator_run_jobs(self) -> None:
        role = "dtool-operator-job-runner"
        await asyncio.to_thread(
            self._control_plane.kubectl,
            "create",
            "rolebinding",
            role,
            f"--clusterrole={role}",
            f"--serviceaccount={self.operator_namespace}:dtool-operator",
            f"--namespace={self.namespace}",
        )
        await self._wait_for_rights(are_given=True)

    async def take_rights_away(self) -> None:
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}/rolebindings"
        await self._admin.write("DELETE", f"{path}/dtool-operator-job-runner", {})
        await self._wait_for_rights(are_given=False)

    async def _wait_for_rights(self, *, are_given: bool) -> None:
        """Wait until the API server has heard of a change of RoleBindings."""

        async def check() -> None:
            assert await may(self._operator, "create", "batch", "jobs", namespace=self.namespace) is are_given

        await eventually_async(check, within=20)

    async def read_secret(self, name: str) -> Mapping[str, str] | None:
        with contextlib.suppress(Refused):
            path = f"/api/v1/namespaces/{self.operator_namespace}/secrets/{name}"
            data = (await self._admin.read(path)).get("data") or {}
            return {key: base64.b64decode(value).decode() for key, value in data.items()}
        return None

    def write_log(self, job: JobRef, log: str, *, index: int = 0) -> None:
        self.logs.logs[job.name, index] = log


def _index(pod: Body) -> int:
    return int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])


def _is_disrupted(pod: Body) -> bool:
    status = pod.get("status") or {}
    is_target = any(one["type"] == "DisruptionTarget" for one in status.get("conditions", ()))
    return is_target and status.get("phase") == "Failed"
