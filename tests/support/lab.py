"""A lab for end-to-end tests: the operator's process beside the sandbox, and the hands of its users.

Each test gets a lab of its own: own buckets, own namespaces, own bucket objects; the operator is shared, and
every test that kills it starts it again.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dtool_operator.names import API_VERSION, BUCKET_KIND, DATASET_KIND
from dtool_s3 import blocking
from dtool_s3.selftest import PROBE_NAME
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.controlplane import ControlPlane
    from sandbox.operator_process import Operator
    from sandbox.seaweedfs import ObjectStore
    from tests.support.installed import RunningOperator
    from tests.support.upstream import Dtool

ADMIN_NAMESPACE = "dtool-system"
LABEL = "dtool.dev/lab"

Body = dict[str, Any]


@dataclass
class OperatorProcess:
    """The operator of the session: killed and started again by tests."""

    directory: Path
    control_plane: ControlPlane
    object_store: ObjectStore
    running: Operator | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables `DTOOL_OPERATOR_...` beside those that the sandbox sets."""
    more_endpoints: tuple[str, ...] = ()
    """S3 endpoints that it may use beside the session's."""

    def start(self) -> None:
        """Start it, if it is not running, and wait until it is ready."""
        from sandbox.operator_process import install_operator, start_operator

        if self.running is not None and self.running.process.is_alive():
            return
        self.running = start_operator(
            self.directory,
            kubeconfig=install_operator(self.control_plane),
            endpoints=[self.object_store.endpoint, *self.more_endpoints],
            tied=True,
            settings=self.settings,
        )

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        assert self.running is not None
        os.kill(self.running.process.pid, signal.SIGKILL)
        eventually(self._assert_dead, within=10)

    def stop(self) -> None:
        """End it in an orderly way."""
        if self.running is not None:
            self.running.stop()

    def log(self) -> str:
        """Return what it logged."""
        return (self.directory / "operator.log").read_text()

    def metrics(self) -> str:
        """Return its metrics as Prometheus reads them."""
        assert self.running is not None
        with urllib.request.urlopen(f"{self.running.health_url}/metrics", timeout=5) as answer:  # noqa: S310
            return str(answer.read().decode())

    def _assert_dead(self) -> None:
        assert self.running is not None
        assert not self.running.process.is_alive()


