"""The operator in its Pod, under the roles of the chart, where Pod Security `restricted` is enforced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.chart import NAMESPACE
from tests.support.chart_release import ChartRelease, write_next_version
from tests.support.eventually import eventually
from tests.support.lab import Lab

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore
    from tests.support.lab import OperatorProcess
    from tests.support.real_cluster import RealCluster

KEPT, COPIED = "1c10766c-4a46-4d55-9c5b-0c2d1f6f0a01", "1c10766c-4a46-4d55-9c5b-0c2d1f6f0a02"
ITEMS = {f"run/{number:04}.dat": f"item {number}\n".encode() * 50 for number in range(500)}

# the image, where it is not up to date, takes minutes
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def release(make_release: Callable[..., ChartRelease], object_store: ObjectStore) -> Iterator[ChartRelease]:
    """The chart, not installed yet."""
    release = make_release(object_store.endpoint)
    yield release
    release.clear()


@pytest.fixture
def lab(release: ChartRelease, cluster: RealCluster, object_store: ObjectStore) -> Lab:
    """Buckets and people, before there is an operator."""
    # of both it uses what a cluster has as well: kubectl, and nothing
    return Lab(cast("ControlPlane", cluster), object_store, cast("OperatorProcess", None))


def test_datasets_survive_every_step_of_a_release(
    release: ChartRelease, cluster: RealCluster, lab: Lab, tmp_path: Path
) -> None:
    release.install()
    lab.set_up()
    lab.write(lab.instruments, uuid=KEPT)
    lab.dataset("kept", source={"uri": lab.uri(KEPT)})
    lab.wait_ready("dtooldataset", "kept")

    # an upgrade in the middle of a copy: the new Pod goes on where the old one was
    lab.write(lab.instruments, uuid=COPIED, items=ITEMS)
    prefix = f"u/{lab.alice}/{COPIED}/data/"
    lab.dataset("copied", source={"uri": lab.uri(COPIED)})
    eventually(lambda: assert_under_way(lab.keys(lab.bucket, prefix)), within=60)
    release.upgrade(write_next_version(tmp_path / "next"), podAnnotations={"version": "2"})
    status = lab.wait_state("copied", "Frozen", within=120)
    assert status["items"] == len(ITEMS)
    assert "colour" in cluster.kubectl("explain", "dtooldataset.spec")
    uids = list_uids(lab)

    release.roll_back()
    assert_operator_works(lab)
    assert "colour" not in cluster.kubectl("explain", "dtooldataset.spec")
    assert list_uids(lab) == uids

    said = release.uninstall()
    assert "kept due to the resource policy" in said
    assert list_uids(lab) == uids
    assert len(lab.keys(lab.bucket, prefix)) == len(ITEMS)

    before = list_times(lab.lasting_keys())
    release.install()
    assert_operator_works(lab)
    assert list_uids(lab) == uids
    assert list_times(lab.lasting_keys()) == before


def test_the_operator_finds_all_it_needs_in_its_pod(release: ChartRelease, cluster: RealCluster) -> None:
    release.install()

    said = cluster.kubectl(
        "exec", "deployment/dtool-operator", f"--namespace={NAMESPACE}", "--", "dtool-operator", "check"
    )

    assert "failed" not in said
    assert "rights" in said


def assert_under_way(keys: dict[str, Any]) -> None:
    assert len(keys) >= 20


def assert_operator_works(lab: Lab) -> None:
    """Whoever is asked for a look answers, and finds both datasets as they shall be."""
    for name in ("kept", "copied"):
        status = lab.wait_handled("dtooldataset", name, lab.request("dtooldataset", name))
        assert status["state"] == "Frozen"
        lab.wait_ready("dtooldataset", name)


def list_uids(lab: Lab) -> dict[str, str]:
    return {name: body["metadata"]["uid"] for name, body in lab.datasets().items()}


def list_times(keys: dict[str, Any]) -> dict[str, datetime]:
    return {key: listed["LastModified"] for key, listed in keys.items()}
