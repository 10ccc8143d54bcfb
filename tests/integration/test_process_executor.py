"""Workers that misbehave, played by small scripts: whatever they do ends in a record, and leaves nothing."""

import asyncio
import gc
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.process import ProcessExecutor
from dtool_s3.settings import Credentials, Secret
from tests.support.eventually import eventually_async

SECRET, TOKEN = "s3cr3t-k3y-of-alice", "t0k3n-of-alice"
KEYS = TaskCredentials(Credentials("AKALICE", Secret(SECRET), Secret(TOKEN)))
AMBIENT = TaskCredentials(None)
RESULT = '{"type": "result", "facts": null}'
PROGRESS = (
    '{"type": "progress", "phase": "Removing", "items": %d, "items_total": 9, "bytes": 0, "bytes_total": 0}'
)
SLEEP = "import time; time.sleep(600)"
IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('', flush=True)"

Play = Callable[..., ProcessExecutor]


def _task(key: str = "uid-1", kind: TaskKind = TaskKind.REMOVE) -> Task:
    return Task(
        kind=kind,
        key=key,
        namespace="alice",
        fingerprint="f",
        uuid="1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11",
        target=Location(bucket="lab", prefix="u/alice/"),
        bucket_key="dtool-system/lab",
    )


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    """A function that makes an executor whose workers run a script; `changes` is told of changes."""
    executors: list[ProcessExecutor] = []

    def make(script: str, changes: list[str] | None = None, *, grace_seconds: float = 5.0) -> ProcessExecutor:
        executor = ProcessExecutor(
            tmp_path / "state",
            on_change=([] if changes is None else changes).append,
            clock=lambda: datetime.now(UTC),
            command=(sys.executable, "-S", "-c", script),
            grace_seconds=grace_seconds,
        )
        executors.append(executor)
        return executor

    yield make
    for executor in executors:
        await executor.close()


async def _ended(executor: ProcessExecutor, key: str = "uid-1") -> TransferRecord:
    async def check() -> TransferRecord:
        record = executor.record(key)
        assert record is not None
        assert record.state is not TransferState.RUNNING
        return record

    return await eventually_async(check, within=20)


async def _run(executor: ProcessExecutor, credentials: TaskCredentials = KEYS) -> TransferRecord:
    await executor.start(_task(), credentials)
    return await _ended(executor)


async def _worker_pid(executor: ProcessExecutor, directory: Path) -> int:
    """Pid of the one worker, once it has started: it has our task directory as its working directory."""

    async def check() -> int:
        found = _workers(directory)
        assert found
        return found[0]

    return await eventually_async(check, within=10)


def _workers(directory: Path) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(directory):
                pids.append(int(entry.name))
        except OSError:
            continue
    return pids


