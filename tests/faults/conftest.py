"""One operator at a time behind a proxy to the session's API server; a lab of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.api_proxy import ApiProxy, api_proxy
from tests.support.fault_lab import FaultLab, open_lab
from tests.support.fault_operator import FaultOperator

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore


@pytest.fixture(scope="session")
def operator(
    control_plane: ControlPlane, object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultOperator]:
    """The operator as its ServiceAccount; tests kill it and start it again."""
    from sandbox.operator_process import install_operator

    install_operator(control_plane)
    with api_proxy(control_plane) as proxy:
        operator = FaultOperator(tmp_path_factory.mktemp("operator"), control_plane, object_store, api=proxy)
        operator.log_in()
        yield operator
        operator.kill()


@pytest.fixture
def api(operator: FaultOperator) -> ApiProxy:
    """The proxy between the operator and the API server."""
    assert operator.api is not None
    return operator.api


@pytest.fixture
def lab(operator: FaultOperator) -> Iterator[FaultLab]:
    """A lab that is ready."""
    with open_lab(operator) as lab:
        yield lab
