"""URLs for many coroutines: how few questions they are, and what a failed question means to each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dtool_operator.transfers.signing.url_desk import UrlDesk
from dtool_operator.transfers.signing.wire import MAX_BATCH, ReadAsked, Refusal, UrlAsked, UrlGiven
from dtool_s3.errors import AccessDenied, BucketUnreachable, DtoolS3Error


class Signer:
    """Answers when it is let; keys that begin with `no` are refused."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.was_asked = asyncio.Event()
        self.failure: DtoolS3Error | None = None

    async def sign(self, asked: Sequence[UrlAsked]) -> Sequence[UrlGiven | Refusal]:
        self.batches.append(len(asked))
        self.was_asked.set()
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [self.answer(one) for one in asked]

    def answer(self, asked: UrlAsked) -> UrlGiven | Refusal:
        assert isinstance(asked, ReadAsked)
        if asked.key.startswith("no"):
            return Refusal(error="AccessDenied", code="NotGranted", message="no")
        return UrlGiven(url=f"https://s3/{asked.key}?{len(self.batches)}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def desk(signer: Signer, clock: Clock) -> UrlDesk:
    return UrlDesk(signer.sign, expires_seconds=30, clock=clock)


def read(key: str | int) -> ReadAsked:
    return ReadAsked(do="get", key=str(key))


async def test_what_is_wanted_while_a_question_is_under_way_goes_together(
    desk: UrlDesk, signer: Signer
) -> None:
    signer.may_answer.clear()
    first = asyncio.ensure_future(desk.get(read(0)))
    await signer.was_asked.wait()
    rest = [asyncio.ensure_future(desk.get(read(number))) for number in range(1, 100)]
    await asyncio.sleep(0)

    signer.may_answer.set()
    given = await asyncio.gather(first, *rest)

    assert signer.batches == [1, 99]
    assert [one.url.partition("?")[0] for one in given] == [f"https://s3/{number}" for number in range(100)]


async def test_a_question_has_at_most_so_many(desk: UrlDesk, signer: Signer) -> None:
    await asyncio.gather(*(desk.get(read(number)) for number in range(MAX_BATCH + 1)))

    assert signer.batches == [MAX_BATCH, 1]


async def test_one_refusal_is_one_callers_trouble(desk: UrlDesk) -> None:
    good, bad = await asyncio.gather(desk.get(read("a")), desk.get(read("no")), return_exceptions=True)

    assert isinstance(good, UrlGiven)
    assert isinstance(bad, AccessDenied)
    assert bad.code == "NotGranted"


async def test_a_failed_question_fails_all_of_it_and_the_next_is_asked(desk: UrlDesk, signer: Signer) -> None:
    signer.failure = BucketUnreachable("away", code="503")
    failed = await asyncio.gather(*(desk.get(read(number)) for number in range(3)), return_exceptions=True)
    assert [type(one) for one in failed] == [BucketUnreachable] * 3
    signer.failure = None

    assert (await desk.get(read("a"))).url.startswith("https://s3/a")


async def test_a_kept_url_serves_until_shortly_before_it_expires(
    desk: UrlDesk, signer: Signer, clock: Clock
) -> None:
    first = await desk.get_kept(read("a"))
    clock.now = 24.9
    assert await desk.get_kept(read("a")) == first

    clock.now = 25.1
    second = await desk.get_kept(read("a"))
    desk.forget(read("a"))
    third = await desk.get_kept(read("a"))

    assert len({first.url, second.url, third.url}) == 3


async def test_who_does_not_wait_any_more_is_left_out(desk: UrlDesk, signer: Signer) -> None:
    given_up = asyncio.ensure_future(desk.get(read("a")))
    kept = asyncio.ensure_future(desk.get(read("b")))
    await asyncio.sleep(0)
    given_up.cancel()

    assert (await kept).url.startswith("https://s3/b")
    assert signer.batches == [1]


async def test_closing_lets_nobody_wait_for_ever(desk: UrlDesk, signer: Signer) -> None:
    signer.may_answer.clear()
    asked = asyncio.ensure_future(desk.get(read("a")))
    await signer.was_asked.wait()
    behind = asyncio.ensure_future(desk.get(read("b")))
    await asyncio.sleep(0)

    await desk.close()

    for waiting in (asked, behind):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 5)
