"""The Kubernetes API as the reconcilers see it: a protocol, its values, and the real thing.

Translates errors once, into `dtool_operator.errors`; never puts a Secret's value into a message. Decides
nothing. What happens on the wire is in `connection`.
"""

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from dtool_operator import names
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import Conflict, Gone, OperatorError

NAMESPACES: Final = "namespaces"
"""Plural of the kind, where methods and events take plurals."""

_STATUS_ATTEMPTS: Final = 4
_PAGE_SIZE: Final = 500
_EVENT_MESSAGE_MAXIMUM: Final = 1024
_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class EventType(StrEnum):
    """Kubernetes knows these two."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object of one kind; the uid tells it from an earlier object of the same name."""

    plural: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class SecretData:
    """A Secret's values as text. Values that are not UTF-8 are left out; the repr shows key names only."""

    resource_version: str
    data: Mapping[str, str] = field(repr=False)

    def __repr__(self) -> str:
        return f"SecretData(resource_version={self.resource_version!r}, keys={sorted(self.data)})"


class Cluster(Protocol):
    """What the operator asks of the API server.

    Beside what it names, every method raises ApiFailure with the HTTP status (0: no answer).
    """

    async def read_namespace_uid(self, name: str) -> str | None:
        """Return the uid that a namespace has now; None if there is none. kube-system's is the cluster's."""

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        """Read a Secret; raises OperatorError with reason SecretNotFound or SecretForbidden.

        The latter's message carries the kubectl command that lets the operator in (rule 5).
        """

    async def patch_metadata(
        self,
        ref: ObjectRef,
        *,
        resource_version: str,
        finalizers: tuple[str, ...] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Replace the list of finalizers and set these labels (others stay); return the new body.

        Raises Conflict if the object is not of this resourceVersion and uid, Gone if there is none. The
        removal of the last finalizer of a deleted object returns the body it had when it went.
        """

    async def apply_status(
        self, ref: ObjectRef, status: Mapping[str, Any], *, resource_version: str | None = None
    ) -> Mapping[str, Any]:
        """Make this the whole of what the operator says in status; return the new body.

        Send no None and at least one field: the API server takes neither. A status that is there already
        writes nothing: the resourceVersion stays. Raises Gone if the object of this uid does not exist any
        more; an object that took its name is never written. Give the resourceVersion that was seen last, to
        save a request; an old one does no harm.
        """

    async def create_event(self, ref: ObjectRef, *, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        """Record an Event on the object; raises Gone if its namespace is being deleted or is gone."""

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        """List uid → resourceVersion of all objects of all namespaces, without their content."""

    async def list_served_plurals(self) -> frozenset[str]:
        """List which kinds of our group the API server knows: empty until the CRDs are installed."""

    async def close(self) -> None:
        """Close connections."""


class KubernetesCluster:
    """The Cluster at the other end of a connection."""

    def __init__(
        self, connection: Connection, *, operator_namespace: str, service_account: str = "dtool-operator"
    ) -> None:
        self._connection = connection
        self._subject = f"{operator_namespace}:{service_account}"

    async def read_namespace_uid(self, name: str) -> str | None:
        """See Cluster."""
        try:
            body = await self._connection.read(f"/api/v1/namespaces/{name}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        return str(body["metadata"]["uid"])

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        """See Cluster."""
        try:
            body = await self._connection.read(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        except Refused as refused:
            raise _translate_secret(refused, namespace, name, self._subject) from refused
        return SecretData(body["metadata"]["resourceVersion"], _decode_secret(body.get("data") or {}))

    async def patch_metadata(
        self,
        ref: ObjectRef,
        *,
        resource_version: str,
        finalizers: tuple[str, ...] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """See Cluster.

        A merge patch, not a JSON patch: it creates a missing map of labels by itself, and a resourceVersion
        in it is answered with 409 where a failed `test` would be a 422 like any invalid value.
        """
        metadata: dict[str, Any] = {"uid": ref.uid, "resourceVersion": resource_version}
        if finalizers is not None:
            metadata["finalizers"] = list(finalizers)
        if labels is not None:
            metadata["labels"] = dict(labels)
        return await self._patch(ref, "", {"metadata": metadata}, _MERGE_PATCH)

    async def apply_status(
        self, ref: ObjectRef, status: Mapping[str, Any], *, resource_version: str | None = None
    ) -> Mapping[str, Any]:
        """See Cluster.

        The resourceVersion is what ties the write to this very object: the API server ignores a
        metadata.uid in an apply on /status of a custom resource (seen with 1.37).
        """
        for _ in range(_STATUS_ATTEMPTS):
            version = resource_version or await self._read_version(ref)
            metadata = {"name": ref.name, "namespace": ref.namespace, "resourceVersion": version}
            body = {"apiVersion": names.API_VERSION, "kind": ref.kind, "metadata": metadata, "status": status}
            try:
                return await self._patch(ref, "/status", body, _APPLY_PATCH)
            except Conflict:
                resource_version = None
        raise Conflict(f"{_describe(ref)} kept changing while its status was written")

    async def create_event(self, ref: ObjectRef, *, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        """See Cluster."""
        body = _build_event(ref, type, reason, message)
        try:
            await self._connection.write("POST", f"/api/v1/namespaces/{ref.namespace}/events", body)
        except Refused as refused:
            if refused.status == 404 or refused.cause == "NamespaceTerminating":
                raise Gone(f"the namespace {ref.namespace} is being deleted or is gone") from refused
            raise

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        """See Cluster."""
        path = f"/api/v1/{plural}" if plural == NAMESPACES else f"/apis/{names.API_VERSION}/{plural}"
        query = {"limit": str(_PAGE_SIZE)}
        found: dict[str, str] = {}
        while True:
            page = await self._connection.read(path, query=query, accept=_METADATA_LIST)
            for item in page["items"] or ():  # null if there are none
                found[item["metadata"]["uid"]] = item["metadata"]["resourceVersion"]
            if not (rest := page["metadata"].get("continue")):
                return found
            query = {**query, "continue": rest}

    async def list_served_plurals(self) -> frozenset[str]:
        """See Cluster."""
        groups = await self._connection.read("/apis")
        if names.GROUP not in {group["name"] for group in groups["groups"]}:
            return frozenset()
        served = await self._connection.read(f"/apis/{names.API_VERSION}")
        return frozenset(resource["name"] for resource in served["resources"])

    async def close(self) -> None:
        """See Cluster."""
        await self._connection.close()

    async def _read_version(self, ref: ObjectRef) -> str:
        try:
            body = await self._connection.read(_path(ref))
        except Refused as refused:
            raise _translate_object(refused, ref) from refused
        if body["metadata"]["uid"] != ref.uid:
            raise Gone(f"{_describe(ref)} was deleted; its name belongs to another object now")
        return str(body["metadata"]["resourceVersion"])

    async def _patch(
        self, ref: ObjectRef, subresource: str, body: Mapping[str, Any], content_type: str
    ) -> Mapping[str, Any]:
        query = {"fieldManager": names.FIELD_MANAGER}
        if content_type == _APPLY_PATCH:
            query["force"] = "true"
        try:
            return await self._connection.write(
                "PATCH", _path(ref) + subresource, body, query=query, content_type=content_type
            )
        except Refused as refused:
            raise _translate_object(refused, ref) from refused


def _path(ref: ObjectRef) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{ref.namespace}/{ref.plural}/{ref.name}"


def _describe(ref: ObjectRef) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name}"


def _translate_object(refused: Refused, ref: ObjectRef) -> OperatorError:
    match refused.status:
        case 404:
            return Gone(f"{_describe(ref)} does not exist any more")
        case 409:
            return Conflict(f"{_describe(ref)} changed since it was read")
        case _:
            return refused


def _translate_secret(refused: Refused, namespace: str, name: str, subject: str) -> OperatorError:
    match refused.status:
        case 404:
            message = f"the Secret {name} does not exist in namespace {namespace}"
            return OperatorError(Reason.SECRET_NOT_FOUND, message)
        case 403:
            return OperatorError(Reason.SECRET_FORBIDDEN, build_forbidden_message(namespace, name, subject))
        case _:
            return refused


def build_forbidden_message(namespace: str, name: str, subject: str) -> str:
    """Say how a team lets the operator (`namespace:serviceaccount`) read its Secrets (rule 5)."""
    role = names.CREDENTIALS_READER_ROLE
    command = f"kubectl create rolebinding {role} --clusterrole={role} --serviceaccount={subject}"
    return f"the operator may not read Secret {name} here; to let it: {command} --namespace={namespace}"


def _decode_secret(data: Mapping[str, str]) -> dict[str, str]:
    decoded = {}
    for key, value in data.items():
        with contextlib.suppress(UnicodeDecodeError):  # no access key is binary: as if it were absent
            decoded[key] = base64.b64decode(value).decode()
    return decoded


def _build_event(ref: ObjectRef, event_type: EventType, reason: str, message: str) -> dict[str, Any]:
    """Make a core/v1 Event, as `kubectl describe` shows them; the API server completes its name."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    involved = {"apiVersion": names.API_VERSION, "kind": ref.kind, "uid": ref.uid}
    involved |= {"namespace": ref.namespace, "name": ref.name}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{ref.name}.", "namespace": ref.namespace},
        "involvedObject": involved,
        "type": str(event_type),
        "reason": reason,
        "message": message[:_EVENT_MESSAGE_MAXIMUM],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
    }
