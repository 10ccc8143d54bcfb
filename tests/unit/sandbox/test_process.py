"""Processes are found again by their records, and no other process is ever taken for one of them."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.errors import ProcessError
from sandbox.process import Process, check_alive, load_process, start_process, stop_processes
from tests.support.eventually import eventually

WAITS = "import signal; print('up', flush=True); signal.pause()"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + WAITS

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def start_python(program: str, *, tied: bool = False) -> Process:
        process = start_process("p", [sys.executable, "-c", program], directory=tmp_path, tied=tied)
        started.append(process)
        return process

    yield start_python
    stop_processes(*started, grace_seconds=0)


def test_a_process_is_found_again_from_its_record(start: Start, tmp_path: Path) -> None:
    process = start(WAITS)

    found = load_process(tmp_path, "p")

    assert found == process
    assert found.is_alive()
    assert load_process(tmp_path, "q") is None


def test_a_stopped_process_is_gone_and_may_be_stopped_again(start: Start) -> None:
    process = start(WAITS)
    eventually(lambda: has_logged(process, "up"), within=10)

    stop_processes(process)
    stop_processes(process)

    assert not process.is_alive()
    with pytest.raises(ChildProcessError):  # no zombie is left to wait for
        os.waitpid(process.pid, os.WNOHANG)


def test_a_process_that_ignores_sigterm_is_killed(start: Start) -> None:
    process = start(IGNORES_SIGTERM)
    eventually(lambda: has_logged(process, "up"), within=10)

    stop_processes(process, grace_seconds=0.1)

    assert not process.is_alive()


def test_a_process_with_a_reused_pid_is_left_alone(start: Start) -> None:
    somebody_else = start(WAITS)
    ended = dataclasses.replace(somebody_else, started_ticks=somebody_else.started_ticks - 1)

    ended.send(signal.SIGKILL)
    stop_processes(ended, grace_seconds=0)

    assert not ended.is_alive()
    assert somebody_else.is_alive()


def test_a_zombie_is_not_alive(start: Start) -> None:
    process = start("")

    eventually(lambda: is_gone(process), within=10)


def test_a_process_that_ended_is_reported_with_its_last_words(start: Start) -> None:
    process = start("print('first'); raise SystemExit('no disk')")
    eventually(lambda: is_gone(process), within=10)

    with pytest.raises(ProcessError, match=r"(?s)p ended; its log ends with:\n.*no disk"):
        check_alive([process])


def test_a_restarted_process_keeps_its_log(start: Start) -> None:
    process = start("print('once')")
    eventually(lambda: is_gone(process), within=10)

    again = process.restart()

    eventually(lambda: is_gone(again), within=10)
    assert again.log.read_text() == "once\nonce\n"
    assert again.argv == process.argv


@pytest.mark.parametrize("tied", [True, False])
def test_only_a_tied_process_dies_with_the_one_that_started_it(tmp_path: Path, tied: bool) -> None:
    starter = f"""
import os, signal, sys
from pathlib import Path
from sandbox.process import start_process
start_process("p", [sys.executable, "-c", {WAITS!r}], directory=Path({str(tmp_path)!r}), tied={tied})
print("started", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        child = load_process(tmp_path, "p")
        assert child is not None
        eventually(lambda: has_logged(child, "up"), within=10)
        parent.kill()

    if tied:
        eventually(lambda: is_gone(child), within=10)
    else:
        assert child.is_alive()
        stop_processes(child, grace_seconds=0)


def is_gone(process: Process) -> None:
    assert not process.is_alive()


def has_logged(process: Process, line: str) -> None:
    assert line in process.log_tail().splitlines()
