"""From a volume into a bucket and from a bucket to a volume, through the whole operator, whatever happens."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dtool_operator.api.reasons import Reason
from dtool_operator.errors import OperatorError
from dtool_operator.names import DATASET_PLURAL, FINALIZER
from dtool_operator.planning.observed import JobPolicy
from dtool_s3.files.tree import Tree
from dtool_s3.transfer.verify import VerifyMethod
from dtool_s3.volume.verification import verify_directory
from tests.support.datasets import UUID, DatasetFixture
from tests.support.eventually import eventually_async
from tests.support.play import Play

FILES = {"a.txt": b"alpha", "sub dir/b.bin": bytes(range(200)), "empty": b""}
JOBS = JobPolicy("dtool-system", has_signing=True, signing_expiry=timedelta(0))
FROM_FILES = {"source": {"volume": {"claimName": "results", "path": "run"}}}
FROM_DIRECTORY = {"source": {"volume": {"claimName": "archive", "path": "in/sample", "layout": "Dataset"}}}
TO_VOLUME = {
    "bucketRef": None,
    "volume": {"claimName": "scratch", "path": "in"},
    "source": {"uri": f"s3://instrument-data/{UUID}"},
}
PROGRESS_SECONDS = 10.0


async def start(directory: Path, **jobs: object) -> Play:
    """Set the stage: files on the volume results, an empty volume scratch, a dataset in the other bucket."""
    play = await Play.start(
        jobs=JOBS if not jobs else JobPolicy(**{"operator_namespace": "dtool-system", **jobs})
    )
    for claim in ("results", "scratch"):
        play.volumes[claim] = directory / claim
        play.volumes[claim].mkdir()
    for relpath, body in FILES.items():
        path = play.volumes["results"] / "run" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    await play.store_dataset()
    return play


def apply(play: Play, name: str, spec: dict[str, object]) -> None:
    play.cluster.create(DATASET_PLURAL, "alice", name, spec=_placed(spec))


def _placed(spec: dict[str, object]) -> dict[str, object]:
    lab = {"bucketRef": {"name": "lab", "namespace": "dtool-system"}}
    return {key: value for key, value in {**lab, **spec}.items() if value is not None}


async def reach(play: Play, *moment: str) -> None:
    """Wait until something becomes of a Job of this kind."""
    reached = asyncio.Event()

    def note(*told: str) -> None:
        if told == moment:
            reached.set()

    play.jobs.on_moment = note
    async with asyncio.timeout(PROGRESS_SECONDS):
        await reached.wait()


async def is_whole(directory: Path) -> bool:
    found = await verify_directory(Tree(directory, ""), method=VerifyMethod.CONTENT)
    return not found.verification.mismatches


def frozen_items(play: Play, name: str) -> tuple[str, int]:
    status = play.status("alice", name)
    return status["state"], status.get("items", 0)


async def test_files_on_a_volume_become_a_frozen_dataset(tmp_path: Path) -> None:
    play = await start(tmp_path)

    apply(play, "run", FROM_FILES)
    await play.settle()

    uuid = play.cluster.get(DATASET_PLURAL, "alice", "run")["metadata"]["uid"]
    status = play.status("alice", "run")
    assert (status["state"], status["uuid"], status["items"]) == ("Frozen", uuid, 3)
    assert play.condition("alice", "run", "Verified")["status"] == "True"
    assert "job" not in status
    assert FINALIZER not in play.cluster.get(DATASET_PLURAL, "alice", "run")["metadata"].get("finalizers", [])
    assert play.jobs.history == [("upload", m) for m in ("created", "released", "ended", "removed")]
    assert not play.jobs.by_uid
    await play.stop()


async def test_a_dataset_goes_onto_a_volume_and_from_there_into_another_bucket(tmp_path: Path) -> None:
    play = await start(tmp_path)

    apply(play, "down", TO_VOLUME)
    await play.settle()
    play.volumes["archive"] = play.volumes["scratch"]
    apply(play, "up", FROM_DIRECTORY)
    await play.settle()

    assert frozen_items(play, "down") == ("Frozen", 3)
    assert await is_whole(play.volumes["scratch"] / "in" / "sample")
    up = play.status("alice", "up")
    assert (up["state"], up["uuid"], up["items"], up["name"]) == ("Frozen", UUID, 3, "sample")
    kinds = [kind for kind, moment in play.jobs.history if moment == "released"]
    assert kinds == ["download", "inspect", "upload"]
    assert not play.jobs.by_uid
    await play.stop()


@pytest.mark.parametrize("moment", ["created", "released", "ended"])
@pytest.mark.parametrize(
    ("name", "spec", "kind"),
    [("run", FROM_FILES, "upload"), ("down", TO_VOLUME, "download")],
)
async def test_rule_10_an_operator_that_is_restarted_goes_on(
    tmp_path: Path, name: str, spec: dict[str, object], kind: str, moment: str
) -> None:
    play = await start(tmp_path)
    apply(play, name, spec)
    await reach(play, kind, moment)

    await play.restart_operator()
    await play.settle()

    assert frozen_items(play, name) == ("Frozen", 3)
    assert "job" not in play.status("alice", name)
    assert not play.jobs.by_uid
    await play.stop()


@pytest.mark.parametrize("moment", ["created", "released", "ended"])
@pytest.mark.parametrize("kind", ["inspect", "upload"])
async def test_rule_10_so_it_does_with_a_directory(tmp_path: Path, kind: str, moment: str) -> None:
    play = await start(tmp_path)
    apply(play, "down", TO_VOLUME)
    await play.settle()
    play.volumes["archive"] = play.volumes["scratch"]
    apply(play, "up", FROM_DIRECTORY)
    await reach(play, kind, moment)

    await play.restart_operator()
    await play.settle()

    assert frozen_items(play, "up") == ("Frozen", 3)
    assert not play.jobs.by_uid
    await play.stop()


async def wait_with_a_job(play: Play) -> None:
    """Have an upload's Job made and recorded, and end the operator before it could let it begin."""
    forbid(play)
    apply(play, "run", FROM_FILES)

    async def check() -> None:
        assert play.condition("alice", "run").get("reason") == "JobsForbidden"

    await eventually_async(check, within=PROGRESS_SECONDS)
    await play.stop()
    play.jobs.refusals.clear()


