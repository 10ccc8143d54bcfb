"""How fast requests may leave."""

import asyncio

import pytest

from dtool_operator.adapters.pacing import TokenBucket


def test_a_burst_leaves_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket(per_second=10, burst=3)

    delays = [bucket.reserve(100.0) for _ in range(6)]

    assert delays == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])


def test_time_without_requests_fills_the_bucket_again_but_no_further() -> None:
    bucket = TokenBucket(per_second=10, burst=3)
    for _ in range(3):
        bucket.reserve(100.0)

    assert bucket.reserve(100.1) == pytest.approx(0)
    assert [bucket.reserve(200.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_the_rate_holds_on_the_long_run() -> None:
    bucket = TokenBucket(per_second=20, burst=40)
    now = 0.0
    for _ in range(400):
        now += bucket.reserve(now)

    assert now == pytest.approx((400 - 40) / 20)


async def test_a_caller_waits_for_its_token() -> None:
    bucket = TokenBucket(per_second=50, burst=1)
    loop = asyncio.get_running_loop()
    began = loop.time()

    await asyncio.gather(*(bucket.take() for _ in range(4)))

    assert loop.time() - began >= 3 / 50
