"""A Kubernetes API in memory: the operator's `Cluster`, and the hands of a user who plays against it.

Keeps the semantics that reconcilers rely on (uid, resourceVersion, generation, conflicts, deletion gated by
finalizers, a status of its own, namespaces that terminate); `tests/contract/test_cluster.py` holds it to a
real API server. It validates nothing but what it needs, and knows no CEL.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from dtool_operator.adapters.cluster import EventType, ObjectRef, SecretData
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import ApiFailure, Conflict, Gone, OperatorError
from dtool_operator.names import API_VERSION, BUCKET_KIND, BUCKET_PLURAL, DATASET_KIND, DATASET_PLURAL

Body = dict[str, Any]
#: Told plural, "ADDED" | "MODIFIED" | "DELETED", and a copy of the object, at once.
OnChange = Callable[[str, str, Body], None]

NAMESPACES = "namespaces"
_KINDS = {BUCKET_PLURAL: BUCKET_KIND, DATASET_PLURAL: DATASET_KIND}


@dataclass(frozen=True, slots=True)
class Write:
    """One request of the operator that changed something; `resource_version` is the new one."""

    operation: str
    ref: ObjectRef
    resource_version: str


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An Event that the operator recorded."""

    ref: ObjectRef
    type: EventType
    reason: str
    message: str


@dataclass(slots=True)
class _Fault:
    operation: str
    error: BaseException
    times: int
    after: bool


