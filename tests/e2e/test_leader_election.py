"""Two real operators: the one that works is killed or stopped during a copy; the other finishes it.

The copy is held in its middle at the endpoint, however fast the machine is.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.fault_lab import ITEMS, FaultLab
from tests.support.lab import OperatorProcess

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.controlplane import ControlPlane
    from sandbox.operator_process import Operator
    from sandbox.seaweedfs import ObjectStore


@dataclass
class Replicas(OperatorProcess):
    """Two operators that share one Lease; `leader` is found by its metrics."""

    both: list[Operator] = field(default_factory=list)

    def start(self) -> None:
        """Start both, one after another: the first leads."""
        from sandbox.operator_process import install_operator, start_operator

        kubeconfig = install_operator(self.control_plane)
        for name in ("one", "other"):
            directory = self.directory / name
            directory.mkdir()
            settings = {"DTOOL_OPERATOR_LEADER_ELECTION": "true", "DTOOL_OPERATOR_IDENTITY": name}
            self.both.append(
                start_operator(
                    directory,
                    kubeconfig=kubeconfig,
                    endpoints=[self.object_store.endpoint, *self.more_endpoints],
                    tied=True,
                    settings=settings,
                )
            )

    def stop(self) -> None:
        """End both."""
        for operator in self.both:
            operator.stop()


@pytest.fixture
def lab(
    control_plane: ControlPlane,
    object_store: ObjectStore,
    operator_process: OperatorProcess,
    tmp_path: Path,
) -> Iterator[FaultLab]:
    """A lab of two operators; the session's, which shares its work with nobody, is stopped before."""
    operator_process.stop()
    place = ("--namespace", "dtool-system", "lease", "dtool-operator")
    replicas = Replicas(tmp_path, control_plane, object_store)
    lab = FaultLab(control_plane, object_store, replicas)  # type: ignore[arg-type]
    replicas.more_endpoints = (lab.s3.url,)
    with lab._open:
        replicas.start()
        try:
            lab.set_up()
            yield lab
        finally:
            replicas.stop()
            lab.let_go()
            lab.clear()
            control_plane.kubectl("delete", "--ignore-not-found", *place)


def read_metric(operator: Operator, name: str) -> float:
    """Return the sum of a metric's samples."""
    with urllib.request.urlopen(f"{operator.health_url}/metrics", timeout=5) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_another_takes_over_a_copy_and_nothing_is_copied_twice(lab: FaultLab, number: signal.Signals) -> None:
    replicas: OperatorProcess = lab.operator
    assert isinstance(replicas, Replicas)
    leader, standby = replicas.both
    assert [read_metric(one, "dtool_operator_leading ") for one in (leader, standby)] == [1, 0]
    assert read_metric(standby, "dtool_operator_reconciles_total") == 0
    frozen = read_metric(leader, 'dtool_operator_datasets{state="Frozen"}')
    done = lab.start_copy()

    since = time.monotonic()
    os.kill(leader.process.pid, number)
    eventually(lambda: assert_leads(standby), within=20)
    assert not leader.process.is_alive()
    assert time.monotonic() - since < 20
    assert lab.data() == done
    lab.let_go()

    assert lab.wait_state("raw", "Frozen", within=60)["items"] == len(ITEMS)
    lab.assert_resumed(done)
    assert read_metric(standby, "dtool_operator_reconciles_total") > 0
    assert read_metric(standby, 'dtool_operator_datasets{state="Frozen"}') == frozen + 1


def assert_leads(operator: Operator) -> None:
    assert read_metric(operator, "dtool_operator_leading ") == 1
