"""Requests become few calls, and the last is never lost."""

from dtool_operator.transfers.throttle import Throttle
from tests.support.eventually import eventually_async


async def test_the_first_request_is_answered_at_once_and_further_ones_once_later() -> None:
    calls: list[str] = []
    throttle = Throttle(lambda: calls.append("call"), interval_seconds=0.2)

    for _ in range(1000):
        throttle.request()

    assert calls == ["call"]

    async def again() -> None:
        assert calls == ["call", "call"]

    await eventually_async(again, within=5)


async def test_flush_calls_now_what_is_owed_and_only_that() -> None:
    calls: list[str] = []
    throttle = Throttle(lambda: calls.append("call"), interval_seconds=3600)

    throttle.flush()
    throttle.request()
    throttle.flush()
    assert len(calls) == 1
    throttle.request()
    throttle.flush()

    assert len(calls) == 2


async def test_what_is_dropped_is_never_called() -> None:
    calls: list[str] = []
    throttle = Throttle(lambda: calls.append("call"), interval_seconds=3600)
    throttle.request()
    throttle.request()

    assert throttle.drop()

    throttle.flush()
    assert len(calls) == 1
    assert not throttle.drop()