def forbid(play: Play) -> None:
    """Take away the right to change Jobs."""
    play.jobs.refusals.extend(OperatorError(Reason.JOBS_FORBIDDEN, "not now") for _ in range(100))


async def test_a_job_that_is_recorded_and_waits_is_not_made_again(tmp_path: Path) -> None:
    play = await start(tmp_path)
    await wait_with_a_job(play)
    waiting = play.status("alice", "run")

    await play.restart_operator()
    await play.settle()

    assert play.jobs.history == [("upload", m) for m in ("created", "released", "ended", "removed")]
    assert (waiting["job"]["uid"], waiting["state"]) == ("job-1", "Pending")
    assert frozen_items(play, "run") == ("Frozen", 3)
    await play.stop()


async def test_a_job_of_before_that_cannot_be_ended_is_not_forgotten(tmp_path: Path) -> None:
    """Nobody else would end it."""
    play = await start(tmp_path)
    await wait_with_a_job(play)
    play.cluster.update_spec(DATASET_PLURAL, "alice", "run", suspend=True)
    forbid(play)

    await play.restart_operator()
    await play.settle()
    refused = (play.condition("alice", "run")["reason"], "job" in play.status("alice", "run"))
    play.jobs.refusals.clear()
    play.cluster.set_annotations(DATASET_PLURAL, "alice", "run", {"dtool.dev/reconcileRequestedAt": "1"})
    await play.settle()

    assert refused == ("JobsForbidden", True)
    assert play.status("alice", "run")["state"] == "Suspended"
    assert "job" not in play.status("alice", "run")
    assert not play.jobs.by_uid
    await play.stop()


async def test_a_job_of_before_ends_where_its_spec_means_nothing_any_more(tmp_path: Path) -> None:
    play = await start(tmp_path)
    await wait_with_a_job(play)
    play.cluster.update_spec(DATASET_PLURAL, "alice", "run", verify={"interval": "soon"})

    await play.restart_operator()
    await play.settle()

    assert play.condition("alice", "run")["reason"] == "InvalidSpec"
    assert "job" not in play.status("alice", "run")
    assert not play.jobs.by_uid
    await play.stop()


async def test_a_job_that_somebody_deletes_is_begun_again(tmp_path: Path) -> None:
    play = await start(tmp_path)
    apply(play, "run", FROM_FILES)
    await reach(play, "upload", "released")

    for job in list(play.jobs.by_uid.values()):
        play.jobs.remove(job.ref)
    await play.settle()

    assert play.condition("alice", "run")["reason"] == "JobLost"
    play.cluster.set_annotations(DATASET_PLURAL, "alice", "run", {"dtool.dev/reconcileRequestedAt": "1"})
    await play.settle()
    assert frozen_items(play, "run") == ("Frozen", 3)
    await play.stop()


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_rule_18_an_unfinished_download_is_removed_with_its_object(
    tmp_path: Path, *, is_restarted: bool
) -> None:
    play = await start(tmp_path)
    apply(play, "down", TO_VOLUME)
    await reach(play, "download", "released")

    play.cluster.delete(DATASET_PLURAL, "alice", "down")
    if is_restarted:
        await play.restart_operator()
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "down")
    assert not [path for path in play.volumes["scratch"].rglob("*") if path.is_file()]
    assert not play.jobs.by_uid
    await play.stop()


