"""The bridge from synchronous code to coroutines."""

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from dtool_s3 import blocking
from dtool_s3.errors import NotFound


async def _answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_a_result_comes_back_to_synchronous_code() -> None:
    assert blocking.run(_answer(7)) == 7


async def test_it_works_inside_a_running_event_loop() -> None:
    assert blocking.run(_answer(7)) == 7


def test_all_calls_share_one_daemon_thread() -> None:
    async def thread() -> threading.Thread:
        return threading.current_thread()

    first, second = blocking.run(thread()), blocking.run(thread())

    assert first is second
    assert first.daemon


def test_an_exception_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise NotFound("nothing here", code="NoSuchKey")

    with pytest.raises(NotFound, match="nothing here"):
        blocking.run(fail())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_loop_survives_a_coroutine_that_ends_the_program(error: type[BaseException]) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(error):
        blocking.run(fail())

    assert blocking.run(_answer(1)) == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_the_coroutine_and_waits_for_its_clean_up() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("started")
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        blocking.run(work())

    assert steps == ["started", "cleaned up"]


def test_a_coroutine_that_is_cancelled_ends_the_call() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(concurrent.futures.CancelledError):
        blocking.run(work())


def test_a_call_from_the_background_loop_is_refused_instead_of_hanging() -> None:
    async def nested() -> int:
        return blocking.run(_answer(1))

    with pytest.raises(RuntimeError, match="own loop"):
        blocking.run(nested())


def test_many_threads_share_the_loop() -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(blocking.run(_answer(n)))) for n in range(20)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(results) == list(range(20))


_FORK = """
import os, sys, asyncio
from dtool_s3 import blocking
async def pid():
    await asyncio.sleep(0)
    return os.getpid()
assert blocking.run(pid()) == os.getpid()
child = os.fork()
if child == 0:
    os._exit(0 if blocking.run(pid()) == os.getpid() else 1)
_, status = os.waitpid(child, 0)
assert blocking.run(pid()) == os.getpid()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_gets_its_own_loop() -> None:
    done = subprocess.run([sys.executable, "-c", _FORK], timeout=30, check=False)

    assert done.returncode == 0


def test_importing_starts_no_thread() -> None:
    code = "import threading, dtool_s3.blocking; assert threading.active_count() == 1"

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
