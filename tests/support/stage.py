"""One namespace on a cluster, real or fake, with the operator's `Cluster` and a user's hands."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dtool_operator.adapters.cluster import Cluster, ObjectRef
from dtool_operator.names import API_VERSION, BUCKET_PLURAL, DATASET_KIND, DATASET_PLURAL
from tests.support.fake_cluster import FakeCluster

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

Body = dict[str, Any]


class Stage(Protocol):
    """What the contract's tests do as a user, to datasets of one namespace."""

    namespace: str

    @property
    def cluster(self) -> Cluster:
        """The API server as the operator sees it."""

    def create(self, name: str, spec: Mapping[str, Any]) -> Body: ...

    def get(self, name: str) -> Body | None: ...

    def update_spec(self, name: str, changes: Mapping[str, Any]) -> Body: ...

    def set_label(self, name: str, key: str, value: str) -> Body: ...

    def delete(self, name: str) -> None: ...

    def put_secret(self, name: str, data: Mapping[str, str]) -> None: ...

    def put_config_map(self, name: str, data: Mapping[str, str]) -> None: ...

    def let_operator_read_secrets(self) -> None: ...

    def delete_namespace(self) -> None: ...

    def delete_all_buckets(self) -> None: ...

    def list_events(self, name: str) -> list[tuple[str, str, str]]: ...


def build_ref(body: Body) -> ObjectRef:
    """Name the object of a body."""
    metadata = body["metadata"]
    return ObjectRef(DATASET_PLURAL, DATASET_KIND, metadata["namespace"], metadata["name"], metadata["uid"])


@dataclass
class FakeStage:
    """A stage in memory."""

    cluster: FakeCluster
    namespace: str

    def create(self, name: str, spec: Mapping[str, Any]) -> Body:
        return self.cluster.create(DATASET_PLURAL, self.namespace, name, spec)

    def get(self, name: str) -> Body | None:
        if not self.cluster.exists(DATASET_PLURAL, self.namespace, name):
            return None
        return self.cluster.get(DATASET_PLURAL, self.namespace, name)

    def update_spec(self, name: str, changes: Mapping[str, Any]) -> Body:
        return self.cluster.update_spec(DATASET_PLURAL, self.namespace, name, **changes)

    def set_label(self, name: str, key: str, value: str) -> Body:
        return self.cluster.set_labels(DATASET_PLURAL, self.namespace, name, {key: value})

    def delete(self, name: str) -> None:
        self.cluster.delete(DATASET_PLURAL, self.namespace, name)

    def put_secret(self, name: str, data: Mapping[str, str]) -> None:
        self.cluster.put_secret(self.namespace, name, data)

    def put_config_map(self, name: str, data: Mapping[str, str]) -> None:
        self.cluster.put_config_map(self.namespace, name, data)

    def let_operator_read_secrets(self) -> None:
        self.cluster.let_operator_read_secrets(self.namespace)

    def delete_namespace(self) -> None:
        self.cluster.delete_namespace(self.namespace)

    def delete_all_buckets(self) -> None:
        """Do nothing: a stage in memory is new, and has none."""

    def list_events(self, name: str) -> list[tuple[str, str, str]]:
        found = [event for event in self.cluster.events if event.ref.name == name]
        return [(event.type, event.reason, event.message) for event in found]


@dataclass
class RealStage:
    """A namespace of a sandbox's control plane; its user is the administrator, through kubectl."""

    cluster: Cluster
    namespace: str
    control_plane: ControlPlane

    def create(self, name: str, spec: Mapping[str, Any]) -> Body:
        metadata = {"name": name, "namespace": self.namespace}
        return self._send("create", {"kind": DATASET_KIND, "metadata": metadata, "spec": spec})

    def get(self, name: str) -> Body | None:
        found = self._kubectl("get", DATASET_PLURAL, name, "--output=json", "--ignore-not-found")
        return json.loads(found) if found else None

    def update_spec(self, name: str, changes: Mapping[str, Any]) -> Body:
        return self._patch(name, {"spec": changes})

    def set_label(self, name: str, key: str, value: str) -> Body:
        return self._patch(name, {"metadata": {"labels": {key: value}}})

    def delete(self, name: str) -> None:
        self._kubectl("delete", DATASET_PLURAL, name, "--wait=false")

    def put_secret(self, name: str, data: Mapping[str, str]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
        self._send("apply", secret)

    def put_config_map(self, name: str, data: Mapping[str, str]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        self._send("apply", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    def let_operator_read_secrets(self) -> None:
        role = "dtool-operator-secret-reader"
        subject = "--serviceaccount=dtool-system:dtool-operator"
        self._kubectl("create", "rolebinding", role, f"--clusterrole={role}", subject)

    def delete_namespace(self) -> None:
        self._kubectl("delete", "namespace", self.namespace, "--wait=false")

    def delete_all_buckets(self) -> None:
        """Delete what other tests left, in all namespaces: the control plane is shared."""
        self.control_plane.kubectl("delete", BUCKET_PLURAL, "--all", "--all-namespaces")

    def list_events(self, name: str) -> list[tuple[str, str, str]]:
        selector = f"--field-selector=involvedObject.name={name}"
        found = json.loads(self._kubectl("get", "events", selector, "--output=json"))["items"]
        return [(event["type"], event["reason"], event["message"]) for event in found]

    def _patch(self, name: str, patch: Body) -> Body:
        patched = self._kubectl(
            "patch", DATASET_PLURAL, name, "--type=merge", f"--patch={json.dumps(patch)}", "--output=json"
        )
        return dict(json.loads(patched))

    def _send(self, verb: str, body: Body) -> Body:
        document = json.dumps({"apiVersion": API_VERSION, **body})
        return dict(json.loads(self._kubectl(verb, "--filename=-", "--output=json", stdin=document)))

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.control_plane.kubectl(f"--namespace={self.namespace}", *arguments, stdin=stdin)


def build_fake_stage() -> FakeStage:
    """Make a cluster in memory and a namespace in it."""
    stage = FakeStage(FakeCluster(), f"test-{secrets.token_hex(4)}")
    stage.cluster.create_namespace(stage.namespace)
    return stage
