"""The stages of the attacks: an operator on fakes, and the operator's process on the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.lab import Lab, OperatorProcess
from tests.support.play import Play

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore


@pytest_asyncio.fixture
async def play() -> AsyncIterator[Play]:
    """The stage, set; the operator is stopped afterwards."""
    play = await Play.start()
    await play.settle()
    yield play
    await play.stop()


@pytest.fixture(scope="module")
def operator_process(
    control_plane: ControlPlane,
    object_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
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
