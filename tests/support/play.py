"""A whole operator on a fake cluster and a memory store: tests play the users and wait until all is quiet.

play = await Play.start()
play.admin_creates_buckets()
play.dataset("alice", "raw", source={"uri": …})
await play.settle()
play.status("alice", "raw")
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dtool_operator.adapters.credentials import BucketCredentials
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.names import API_VERSION, BUCKET_KIND, BUCKET_PLURAL, DATASET_KIND, DATASET_PLURAL
from dtool_operator.planning.observed import Policy
from dtool_operator.reconcile.operator import Operator
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.fake_cluster import FakeCluster
from tests.support.inline_executor import InlineExecutor
from tests.support.inline_jobs import InlineJobs

ENDPOINT = "https://s3.example.org"
ADMIN_NAMESPACE = "dtool-system"
QUIET_SECONDS = 20.0


class Play:
    """The stage: cluster, S3 and operator. Everything is public; tests play with it."""

    def __init__(self, **policy: Any) -> None:
        self._policy = policy
        self.cluster = FakeCluster(operator_namespace=ADMIN_NAMESPACE)
        self.server = MemoryServer()
        self.volumes: dict[str, Path] = {}
        self.jobs = InlineJobs(self.open_location, self.volumes)
        self.operator = self._new_operator()
        for bucket in ("lab-data", "instrument-data"):
            self.server.create_bucket(bucket)

    @classmethod
    async def start(cls, **policy: Any) -> "Play":
        """Set the stage: the lab's bucket objects, alice admitted, mallory not; `policy`: other settings."""
        play = cls(**policy)
        play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
        play.cluster.create_namespace("mallory")
        play.secret("lab-s3")
        play.secret("instruments-s3")
        play.bucket("lab", allowedNamespaces=ADMITTED, credentials=_keys("lab-s3"))
        play.bucket(
            "instruments",
            bucket="instrument-data",
            accessMode="ReadOnly",
            readAccess="Bucket",
            acknowledgedPrefixes=[""],
            allowedNamespaces=ADMITTED,
            credentials=_keys("instruments-s3"),
        )
        await play.start_operator()
        return play

    # ---- the users -----------------------------------------------------------------------------------

    def secret(self, name: str, *, namespace: str = ADMIN_NAMESPACE, key_id: str | None = None) -> None:
        """Put keys into a Secret; the memory store knows the identity by its access key id."""
        data = {"AWS_ACCESS_KEY_ID": key_id or name, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        self.cluster.put_secret(namespace, name, data)

    def bucket(self, name: str, /, *, namespace: str = ADMIN_NAMESPACE, **spec: Any) -> None:
        """Apply a DtoolBucket of the bucket lab-data, unless the spec says otherwise."""
        body = {"bucket": "lab-data", "endpoint": ENDPOINT, **spec}
        self.cluster.create(BUCKET_PLURAL, namespace, name, spec=body)

    def dataset(self, namespace: str, name: str, /, **spec: Any) -> None:
        """Apply a DtoolDataset in the bucket object dtool-system/lab, unless the spec says otherwise."""
        ref = {"name": "lab", "namespace": ADMIN_NAMESPACE}
        self.cluster.create(DATASET_PLURAL, namespace, name, spec={"bucketRef": ref, **spec})

    async def store_dataset(self, bucket: str = "instrument-data", **fields: Any) -> DatasetFixture:
        """Write a dataset straight into a bucket, as somebody with keys would."""
        fixture = DatasetFixture(**fields)
        await write_dataset(self.server.store(bucket), fixture)
        self.server.requests.clear()
        return fixture

    # ---- the operator --------------------------------------------------------------------------------

    async def start_operator(self) -> None:
        """Start the operator; it sees everything that exists, then every change."""
        self.cluster.on_change = self._tell
        for plural, event, body in self.cluster.replay():
            self._tell(plural, event, body)
        await self.operator.start()
        self.operator.watch_synced()

    async def restart_operator(self) -> None:
        """End the operator and start another one, which remembers nothing."""
        await self.stop()
        self.operator = self._new_operator()
        await self.start_operator()

    async def stop(self) -> None:
        """End the operator."""
        self.cluster.on_change = None
        await self.operator.stop()

    async def settle(self, *, within: float = QUIET_SECONDS) -> None:
        """Wait until nothing is queued, looked at or transferred, and no look is due within a second."""
        deadline = asyncio.get_running_loop().time() + within
        quiet = 0
        # an end is told through the event loop: one quiet moment may lie between a worker's and a look's
        while quiet < 3:
            quiet = quiet + 1 if self.operator.is_quiet(timedelta(seconds=1)) else 0
            assert asyncio.get_running_loop().time() < deadline, "the operator does not come to rest"
            await asyncio.sleep(0.003)

    # ---- what is there -------------------------------------------------------------------------------

    def status(self, namespace: str, name: str, plural: str = DATASET_PLURAL) -> Mapping[str, Any]:
        """Return the status of an object."""
        status: Mapping[str, Any] = self.cluster.get(plural, namespace, name).get("status", {})
        return status

    def condition(
        self, namespace: str, name: str, type_: str = "Ready", plural: str = DATASET_PLURAL
    ) -> Mapping[str, Any]:
        """Return a condition of an object; empty if there is none."""
        conditions = self.status(namespace, name, plural).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def _new_operator(self) -> Operator:
        return Operator(
            cluster=self.cluster,
            executor=lambda on_change: InlineExecutor(
                self.open_location, on_change=on_change, clock=lambda: datetime.now(UTC), jobs=self.jobs
            ),
            open_store=self.open_bucket,
            policy=Policy(
                admin_namespaces=frozenset({ADMIN_NAMESPACE}),
                backoff_base=timedelta(seconds=2),
                backoff_cap=timedelta(minutes=5),
                **self._policy,
            ),
            workers=4,
        )

    def open_bucket(self, bucket: DtoolBucket, credentials: BucketCredentials) -> Store:
        """Open a bucket for the operator itself."""
        keys = credentials.credentials
        return self.server.store(bucket.spec.bucket, None if keys is None else keys.access_key_id)

    def open_location(self, location: Any, credentials: Any = None) -> Store:
        """Open a bucket for a worker."""
        return self.server.store(location.bucket, None if credentials is None else credentials.access_key_id)

    def _tell(self, plural: str, event: str, body: Mapping[str, Any]) -> None:
        if event == "DELETED":
            self.operator.object_deleted(plural, body)
        else:
            self.operator.object_changed(plural, body)


SECRET_KEY = "never-to-be-seen-anywhere"
ADMITTED = {"from": "Selector", "selector": {"matchLabels": {"dtool.dev/lab": "true"}}}


def _keys(name: str) -> dict[str, Any]:
    return {"secretRef": {"name": name}}


__all__ = ["API_VERSION", "BUCKET_KIND", "DATASET_KIND", "ENDPOINT", "SECRET_KEY", "Play"]
