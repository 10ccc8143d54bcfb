"""How often a request is repeated."""

from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    PreconditionFailed,
    StorageError,
    Throttled,
)
from dtool_s3.store.boto.retry import Retry

AT_ONCE = Retry(attempts=4, first_ceiling_seconds=0.0)
CONFLICT = PreconditionFailed("conflict", code="ConditionalRequestConflict")


class Requests:
    """Answers with errors first, then with the number of the attempt."""

    def __init__(self, *errors: StorageError) -> None:
        self.attempts: list[int] = []
        self._answers: Iterator[StorageError | None] = chain(errors, repeat(None))

    async def send(self, attempt: int) -> int:
        self.attempts.append(attempt)
        if (error := next(self._answers)) is not None:
            raise error
        return attempt


@pytest.mark.parametrize(
    "error",
    [BucketUnreachable("x"), Throttled("x"), BadDigest("x"), CONFLICT],
    ids=lambda e: type(e).__name__,
)
async def test_what_may_pass_is_repeated_until_it_succeeds(error: StorageError) -> None:
    requests = Requests(error, error)

    assert await AT_ONCE.repeat(requests.send) == 2
    assert requests.attempts == [0, 1, 2]


@pytest.mark.parametrize("error", [AccessDenied("x"), PreconditionFailed("x", code="PreconditionFailed")])
async def test_a_refusal_is_not_repeated(error: StorageError) -> None:
    requests = Requests(error)

    with pytest.raises(type(error)):
        await AT_ONCE.repeat(requests.send)

    assert requests.attempts == [0]


async def test_the_last_failure_is_raised_after_all_attempts() -> None:
    errors = [Throttled(f"{number}") for number in range(9)]
    requests = Requests(*errors)

    with pytest.raises(Throttled, match="3"):
        await AT_ONCE.repeat(requests.send)

    assert requests.attempts == [0, 1, 2, 3]


async def test_a_single_attempt_is_possible() -> None:
    requests = Requests(Throttled("x"))

    with pytest.raises(Throttled):
        await Retry(attempts=1).repeat(requests.send)

    assert requests.attempts == [0]


def test_the_ceiling_of_a_wait_doubles_up_to_a_limit() -> None:
    ceilings = [Retry().ceiling_seconds(attempt) for attempt in (0, 1, 2, 5, 6, 1000)]

    assert ceilings == [0.2, 0.4, 0.8, 6.4, 10.0, 10.0]
