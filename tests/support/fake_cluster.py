"""A Kubernetes API in memory: the operator's `Cluster`, and the hands of a user who plays against it.

Keeps the semantics that reconcilers rely on (uid, resourceVersion, generation, conflicts, deletion gated by
finalizers, a status of its own, schemas and defaults, namespaces that terminate); the contract suite
`tests/contract/test_cluster.py` holds it to a real API server. It knows no CEL.
(Over 300 lines: both sides of one API belong together.)
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dtool_operator.adapters.cluster import (
    NAMESPACES,
    ConfigMapData,
    EventType,
    ObjectRef,
    SecretData,
    build_forbidden_message,
)
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import ApiFailure, Conflict, Gone, OperatorError
from dtool_operator.names import API_VERSION, DATASET_KIND, DATASET_PLURAL
from tests.support.kept_objects import KINDS, Body, KeptObjects, OnChange


@dataclass(frozen=True, slots=True)
class Write:
    """One request of the operator that changed something, and the resourceVersion in the answer."""

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
        checks_schemas: bool = True,
    ) -> None:
        self.operator_namespace = operator_namespace
        self.writes: list[Write] = []
        self.events: list[RecordedEvent] = []
        self.is_closed = False
        self._kept = KeptObjects(now=now, checks_schemas=checks_schemas)
        self._secrets: dict[tuple[str, str], SecretData] = {}
        self._config_maps: dict[tuple[str, str], ConfigMapData] = {}
        self._readable: set[str] = {operator_namespace}
        self._faults: list[_Fault] = []
        for name in ("kube-system", "default", operator_namespace):
            self.create_namespace(name)

    @property
    def on_change(self) -> OnChange | None:
        """Who is told of every change, at once."""
        return self._kept.on_change

    @on_change.setter
    def on_change(self, on_change: OnChange | None) -> None:
        self._kept.on_change = on_change

    # What the operator may do, as in dtool_operator.adapters.cluster

    async def read_namespace_uid(self, name: str) -> str | None:
        with _Faulty(self, "read_namespace_uid"):
            found = self._kept.find(NAMESPACES, "", name)
            return None if found is None else str(found["metadata"]["uid"])

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        with _Faulty(self, "read_secret"):
            self._check_readable(namespace, name, "Secret")
            if (namespace, name) not in self._secrets:
                raise OperatorError(Reason.SECRET_NOT_FOUND, f"no Secret {namespace}/{name}")
            return self._secrets[namespace, name]

    async def read_config_map(self, namespace: str, name: str) -> ConfigMapData:
        with _Faulty(self, "read_config_map"):
            self._check_readable(namespace, name, "ConfigMap")
            if (namespace, name) not in self._config_maps:
                raise OperatorError(Reason.CA_BUNDLE_INVALID, f"no ConfigMap {namespace}/{name}")
            return self._config_maps[namespace, name]

    async def read_dataset(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        with _Faulty(self, "read_dataset"):
            return copy.deepcopy(self._kept.find(DATASET_PLURAL, namespace, name))

    async def create_dataset(
        self, namespace: str, name: str, *, spec: Mapping[str, Any], labels: Mapping[str, str]
    ) -> Mapping[str, Any]:
        with _Faulty(self, "create_dataset"):
            if not self._kept.is_active(namespace):
                raise Gone(f"namespace {namespace} is being deleted or is gone")
            if self._kept.find(DATASET_PLURAL, namespace, name) is not None:
                raise Conflict(f"the name {name} is taken in namespace {namespace}")
            body = self.create(DATASET_PLURAL, namespace, name, spec, labels=labels)
            ref = ObjectRef(DATASET_PLURAL, DATASET_KIND, namespace, name, body["metadata"]["uid"])
            self.writes.append(Write("create_dataset", ref, body["metadata"]["resourceVersion"]))
            return body

    async def delete_object(self, ref: ObjectRef, *, resource_version: str) -> None:
        with _Faulty(self, "delete_object"):
            stored = self._kept.find(ref.plural, ref.namespace, ref.name)
            if stored is None:
                raise Gone(f"{ref.plural} {ref.namespace}/{ref.name} does not exist")
            metadata = stored["metadata"]
            if metadata["resourceVersion"] != resource_version or metadata["uid"] != ref.uid:
                raise Conflict(f"{ref.plural} {ref.namespace}/{ref.name} changed")
            self.delete(ref.plural, ref.namespace, ref.name)
            self.writes.append(Write("delete_object", ref, resource_version))

    async def patch_metadata(
        self,
        ref: ObjectRef,
        *,
        resource_version: str,
        finalizers: tuple[str, ...] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        with _Faulty(self, "patch_metadata"):
            stored = self._kept.find(ref.plural, ref.namespace, ref.name)
            if stored is None:
                raise Gone(f"{ref.plural} {ref.namespace}/{ref.name} does not exist")
            metadata = stored["metadata"]
            if metadata["resourceVersion"] != resource_version or metadata["uid"] != ref.uid:
                raise Conflict(f"{ref.plural} {ref.namespace}/{ref.name} changed")
            body = copy.deepcopy(stored)
            if finalizers is not None:
                self._kept.set_finalizers(body, finalizers)
            if labels:
                body["metadata"].setdefault("labels", {}).update(labels)
            return self._store_as_operator("patch_metadata", ref, body)

    async def apply_status(
        self,
        ref: ObjectRef,
        status: Mapping[str, Any],
        *,
        resource_version: str | None = None,  # noqa: ARG002 - it only saves the real one a request
    ) -> Mapping[str, Any]:
        with _Faulty(self, "apply_status"):
            stored = self._kept.find(ref.plural, ref.namespace, ref.name)
            if stored is None or stored["metadata"]["uid"] != ref.uid:
                raise Gone(f"{ref.plural} {ref.namespace}/{ref.name} does not exist")
            if not status:
                raise ApiFailure("status: Invalid value: null", status=422)
            body = {**copy.deepcopy(stored), "status": copy.deepcopy(dict(status))}
            return self._store_as_operator("apply_status", ref, body)

    async def create_event(self, ref: ObjectRef, *, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        with _Faulty(self, "create_event"):
            if not self._kept.is_active(ref.namespace):
                raise Gone(f"namespace {ref.namespace} is being deleted or is gone")
            self.events.append(RecordedEvent(ref, type, reason, message))

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        with _Faulty(self, "list_metadata"):
            found = (body["metadata"] for body in self._kept.objects[plural].values())
            return {metadata["uid"]: metadata["resourceVersion"] for metadata in found}

    async def may_watch(self, plural: str) -> bool:
        with _Faulty(self, "may_watch"):
            return plural in self._kept.objects

    async def list_served_plurals(self) -> frozenset[str]:
        with _Faulty(self, "list_served_plurals"):
            return frozenset(KINDS)

    async def close(self) -> None:
        self.is_closed = True

    # What goes wrong

    def fail(self, operation: str, error: BaseException, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method of the operator's side fail; `after`: once it took effect."""
        self._faults.append(_Fault(operation, error, times, after))

    # What users do to namespaces and Secrets

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> Body:
        """Create a namespace; it carries the label with its name, as real ones do."""
        body = self._kept.new_body("v1", "Namespace", {"name": name})
        body["metadata"]["labels"] = {"kubernetes.io/metadata.name": name, **(labels or {})}
        body["status"] = {"phase": "Active"}
        return self._kept.insert(NAMESPACES, body)

    def label_namespace(self, name: str, labels: Mapping[str, str | None]) -> Body:
        """Set labels; None removes one."""
        return self.set_labels(NAMESPACES, "", name, labels)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace and what is in it; it goes when the last finalizer in it has gone."""
        body = copy.deepcopy(self.get(NAMESPACES, "", name))
        body["metadata"]["deletionTimestamp"] = self._kept.timestamp()
        body["status"] = {"phase": "Terminating"}
        self._kept.store(NAMESPACES, body)
        for kept in (self._secrets, self._config_maps):
            for key in [key for key in kept if key[0] == name]:
                del kept[key]
        for plural in KINDS:
            for object_name in [key[1] for key in self._kept.objects[plural] if key[0] == name]:
                self.delete(plural, name, object_name)
        self._kept.finish_namespace(name)

    def put_secret(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create or replace a Secret."""
        self._secrets[namespace, name] = SecretData(self._kept.next_version(), dict(data))

    def put_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create or replace a ConfigMap."""
        self._config_maps[namespace, name] = ConfigMapData(self._kept.next_version(), dict(data))

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
        if not self._kept.is_active(namespace):
            raise ApiFailure(f"namespace {namespace} is being deleted or is gone", status=403)
        if self._kept.find(plural, namespace, name) is not None:
            raise ApiFailure(f"{plural} {namespace}/{name} exists", status=409)
        body = self._kept.new_body(API_VERSION, KINDS[plural], {"name": name, "namespace": namespace})
        body["metadata"] |= {"generation": 1}
        body["metadata"] |= {"labels": dict(labels)} if labels else {}
        body["metadata"] |= {"annotations": dict(annotations)} if annotations else {}
        body["spec"] = copy.deepcopy(dict(spec))
        return self._kept.insert(plural, self._kept.admit(plural, body))

    def update_spec(self, plural: str, namespace: str, name: str, **changes: Any) -> Body:
        """Replace these top-level fields of the spec; None removes one."""
        body = copy.deepcopy(self.get(plural, namespace, name))
        body["spec"] = {k: v for k, v in {**body["spec"], **changes}.items() if v is not None}
        return self._kept.store(plural, body)

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
            self._kept.remove(plural, namespace, name)
        elif "deletionTimestamp" not in stored["metadata"]:
            body = copy.deepcopy(stored)
            body["metadata"]["deletionTimestamp"] = self._kept.timestamp()
            body["metadata"]["deletionGracePeriodSeconds"] = 0
            body["metadata"]["generation"] += 1
            self._kept.store(plural, body)

    def remove_finalizers(self, plural: str, namespace: str, name: str) -> None:
        """Force an object away, as the runbook's `kubectl patch` does."""
        body = copy.deepcopy(self.get(plural, namespace, name))
        self._kept.set_finalizers(body, ())
        self._kept.store(plural, body)

    # What everybody may look at

    def get(self, plural: str, namespace: str, name: str) -> Body:
        """Return a copy of an object; KeyError if it does not exist."""
        return copy.deepcopy(self._kept.objects[plural][namespace, name])

    def exists(self, plural: str, namespace: str, name: str) -> bool:
        """Tell whether there is an object of this name."""
        return self._kept.find(plural, namespace, name) is not None

    def list(self, plural: str) -> list[Body]:
        """Return copies of all objects of a kind, in the order of their creation."""
        return [copy.deepcopy(body) for body in self._kept.objects[plural].values()]

    def ref(self, plural: str, namespace: str, name: str) -> ObjectRef:
        """Name an object as it is now."""
        uid = self._kept.objects[plural][namespace, name]["metadata"]["uid"]
        return ObjectRef(plural, KINDS[plural], namespace, name, uid)

    def replay(self) -> Iterator[tuple[str, str, Body]]:
        """Yield everything as a watch that begins would: namespaces, buckets, datasets."""
        for plural, objects in self._kept.objects.items():
            for body in objects.values():
                yield plural, "ADDED", copy.deepcopy(body)

    def _check_readable(self, namespace: str, name: str, kind: str) -> None:
        if namespace not in self._readable:
            subject = f"{self.operator_namespace}:dtool-operator"
            message = build_forbidden_message(namespace, name, subject, kind=kind)
            raise OperatorError(Reason.SECRET_FORBIDDEN, message)

    def _store_as_operator(self, operation: str, ref: ObjectRef, body: Body) -> Body:
        version = self._kept.version
        after = self._kept.store(ref.plural, body)
        if self._kept.version != version:
            self.writes.append(Write(operation, ref, after["metadata"]["resourceVersion"]))
        return after

    def _merge_metadata(
        self, plural: str, namespace: str, name: str, field: str, changes: Mapping[str, str | None]
    ) -> Body:
        body = copy.deepcopy(self.get(plural, namespace, name))
        merged = {**body["metadata"].get(field, {}), **changes}
        body["metadata"][field] = {key: value for key, value in merged.items() if value is not None}
        return self._kept.store(plural, body)

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
