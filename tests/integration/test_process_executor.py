"""Workers that misbehave, played by small scripts: whatever they do ends in a record, and leaves nothing."""

import asyncio
import gc
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_operator.planning.transfer import RequestObserver, TransferRecord, TransferState
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.ledger import Ledger
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

#: A zygote whose workers run a script, beside the task file that they were given.
ZYGOTE = """
import os, socket, sys
from dtool_operator.transfers.zygote import serve

def run(task_file):
    exec({script!r}, {{"__name__": "worker"}})
    return 0

serve(socket.socket(fileno=int(sys.argv[1])), run, parent_pid=int(sys.argv[2]))
"""

Play = Callable[..., ProcessExecutor]


def _zygote_of(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", ZYGOTE.format(script=script))


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

    def make(
        script: str,
        changes: list[str] | None = None,
        *,
        grace_seconds: float = 5.0,
        on_requests: RequestObserver = lambda *_: None,
    ) -> ProcessExecutor:
        executor = ProcessExecutor(
            tmp_path / "state",
            ledger=Ledger(([] if changes is None else changes).append, lambda: datetime.now(UTC)),
            command=_zygote_of(script),
            grace_seconds=grace_seconds,
            on_requests=on_requests,
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
    """Pid of the one worker, once it has started: it is in our task directory, and has its variables."""

    async def check() -> int:
        found = _workers(directory)
        assert found
        assert not _find(directory, "state/*/environment.json")
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
        tmp_path, ledger=Ledger(lambda _: None, lambda: datetime.now(UTC)), command=("/no/such/program",)
    )

    record = await _run(executor)

    assert record.error is not None
    assert record.error.reason == "TransferFailed"
    assert _find(tmp_path, "*") == []


async def test_a_state_directory_that_cannot_be_made_is_a_failed_transfer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    executor = ProcessExecutor(
        tmp_path / "file" / "state", ledger=Ledger(lambda _: None, lambda: datetime.now(UTC))
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
    script = "import sys\nfor n in range(5000): print('clamour', n, file=sys.stderr)\nsys.exit(1)"

    record = await _run(play(script))

    assert "clamour" not in repr(record)
    (logged,) = [entry for entry in caplog.records if entry.getMessage() == "transfer_failed"]
    text = vars(logged)["stderr"]
    assert text.endswith("clamour 4999")
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


async def test_the_requests_of_a_worker_are_counted_for_the_bucket_that_they_went_to(play: Play) -> None:
    told: list[tuple[str, str, str, int]] = []
    counts = [
        {"side": "target", "operation": "put", "result": "ok", "count": 3},
        {"side": "source", "operation": "get", "result": "Throttled", "count": 2},
    ]
    line = json.dumps({"type": "requests", "counts": counts})
    executor = play(_prints(line, RESULT, line), on_requests=lambda *one: told.append(one))
    task = _task().model_copy(update={"source_bucket_key": "alice/instruments"})

    await executor.start(task, KEYS)
    await _ended(executor)
    await _run(executor)

    ours, theirs = ("dtool-system/lab", "put", "ok", 3), ("alice/instruments", "get", "Throttled", 2)
    assert told == [ours, theirs] * 2 + [ours, ("unknown", "get", "Throttled", 2)] * 2


async def test_certificates_are_renewed_with_the_keys(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)
    await executor.start(_task(), replace(KEYS, target_ca="old"))
    await _worker_pid(executor, tmp_path)

    await executor.refresh_credentials("uid-1", replace(KEYS, target_ca="new", source_ca="not asked for"))

    (directory,) = (tmp_path / "state").iterdir()
    assert (directory / "target-ca.pem").read_text() == "new"
    assert not (directory / "source-ca.pem").exists()


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


async def test_a_second_cancellation_does_not_cut_the_grace_short(play: Play, tmp_path: Path) -> None:
    script = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path(path, 'asked').touch(); time.sleep(0.5); pathlib.Path(path, 'ended').touch()\n"
        "    sys.exit()\n"
        f"path = {str(tmp_path)!r}\n"
        "signal.signal(signal.SIGTERM, end); pathlib.Path(path, 'ready').touch(); time.sleep(600)"
    )
    executor = play(script)
    await executor.start(_task(), KEYS)

    async def is_there(name: str) -> None:
        assert (tmp_path / name).exists()

    await eventually_async(lambda: is_there("ready"), within=10)
    first = asyncio.create_task(executor.cancel("uid-1"))
    await eventually_async(lambda: is_there("asked"), within=10)

    await executor.cancel("uid-1")
    await first

    assert (tmp_path / "ended").exists()
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

    assert set(files) == {"task.json", "target.json"}  # the variables are read and gone
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
    """Rule 19."""
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
        ledger=Ledger(fail, lambda: datetime.now(UTC)),
        command=_zygote_of(_prints(PROGRESS % 1, RESULT)),
    )

    record = await _run(executor)
    await executor.close()

    assert record.state is TransferState.SUCCEEDED

    async def both_reported() -> None:
        assert len(reported) == 2

    await eventually_async(both_reported, within=5)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


