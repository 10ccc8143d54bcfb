"""The Kubernetes API as the reconcilers see it: a protocol, its values, and the real thing on kubernetes.aio.

The only module that imports the Kubernetes client. Translates its errors once, into `dtool_operator.errors`;
never puts a response body or a Secret's value into a message. Decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


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

    Every method raises ApiFailure (with the HTTP status; 0: no answer) when the server refuses or does not
    answer, beside what it names itself.
    """

    async def read_cluster_uid(self) -> str:
        """Return the uid of the namespace kube-system, which stands for the cluster."""

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

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make this the whole of what the operator says in status; return the new body.

        A status that is there already writes nothing: the resourceVersion stays. Raises Gone if the object
        of this uid does not exist any more; an object that took its name is never written.
        """

    async def create_event(self, ref: ObjectRef, *, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        """Record an Event on the object; raises Gone if its namespace is being deleted or is gone."""

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        """List uid → resourceVersion of all objects of all namespaces, without their content."""

    async def close(self) -> None:
        """Close connections."""
