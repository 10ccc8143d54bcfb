"""A few coroutines at a time: results in order, one failure, nobody left behind."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dtool_s3.concurrency import map_bounded, run_together, run_workers, see_through, settle


async def test_results_come_in_the_order_of_the_arguments() -> None:
    async def work(number: int) -> int:
        for _ in range(5 - number):
            await asyncio.sleep(0)
        return number * 10

    assert await map_bounded(work, range(5), limit=3) == [0, 10, 20, 30, 40]


async def test_no_arguments_give_no_results() -> None:
    async def work(number: int) -> int:
        raise AssertionError(number)

    assert await map_bounded(work, []) == []


@pytest.mark.parametrize(("limit", "at_once"), [(0, 1), (1, 1), (4, 4), (100, 10)])
async def test_no_more_run_at_once_than_the_limit(limit: int, at_once: int) -> None:
    running, most = 0, 0

    async def work(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await map_bounded(work, range(10), limit=limit)

    assert most == at_once


async def test_what_waits_is_not_even_taken_from_the_iterator() -> None:
    taken = 0
    gate = asyncio.Event()

    def arguments() -> Iterator[int]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    async def work(_: int) -> None:
        await gate.wait()

    running = asyncio.create_task(map_bounded(work, arguments(), limit=3))
    for _ in range(20):
        await asyncio.sleep(0)

    assert (taken, len(asyncio.all_tasks()) - 2) == (3, 3)
    gate.set()
    assert len(await running) == 1000


async def test_the_first_failure_ends_the_others_before_it_is_raised() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 2:
            raise ValueError("the second")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="the second"):
        await map_bounded(work, [1, 2, 3, 4], limit=3)

    assert sorted(ended) == [1, 3]


async def test_a_cancelled_caller_waits_until_its_workers_have_ended() -> None:
    ended = 0

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended += 1

    running = asyncio.create_task(run_workers(work, count=3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert ended == 3


async def test_of_two_run_together_the_failure_of_one_ends_the_other() -> None:
    async def fail() -> None:
        raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        await run_together(asyncio.Event().wait(), fail())  # type: ignore[arg-type]


async def test_a_request_under_way_ends_before_the_cancellation_goes_on() -> None:
    told: list[str] = []
    gate = asyncio.Event()

    async def request() -> str:
        await gate.wait()
        told.append("answered")
        return "answer"

    async def caller() -> None:
        try:
            await see_through(request(), grace_seconds=60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    running = asyncio.create_task(caller())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert told == ["answered", "cancelled"]


async def test_a_request_that_does_not_end_in_time_is_given_up() -> None:
    ended = asyncio.Event()

    async def request() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(see_through(request(), grace_seconds=0.01))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert ended.is_set()


async def test_an_undisturbed_request_gives_its_answer_or_its_failure() -> None:
    async def answer() -> int:
        return 1

    async def fail() -> int:
        raise ValueError("no")

    assert await see_through(answer(), grace_seconds=0) == 1
    with pytest.raises(ValueError, match="no"):
        await see_through(fail(), grace_seconds=0)


async def test_a_write_that_a_thread_has_begun_ends_before_the_cancellation_goes_on() -> None:
    began, gate, told = threading.Event(), threading.Event(), list[str]()

    def write() -> None:
        began.set()
        gate.wait(10)
        told.append("written")

    async def caller(threads: ThreadPoolExecutor) -> None:
        try:
            await settle(threads.submit(write), on_cancel=gate.set)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    with ThreadPoolExecutor(1) as threads:
        running = asyncio.create_task(caller(threads))
        await asyncio.to_thread(began.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert told == ["written", "cancelled"]


async def test_a_write_that_no_thread_has_begun_is_not_begun_any_more() -> None:
    gate, written = threading.Event(), threading.Event()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(gate.wait)
        running = asyncio.create_task(settle(threads.submit(written.set), within_seconds=60))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.set()

    assert not written.is_set()


async def test_a_write_that_hangs_is_waited_for_no_longer_than_allowed() -> None:
    began, gate = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        gate.wait()
        raise ValueError("late")  # nobody is told, and nobody complains

    with ThreadPoolExecutor(1) as threads:
        running = asyncio.create_task(settle(threads.submit(hang), within_seconds=0.01))
        await asyncio.to_thread(began.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.set()


async def test_an_undisturbed_write_gives_its_answer_or_its_failure() -> None:
    def fail() -> None:
        raise ValueError("no")

    with ThreadPoolExecutor(1) as threads:
        assert await settle(threads.submit(lambda: 1)) == 1
        with pytest.raises(ValueError, match="no"):
            await settle(threads.submit(fail))