#: What only a zygote of these tests has in its command line; other servers of the session are children too.
_ZYGOTE = b"serve(socket.socket("


def _zygote_pid() -> int:
    (pid,) = [child for child in _children(os.getpid()) if _ZYGOTE in _command_line(child)]
    return pid


def _command_line(pid: int) -> bytes:
    return (Path("/proc") / str(pid) / "cmdline").read_bytes()


async def test_a_worker_that_is_killed_harms_no_other(play: Play, tmp_path: Path) -> None:
    executor = play(SLEEP)
    await executor.start(_task("uid-1"), KEYS)
    first = await _worker_pid(executor, tmp_path)
    await executor.start(_task("uid-2"), KEYS)

    os.kill(first, signal.SIGKILL)
    await _ended(executor, "uid-1")

    other = await _worker_pid(executor, tmp_path)
    assert other != first
    assert [task.key for task in executor.running()] == ["uid-2"]


async def test_when_the_zygote_dies_its_workers_die_and_the_next_task_gets_another(
    play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = f"import os\nif not os.path.exists({str(tmp_path / 'go')!r}):\n    {SLEEP}\nprint({RESULT!r})"
    executor = play(script)
    await executor.start(_task("uid-1"), KEYS)
    await executor.start(_task("uid-2"), KEYS)
    await _worker_pid(executor, tmp_path)

    os.kill(_zygote_pid(), signal.SIGKILL)
    failed = [await _ended(executor, key) for key in ("uid-1", "uid-2")]

    async def gone() -> None:
        assert not _workers(tmp_path)

    await eventually_async(gone, within=10)
    assert [record.error and record.error.reason for record in failed] == ["TransferFailed"] * 2
    assert all(record.error is not None and record.error.retryable for record in failed)
    (tmp_path / "go").touch()
    assert (await _run(executor)).state is TransferState.SUCCEEDED

    async def logged() -> None:
        assert "zygote_ended" in caplog.messages

    await eventually_async(logged, within=5)


async def test_the_zygote_never_has_the_operators_own_keys_and_an_ambient_worker_gets_them(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    script = "import os\nwith open('seen', 'w') as file: file.write(os.environ['AWS_SECRET_ACCESS_KEY'])\n"
    executor = play(script + SLEEP)
    await executor.start(_task(), AMBIENT)

    async def seen() -> None:
        assert [file.read_text() for file in _find(tmp_path, "state/*/seen")] == [SECRET]

    await eventually_async(seen, within=10)

    assert SECRET.encode() not in (Path("/proc") / str(_zygote_pid()) / "environ").read_bytes()


async def test_a_worker_has_a_session_of_its_own_and_no_descriptor_of_anybody_else(
    play: Play, tmp_path: Path
) -> None:
    executor = play(SLEEP)
    await executor.start(_task("uid-1"), KEYS)
    await executor.start(_task("uid-2"), KEYS)

    async def both() -> list[int]:
        pids = _workers(tmp_path)
        assert len(pids) == 2
        assert not _find(tmp_path, "state/*/environment.json")
        return pids

    for pid in await eventually_async(both, within=10):
        assert os.getsid(pid) == pid
        assert sorted(path.name for path in _find(Path(f"/proc/{pid}/fd"), "*")) == ["0", "1", "2"]


async def test_a_worker_that_could_not_be_forked_is_a_failed_transfer(tmp_path: Path) -> None:
    refusing = (
        "import json, socket, sys\n"
        "control = socket.socket(fileno=int(sys.argv[1]))\n"
        "while message := control.recv(65536):\n"
        "    order = json.loads(message)\n"
        "    answer = {'refused': order['start'], 'error': 'no more processes'}\n"
        "    control.send(json.dumps(answer).encode())\n"
    )
    executor = ProcessExecutor(
        tmp_path,
        ledger=Ledger(lambda _: None, lambda: datetime.now(UTC)),
        command=(sys.executable, "-S", "-c", refusing),
    )

    record = await _run(executor)
    await executor.close()

    assert record.error is not None
    assert (record.error.reason, record.error.retryable) == ("TransferFailed", True)
    assert "no more processes" in record.error.message


def test_what_the_zygote_loads_starts_no_thread_and_opens_no_connection() -> None:
    script = (
        "import os\nfrom dtool_operator.transfers.zygote import _load_workers_code\n"
        "_load_workers_code()\nimport sys\n"
        "print(len(os.listdir('/proc/self/task')))\n"
        "print([t for f in os.listdir('/proc/self/fd') if os.path.exists(p := f'/proc/self/fd/{f}')"
        " and 'socket' in (t := os.readlink(p))])\n"
        "print('botocore' in sys.modules, 'obstore' in sys.modules)\n"
        "print([name for name in ('kopf', 'kubernetes') if name in sys.modules])\n"
    )

    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert printed.stdout.split("\n")[:4] == ["1", "[]", "True True", "[]"]
