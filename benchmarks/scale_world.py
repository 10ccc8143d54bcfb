"""A cluster with a real node, the chart on it, and one large dataset to be copied; owns their making.

Measures nothing. Only the sandbox's own node can be measured from outside its Pods: no other cluster is used.
"""

import asyncio
import json
import secrets
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from benchmarks.api_client import ApiClient, in_parallel
from dtool_s3.layout import item_identifier, item_metadata
from sandbox.cluster.cluster import Cluster
from sandbox.operator_image.build import IMAGE, ensure_image
from sandbox.seaweedfs import ObjectStore
from tests.support.chart import NAMESPACE
from tests.support.chart_release import ChartRelease, build_values
from tests.support.datasets import DatasetFixture, md5, write_dataset
from tests.support.lab import Lab

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from tests.support.lab import OperatorProcess

SHARDS = 4
ITEM_BYTES = 100
#: Of a bucket: four transfers share them, and four shards what is one transfer's.
REQUESTS = 512
PUTS_IN_FLIGHT = 64


@dataclass(slots=True)
class ScaleWorld:
    """One cluster, one S3 server, one release of the chart."""

    cluster: Cluster
    api: ApiClient
    release: ChartRelease
    lab: Lab
    uuid: str = ""
    items: int = 0

    @property
    def metrics_url(self) -> str:
        """Where the operator's Pod tells its metrics: it shares the node's network."""
        return f"http://127.0.0.1:{self.release.values['healthPort']}/metrics"

    def read_metrics(self) -> str:
        """Ask the operator for its metrics."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:  # noqa: S310 - our own
            return str(answer.read().decode())

    def set_up(self) -> None:
        """Install the chart without Jobs for copies; make buckets, Secret and namespace."""
        self.release.install()
        self.lab.set_up()

    def make_target(self) -> str:
        """Make an S3 bucket and its bucket object; return their name."""
        name = self.lab.object_store.create_bucket(f"scale-{secrets.token_hex(3)}")
        self.lab.bucket_object(name, limits={"concurrentRequests": REQUESTS})
        self.lab.wait_ready("dtoolbucket", name, NAMESPACE)
        return name

    def write_dataset(self, count: int) -> None:
        """Write the dataset to be copied."""
        self.uuid, self.items = str(uuid.uuid4()), count
        items = {f"run/{n:06d}.dat": f"{n:0{ITEM_BYTES}d}".encode() for n in range(count)}
        asyncio.run(self._write(items))

    async def _write(self, items: Mapping[str, bytes]) -> None:
        fixture = DatasetFixture(uuid=self.uuid, name="many", items=items, stored=dict.fromkeys(items))
        with closing(self.lab.store(self.lab.instruments)) as store:

            async def put(relpath: str, body: bytes) -> None:
                key = fixture.layout.item_key(item_identifier(relpath))
                await store.put(key, body, metadata=item_metadata(relpath, md5(body)))

            await in_parallel((put(*item) for item in items.items()), limit=PUTS_IN_FLIGHT)
            await write_dataset(store, fixture)

    def divide_copies(self) -> None:
        """Have all copies done by Jobs from now on, this one by as many Pods as SHARDS."""
        share = -(-self.items // SHARDS)
        self.release.upgrade(jobs={"aboveSize": "0", "itemsPerShard": share, "maxShards": SHARDS})

    def begin_copy(self, name: str, bucket: str) -> None:
        """Apply the DtoolDataset that asks for a copy."""
        ref = {"name": bucket, "namespace": NAMESPACE}
        self.lab.dataset(name, source={"uri": self.lab.uri(self.uuid)}, bucketRef=ref)


def build_world(cluster: Cluster, store: ObjectStore, api: ApiClient) -> ScaleWorld:
    """Give the node the operator's image, and prepare a release."""
    cluster.load_image(ensure_image())
    metadata: dict[str, Any] = {
        "name": NAMESPACE,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(namespace))
    release = ChartRelease(cluster, build_values(cluster, IMAGE, store.endpoint))
    # of both it uses what a cluster has as well: kubectl, and nothing
    lab = Lab(cast("ControlPlane", cluster), store, cast("OperatorProcess", None))
    return ScaleWorld(cluster, api, release, lab)