class FakeCluster:
    """The API server and, in its plain methods, the users. `writes` and `events` are the operator's."""

    def __init__(
        self,
        *,
        operator_namespace: str = "dtool-system",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.operator_namespace = operator_namespace
        self.writes: list[Write] = []
        self.events: list[RecordedEvent] = []
        self.on_change: OnChange | None = None
        self.is_closed = False
        self._now = now
        self._version = 0
        self._objects: dict[str, dict[tuple[str, str], Body]] = {
            NAMESPACES: {},
            BUCKET_PLURAL: {},
            DATASET_PLURAL: {},
        }
        self._secrets: dict[tuple[str, str], SecretData] = {}
        self._readable: set[str] = {operator_namespace}
        self._faults: list[_Fault] = []
        for name in ("kube-system", "default", operator_namespace):
            self.create_namespace(name)

    # What the operator may do, as in dtool_operator.adapters.cluster

    async def read_cluster_uid(self) -> str:
        with _Faulty(self, "read_cluster_uid"):
            return str(self._objects[NAMESPACES]["", "kube-system"]["metadata"]["uid"])

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        with _Faulty(self, "read_secret"):
            if namespace not in self._readable:
                command = (
                    "kubectl create rolebinding dtool-operator-secret-reader "
                    "--clusterrole=dtool-operator-secret-reader "
                    f"--serviceaccount={self.operator_namespace}:dtool-operator --namespace={namespace}"
                )
                raise OperatorError(Reason.SECRET_FORBIDDEN, f"may not read Secret {name}: {command}")
            if (namespace, name) not in self._secrets:
                raise OperatorError(Reason.SECRET_NOT_FOUND, f"no Secret {namespace}/{name}")
            return self._secrets[namespace, name]

    async def patch_metadata(
        self,
        ref: ObjectRef,
        *,
        resource_version: str,
        finalizers: tuple[str, ...] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        with _Faulty(self, "patch_metadata"):
            stored = self._find(ref.plural, ref.namespace, ref.name)
            if stored is None:
                raise Gone(f"{ref.plural} {ref.namespace}/{ref.name} does not exist")
            metadata = stored["metadata"]
            if metadata["resourceVersion"] != resource_version or metadata["uid"] != ref.uid:
                raise Conflict(f"{ref.plural} {ref.namespace}/{ref.name} changed")
            body = copy.deepcopy(stored)
            if finalizers is not None:
                self._set_finalizers(body, finalizers)
            if labels:
                body["metadata"].setdefault("labels", {}).update(labels)
            return self._store_as_operator("patch_metadata", ref, body)

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Mapping[str, Any]:
        with _Faulty(self, "apply_status"):
            stored = self._find(ref.plural, ref.namespace, ref.name)
            if stored is None or stored["metadata"]["uid"] != ref.uid:
                raise Gone(f"{ref.plural} {ref.namespace}/{ref.name} does not exist")
            body = {**copy.deepcopy(stored), "status": copy.deepcopy(dict(status))}
            return self._store_as_operator("apply_status", ref, body)

    async def create_event(self, ref: ObjectRef, *, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        with _Faulty(self, "create_event"):
            if not self._is_active(ref.namespace):
                raise Gone(f"namespace {ref.namespace} is being deleted or is gone")
            self.events.append(RecordedEvent(ref, type, reason, message))

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        with _Faulty(self, "list_metadata"):
            found = (body["metadata"] for body in self._objects[plural].values())
            return {metadata["uid"]: metadata["resourceVersion"] for metadata in found}

    async def close(self) -> None:
        self.is_closed = True

    # What goes wrong

    def fail(self, operation: str, error: BaseException, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method of the operator's side fail; `after`: once it took effect."""
        self._faults.append(_Fault(operation, error, times, after))

    # What users do to namespaces and Secrets

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> Body:
        """Create a namespace; it carries the label with its name, as real ones do."""
        body = self._new_body("v1", "Namespace", {"name": name})
        body["metadata"]["labels"] = {"kubernetes.io/metadata.name": name, **(labels or {})}
        body["status"] = {"phase": "Active"}
        return self._insert(NAMESPACES, body)

    def label_namespace(self, name: str, labels: Mapping[str, str | None]) -> Body:
        """Set labels; None removes one."""
        return self.set_labels(NAMESPACES, "", name, labels)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace and what is in it; it goes when the last finalizer in it has gone."""
        body = copy.deepcopy(self.get(NAMESPACES, "", name))
        body["metadata"]["deletionTimestamp"] = self._timestamp()
        body["status"] = {"phase": "Terminating"}
        self._store(NAMESPACES, body)
        for key in [key for key in self._secrets if key[0] == name]:
            del self._secrets[key]
        for plural in _KINDS:
            for object_name in [key[1] for key in self._objects[plural] if key[0] == name]:
                self.delete(plural, name, object_name)
        self._finish_namespace(name)

    def put_secret(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create or replace a Secret."""
        self._secrets[namespace, name] = SecretData(self._next_version(), dict(data))

    def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret."""
        del self._secrets[namespace, name]

    def let_operator_read_secrets(self, namespace: str, *, allowed: bool = True) -> None:
        """Bind the reader role in a namespace, or take it back; the operator's own is always readable."""
        (self._readable.add if allowed else self._readable.discard)(namespace)

    # What users do to objects

    def create(
        self,
        plural: str,
        namespace: str,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Body:
        """Create an object as a user does; raises ApiFailure 403 (namespace), 409 (name taken)."""
        if not self._is_active(namespace):
            raise ApiFailure(f"namespace {namespace} is being deleted or is gone", status=403)
        if self._find(plural, namespace, name) is not None:
            raise ApiFailure(f"{plural} {namespace}/{name} exists", status=409)
        body = self._new_body(API_VERSION, _KINDS[plural], {"name": name, "namespace": namespace})
        body["metadata"] |= {"generation": 1}
        body["metadata"] |= {"labels": dict(labels)} if labels else {}
        body["metadata"] |= {"annotations": dict(annotations)} if annotations else {}
        body["spec"] = copy.deepcopy(dict(spec))
        return self._insert(plural, body)

    def update_spec(self, plural: str, namespace: str, name: str, **changes: Any) -> Body:
        """Replace these top-level fields of the spec; None removes one."""
        body = copy.deepcopy(self.get(plural, namespace, name))
        body["spec"] = {k: v for k, v in {**body["spec"], **changes}.items() if v is not None}
        return self._store(plural, body)

    def set_labels(self, plural: str, namespace: str, name: str, labels: Mapping[str, str | None]) -> Body:
        """Set labels; None removes one."""
        return self._merge_metadata(plural, namespace, name, "labels", labels)

    def set_annotations(
        self, plural: str, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Body:
        """Set annotations; None removes one."""
        return self._merge_metadata(plural, namespace, name, "annotations", annotations)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object: at once without finalizers, else it only gets its deletionTimestamp."""
        stored = self.get(plural, namespace, name)
        if not stored["metadata"].get("finalizers"):
            self._remove(plural, namespace, name)
        elif "deletionTimestamp" not in stored["metadata"]:
            body = copy.deepcopy(stored)
            body["metadata"]["deletionTimestamp"] = self._timestamp()
            body["metadata"]["deletionGracePeriodSeconds"] = 0
            body["metadata"]["generation"] += 1
            self._store(plural, body)

    def remove_finalizers(self, plural: str, namespace: str, name: str) -> None:
        """Force an object away, as the runbook's `kubectl patch` does."""
        body = copy.deepcopy(self.get(plural, namespace, name))
        self._set_finalizers(body, ())
        self._store(plural, body)

    # What everybody may look at

    def get(self, plural: str, namespace: str, name: str) -> Body:
        """Return a copy of an object; KeyError if it does not exist."""
        return copy.deepcopy(self._objects[plural][namespace, name])

    def exists(self, plural: str, namespace: str, name: str) -> bool:
        """Tell whether there is an object of this name."""
        return self._find(plural, namespace, name) is not None

    def list(self, plural: str) -> list[Body]:
        """Return copies of all objects of a kind, in the order of their creation."""
        return [copy.deepcopy(body) for body in self._objects[plural].values()]

    def ref(self, plural: str, namespace: str, name: str) -> ObjectRef:
        """Name an object as it is now."""
        uid = self._objects[plural][namespace, name]["metadata"]["uid"]
        return ObjectRef(plural, _KINDS[plural], namespace, name, uid)

    def replay(self) -> Iterator[tuple[str, str, Body]]:
        """Yield everything as a watch that begins would: namespaces, buckets, datasets."""
        for plural, objects in self._objects.items():
            for body in objects.values():
                yield plural, "ADDED", copy.deepcopy(body)

    # How it is kept

    def _find(self, plural: str, namespace: str, name: str) -> Body | None:
        return self._objects[plural].get((namespace, name))

    def _new_body(self, api_version: str, kind: str, metadata: Body) -> Body:
        metadata |= {"uid": str(uuid4()), "creationTimestamp": self._timestamp()}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}

    def _insert(self, plural: str, body: Body) -> Body:
        metadata = body["metadata"]
        metadata["resourceVersion"] = self._next_version()
        self._objects[plural][metadata.get("namespace", ""), metadata["name"]] = body
        self._tell(plural, "ADDED", body)
        return copy.deepcopy(body)

    def _store(self, plural: str, body: Body) -> Body:
        """Keep a changed body; an unchanged one costs no resourceVersion. Ends a deletion that waited."""
        metadata = body["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        stored = self._objects[plural][key]
        if body == stored:
            return copy.deepcopy(stored)
        if body.get("spec") != stored.get("spec"):
            metadata["generation"] += 1
        metadata["resourceVersion"] = self._next_version()
        self._objects[plural][key] = body
        if plural != NAMESPACES and "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._remove(plural, *key)
        else:
            self._tell(plural, "MODIFIED", body)
        return copy.deepcopy(body)

    def _store_as_operator(self, operation: str, ref: ObjectRef, body: Body) -> Body:
        before = body["metadata"]["resourceVersion"]
        after = self._store(ref.plural, body)
        if after["metadata"]["resourceVersion"] != before:
            self.writes.append(Write(operation, ref, after["metadata"]["resourceVersion"]))
        return after

    def _remove(self, plural: str, namespace: str, name: str) -> None:
        body = self._objects[plural].pop((namespace, name))
        body["metadata"]["resourceVersion"] = self._next_version()
        self._tell(plural, "DELETED", body)
        if plural != NAMESPACES:
            self._finish_namespace(namespace)

    def _finish_namespace(self, name: str) -> None:
        namespace = self._find(NAMESPACES, "", name)
        is_empty = not any(key[0] == name for plural in _KINDS for key in self._objects[plural])
        if namespace is not None and "deletionTimestamp" in namespace["metadata"] and is_empty:
            self._remove(NAMESPACES, "", name)

    def _is_active(self, namespace: str) -> bool:
        body = self._find(NAMESPACES, "", namespace)
        return body is not None and "deletionTimestamp" not in body["metadata"]

    def _merge_metadata(
        self, plural: str, namespace: str, name: str, field: str, changes: Mapping[str, str | None]
    ) -> Body:
        body = copy.deepcopy(self.get(plural, namespace, name))
        merged = {**body["metadata"].get(field, {}), **changes}
        body["metadata"][field] = {key: value for key, value in merged.items() if value is not None}
        return self._store(plural, body)

    def _set_finalizers(self, body: Body, finalizers: tuple[str, ...]) -> None:
        before = body["metadata"].pop("finalizers", [])
        if "deletionTimestamp" in body["metadata"] and not set(finalizers) <= set(before):
            raise ApiFailure("no new finalizers can be added if the object is being deleted", status=422)
        if finalizers:
            body["metadata"]["finalizers"] = list(finalizers)

    def _tell(self, plural: str, event: str, body: Body) -> None:
        if self.on_change is not None:
            self.on_change(plural, event, copy.deepcopy(body))

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _take_fault(self, operation: str, *, after: bool) -> BaseException | None:
        for fault in self._faults:
            if fault.operation == operation and fault.after == after and fault.times > 0:
                fault.times -= 1
                return fault.error
        return None


class _Faulty:
    """Raises the faults of an operation before it or, if it succeeded, after it."""

    def __init__(self, cluster: FakeCluster, operation: str) -> None:
        self._cluster = cluster
        self._operation = operation

    def __enter__(self) -> None:
        self._raise(after=False)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is None:
            self._raise(after=True)

    def _raise(self, *, after: bool) -> None:
        error = self._cluster._take_fault(self._operation, after=after)
        if error is not None:
            raise error
