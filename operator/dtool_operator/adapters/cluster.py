"""The Kubernetes API as the reconcilers see it: the real thing behind the protocol `Cluster`.

Translates errors once, into `dtool_operator.errors`; never puts a Secret's value into a message. Decides
nothing. What happens on the wire is in `connection`.
"""

import base64
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dtool_operator import names
from dtool_operator.adapters.access_review import may
from dtool_operator.adapters.cluster_protocol import (
    Cluster,
    ConfigMapData,
    EventType,
    ObjectRef,
    SecretData,
)
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.adapters.refusal import (
    build_forbidden_message,
    translate_config_map,
    translate_creation,
    translate_event,
    translate_object,
    translate_secret,
)
from dtool_operator.errors import Conflict, Gone

__all__ = [
    "NAMESPACES",
    "Cluster",
    "ConfigMapData",
    "EventType",
    "KubernetesCluster",
    "ObjectRef",
    "SecretData",
    "build_forbidden_message",
]

NAMESPACES: Final = "namespaces"
"""Plural of the kind, where methods and events take plurals."""

_STATUS_ATTEMPTS: Final = 4
_PAGE_SIZE: Final = 500
_EVENT_MESSAGE_MAXIMUM: Final = 1024
_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


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
            raise translate_secret(refused, namespace, name, self._subject) from refused
        return SecretData(body["metadata"]["resourceVersion"], _decode_secret(body.get("data") or {}))

    async def read_config_map(self, namespace: str, name: str) -> ConfigMapData:
        """See Cluster."""
        try:
            body = await self._connection.read(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        except Refused as refused:
            raise translate_config_map(refused, namespace, name, self._subject) from refused
        return ConfigMapData(body["metadata"]["resourceVersion"], body.get("data") or {})

    async def read_dataset(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """See Cluster."""
        try:
            return await self._connection.read(f"{_datasets_path(namespace)}/{name}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def create_dataset(
        self, namespace: str, name: str, *, spec: Mapping[str, Any], labels: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """See Cluster."""
        metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
        body = {"apiVersion": names.API_VERSION, "kind": names.DATASET_KIND, "metadata": metadata}
        query = {"fieldManager": names.FIELD_MANAGER}
        try:
            return await self._connection.write(
                "POST", _datasets_path(namespace), {**body, "spec": dict(spec)}, query=query
            )
        except Refused as refused:
            raise translate_creation(refused, namespace, name) from refused

    async def delete_object(self, ref: ObjectRef, *, resource_version: str) -> None:
        """See Cluster."""
        preconditions = {"uid": ref.uid, "resourceVersion": resource_version}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        try:
            await self._connection.write("DELETE", _path(ref), body)
        except Refused as refused:
            raise translate_object(refused, _describe(ref)) from refused

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
            raise translate_event(refused, ref.namespace) from refused

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

    async def may_watch(self, plural: str) -> bool:
        """See Cluster."""
        group = "" if plural == NAMESPACES else names.GROUP
        try:
            return await may(self._connection, "watch", group, plural)
        except Refused as refused:
            if refused.status == 403:  # whoever may not ask is told by the watch itself
                return True
            raise

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
            raise translate_object(refused, _describe(ref)) from refused
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
            raise translate_object(refused, _describe(ref)) from refused


def _path(ref: ObjectRef) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{ref.namespace}/{ref.plural}/{ref.name}"


def _datasets_path(namespace: str) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.DATASET_PLURAL}"


def _describe(ref: ObjectRef) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name}"


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
