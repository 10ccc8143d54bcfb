"""What goes wrong on a node while Jobs move datasets: Ready says it, and it ends with its cause.

Every fault has a namespace of its own with a dataset in it, all begun together; each test harms its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.cluster.cluster import Cluster
from sandbox.cluster.node import NAME as NODE
from sandbox.operator_image.build import IMAGE
from tests.support.chart import NAMESPACE, RELEASE
from tests.support.fault_bench import CLAIM, ITEMS, Bench, watching
from tests.support.fault_proxy import fault_proxy
from tests.support.installed import open_operator_in_pod

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore
    from tests.support.chart_release import ChartRelease
    from tests.support.real_cluster import RealCluster

WORKER = "localhost/dtool-worker:of-faults"
UPLOADS = ("kubelet", "eviction", "unclaimed", "deleted", "operator")
FULL = "1c10766c-4a46-4d55-9c5b-0c2d1f6f0a04"
FULL_SIZE = "8Mi"
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}

# the image, where it is not up to date, takes minutes
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def bench(
    cluster: RealCluster,
    object_store: ObjectStore,
    make_release: Callable[..., ChartRelease],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """The operator in its Pod; uploads and a download are under way, and held in the middle."""
    if not isinstance(cluster, Cluster):
        pytest.skip("the nodes of a named cluster are not ours to harm")
    with ExitStack() as stack:
        s3 = stack.enter_context(fault_proxy(object_store.endpoint))
        release = make_release(s3.url)
        stack.callback(release.clear)
        operator = open_operator_in_pod(cluster, object_store, release)
        watched = tmp_path_factory.mktemp("faults") / "watched"
        bench = Bench(
            operator.control_plane,
            object_store,
            operator,
            s3=s3,
            release=release,
            cluster=cluster,
            watched=watched,
        )
        repository, _, tag = WORKER.rpartition(":")
        image = {"repository": repository, "tag": tag, "pullPolicy": "Never"}
        bench.ctr("tag", "--force", IMAGE, WORKER)
        workers = {"image": image, "resources": SMALL}
        release.install(workers=workers, maxConcurrentTransfers=16)
        bench.set_up()
        stack.enter_context(watching(bench))
        stack.callback(end, bench)
        begin(bench)
        yield bench


def begin(bench: Bench) -> None:
    """Begin what all tests but those of a Job that cannot begin find under way."""
    for what in UPLOADS:
        team = bench.found(what)
        bench.fill(team)
        bench.hold(team, "PUT", f"*/u/{team}/*/data/*")
        bench.upload(team)
    team = bench.found("full")
    bench.write(bench.instruments, uuid=FULL, items=ITEMS)
    bench.hold(team, "GET", f"/{bench.instruments}/{FULL}/data/*")
    bench.cluster.provide_volume(team, CLAIM, FULL_SIZE, full_at_size=True)
    bench.download(team, FULL)


def end(bench: Bench) -> None:
    """Leave no namespace behind, nor a Pod that waits."""
    bench.s3.faults.clear()
    teams = f"--selector={next(iter(bench.label))}=true"
    bench.cluster.kubectl("delete", "namespaces", teams, "--timeout=120s")


def test_a_job_on_a_node_that_dies_for_a_while_is_waited_for(bench: Bench) -> None:
    team = bench.team("kubelet")
    job = bench.await_middle(team)

    bench.cluster.node.kill_kubelet()
    try:
        bench.await_reason(team, "PodEvicted", "not heard of")
    finally:
        bench.cluster.node.start_kubelet()  # of this thread, with which it would end
    bench.let_go(team)

    bench.await_frozen(team)
    assert bench.jobs(team) == {job["uid"]}


def test_a_worker_of_a_node_that_is_drained_is_replaced_once_a_node_takes_it(bench: Bench) -> None:
    team = bench.team("eviction")
    job = bench.await_middle(team)

    bench.cluster.kubectl("cordon", NODE)
    try:
        bench.evict(team)
        bench.await_reason(team, "Unschedulable", "were unschedulable")
    finally:
        bench.cluster.kubectl("uncordon", NODE)
    bench.let_go(team)

    bench.await_frozen(team)
    assert bench.jobs(team) == {job["uid"]}


def test_a_claim_that_is_deleted_under_a_job_is_told_and_waited_for(bench: Bench) -> None:
    team = bench.team("unclaimed")
    bench.await_middle(team)
    kubectl, here = bench.cluster.kubectl, f"--namespace={team}"

    kubectl("delete", "pvc", CLAIM, here, "--wait=false")
    bench.evict(team)  # as long as a Pod uses it, the claim stays
    kubectl("wait", "--for=delete", f"pvc/{CLAIM}", here, "--timeout=60s")
    message = bench.await_reason(team, "VolumeNotFound")
    kubectl("delete", "pv", f"{team}.{CLAIM}")
    bench.claim(team)
    bench.let_go(team)

    assert CLAIM in message
    bench.await_frozen(team)


def test_a_job_that_is_deleted_by_hand_is_told_and_begun_again(bench: Bench) -> None:
    team = bench.team("deleted")
    job = bench.await_middle(team)

    bench.cluster.kubectl("delete", "job", job["name"], f"--namespace={team}", "--wait=false")

    bench.await_reason(team, "JobLost")
    bench.let_go(team)
    bench.await_frozen(team)
    assert len(bench.jobs(team)) == 2


def test_a_job_goes_on_when_operator_and_signing_endpoint_come_back(bench: Bench) -> None:
    team = bench.team("operator")
    job = bench.await_middle(team)
    before = set(list_items(bench, team))
    pods = (f"--selector=app.kubernetes.io/instance={RELEASE}", f"--namespace={NAMESPACE}")

    bench.cluster.kubectl("delete", "pod", *pods)
    bench.let_go(team)  # what was signed before has ended by now, or does soon

    bench.await_frozen(team)
    assert bench.jobs(team) == {job["uid"]}
    assert before <= set(list_items(bench, team))


def test_a_volume_that_becomes_full_is_told_and_the_download_goes_on_once_there_is_room(
    bench: Bench,
) -> None:
    team = bench.team("full")
    bench.await_middle(team)
    # a file system of its own, which only the node's programs see
    folder = bench.cluster.node.root / bench.folder(team).relative_to("/")
    filler = fill_up(folder / "filler")

    bench.let_go(team)

    message = bench.await_reason(team, "VolumeFull")
    assert "Make room" in message
    assert not (folder / "fixture").exists()
    filler.unlink()
    bench.await_frozen(team)


def test_a_claim_that_is_not_there_yet_is_told_and_waited_for(bench: Bench) -> None:
    team = bench.found("claimless")
    bench.upload(team)
    message = bench.await_reason(team, "VolumeNotFound")

    bench.fill(team)

    assert CLAIM in message
    bench.await_frozen(team)


def test_a_quota_without_room_is_told_and_the_job_begins_once_there_is_some(bench: Bench) -> None:
    team = bench.found("quota")
    bench.fill(team)
    here = f"--namespace={team}"
    bench.cluster.kubectl("create", "quota", "none", "--hard=pods=0", here)
    bench.upload(team)
    message = bench.await_reason(team, "PodQuotaExceeded")

    bench.cluster.kubectl("delete", "quota", "none", here)

    assert "exceeded quota: none" in message
    bench.await_frozen(team)


def test_the_command_that_jobs_forbidden_prints_helps(bench: Bench) -> None:
    team = bench.found("forbidden", may_run_jobs=False)
    bench.fill(team)
    bench.upload(team)
    message = bench.await_reason(team, "JobsForbidden")
    command = re.search(r"kubectl [^()]*", message)
    assert command is not None, message

    bench.cluster.kubectl(*shlex.split(command[0])[1:])

    bench.await_frozen(team)


def test_an_image_that_a_node_does_not_have_is_told_and_waited_for(bench: Bench) -> None:
    team = bench.found("image")
    bench.fill(team)
    bench.ctr("rm", WORKER)
    try:
        bench.upload(team)
        message = bench.await_reason(team, "ImagePullFailed")
    finally:
        bench.ctr("tag", "--force", IMAGE, WORKER)

    assert WORKER in message
    bench.await_frozen(team)


def list_items(bench: Bench, team: str) -> list[str]:
    """Return the keys of the items of a namespace."""
    return [key for key in bench.keys(bench.bucket, f"u/{team}/") if "/data/" in key]


def fill_up(path: Path) -> Path:
    """Write a file until the file system has no room left; return it."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return path
    return path
