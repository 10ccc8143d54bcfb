"""What S3Store tells of how its requests ended, and the operator's opener of the bucket's name besides."""

import asyncio
from collections.abc import Iterator

import pytest

from dtool_operator.adapters.credentials import BucketCredentials
from dtool_operator.adapters.storage import S3StoreOpener
from dtool_s3.errors import AccessDenied, NotFound
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.faults import Request
from dtool_s3.store.s3 import S3Store
from tests.support.observed import bucket
from tests.support.scripted_s3 import Answer, ScriptedS3, error_answer, scripted_s3

KEYS = Credentials("AKIA", Secret("very-secret"))
EMPTY = Answer(body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")


@pytest.fixture
def script() -> Iterator[ScriptedS3]:
    with scripted_s3() as running:
        yield running


async def test_every_attempt_is_told_with_its_own_result(script: ScriptedS3) -> None:
    script.answers = [error_answer(503, "SlowDown"), error_answer(500, "InternalError"), EMPTY]
    told: list[tuple[Request, str]] = []

    async with S3Store(
        Endpoint(script.url, "us-east-1"),
        "lab",
        lambda: KEYS,
        on_answer=lambda request, result: told.append((request, result)),
    ) as store:
        await store.list("u/alice/")

    asked = Request("list", "lab", "u/alice/")
    assert told == [(asked, "Throttled"), (asked, "BucketUnreachable"), (asked, "ok")]


async def test_an_attempt_of_the_object_loop_is_told_too(script: ScriptedS3) -> None:
    script.answers = [Answer(404), error_answer(403, "AccessDenied")]
    told: list[tuple[str, str]] = []

    async with S3Store(
        Endpoint(script.url, "us-east-1"),
        "lab",
        lambda: KEYS,
        on_answer=lambda request, result: told.append((request.operation, result)),
    ) as store:
        with pytest.raises(NotFound):
            await store.head("key")
        with pytest.raises(AccessDenied):
            await store.get("key", max_bytes=1)

    assert told == [("head", "NotFound"), ("get", "Unanswered"), ("get", "AccessDenied")]


async def test_the_operators_own_requests_are_told_by_bucket_object(script: ScriptedS3) -> None:
    script.answers = [EMPTY]
    told: list[tuple[str, str, str, int]] = []
    opener = S3StoreOpener(lambda *one: told.append(one))

    store = opener(bucket(endpoint=script.url), BucketCredentials("1", KEYS))
    await store.list("")

    assert told == [("dtool-system/lab", "list", "ok", 1)]
    assert isinstance(store, S3Store)
    await asyncio.to_thread(store.close)