@pytest.mark.parametrize(("policy", "is_there"), [("Retain", True), ("Delete", False)])
async def test_rule_18_what_lies_on_a_volume_goes_with_its_object_only_where_the_spec_says_so(
    tmp_path: Path, policy: str, *, is_there: bool
) -> None:
    play = await start(tmp_path)
    apply(play, "down", {**TO_VOLUME, "deletionPolicy": policy})
    await play.settle()

    play.cluster.delete(DATASET_PLURAL, "alice", "down")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "down")
    assert (play.volumes["scratch"] / "in" / "sample").exists() is is_there
    assert not play.jobs.by_uid
    await play.stop()


async def test_a_verification_is_made_beside_the_volume_and_finds_what_was_changed(tmp_path: Path) -> None:
    play = await start(tmp_path)
    apply(play, "down", TO_VOLUME)
    await play.settle()
    data = play.volumes["scratch"] / "in" / "sample" / "data"
    victim = max((path for path in data.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.chmod(0o644)
    victim.write_bytes(bytes(victim.stat().st_size))

    play.cluster.set_annotations(DATASET_PLURAL, "alice", "down", {"dtool.dev/verifyRequestedAt": "1"})
    await play.settle()

    status = play.status("alice", "down")
    assert (status["state"], status["lastHandledVerifyAt"]) == ("Damaged", "1")
    assert play.condition("alice", "down", "Verified")["status"] == "False"
    assert play.jobs.history[-1] == ("verify", "removed")
    await play.stop()


@pytest.mark.parametrize(
    ("spec", "jobs", "kind", "sides"),
    [
        (TO_VOLUME, {"has_signing": True}, "download", (None, "instruments-s3")),
        (FROM_FILES, {"has_signing": True, "signing_expiry": timedelta(0)}, "upload", ("lab-s3", None)),
        ({"source": TO_VOLUME["source"]}, {"copy_above_bytes": 1}, "copy", ("lab-s3", "instruments-s3")),
    ],
)
async def test_a_job_gets_the_keys_of_its_sides_in_the_version_that_a_look_names(
    tmp_path: Path,
    spec: dict[str, object],
    jobs: dict[str, object],
    kind: str,
    sides: tuple[str | None, str | None],
) -> None:
    """Rule 19: of another version they would be given again at every look."""
    play = await start(tmp_path, **jobs)
    apply(play, "one", spec)
    await reach(play, kind, "released")

    executor: Any = play.operator._executor
    [task], [given] = executor.running(), executor.credentials.values()

    keys = [None if side is None else side.access_key_id for side in (given.target, given.source)]
    assert (given.version, tuple(keys)) == (task.credentials_version, sides)
    await play.stop()


@pytest.mark.parametrize(("shards", "kinds"), [(1, ["copy"]), (3, ["copyItems", "copy"])])
async def test_a_large_copy_is_made_by_jobs_and_proven_by_a_child_process(
    tmp_path: Path, shards: int, kinds: list[str]
) -> None:
    play = await start(tmp_path, copy_above_bytes=1, items_per_shard=1, max_shards=shards)

    apply(play, "copy", {"source": {"uri": f"s3://instrument-data/{UUID}"}})
    await play.settle()

    assert frozen_items(play, "copy") == ("Frozen", 3)
    assert play.status("alice", "copy")["source"]["items"] == 3
    assert [kind for kind, moment in play.jobs.history if moment == "released"] == kinds
    target = DatasetFixture(prefix="u/alice/").layout
    assert play.server.read("lab-data", target.registration_key).body == b"u/alice/"
    assert not play.jobs.by_uid
    await play.stop()


@pytest.mark.parametrize("kind", ["copyItems", "copy"])
@pytest.mark.parametrize("moment", ["created", "released", "ended"])
async def test_rule_10_so_it_does_with_a_copy_that_is_divided(tmp_path: Path, kind: str, moment: str) -> None:
    play = await start(tmp_path, copy_above_bytes=1, items_per_shard=1, max_shards=3)
    apply(play, "copy", {"source": {"uri": f"s3://instrument-data/{UUID}"}})
    await reach(play, kind, moment)

    await play.restart_operator()
    await play.settle()

    assert frozen_items(play, "copy") == ("Frozen", 3)
    assert not play.jobs.by_uid
    await play.stop()
