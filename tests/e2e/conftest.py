"""The operator's process on the sandbox, once a session; a lab of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.lab import Lab, OperatorProcess

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore


@pytest.fixture(scope="session")
def operator_process(
    control_plane: ControlPlane, object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator, as its ServiceAccount, under the RBAC rules of the chart."""
    process = OperatorProcess(tmp_path_factory.mktemp("operator"), control_plane, object_store)
    yield process
    process.stop()


@pytest.fixture
def lab(operator_process: OperatorProcess) -> Lab:
    """A lab that is ready: the operator runs, both bucket objects are Ready."""
    operator_process.start()
    lab = Lab(operator_process.control_plane, operator_process.object_store, operator_process)
    lab.set_up()
    return lab