def _find(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


def _zombies() -> list[int]:
    """Children of this process that ended and were not waited for."""
    found = []
    for entry in _find(Path("/proc"), "[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if (state, parent) == ("Z", str(os.getpid())):
            found.append(int(entry.name))
    return found


def _prints(*lines: str) -> str:
    return "".join(f"print({line!r})\n" for line in lines)


async def test_a_worker_that_dies_silently_is_a_failed_transfer(play: Play) -> None:
    record = await _run(play("raise SystemExit(7)"))

    assert record.error is not None
    assert record.error.reason == "TransferFailed"
    assert "status 7" in record.error.message
    assert record.error.retryable


async def test_a_worker_that_is_killed_is_a_failed_transfer(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)
    await executor.start(_task(), KEYS)

    os.kill(await _worker_pid(executor, tmp_path), signal.SIGKILL)

    record = await _ended(executor)
    assert record.error is not None
    assert (record.error.reason, "SIGKILL" in record.error.message) == ("TransferFailed", True)


async def test_a_worker_that_cannot_be_started_is_a_failed_transfer(tmp_path: Path) -> None:
    executor = ProcessExecutor(
        tmp_path, on_change=lambda _: None, clock=lambda: datetime.now(UTC), command=("/no/such/program",)
    )

    record = await _run(executor)

    assert record.error is not None
    assert record.error.reason == "TransferFailed"
    assert _find(tmp_path, "*") == []


async def test_a_state_directory_that_cannot_be_made_is_a_failed_transfer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    executor = ProcessExecutor(
        tmp_path / "file" / "state", on_change=lambda _: None, clock=lambda: datetime.now(UTC)
    )

    record = await _run(executor)

    assert record.error is not None
    assert record.error.reason == "TransferFailed"


async def test_what_is_no_worker_line_is_passed_over(play: Play) -> None:
    noise = ["", "no JSON", "[]", '{"type": "result", "facts": 7}', '{"type": "unknown"}', "null"]

    record = await _run(play(_prints(*noise, RESULT, "trailing")))

    assert record.state is TransferState.SUCCEEDED


async def test_an_endless_line_is_passed_over_and_fills_no_memory(play: Play) -> None:
    script = f"import sys\nfor _ in range(64): sys.stdout.write('x' * (1 << 20))\nprint()\nprint({RESULT!r})"

    record = await _run(play(script))

    assert record.state is TransferState.SUCCEEDED


async def test_a_result_cut_off_in_the_middle_is_none(play: Play) -> None:
    record = await _run(play(f"import sys; sys.stdout.write({RESULT[:-4]!r})"))

    assert record.error is not None
    assert record.error.reason == "TransferFailed"


async def test_a_result_without_facts_is_none_where_facts_are_due(play: Play) -> None:
    executor = play(_prints(RESULT))

    await executor.start(_task(kind=TaskKind.VERIFY), KEYS)

    record = await _ended(executor)
    assert record.error is not None
    assert record.error.reason == "TransferFailed"


async def test_what_a_worker_writes_to_stderr_goes_to_the_log_bounded_and_to_no_record(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    script = "import sys\nfor n in range(5000): print('trouble', n, file=sys.stderr)\nsys.exit(1)"

    record = await _run(play(script))

    assert "trouble" not in repr(record)
    (logged,) = [entry for entry in caplog.records if entry.getMessage() == "transfer_failed"]
    text = vars(logged)["stderr"]
    assert text.endswith("trouble 4999")
    assert len(text) < 1000


async def test_progress_is_recorded_and_told_at_most_once_a_second(play: Play) -> None:
    changes: list[str] = []
    script = _prints(*(PROGRESS % n for n in range(9))) + "import sys; sys.stdout.flush()\n" + SLEEP
    executor = play(script, changes)
    await executor.start(_task(), KEYS)

    async def all_read() -> None:
        record = executor.record("uid-1")
        assert record is not None
        assert record.progress is not None
        assert record.progress.items == 8

    await eventually_async(all_read, within=10)

    assert changes == ["uid-1"]

    async def last_told() -> None:
        assert changes == ["uid-1", "uid-1"]

    await eventually_async(last_told, within=5)


async def test_a_cancelled_worker_gets_sigterm_first(play: Play, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_): pathlib.Path({str(told)!r}).touch(); sys.exit()\n"
        f"signal.signal(signal.SIGTERM, end); pathlib.Path('ready').touch(); time.sleep(600)"
    )
    executor = play(script)
    await executor.start(_task(), KEYS)

    async def ready() -> None:
        assert _find(tmp_path, "state/*/ready")

    await eventually_async(ready, within=10)

    await executor.cancel("uid-1")

    assert told.exists()
    assert not _workers(tmp_path)


async def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(play: Play, tmp_path: Path) -> None:
    executor = play(f"{IGNORE}\nimport pathlib; pathlib.Path('ready').touch()\n{SLEEP}", grace_seconds=0.3)
    await executor.start(_task(), KEYS)

    async def ready() -> None:
        assert _find(tmp_path, "state/*/ready")

    await eventually_async(ready, within=10)

    await executor.cancel("uid-1")

    assert not _workers(tmp_path)


async def test_a_task_cancelled_before_its_worker_started_leaves_nothing(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)

    await executor.start(_task(), KEYS)
    await executor.cancel("uid-1")

    assert not _workers(tmp_path)
    assert _find(tmp_path, "state/*") == []


async def test_workers_leave_no_files_no_zombies_and_no_open_pipes(play: Play, tmp_path: Path) -> None:
    executor = play(_prints(RESULT))
    await _run(executor)
    gc.collect()
    open_before = len(_find(Path("/proc/self/fd"), "*"))

    for number in range(5):
        await executor.start(_task(f"uid-{number}"), KEYS)
    for number in range(5):
        await _ended(executor, f"uid-{number}")

    assert _find(tmp_path, "state/*") == []
    assert len(_find(Path("/proc/self/fd"), "*")) <= open_before
    assert not _zombies()


async def test_files_are_private_and_keys_only_in_the_keys_file(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)
    await executor.start(_task(), KEYS)
    pid = await _worker_pid(executor, tmp_path)

    (directory,) = (tmp_path / "state").iterdir()
    files = {path.name: path for path in directory.iterdir()}

    assert set(files) == {"task.json", "target.json"}
    assert stat.S_IMODE(directory.stat().st_mode) == stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert SECRET in files["target.json"].read_text()
    process = Path("/proc") / str(pid)
    for text in (
        files["task.json"].read_text(),
        (process / "cmdline").read_text(),
        (process / "environ").read_text(),
        repr(executor.record("uid-1")),
    ):
        assert SECRET not in text
        assert TOKEN not in text
    assert json.loads(files["task.json"].read_text())["target"]["credentials_file"] == str(
        files["target.json"]
    )


async def test_renewed_keys_replace_the_file_in_one_step(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)
    await executor.start(_task(), KEYS)
    await _worker_pid(executor, tmp_path)
    (file,) = _find(tmp_path, "state/*/target.json")
    before = file.stat().st_ino

    await executor.refresh_credentials("uid-1", KEYS)
    assert file.stat().st_ino == before
    await executor.refresh_credentials("uid-1", TaskCredentials(Credentials("NEW", Secret("n3w"))))

    assert json.loads(file.read_text())["secretAccessKey"] == "n3w"
    assert (file.stat().st_ino != before, stat.S_IMODE(file.stat().st_mode)) == (True, 0o600)
    assert sorted(path.name for path in file.parent.iterdir()) == ["target.json", "task.json"]


async def test_a_change_to_the_ambient_chain_waits_for_the_next_start(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)
    await executor.start(_task(), AMBIENT)
    await _worker_pid(executor, tmp_path)

    await executor.refresh_credentials("uid-1", KEYS)

    assert not _find(tmp_path, "state/*/target.json")


async def test_what_a_killed_operator_left_is_removed_at_the_first_start(play: Play, tmp_path: Path) -> None:
    left = tmp_path / "state" / "task-left"
    left.mkdir(parents=True)
    (left / "target.json").write_text(SECRET)
    executor = play(SLEEP)
    assert left.exists()

    await executor.start(_task(), KEYS)

    assert not left.exists()


async def test_a_listener_that_fails_disturbs_no_transfer(tmp_path: Path) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("a listener's own mistake")

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    executor = ProcessExecutor(
        tmp_path,
        on_change=fail,
        clock=lambda: datetime.now(UTC),
        command=(sys.executable, "-S", "-c", _prints(PROGRESS % 1, RESULT)),
    )

    record = await _run(executor)

    assert record.state is TransferState.SUCCEEDED

    async def both_reported() -> None:
        assert len(reported) == 2

    await eventually_async(both_reported, within=5)
