"""The blocking form of every function: the same in name and parameters, also where an event loop runs."""

import asyncio
import inspect
import threading

import pytest

from dtool_s3 import api, sync
from dtool_s3.configuration import Configuration
from dtool_s3.errors import DatasetMissing
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.progress import Progress
from tests.support.datasets import UUID, DatasetFixture, write_dataset

FUNCTIONS = sorted(name for name in api.__all__ if inspect.iscoroutinefunction(getattr(api, name)))
URI = f"s3://source/{UUID}"


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("source")
    server.create_bucket("target")
    return server


def test_both_modules_have_the_same_functions() -> None:
    assert sorted(sync.__all__) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_blocking_function_has_the_parameters_and_words_of_the_other(name: str) -> None:
    blocking, asynchronous = getattr(sync, name), getattr(api, name)

    assert inspect.signature(blocking) == inspect.signature(asynchronous)
    assert blocking.__doc__ == asynchronous.__doc__
    assert not inspect.iscoroutinefunction(blocking)
    assert (blocking.__module__, blocking.__name__) == ("dtool_s3.sync", name)


def _copy(server: MemoryServer) -> str:
    return sync.copy(
        URI, "s3://target", configure=lambda bucket: Configuration(bucket, store=server.store(bucket))
    ).uri


def test_a_copy_is_made_without_an_event_loop(server: MemoryServer) -> None:
    asyncio.run(write_dataset(server.store("source"), DatasetFixture()))

    assert _copy(server) == f"s3://target/{UUID}"


async def test_a_copy_is_made_from_within_a_coroutine(server: MemoryServer) -> None:
    await write_dataset(server.store("source"), DatasetFixture())

    assert _copy(server) == f"s3://target/{UUID}"


def test_a_copy_is_made_from_a_callback_of_a_loop_that_runs_for_ever(server: MemoryServer) -> None:
    """As in a notebook: cells are callbacks of a loop that never ends."""
    loop = asyncio.new_event_loop()
    made: list[str] = []

    def cell() -> None:
        made.append(_copy(server))
        loop.stop()

    loop.run_until_complete(write_dataset(server.store("source"), DatasetFixture()))
    loop.call_soon(cell)
    loop.run_forever()
    loop.close()

    assert made == [f"s3://target/{UUID}"]


def test_progress_is_told_and_no_thread_is_left_but_the_librarys(server: MemoryServer) -> None:
    asyncio.run(write_dataset(server.store("source"), DatasetFixture(is_frozen=False)))
    told: list[Progress] = []
    before = set(threading.enumerate())

    sync.freeze(
        URI,
        configure=lambda bucket: Configuration(bucket, store=server.store(bucket)),
        on_progress=told.append,
    )

    assert told[-1].items == told[-1].items_total > 0
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert all(name == "dtool-s3-loop" or name.startswith("asyncio_") for name in left)


def test_an_error_is_raised_as_it_is(server: MemoryServer) -> None:
    with pytest.raises(DatasetMissing):
        sync.verify(URI, configure=lambda bucket: Configuration(bucket, store=server.store(bucket)))
