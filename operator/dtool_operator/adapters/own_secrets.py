"""The Secrets that the operator itself makes, in its own namespace: never a user's.

Owns how they are written. Puts no value into a message or a repr.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dtool_operator import names
from dtool_operator.adapters.cluster_protocol import SecretData
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.errors import Conflict, Gone

_REPLACE_ATTEMPTS: Final = 4
_MANAGED_BY: Final = {"app.kubernetes.io/managed-by": names.FIELD_MANAGER}
_FIELD_MANAGER: Final = {"fieldManager": names.FIELD_MANAGER}


@dataclass(frozen=True, slots=True)
class SecretOwner:
    """The object that a Secret goes with, in the same namespace: Kubernetes deletes the Secret after it."""

    api_version: str
    kind: str
    name: str
    uid: str


class OwnSecrets(Protocol):
    """Secrets in the operator's own namespace; every method raises ApiFailure beside what it names."""

    async def create(
        self,
        name: str,
        data: Mapping[str, str],
        *,
        owner: SecretOwner | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Create a Secret. Raises Conflict if the name is taken.

        After an ApiFailure without an answer (status 0) it may exist.
        """

    async def read(self, name: str) -> SecretData | None:
        """Read a Secret; None if there is none."""

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        """Make these the whole data of a Secret, its owner and labels stay; raises Gone if there is none."""

    async def delete(self, name: str) -> None:
        """Delete a Secret; gone already is fine."""


class KubernetesOwnSecrets:
    """The OwnSecrets at the other end of a connection."""

    def __init__(self, connection: Connection, *, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._path = f"/api/v1/namespaces/{namespace}/secrets"

    async def create(
        self,
        name: str,
        data: Mapping[str, str],
        *,
        owner: SecretOwner | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """See OwnSecrets."""
        metadata: dict[str, Any] = {"name": name, "namespace": self._namespace}
        metadata["labels"] = _MANAGED_BY | dict(labels or {})
        if owner is not None:
            metadata["ownerReferences"] = [_build_reference(owner)]
        body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata}
        try:
            await self._connection.write(
                "POST", self._path, {**body, "data": _encode(data)}, query=_FIELD_MANAGER
            )
        except Refused as refused:
            if refused.status == 409:
                raise Conflict(f"there is a Secret {self._namespace}/{name} already") from refused
            raise

    async def read(self, name: str) -> SecretData | None:
        """See OwnSecrets."""
        body = await self._read(name)
        if body is None:
            return None
        return SecretData(body["metadata"]["resourceVersion"], _decode(body.get("data") or {}))

    async def replace(self, name: str, data: Mapping[str, str]) -> None:
        """See OwnSecrets. What others wrote meanwhile is read again and overwritten, but not its metadata."""
        for _ in range(_REPLACE_ATTEMPTS):
            body = await self._read(name)
            if body is None:
                break
            try:
                await self._connection.write(
                    "PUT", f"{self._path}/{name}", {**body, "data": _encode(data)}, query=_FIELD_MANAGER
                )
            except Refused as refused:
                if refused.status not in {404, 409}:
                    raise
            else:
                return
        else:
            raise Conflict(f"the Secret {self._namespace}/{name} kept changing while it was written")
        raise Gone(f"the Secret {self._namespace}/{name} does not exist")

    async def delete(self, name: str) -> None:
        """See OwnSecrets."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"}
        try:
            await self._connection.write("DELETE", f"{self._path}/{name}", body)
        except Refused as refused:
            if refused.status != 404:
                raise

    async def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._connection.read(f"{self._path}/{name}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise


def _build_reference(owner: SecretOwner) -> dict[str, str]:
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}


def _encode(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode("ascii") for key, value in data.items()}


def _decode(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
