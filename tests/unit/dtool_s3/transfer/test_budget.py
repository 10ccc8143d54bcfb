"""Bytes in memory stay below the budget, and nobody waits for ever."""

import asyncio

import pytest

from dtool_s3.transfer.budget import ByteBudget


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class _Holder:
    """Holds room until it is told to let go."""

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self.is_in = False
        self.let_go = asyncio.Event()
        self.task = asyncio.create_task(self._hold(budget, size_bytes))

    async def _hold(self, budget: ByteBudget, size_bytes: int) -> None:
        async with budget.take(size_bytes):
            self.is_in = True
            await self.let_go.wait()

    async def end(self) -> None:
        self.let_go.set()
        await self.task


async def test_no_more_is_held_than_there_is() -> None:
    budget = ByteBudget(10)
    holders = [_Holder(budget, 4) for _ in range(4)]
    await _settle()

    assert [holder.is_in for holder in holders] == [True, True, False, False]
    await holders[0].end()
    await _settle()
    assert [holder.is_in for holder in holders] == [True, True, True, False]
    for holder in holders:
        await holder.end()


async def test_room_is_given_in_the_order_in_which_it_was_asked_for() -> None:
    budget = ByteBudget(10)
    first, large, small = _Holder(budget, 6), _Holder(budget, 6), _Holder(budget, 1)
    await _settle()

    assert (first.is_in, large.is_in, small.is_in) == (True, False, False)
    await first.end()
    await _settle()
    assert (large.is_in, small.is_in) == (True, True)
    await asyncio.gather(large.end(), small.end())


async def test_more_than_there_is_at_all_waits_until_all_is_free() -> None:
    budget = ByteBudget(10)
    one, huge = _Holder(budget, 1), _Holder(budget, 1000)
    await _settle()

    assert not huge.is_in
    await one.end()
    await _settle()
    assert huge.is_in
    await huge.end()
    async with budget.take(10):
        pass


async def test_who_gives_up_waiting_makes_way_for_the_next() -> None:
    budget = ByteBudget(10)
    first, large, small = _Holder(budget, 6), _Holder(budget, 6), _Holder(budget, 1)
    await _settle()

    large.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large.task
    await _settle()

    assert small.is_in
    await asyncio.gather(first.end(), small.end())
    async with budget.take(10):
        pass


async def test_room_given_to_one_that_is_cancelled_at_that_moment_is_not_lost() -> None:
    budget = ByteBudget(10)
    async with budget.take(10):
        second = _Holder(budget, 10)
        await _settle()

    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task

    async with asyncio.timeout(1), budget.take(10):
        pass


async def test_room_is_not_lost_where_holders_and_those_who_wait_are_cancelled_together() -> None:
    budget = ByteBudget(10)
    holders = [_Holder(budget, 10) for _ in range(3)]
    await _settle()

    for holder in holders:
        holder.task.cancel()
    ends = await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)

    assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
    async with asyncio.timeout(1), budget.take(10):
        pass
