"""A dataset of many small items, copied by the Pods of an Indexed Job in the operator's namespace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from dtool_s3.layout import item_identifier
from dtool_s3.transfer.shard import Shard
from tests.support.chart import NAMESPACE
from tests.support.eventually import eventually
from tests.support.lab import Lab, find_condition

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore
    from tests.support.chart_release import ChartRelease
    from tests.support.lab import RunningOperator
    from tests.support.real_cluster import RealCluster

UUID = "1c10766c-4a46-4d55-9c5b-0c2d1f6f0a03"
SHARDS, KILLED = 4, 1
ITEMS = {f"run/{number:05}.dat": f"{number:0100}".encode() for number in range(3000)}
JOBS = {"aboveSize": "0", "itemsPerShard": len(ITEMS) // SHARDS, "maxShards": SHARDS}
#: One request in flight for each shard, so that there is time to kill one.
SLOWLY = {"concurrentRequests": 1}
INDEX = "batch.kubernetes.io/job-completion-index"

# the image, where it is not up to date, takes minutes
pytestmark = pytest.mark.timeout(1200)


@dataclass
class Pods:
    """The Pods that have been seen to work on shares: by index, the uids of all that there were."""

    cluster: RealCluster
    uids: dict[int, set[str]] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)

    def look(self) -> dict[int, dict[str, Any]]:
        """Return those that are there now, by index."""
        selector = "--selector=dtool.dev/work=copyItems"
        told = self.cluster.kubectl("get", "pods", f"--namespace={NAMESPACE}", selector, "--output=json")
        found = {int(pod["metadata"]["annotations"][INDEX]): pod for pod in json.loads(told)["items"]}
        for index, pod in found.items():
            self.uids.setdefault(index, set()).add(pod["metadata"]["uid"])
            self.jobs.add(pod["metadata"]["ownerReferences"][0]["uid"])
        return found

    def kill(self, index: int) -> None:
        """End one at once."""
        name = self.look()[index]["metadata"]["name"]
        here = (f"--namespace={NAMESPACE}", "--now", "--wait=false")
        self.cluster.kubectl("delete", "pod", name, *here)


@pytest.fixture
def release(make_release: Callable[..., ChartRelease], object_store: ObjectStore) -> Iterator[ChartRelease]:
    """The chart, not installed yet."""
    release = make_release(object_store.endpoint)
    yield release
    release.clear()


@pytest.fixture
def lab(release: ChartRelease, cluster: RealCluster, object_store: ObjectStore) -> Lab:
    """Buckets and people, and the operator in its Pod."""
    # of both it uses what a cluster has as well: kubectl, and nothing
    lab = Lab(cast("ControlPlane", cluster), object_store, cast("RunningOperator", None))
    release.install(jobs=JOBS)
    lab.set_up()
    return lab


def test_a_shard_that_is_killed_goes_on_alone_and_the_dataset_is_frozen_once(
    cluster: RealCluster, lab: Lab, tmp_path: Path
) -> None:
    lab.bucket_object(lab.bucket, limits=SLOWLY)
    lab.write(lab.instruments, uuid=UUID, items=ITEMS)
    prefix = f"u/{lab.alice}/{UUID}/"
    pods = Pods(cluster)

    lab.dataset("many", source={"uri": lab.uri(UUID)})
    eventually(lambda: assert_in_the_middle(lab, pods, prefix), within=120)
    pods.kill(KILLED)
    before = list_items(lab, prefix)
    assert 0 < len(list_share(before)) < len(list_share(map(item_identifier, ITEMS))), "it was too late"
    status = eventually(lambda: assert_frozen(lab, pods), within=180)

    assert status["items"] == len(ITEMS)
    assert {index: len(uids) for index, uids in pods.uids.items()} == {0: 1, KILLED: 2, 2: 1, 3: 1}
    assert len(pods.jobs) == 1
    after = list_items(lab, prefix)
    assert {key: after[key] for key in before} == before, "something was copied twice"
    assert find_condition(status, "Verified")["status"] == "True"
    assert "job" not in lab.status("many")

    dtool = lab.upstream(lab.bucket, tmp_path / "home", prefix=f"u/{lab.alice}/")
    uri = f"s3://{lab.bucket}/{UUID}"
    assert len(dtool.run("ls", uri).splitlines()) == len(ITEMS)
    fetched = dtool.run("item", "fetch", uri, item_identifier("run/00042.dat"))
    assert Path(fetched).read_bytes() == ITEMS["run/00042.dat"]


def assert_in_the_middle(lab: Lab, pods: Pods, prefix: str) -> None:
    """All shards work, and the one that is to be killed has brought some of its items."""
    assert len(pods.look()) == SHARDS
    assert len(list_share(list_items(lab, prefix))) >= 20


def assert_frozen(lab: Lab, pods: Pods) -> dict[str, Any]:
    pods.look()
    status = lab.status("many")
    assert status.get("state") == "Frozen", status
    return dict(status)


def list_items(lab: Lab, prefix: str) -> dict[str, Any]:
    """List the items in place by identifier, and when they were written."""
    start = f"{prefix}data/"
    found = lab.keys(lab.bucket, start)
    return {key.removeprefix(start): listed["LastModified"] for key, listed in found.items() if key != start}


def list_share(identifiers: Any) -> list[str]:
    """Return those that belong to the shard that is killed."""
    return list(filter(Shard(KILLED, SHARDS).holds, identifiers))
