"""Rule 5: how long the word of the API server is believed, and how much strangers may ask for."""

from __future__ import annotations

import asyncio

import pytest

from dtool_operator.errors import ApiFailure
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.signing.authentication import (
    FAILURE_WINDOW_SECONDS,
    KNOWN_SECONDS,
    MAX_FAILURES,
    UNKNOWN_SECONDS,
    Authenticator,
    TooManyFailures,
)
from tests.support.signing import FakeReviewer, build_job

HERE = "10.0.0.1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def reviewer() -> FakeReviewer:
    return FakeReviewer({"good": build_job()})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(reviewer: FakeReviewer, clock: Clock) -> Authenticator:
    return Authenticator(reviewer, clock=clock)


async def test_a_token_is_asked_about_once_a_minute(
    authenticator: Authenticator, reviewer: FakeReviewer, clock: Clock
) -> None:
    for _ in range(3):
        assert await authenticator.find_job("good", address=HERE) == build_job()
    assert reviewer.asked == 1

    clock.now += KNOWN_SECONDS
    del reviewer.jobs["good"]

    assert await authenticator.find_job("good", address=HERE) is None
    assert reviewer.asked == 2


async def test_a_token_that_means_nothing_is_asked_about_again_soon(
    authenticator: Authenticator, reviewer: FakeReviewer, clock: Clock
) -> None:
    assert await authenticator.find_job("new", address=HERE) is None
    reviewer.jobs["new"] = build_job(2)
    assert await authenticator.find_job("new", address=HERE) is None

    clock.now += UNKNOWN_SECONDS

    assert await authenticator.find_job("new", address=HERE) == build_job(2)
    assert reviewer.asked == 2


async def test_many_who_bear_one_token_are_one_question(
    authenticator: Authenticator, reviewer: FakeReviewer
) -> None:
    found = await asyncio.gather(*(authenticator.find_job("good", address=HERE) for _ in range(50)))

    assert found == [build_job()] * 50
    assert reviewer.asked == 1


@pytest.mark.parametrize("token", ["", "x" * 8193])
async def test_what_can_be_no_token_is_not_asked_about(
    authenticator: Authenticator, reviewer: FakeReviewer, token: str
) -> None:
    assert await authenticator.find_job(token, address=HERE) is None
    assert reviewer.asked == 0


async def test_an_address_that_guesses_waits_and_others_do_not(
    authenticator: Authenticator, clock: Clock
) -> None:
    for number in range(MAX_FAILURES):
        await authenticator.find_job(f"guess-{number}", address=HERE)

    with pytest.raises(TooManyFailures):
        await authenticator.find_job("one more", address=HERE)
    assert await authenticator.find_job("good", address="10.0.0.2") == build_job()
    assert await authenticator.find_job("good", address=HERE) == build_job()  # known already
    clock.now += FAILURE_WINDOW_SECONDS
    assert await authenticator.find_job("one more", address=HERE) is None


async def test_what_is_remembered_is_bounded(authenticator: Authenticator) -> None:
    for number in range(3000):
        await authenticator.find_job(f"token-{number}", address=f"10.0.{number // 10}")

    assert len(authenticator._known) <= 2048
    assert len(authenticator._failures) <= 2048


async def test_an_api_server_that_does_not_say_is_asked_again(
    authenticator: Authenticator, reviewer: FakeReviewer
) -> None:
    reviewer.failure = ApiFailure("no answer")
    with pytest.raises(ApiFailure):
        await authenticator.find_job("good", address=HERE)
    reviewer.failure = None

    assert await authenticator.find_job("good", address=HERE) == JobRef(
        "alice", "dtool-upload-1", "job-uid-1"
    )


async def test_no_token_is_kept(authenticator: Authenticator) -> None:
    await authenticator.find_job("good", address=HERE)

    assert "good" not in repr(vars(authenticator) | {"_reviewer": None})
