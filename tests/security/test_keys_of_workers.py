"""Keys are where they are needed and nowhere else: files, processes, logs, statuses, Events, metrics."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.task_directory import clear_state_directory, create_task_directory
from dtool_s3.settings import Credentials, Secret
from tests.support.datasets import UUID
from tests.support.play import SECRET_KEY, Play

KEYS = Credentials("AKIAEXAMPLE", Secret(SECRET_KEY), Secret("the-session-token"))


def modes(path: Path) -> set[int]:
    return {stat.S_IMODE(one.stat().st_mode) for one in path.rglob("*")}


@pytest.mark.parametrize("mode", [0o700, 0o777], ids=["closed", "open"])
def test_only_the_operator_reads_the_files_of_a_task(tmp_path: Path, mode: int) -> None:
    """Also where the directory was there before, and open to everybody."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    clear_state_directory(state)
    directory = create_task_directory(state)
    task = Task(
        kind=TaskKind.VERIFY,
        key="k",
        namespace="alice",
        fingerprint="f",
        uuid=UUID,
        target=Location(bucket="lab-data", prefix="u/alice/"),
        bucket_key="dtool-system/lab",
    )
    previous = os.umask(0)
    try:
        directory.write(task, TaskCredentials(KEYS, target_ca="PEM"), {"PATH": "/bin"})
    finally:
        os.umask(previous)

    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert modes(state) == {0o700, 0o600}
    assert SECRET_KEY not in directory.task_file.read_text()
    directory.remove()
    assert list(state.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own words")
def test_a_crash_of_a_process_with_keys_writes_no_core() -> None:
    program = (
        "import resource; from dtool_operator.transfers.zygote import keep_memory_private\n"
        "keep_memory_private()\n"
        "import ctypes\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "(0, 0) 0"


async def test_keys_appear_in_no_status_event_or_metric(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """After a copy, after wrong keys, and after a Secret that cannot be used."""
    await play.store_dataset()
    play.dataset("alice", "mine", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()
    play.server.rejected_identities.add("lab-s3")
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-west-1")
    await play.settle()
    data = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": f"{SECRET_KEY}\r\nX: y"}
    play.cluster.put_secret("dtool-system", "lab-s3", data)
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-west-2")
    await play.settle()

    objects = [*play.cluster.list(DATASET_PLURAL), *play.cluster.list(BUCKET_PLURAL)]
    told = json.dumps(objects) + repr(play.cluster.events) + caplog.text

    assert play.condition("dtool-system", "lab", plural=BUCKET_PLURAL)["reason"] == "SecretInvalid"
    assert SECRET_KEY not in told
