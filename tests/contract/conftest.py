"""Which implementations of the store the contract runs on: a test that asks for `service` meets each.

With S3_TEST_BASE_URI the implementation is the S3 that the user names, and all
tests that need the sandbox's own servers and identities are deselected: one line says how many.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dtool_s3.store.protocol import UrlStore
from dtool_s3.store.s3 import S3Store
from tests.support.s3_place import VARIABLE, S3Place, named_bucket
from tests.support.services import (
    LEFT_OUT,
    Service,
    memory_service,
    moto_service,
    named_service,
    seaweedfs_service,
)

_HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Hold each test that asks for a service to every implementation that is not excused from it."""
    if "service" not in metafunc.fixturenames:
        return
    names = ["named"] if named_bucket() else ["memory", "seaweedfs", "moto"]
    is_excused = {name for name in names if metafunc.function.__name__ in LEFT_OUT.get(name, {})}
    # a test that is left with no implementation keeps one, to be deselected in sight
    kept = [name for name in names if name not in is_excused] or names
    metafunc.parametrize("service", kept, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the user's own S3, keep the tests that can run there; say how many cannot."""
    if not named_bucket():
        return
    runs_there = {item: not item.path.is_relative_to(_HERE) or _runs_on_named(item) for item in items}
    left_out = [item for item, runs in runs_there.items() if not runs]
    if left_out:
        items[:] = [item for item, runs in runs_there.items() if runs]
        config.hook.pytest_deselected(items=left_out)
        reporter = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(
                f"{VARIABLE} is set: {len(left_out)} tests are left out, because they need the sandbox's own "
                "servers, buckets or identities, or no S3 at all"
            )


def _runs_on_named(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    if names & {"object_store", "object_store_programs", "control_plane", "moto_server", "make_bucket"}:
        return False
    function = getattr(item, "originalname", None) or item.name
    return bool(names & {"make_s3_place", "service"}) and function not in LEFT_OUT["named"]


@pytest.fixture
async def service(
    request: pytest.FixtureRequest, make_s3_place: Callable[[], S3Place]
) -> AsyncIterator[Service]:
    """The implementation under test."""
    bucket = f"store-{uuid.uuid4().hex[:12]}"
    opened: list[S3Store] = []
    match request.param:
        case "memory":
            made = memory_service(bucket)
        case "seaweedfs":
            made = await asyncio.to_thread(
                seaweedfs_service, request.getfixturevalue("object_store"), bucket, opened
            )
        case "moto":
            made = await asyncio.to_thread(
                moto_service, request.getfixturevalue("moto_server"), bucket, opened
            )
        case "named":
            made = named_service(make_s3_place())
        case name:
            raise AssertionError(name)
    yield made
    for store in opened:
        await asyncio.to_thread(store.close)


@pytest.fixture
def store(service: Service) -> UrlStore:
    """The fresh bucket of the implementation under test, with all rights."""
    return service.as_admin()
