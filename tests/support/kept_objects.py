"""Objects of an API server in memory: resourceVersions, generations, deletion gated by finalizers, schemas.

Owns how objects are kept and change, not who may change what.
"""

import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from dtool_operator.adapters.cluster import NAMESPACES
from dtool_operator.errors import ApiFailure
from dtool_operator.names import BUCKET_KIND, BUCKET_PLURAL, DATASET_KIND, DATASET_PLURAL
from tests.support.crd import find_faults, with_defaults

Body = dict[str, Any]
#: Told plural, "ADDED" | "MODIFIED" | "DELETED", and a copy of the object, at once.
OnChange = Callable[[str, str, Body], None]

KINDS = {BUCKET_PLURAL: BUCKET_KIND, DATASET_PLURAL: DATASET_KIND}


class KeptObjects:
    """Objects by plural, then by namespace (empty for namespaces) and name."""

    def __init__(self, *, now: Callable[[], datetime], checks_schemas: bool) -> None:
        self.objects: dict[str, dict[tuple[str, str], Body]] = {
            NAMESPACES: {},
            BUCKET_PLURAL: {},
            DATASET_PLURAL: {},
        }
        self.version = 0
        self.on_change: OnChange | None = None
        self._now = now
        self._checks_schemas = checks_schemas

    def find(self, plural: str, namespace: str, name: str) -> Body | None:
        return self.objects[plural].get((namespace, name))

    def new_body(self, api_version: str, kind: str, metadata: Body) -> Body:
        metadata |= {"uid": str(uuid4()), "creationTimestamp": self.timestamp()}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}

    def insert(self, plural: str, body: Body) -> Body:
        metadata = body["metadata"]
        metadata["resourceVersion"] = self.next_version()
        self.objects[plural][metadata.get("namespace", ""), metadata["name"]] = body
        self._tell(plural, "ADDED", body)
        return copy.deepcopy(body)

    def store(self, plural: str, body: Body) -> Body:
        """Keep a changed body; an unchanged one costs no resourceVersion. Ends a deletion that waited."""
        metadata = body["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        stored = self.objects[plural][key]
        body = self.admit(plural, body)
        if body == stored:
            return copy.deepcopy(stored)
        if body.get("spec") != stored.get("spec"):
            body["metadata"]["generation"] += 1
        self.objects[plural][key] = body
        if plural != NAMESPACES and "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            answer = copy.deepcopy(body)  # with the resourceVersion it had: this was a deletion, no update
            self.remove(plural, *key)
            return answer
        body["metadata"]["resourceVersion"] = self.next_version()
        self._tell(plural, "MODIFIED", body)
        return copy.deepcopy(body)

    def admit(self, plural: str, body: Body) -> Body:
        if plural == NAMESPACES or not self._checks_schemas:
            return body
        admitted = with_defaults(plural, body)
        if faults := find_faults(plural, admitted):
            raise ApiFailure("; ".join(faults), status=422)
        return admitted

    def remove(self, plural: str, namespace: str, name: str) -> None:
        body = self.objects[plural].pop((namespace, name))
        body["metadata"]["resourceVersion"] = self.next_version()
        self._tell(plural, "DELETED", body)
        if plural != NAMESPACES:
            self.finish_namespace(namespace)

    def finish_namespace(self, name: str) -> None:
        namespace = self.find(NAMESPACES, "", name)
        is_empty = not any(key[0] == name for plural in KINDS for key in self.objects[plural])
        if namespace is not None and "deletionTimestamp" in namespace["metadata"] and is_empty:
            self.remove(NAMESPACES, "", name)

    def is_active(self, namespace: str) -> bool:
        body = self.find(NAMESPACES, "", namespace)
        return body is not None and "deletionTimestamp" not in body["metadata"]

    def set_finalizers(self, body: Body, finalizers: tuple[str, ...]) -> None:
        before = body["metadata"].pop("finalizers", [])
        if "deletionTimestamp" in body["metadata"] and not set(finalizers) <= set(before):
            raise ApiFailure("no new finalizers can be added if the object is being deleted", status=422)
        if finalizers:
            body["metadata"]["finalizers"] = list(finalizers)

    def _tell(self, plural: str, event: str, body: Body) -> None:
        if self.on_change is not None:
            self.on_change(plural, event, copy.deepcopy(body))

    def next_version(self) -> str:
        self.version += 1
        return str(self.version)

    def timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
