"""The queue of looks: one at a time per key, fair per namespace, delays that the earlier one wins."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from dtool_operator.planning.plan import Backoff
from dtool_operator.reconcile.queue import Key, WorkQueue

SECOND = timedelta(seconds=1)
SOON = timedelta(milliseconds=5)
LONG = timedelta(hours=1)


def key(name: str, namespace: str = "alice") -> Key:
    return Key("dtooldatasets", namespace, name)


A, B, C = key("a"), key("b"), key("c")


@pytest_asyncio.fixture
async def queue() -> AsyncIterator[WorkQueue]:
    """A queue whose first pause is about two seconds."""
    queue = WorkQueue(backoff_base=2 * SECOND, backoff_cap=300 * SECOND)
    yield queue
    queue.close()


async def take(queue: WorkQueue, count: int) -> list[str]:
    """Take keys and end their looks at once; return their names in order."""
    names = []
    for _ in range(count):
        taken = await next_of(queue)
        names.append(taken.uid)
        queue.done(taken, None)
    return names


async def next_of(queue: WorkQueue) -> Key:
    """Wait for the next key, not for ever."""
    return await asyncio.wait_for(queue.get(), 5)


def due_within(queue: WorkQueue, seconds: float) -> bool:
    """Whether a look is due within so many seconds."""
    return not queue.is_quiet(timedelta(seconds=seconds))


async def test_keys_come_in_the_order_in_which_they_were_added(queue: WorkQueue) -> None:
    for one in (B, A, C):
        queue.add(one)

    assert await take(queue, 3) == ["b", "a", "c"]


async def test_a_key_that_waits_already_is_looked_at_once_and_keeps_its_place(queue: WorkQueue) -> None:
    for one in (A, B, A):
        queue.add(one)

    assert len(queue) == 2
    assert await take(queue, 2) == ["a", "b"]
    assert len(queue) == 0


async def test_namespaces_take_turns(queue: WorkQueue) -> None:
    for number in range(4):
        queue.add(key(f"a{number}"))
    queue.add(key("b0", "bob"))
    queue.add(key("b1", "bob"))
    queue.add(key("c0", "carol"))

    assert await take(queue, 7) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


async def test_a_namespace_that_comes_later_does_not_wait_for_all_of_another(queue: WorkQueue) -> None:
    for number in range(1000):
        queue.add(key(f"a{number}"))
    await take(queue, 3)

    queue.add(key("late", "bob"))

    assert "late" in await take(queue, 2)


async def test_a_key_that_is_looked_at_is_not_given_out_again_meanwhile(queue: WorkQueue) -> None:
    queue.add(A)
    taken = await next_of(queue)

    queue.add(A)
    queue.add(B)

    assert await next_of(queue) == B
    assert len(queue) == 0
    queue.done(taken, None)
    assert await next_of(queue) == A


async def test_a_key_that_was_asked_for_during_its_look_comes_at_once_whatever_the_look_says(
    queue: WorkQueue,
) -> None:
    queue.add(A)
    taken = await next_of(queue)
    queue.add(A)

    queue.done(taken, LONG)

    assert len(queue) == 1
    assert await take(queue, 1) == ["a"]
    assert queue.is_quiet(LONG * 2)


async def test_somebody_who_waits_gets_the_key_that_is_added(queue: WorkQueue) -> None:
    waiting = [asyncio.create_task(next_of(queue)) for _ in range(2)]
    await asyncio.sleep(0)

    queue.add(A)
    queue.add(B)

    assert {one.uid for one in await asyncio.gather(*waiting)} == {"a", "b"}


async def test_somebody_who_stops_waiting_takes_no_key_along(queue: WorkQueue) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.add(A)
    waiting.cancel()

    assert await take(queue, 1) == ["a"]


async def test_a_delay_ends_by_itself(queue: WorkQueue) -> None:
    queue.add_later(A, SOON)

    assert len(queue) == 0
    assert await take(queue, 1) == ["a"]


async def test_of_two_delays_the_earlier_one_counts(queue: WorkQueue) -> None:
    queue.add_later(A, LONG)
    queue.add_later(A, SOON)
    queue.add_later(A, LONG)

    assert await take(queue, 1) == ["a"]
    assert queue.is_quiet(2 * LONG)


async def test_a_key_that_is_added_needs_no_delay_any_more(queue: WorkQueue) -> None:
    queue.add_later(A, LONG)

    queue.add(A)

    assert await take(queue, 1) == ["a"]
    assert queue.is_quiet(2 * LONG)


async def test_a_delay_that_has_passed_already_is_none(queue: WorkQueue) -> None:
    queue.add_later(A, -SECOND)

    assert await take(queue, 1) == ["a"]


async def test_looks_that_fail_in_a_row_are_repeated_after_growing_pauses(queue: WorkQueue) -> None:
    bounds = [(1.5, 2.5), (3, 5), (6, 10), (12, 20), (24, 40)]
    for shortest, longest in bounds:
        queue.add(A)
        queue.done(await next_of(queue), Backoff())

        assert not due_within(queue, shortest - 0.1)
        assert due_within(queue, longest)


async def test_pauses_never_exceed_their_cap_by_more_than_the_spread(queue: WorkQueue) -> None:
    for _ in range(40):
        queue.add(A)
        queue.done(await next_of(queue), Backoff())

    assert not due_within(queue, 224)
    assert due_within(queue, 376)


@pytest.mark.parametrize("look_again", [None, LONG, timedelta(0)])
async def test_a_look_that_went_well_ends_a_row_of_failures(
    queue: WorkQueue, look_again: timedelta | None
) -> None:
    for outcome in (*[Backoff()] * 8, look_again, Backoff()):
        queue.add(A)
        queue.done(await next_of(queue), outcome)

    assert due_within(queue, 2.6)


async def test_failures_of_one_key_do_not_slow_another_down(queue: WorkQueue) -> None:
    for one in (*[A] * 8, B):
        queue.add(one)
        queue.done(await next_of(queue), Backoff())

    assert due_within(queue, 2.6)


async def test_what_is_gone_is_forgotten(queue: WorkQueue) -> None:
    for _ in range(8):
        queue.add(A)
        queue.done(await next_of(queue), Backoff())

    queue.forget(A)

    assert queue.is_quiet(LONG)
    queue.add(A)
    queue.done(await next_of(queue), Backoff())
    assert due_within(queue, 2.6)


async def test_a_queue_is_quiet_when_nothing_waits_is_looked_at_or_falls_due(queue: WorkQueue) -> None:
    assert queue.is_quiet(LONG)

    queue.add(A)
    assert not queue.is_quiet(SECOND)
    taken = await next_of(queue)
    assert not queue.is_quiet(SECOND)
    queue.done(taken, 60 * SECOND)

    assert queue.is_quiet(59 * SECOND)
    assert not queue.is_quiet(61 * SECOND)


async def test_a_closed_queue_has_no_delays_left(queue: WorkQueue) -> None:
    queue.add_later(A, LONG)
    queue.add_later(B, LONG)

    queue.close()

    assert queue.is_quiet(2 * LONG)
