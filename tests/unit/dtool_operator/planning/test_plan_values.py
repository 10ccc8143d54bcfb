"""Pauses between looks: bounded, growing, spread, and the same in every process."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_operator.planning.plan import backoff_delay, hash_fraction, is_due, spread_interval, time_left
from tests.support.observed import NOW

BASES = st.timedeltas(timedelta(milliseconds=10), timedelta(seconds=30))
CAPS = st.timedeltas(timedelta(seconds=30), timedelta(hours=2))


@given(st.integers(1, 10**9), st.text(), BASES, CAPS)
def test_a_pause_is_bounded_by_its_cap_and_its_spread(
    attempts: int, key: str, base: timedelta, cap: timedelta
) -> None:
    delay = backoff_delay(attempts, key=key, base=base, cap=cap)

    assert base * 0.74 <= delay <= cap * 1.26


@given(st.integers(1, 30), st.text(), BASES, CAPS)
def test_a_pause_grows_with_every_attempt_until_the_cap(
    attempts: int, key: str, base: timedelta, cap: timedelta
) -> None:
    delay = backoff_delay(attempts, key=key, base=base, cap=cap)
    following = backoff_delay(attempts + 1, key=key, base=base, cap=cap)

    assert following > delay or base * 2**attempts > cap


def test_nothing_failed_means_no_pause() -> None:
    assert backoff_delay(0, key="a", base=timedelta(seconds=2), cap=timedelta(minutes=5)) == timedelta(0)


@given(st.text(), st.timedeltas(timedelta(seconds=1), timedelta(days=300)))
def test_an_interval_is_spread_by_a_tenth_and_the_same_for_the_same_key(
    key: str, interval: timedelta
) -> None:
    spread = spread_interval(interval, key=key)

    assert interval * 0.89 <= spread <= interval * 1.11
    assert spread == spread_interval(interval, key=key)


def test_a_fraction_is_the_same_in_every_process() -> None:
    assert round(hash_fraction("1c10766c"), 6) == 0.479581


@given(st.text())
def test_a_fraction_is_one(text: str) -> None:
    assert 0 <= hash_fraction(text) < 1


def test_many_keys_are_spread_evenly() -> None:
    fractions = [hash_fraction(f"uid-{number}") for number in range(2000)]

    tenths = [sum(low / 10 <= f < (low + 1) / 10 for f in fractions) for low in range(10)]
    assert min(tenths) > 120


def test_a_pause_is_over_when_its_time_has_come() -> None:
    minute = timedelta(minutes=1)

    assert not is_due(NOW, minute, NOW + minute * 0.99)
    assert is_due(NOW, minute, NOW + minute)


@pytest.mark.parametrize(("minutes", "left"), [(0, 10), (4, 6), (10, 0), (99, 0), (-60, 0)], ids=str)
def test_a_pause_gets_shorter_and_never_longer_though_the_clock_is_set_back(minutes: int, left: int) -> None:
    now = NOW + timedelta(minutes=minutes)

    assert time_left(NOW, timedelta(minutes=10), now) == timedelta(minutes=left)
