"""A cluster with an operator, and what fills it: namespaces, buckets, datasets in S3 and their objects.

Owns their life and their making; measures nothing. Objects that the operator would have taken hours to write
are written as it would have left them, from the status of one that it did write.
"""

import copy
import functools
import json
import os
import secrets
import signal
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.api_client import ApiClient, in_parallel
from dtool_operator.api.bucket import parse_bucket
from dtool_operator.names import (
    API_VERSION,
    BUCKET_KIND,
    BUCKET_PLURAL,
    DATASET_KIND,
    DATASET_PLURAL,
    LABEL_UUID,
)
from dtool_operator.planning.prefix_policy import derive_prefix
from dtool_s3.ownership import Owner, ensure_owner
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from sandbox.controlplane import ControlPlane
from sandbox.operator_process import NAMESPACE, Operator, install_operator, start_operator
from sandbox.seaweedfs import ADMIN, ObjectStore
from tests.support.datasets import DatasetFixture, write_dataset

PUTS_IN_FLIGHT = 64
SECRET = "bench-s3"  # noqa: S105 - its name
LABEL = {"bench.test/admitted": "true"}
ITEMS: Mapping[str, bytes] = {f"item-{number}.txt": f"{number}\n".encode() for number in range(10)}

Body = dict[str, Any]


@dataclass
class OperatorWorld:
    """One cluster, one S3 server, one operator, and everybody's hands."""

    directory: Path
    control_plane: ControlPlane
    store: ObjectStore
    api: ApiClient
    namespaces: list[str] = field(default_factory=list)
    operator: Operator | None = None

    # ---- the operator --------------------------------------------------------------------------------

    @functools.cached_property
    def _kubeconfig(self) -> Path:
        return install_operator(self.control_plane)

    @property
    def pid(self) -> int:
        """Process id of the operator, which runs."""
        assert self.operator is not None
        return self.operator.process.pid

    @property
    def log(self) -> Path:
        """What it logs."""
        return self.directory / "operator.log"

    def start_operator(self, **settings: str) -> None:
        """Start it, and wait until it is ready; `settings` without their common prefix."""
        self.operator = start_operator(
            self.directory,
            kubeconfig=self._kubeconfig,
            endpoints=[self.store.endpoint],
            tied=True,
            settings={f"DTOOL_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        )

    def stop_operator(self) -> None:
        """End it in order."""
        if self.operator is not None:
            self.operator.stop()

    def kill_operator(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop_operator()

    # ---- namespaces and buckets ----------------------------------------------------------------------

    async def prepare(self, namespaces: int) -> None:
        """Install CRDs and roles; make namespaces and the Secret with the S3 administrator's keys."""
        assert self._kubeconfig
        self.namespaces = [f"team-{number:03d}" for number in range(namespaces)]
        await in_parallel(self._create_namespace(name) for name in self.namespaces)
        keys = self.store.identity(ADMIN)
        body = {
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key},
        }
        await self.api.send("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", body)

    async def make_bucket(self, name: str, **spec: Any) -> str:
        """Make an S3 bucket and the bucket object of the same name; return the name."""
        self.store.create_bucket(name)
        body = {
            "bucket": name,
            "endpoint": self.store.endpoint,
            "credentials": {"secretRef": {"name": SECRET}},
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": LABEL}},
            **spec,
        }
        await self.api.create(BUCKET_PLURAL, _object(BUCKET_KIND, NAMESPACE, name, body))
        return name

    async def _create_namespace(self, name: str) -> None:
        await self.api.send("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": LABEL}})

    # ---- datasets in S3 ------------------------------------------------------------------------------

    def open(self, bucket: str) -> S3Store:
        """Open a bucket with the S3 administrator's keys."""
        keys = self.store.identity(ADMIN)
        credentials = Credentials(keys.access_key, Secret(keys.secret_key))
        endpoint = Endpoint(self.store.endpoint)
        return S3Store(endpoint, bucket, lambda: credentials, max_concurrency=PUTS_IN_FLIGHT)

    async def write_datasets(
        self, bucket: str, prefixes: Sequence[str], *, items: Mapping[str, bytes]
    ) -> list[str]:
        """Write a frozen dataset under each of the prefixes; return their uuids in that order."""
        uuids = [str(uuid.UUID(int=secrets.randbits(128), version=4)) for _ in prefixes]
        fixtures = [
            DatasetFixture(uuid=each, prefix=prefix, items=items, readme=None, tags=(), annotations={})
            for each, prefix in zip(uuids, prefixes, strict=True)
        ]
        store = self.open(bucket)
        try:
            await in_parallel((write_dataset(store, one) for one in fixtures), limit=PUTS_IN_FLIGHT)
        finally:
            store.close()
        return uuids

    async def own_prefixes(self, bucket: str) -> dict[str, str]:
        """Write the owner marker of every namespace into a bucket; return their prefixes by namespace."""
        spec = parse_bucket(await self.api.get(BUCKET_PLURAL, NAMESPACE, bucket)).spec
        cluster = (await self.api.send("GET", "/api/v1/namespaces/kube-system"))["metadata"]["uid"]
        prefixes = {name: derive_prefix(spec, name) for name in self.namespaces}
        store = self.open(bucket)

        async def own(name: str) -> None:
            found = (await self.api.send("GET", f"/api/v1/namespaces/{name}"))["metadata"]["uid"]
            await ensure_owner(store, prefixes[name], Owner(cluster, found, name, prefixes[name]))

        try:
            await in_parallel(own(name) for name in self.namespaces)
        finally:
            store.close()
        return prefixes

    # ---- objects -------------------------------------------------------------------------------------

    def describe(self, namespace: str, bucket: str, name: str, **spec: Any) -> Body:
        """Compose a DtoolDataset."""
        ref = {"name": bucket, "namespace": NAMESPACE}
        return _object(DATASET_KIND, namespace, name, {"bucketRef": ref, **spec})

    async def apply(self, bodies: Sequence[Body]) -> None:
        """Create datasets, many at a time, in the order given."""
        await in_parallel(self.api.create(DATASET_PLURAL, body) for body in bodies)

    async def apply_as_ready(self, bodies: Sequence[Body], like: Body) -> None:
        """Create datasets with label and status as the operator would have left them: those of `like`."""
        old, status = like["spec"]["uuid"], json.dumps(like["status"])

        async def write(body: Body) -> None:
            new = body["spec"]["uuid"]
            labelled = copy.deepcopy(body)
            labelled["metadata"]["labels"] = {LABEL_UUID: new}
            await self.api.create(DATASET_PLURAL, labelled)
            await self.api.write_status(DATASET_PLURAL, body, json.loads(status.replace(old, new)))

        await in_parallel(write(body) for body in bodies)

    async def clear(self, namespace: str | None = None) -> None:
        """Delete datasets whatever holds them; the operator is not running."""
        found = await self.api.list_all(DATASET_PLURAL, namespace)

        async def delete(body: Body) -> None:
            place, name = body["metadata"]["namespace"], body["metadata"]["name"]
            if body["metadata"].get("finalizers"):
                await self.api.patch(DATASET_PLURAL, place, name, {"metadata": {"finalizers": None}})
            path = f"/apis/{API_VERSION}/namespaces/{place}/{DATASET_PLURAL}/{name}"
            await self.api.send("DELETE", path)

        await in_parallel(delete(body) for body in found)


def _object(kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": dict(spec)}
