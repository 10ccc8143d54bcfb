"""Jobs, their Pods and the Pods' logs at the API server, for `transfers.job`.

Translates errors once; decides nothing. Needs no right to watch. A Job is always meant by its uid.
"""

from collections.abc import Mapping
from typing import Any, Final

from dtool_operator import names
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.adapters.refusal import translate_job
from dtool_operator.errors import Conflict, Gone
from dtool_operator.planning.job_state import JobState, PodState, Words, parse_job, parse_pods, parse_warnings
from dtool_operator.planning.manifests import CONTAINER
from dtool_operator.planning.transfer import JobRef

_MERGE_PATCH: Final = "application/merge-patch+json"
_FIELD_MANAGER: Final = {"fieldManager": names.FIELD_MANAGER}
_MANAGED: Final = (
    f"{names.LABEL_MANAGED_BY}={names.FIELD_MANAGER},{names.LABEL_COMPONENT}={names.WORKER_COMPONENT}"
)
_PAGE_SIZE: Final = 500
_EVENTS: Final = 100
#: Whoever may make Pods makes them as large, and as many with our Job as owner, as he likes.
_PODS_AT_ONCE: Final = 50
_MOST_PODS: Final = 20 * _PODS_AT_ONCE


class KubernetesJobs:
    """Implements `transfers.job_api.JobsApi` at the other end of a connection.

    Every method raises OperatorError: JobsForbidden (with the command that gives the right), JobRefused,
    PodQuotaExceeded, or ApiFailure.
    """

    def __init__(
        self, connection: Connection, *, operator_namespace: str, service_account: str = "dtool-operator"
    ) -> None:
        self._connection = connection
        self._subject = f"{operator_namespace}:{service_account}"

    async def create(self, namespace: str, manifest: Mapping[str, Any]) -> JobState:
        """See JobsApi."""
        try:
            body = await self._connection.write("POST", _jobs(namespace), manifest, query=_FIELD_MANAGER)
        except Refused as refused:
            raise translate_job(refused, namespace, self._subject) from refused
        return parse_job(body)

    async def find(self, namespace: str, name: str) -> JobState | None:
        """See JobsApi."""
        try:
            return parse_job(await self._connection.read(f"{_jobs(namespace)}/{name}"))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise translate_job(refused, namespace, self._subject) from refused

    async def read(self, job: JobRef) -> JobState | None:
        """See JobsApi."""
        found = await self.find(job.namespace, job.name)
        return found if found is not None and found.ref.uid == job.uid else None

    async def release(self, job: JobState) -> None:
        """See JobsApi. A resourceVersion is of one object only, so no uid is needed beside it."""
        ref = job.ref
        body = {"metadata": {"resourceVersion": job.resource_version}, "spec": {"suspend": False}}
        try:
            await self._connection.write(
                "PATCH",
                f"{_jobs(ref.namespace)}/{ref.name}",
                body,
                query=_FIELD_MANAGER,
                content_type=_MERGE_PATCH,
            )
        except Refused as refused:
            raise translate_job(refused, ref.namespace, self._subject) from refused

    async def delete(self, job: JobRef) -> None:
        """See JobsApi."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": job.uid},
            "propagationPolicy": "Background",
        }
        try:
            await self._connection.write("DELETE", f"{_jobs(job.namespace)}/{job.name}", body)
        except Refused as refused:
            error = translate_job(refused, job.namespace, self._subject)
            if not isinstance(error, Gone | Conflict):  # gone, or another one of its name
                raise error from refused

    async def list_managed(self, namespace: str) -> tuple[JobState, ...]:
        """See JobsApi."""
        query, found = {"labelSelector": _MANAGED, "limit": str(_PAGE_SIZE)}, []
        while True:
            page = await self._list(_jobs(namespace), namespace, query)
            found += [parse_job(body) for body in page.get("items") or ()]
            if not (rest := (page.get("metadata") or {}).get("continue")):
                return tuple(found)
            query = {**query, "continue": rest}

    async def list_pods(self, job: JobRef) -> tuple[PodState, ...]:
        """See JobsApi. The label only narrows the list; the controller's uid decides.

        Of more Pods than any Job of ours has the rest is not looked at.
        """
        selector = f"batch.kubernetes.io/controller-uid={job.uid}"
        query, found = {"labelSelector": selector, "limit": str(_PODS_AT_ONCE)}, list[PodState]()
        while len(found) < _MOST_PODS:
            page = await self._list(f"/api/v1/namespaces/{job.namespace}/pods", job.namespace, query)
            found += parse_pods(page.get("items") or (), job)
            if not (rest := (page.get("metadata") or {}).get("continue")):
                break
            query = {**query, "continue": rest}
        return tuple(sorted(found, key=lambda pod: (pod.created_at, pod.name)))

    async def list_warnings(self, namespace: str, uid: str) -> tuple[Words, ...]:
        """See JobsApi."""
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": str(_EVENTS)}
        page = await self._list(f"/api/v1/namespaces/{namespace}/events", namespace, query)
        return parse_warnings(page.get("items") or ())

    async def read_log(self, namespace: str, pod: str, *, lines: int, max_bytes: int) -> str:
        """See JobsApi. A container that has not begun has no log (400)."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"container": CONTAINER, "tailLines": str(lines), "limitBytes": str(max_bytes)}
        try:
            return await self._connection.read_text(path, query=query)
        except Refused as refused:
            if refused.status in (400, 404):
                return ""
            raise translate_job(refused, namespace, self._subject) from refused

    async def _list(self, path: str, namespace: str, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            return await self._connection.read(path, query=query)
        except Refused as refused:
            raise translate_job(refused, namespace, self._subject) from refused


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"
