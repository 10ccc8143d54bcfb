"""The fence ends a holder that did not renew, even one that is stopped, and its children with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dtool_operator.adapters.fence import ProcessFence
from dtool_operator.adapters.lease import read_clock
from tests.support.eventually import eventually
from tests.support.processes import is_running

LAUNCH = Path(__file__).parents[2] / "sandbox" / "launch.py"

#: Holds for some seconds; has a child that dies with it, as workers do; says both pids, and when it ends.
HOLDER = f"""
import os, subprocess, sys, time
from dtool_operator.adapters.fence import ProcessFence
from dtool_operator.adapters.lease import read_clock
seconds, renewals = float(sys.argv[1]), int(sys.argv[2])
child = subprocess.Popen(
    [sys.executable, "-I", "-S", {str(LAUNCH)!r}, str(os.getpid()), "/bin/sleep", "60"])
fence = ProcessFence(margin_seconds=0)
for _ in range(renewals):
    fence.extend(read_clock() + seconds)
    print(fence._guard.pid, child.pid, flush=True)
    time.sleep(seconds / 2)
if sys.argv[3] == "close":
    fence.close()
    child.kill()
    print("closed", flush=True)
else:
    time.sleep(60)
"""


@contextmanager
def holder(
    *, seconds: float, renewals: int, then: str = "sleep"
) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    command = [sys.executable, "-c", HOLDER, str(seconds), str(renewals), then]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        guard, child = map(int, process.stdout.readline().split())
        try:
            yield process, guard, child
        finally:
            process.kill()


def assert_gone(pid: int) -> None:
    assert not is_running(pid)


def test_a_stopped_holder_is_killed_with_its_children_and_never_goes_on() -> None:
    with holder(seconds=3.0, renewals=1000) as (process, guard, child):
        os.kill(process.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()

        assert process.wait(timeout=20) == -signal.SIGKILL

        assert time.monotonic() - stopped_at < 6.0
        eventually(lambda: assert_gone(child), within=5)
        eventually(lambda: assert_gone(guard), within=5)


def test_a_holder_that_renews_lives_longer_than_its_first_deadline() -> None:
    with holder(seconds=2.0, renewals=4, then="close") as (process, _, _):
        assert process.wait(timeout=20) == 0


def test_the_guard_ends_with_its_holder() -> None:
    with holder(seconds=60.0, renewals=1) as (process, guard, child):
        process.kill()

        eventually(lambda: assert_gone(guard), within=5)
        eventually(lambda: assert_gone(child), within=5)


def test_a_fence_whose_guard_was_killed_cannot_be_extended() -> None:
    fence = ProcessFence(margin_seconds=0)
    fence.extend(read_clock() + 60)
    os.kill(fence._guard.pid, signal.SIGKILL)
    fence._guard.wait()

    with pytest.raises(OSError, match="Broken pipe"):
        fence.extend(read_clock() + 60)
    fence.close()
