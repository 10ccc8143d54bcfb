"""What the operator asks of the Kubernetes API: a protocol and its values. No I/O."""

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


@dataclass(frozen=True, slots=True)
class ConfigMapData:
    """A ConfigMap's texts; `binaryData` is left out."""

    resource_version: str
    data: Mapping[str, str]


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

    async def read_config_map(self, namespace: str, name: str) -> ConfigMapData:
        """Read a ConfigMap; raises OperatorError with reason CABundleInvalid or SecretForbidden.

        Its only use is a bucket's CA bundle; the right to read it is that to read Secrets (rule 5).
        """

    async def read_dataset(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return a DtoolDataset as it is now; None if there is none."""

    async def create_dataset(
        self, namespace: str, name: str, *, spec: Mapping[str, Any], labels: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Create a DtoolDataset; return its body.

        Raises Conflict if the name is taken, Gone if the namespace is being deleted or is gone. After an
        ApiFailure without an answer (status 0) it may exist.
        """

    async def delete_object(self, ref: ObjectRef, *, resource_version: str) -> None:
        """Delete exactly this object; it stays while it has finalizers.

        Raises Conflict if it is not of this resourceVersion and uid, Gone if there is none.
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

    async def may_watch(self, plural: str) -> bool:
        """Tell whether all objects of a kind, in all namespaces, may be watched, as far as is known."""

    async def list_served_plurals(self) -> frozenset[str]:
        """List which kinds of our group the API server knows: empty until the CRDs are installed."""

    async def close(self) -> None:
        """Close connections."""