@dataclass
class Lab:
    """Buckets, bucket objects and namespaces of one test, and what its people do."""

    control_plane: ControlPlane
    object_store: ObjectStore
    operator: RunningOperator
    suffix: str = field(default_factory=lambda: secrets.token_hex(3))

    def __post_init__(self) -> None:
        self.bucket = f"lab-{self.suffix}"
        self.instruments = f"instruments-{self.suffix}"
        self.alice = f"alice-{self.suffix}"
        self.label = {f"lab.test/{self.suffix}": "true"}
        self.began = datetime.now(UTC)

    # ---- administrators ------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Make both S3 buckets, their Secret and bucket objects, and alice's namespace."""
        for bucket in (self.bucket, self.instruments):
            self.object_store.create_bucket(bucket)
        self.namespace(self.alice)
        self.secret()
        self.bucket_object(self.bucket)
        self.bucket_object(self.instruments, accessMode="ReadOnly", readAccess="Bucket")
        for name in (self.bucket, self.instruments):
            self.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)

    def namespace(self, name: str, *, is_admitted: bool = True) -> None:
        """Make a namespace."""
        metadata = {"name": name, "labels": self.label if is_admitted else {}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def secret(
        self, *, namespace: str = ADMIN_NAMESPACE, name: str | None = None, secret_key: str | None = None
    ) -> None:
        """Put the S3 administrator's keys into a Secret, or others."""
        keys = self.object_store.identity("admin")
        data = {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key or keys.secret_key,
        }
        metadata = {"name": name or self.bucket, "namespace": namespace}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def bucket_object(self, name: str, *, namespace: str = ADMIN_NAMESPACE, **spec: Any) -> None:
        """Apply a DtoolBucket for the S3 bucket of the same name, unless the spec says otherwise."""
        selector = {"from": "Selector", "selector": {"matchLabels": self.label}}
        full = {
            "bucket": name,
            "endpoint": self.object_store.endpoint,
            "credentials": {"secretRef": {"name": self.bucket}},
            "allowedNamespaces": selector,
            **spec,
        }
        body = {key: value for key, value in full.items() if value is not None}
        self.apply(_object(BUCKET_KIND, namespace, name, body))

    # ---- researchers ---------------------------------------------------------------------------------

    def store(self, bucket: str) -> S3Store:
        """Open a bucket with the S3 administrator's keys."""
        keys = self.object_store.identity("admin")
        credentials = Credentials(keys.access_key, Secret(keys.secret_key))
        return S3Store(Endpoint(self.object_store.endpoint), bucket, lambda: credentials)

    def write(self, bucket: str, **fields: Any) -> DatasetFixture:
        """Write a dataset straight into a bucket."""
        fixture = DatasetFixture(**fields)
        with closing(self.store(bucket)) as store:
            blocking.run(write_dataset(store, fixture))
        return fixture

    def dataset(self, name: str, /, *, namespace: str | None = None, **spec: Any) -> None:
        """Apply a DtoolDataset in the lab's bucket, unless the spec says otherwise."""
        ref = {"name": self.bucket, "namespace": ADMIN_NAMESPACE}
        self.apply(_object(DATASET_KIND, namespace or self.alice, name, {"bucketRef": ref, **spec}))

    def ref(self, name: str, *, namespace: str = ADMIN_NAMESPACE) -> Body:
        """Refer to a bucket object."""
        return {"name": name, "namespace": namespace}

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write one object behind the operator's back; what headers it had it keeps."""
        client = self.object_store.client()
        known = self.keys(bucket, key)
        metadata = client.head_object(Bucket=bucket, Key=key)["Metadata"] if key in known else {}
        client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)

    def read(self, bucket: str, key: str) -> bytes:
        """Read one object."""
        body: bytes = self.object_store.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def upstream(self, bucket: str, home: Path, *, prefix: str = "") -> Dtool:
        """Upstream's own dtool, with the S3 administrator's keys for one bucket."""
        from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

        keys = self.object_store.identity("admin")
        environment = bucket_environment(
            bucket, self.object_store.endpoint, keys.access_key, keys.secret_key, home, prefix
        )
        return Dtool(ensure_upstream() / "bin", environment)

    def uri(self, uuid: str) -> str:
        """URI of a dataset of the instruments."""
        return f"s3://{self.instruments}/{uuid}"

    def apply(self, body: Body) -> None:
        """`kubectl apply` an object."""
        self.control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(body))

    def patch(self, kind: str, name: str, body: Body, namespace: str | None = None) -> None:
        """`kubectl patch` an object."""
        place = ("--namespace", namespace or self.alice)
        self.control_plane.kubectl("patch", kind, name, *place, "--type=merge", f"--patch={json.dumps(body)}")

    def edit(self, name: str, /, *, namespace: str | None = None, **spec: Any) -> None:
        """Change fields of a dataset's spec; None takes a field away."""
        self.patch("dtooldataset", name, {"spec": spec}, namespace)

    def request(self, kind: str, name: str, *, what: str = "reconcile", namespace: str | None = None) -> str:
        """Ask for a look, or for a verification (`what`: verify), with a new value; return it."""
        value = secrets.token_hex(4)
        annotation = f"dtool.dev/{what}RequestedAt={value}"
        place = ("--namespace", namespace or self.alice)
        self.control_plane.kubectl("annotate", kind, name, *place, "--overwrite", annotation)
        return value

    def delete(self, kind: str, name: str, namespace: str | None = None, *, wait: bool = True) -> None:
        """`kubectl delete` an object; `wait` until it is gone."""
        place = () if kind == "namespace" else ("--namespace", namespace or self.alice)
        self.control_plane.kubectl(
            "delete", kind, name, *place, f"--wait={json.dumps(wait)}", "--timeout=40s"
        )

    # ---- what is there -------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str | None = None) -> Body:
        """Return an object."""
        arguments = ("get", kind, name, "--namespace", namespace or self.alice, "--output=json")
        body: Body = json.loads(self.control_plane.kubectl(*arguments))
        return body

    def status(self, name: str, namespace: str | None = None) -> Body:
        """Return a dataset's status."""
        status: Body = self.get("dtooldataset", name, namespace).get("status", {})
        return status

    def wait_state(self, name: str, state: str, *, namespace: str | None = None, within: float = 40) -> Body:
        """Wait until a dataset is in a state; return its status."""

        def check() -> Body:
            status = self.status(name, namespace)
            assert status.get("state") == state, status
            return status

        return eventually(check, within=within)

    def wait_condition(
        self,
        kind: str,
        name: str,
        type_: str,
        told: tuple[str, str],
        *,
        namespace: str | None = None,
        within: float = 40,
    ) -> Body:
        """Wait until a condition has a status and a reason; return the whole status of the object."""

        def check() -> Body:
            status: Body = self.get(kind, name, namespace).get("status", {})
            found = find_condition(status, type_)
            assert (found.get("status"), found.get("reason")) == told, status
            return status

        return eventually(check, within=within)

    def wait_handled(self, kind: str, name: str, value: str, *, namespace: str | None = None) -> Body:
        """Wait until a look that was asked for has ended; return the status."""

        def check() -> Body:
            status: Body = self.get(kind, name, namespace).get("status", {})
            assert status.get("lastHandledReconcileAt") == value, status
            return status

        return eventually(check, within=40)

    def wait_reason(
        self, kind: str, name: str, reason: str, *, namespace: str | None = None, within: float = 40
    ) -> Body:
        """Wait until an object is not Ready for a reason; return the condition."""

        def check() -> Body:
            status = self.get(kind, name, namespace).get("status", {})
            ready = find_condition(status, "Ready")
            assert (ready.get("status"), ready.get("reason")) == ("False", reason), status
            return ready

        return eventually(check, within=within)

    def wait_ready(self, kind: str, name: str, namespace: str | None = None) -> None:
        """`kubectl wait` for Ready."""
        place = ("--namespace", namespace or self.alice)
        self.control_plane.kubectl("wait", "--for=condition=Ready", "--timeout=60s", kind, name, *place)

    def wait_event(self, name: str, reason: str, namespace: str | None = None) -> Body:
        """Wait for an Event of an object, which is written after the status that it tells of; return it."""
        arguments = ("get", "events", "--namespace", namespace or self.alice, "--output=json")

        def check() -> Body:
            events = json.loads(self.control_plane.kubectl(*arguments))["items"]
            told = {one["reason"]: one for one in events if one["involvedObject"]["name"] == name}
            assert reason in told, (reason, sorted(told))
            event: Body = told[reason]
            return event

        return eventually(check, within=20)

    def datasets(self, namespace: str | None = None) -> dict[str, Body]:
        """Return the DtoolDatasets of a namespace by name."""
        arguments = ("get", "dtooldatasets", "--namespace", namespace or self.alice, "--output=json")
        items = json.loads(self.control_plane.kubectl(*arguments))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def lasting_keys(self, bucket: str | None = None) -> dict[str, Body]:
        """Return the keys of a bucket, the lab's, but for the probe, which is there at times of its own."""
        keys = self.keys(bucket or self.bucket)
        return {key: listed for key, listed in keys.items() if not key.endswith(PROBE_NAME)}

    def logged(self, event: str, since: datetime | None = None) -> list[Body]:
        """Return the operator's lines of one event in this test, or since a time: the log is a session's."""
        lines = [json.loads(line) for line in self.operator.log().splitlines() if line.startswith("{")]
        began = since or self.began
        return [
            line for line in lines if line["event"] == event and datetime.fromisoformat(line["time"]) >= began
        ]

    def keys(self, bucket: str, prefix: str = "") -> dict[str, Body]:
        """Return the keys of a bucket as S3 lists them."""
        pages = (
            self.object_store.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        )
        return {listed["Key"]: listed for page in pages for listed in page.get("Contents", [])}


def find_condition(status: Body, type_: str) -> Body:
    """Return a condition of a status; empty if there is none."""
    return next((c for c in status.get("conditions", []) if c["type"] == type_), {})


def _object(kind: str, namespace: str, name: str, spec: Body) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
