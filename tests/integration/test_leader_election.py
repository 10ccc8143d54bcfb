"""Two replicas on a real API server: one works, the other takes over; never both."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.installation import OPERATOR_NAMESPACE, ROOT, install_operator
from tests.support.replica import SCRIPT, Replica

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

TAKE_OVER_SECONDS = 20.0
LEASE = ("--namespace", OPERATOR_NAMESPACE, "lease", "dtool-operator")


Start = Callable[[str], Replica]


@pytest.fixture
def start(control_plane: "ControlPlane", tmp_path: Path) -> Iterator[Start]:
    """A function that starts a replica; the Lease is gone before and after."""
    from sandbox.port import find_free_ports

    kubeconfig = install_operator(control_plane)
    control_plane.kubectl("delete", "--ignore-not-found", *LEASE)
    processes = []

    def start(name: str) -> Replica:
        (port,) = find_free_ports(1)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KUBECONFIG": str(kubeconfig),
            "DTOOL_OPERATOR_LEADER_ELECTION": "true",
            "DTOOL_OPERATOR_IDENTITY": name,
            "DTOOL_OPERATOR_HEALTH_PORT": str(port),
        }
        with (tmp_path / f"{name}.log").open("wb") as log:
            command = [sys.executable, str(SCRIPT), str(tmp_path / name)]
            process = subprocess.Popen(command, env=environment, stderr=log)
        processes.append(process)
        return Replica(process, tmp_path / name, port)

    yield start
    for process in processes:
        process.kill()
        process.wait()
    control_plane.kubectl("delete", "--ignore-not-found", *LEASE)


def start_two(start: Start) -> tuple[Replica, Replica]:
    """Start a leader and one that waits."""
    leader = start("leader")
    eventually(leader.assert_works, within=30)
    standby = start("standby")
    eventually(standby.assert_ready, within=30)
    assert standby.times() == []
    return leader, standby


def assert_took_over(leader: Replica, standby: Replica, since: float, within: float) -> None:
    """Wait until the other works; assert that it was soon, and that the two never worked at one time."""
    eventually(standby.assert_works, within=within + 5)
    took = min(standby.times()) - since
    assert took < within
    assert max(leader.times()) < min(standby.times())


def test_when_the_leader_is_killed_another_works_soon(start: Start) -> None:
    leader, standby = start_two(start)

    since = time.monotonic()
    leader.process.kill()

    assert_took_over(leader, standby, since, TAKE_OVER_SECONDS)


def test_a_leader_that_is_stopped_for_a_while_ends_and_has_not_worked_beside_another(start: Start) -> None:
    leader, standby = start_two(start)

    since = time.monotonic()
    leader.process.send_signal(signal.SIGSTOP)
    eventually(standby.assert_works, within=TAKE_OVER_SECONDS + 5)
    leader.process.send_signal(signal.SIGCONT)

    eventually(leader.assert_ended, within=1)
    assert leader.process.returncode == -signal.SIGKILL
    assert_took_over(leader, standby, since, TAKE_OVER_SECONDS)


def test_an_orderly_end_hands_over_within_seconds(start: Start) -> None:
    leader, standby = start_two(start)

    since = time.monotonic()
    leader.process.terminate()

    assert_took_over(leader, standby, since, 6)
    assert leader.process.wait(timeout=10) == 0


def test_a_leader_without_an_api_server_ends_before_another_may_begin(
    start: Start, control_plane: "ControlPlane"
) -> None:
    leader = start("leader")
    eventually(leader.assert_works, within=30)

    control_plane.stop_api_server()
    try:
        since = time.monotonic()
        eventually(leader.assert_ended, within=20)
        assert time.monotonic() - since < 13
        assert leader.process.returncode == 3
    finally:
        control_plane.start_api_server()


def test_of_two_that_start_together_one_works(start: Start) -> None:
    one, other = start("one"), start("other")

    def assert_one_works() -> None:
        (one if one.times() else other).assert_works()

    eventually(assert_one_works, within=30)
    for replica in (one, other):
        eventually(replica.assert_ready, within=30)

    assert sorted(bool(replica.times()) for replica in (one, other)) == [False, True]
