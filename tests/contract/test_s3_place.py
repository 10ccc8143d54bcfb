"""The place that a test gets on S3, and that nothing of it stays."""

from collections.abc import AsyncIterator

import pytest

from dtool_s3.store.s3 import S3Store
from tests.support.s3_place import S3Place


@pytest.fixture
async def store(s3_place: S3Place) -> AsyncIterator[S3Store]:
    async with S3Store(s3_place.endpoint, s3_place.bucket, s3_place.credentials) as opened:
        yield opened


async def test_a_place_is_emptied_of_all_that_was_made(s3_place: S3Place, store: S3Store) -> None:
    foreign = await s3_place.list_registrations(store)
    named, told = s3_place.layout(), s3_place.layout(f"00000000-0000-4000-8000-{s3_place.prefix[-13:-1]}")
    for key in (named.registration_key, named.structure_key, told.structure_key):
        await store.put(key, b"")
    await store.put(told.registration_key, s3_place.prefix.encode())
    await store.start_upload(told.readme_key, {})

    await s3_place.remove_all(foreign)

    assert await s3_place.list_registrations(store) == foreign
    assert (await store.list(s3_place.prefix)).objects == ()
    assert await store.list_uploads(s3_place.prefix) == ()


async def test_a_registration_key_of_somebody_else_stays(s3_place: S3Place, store: S3Store) -> None:
    theirs = s3_place.layout().registration_key
    await store.put(theirs, b"u/somebody/")

    await s3_place.remove_all({theirs})

    assert theirs in await s3_place.list_registrations(store)


def test_a_place_gives_the_environment_of_a_dtool_user(s3_place: S3Place) -> None:
    assert s3_place.environment[f"DTOOL_S3_DATASET_PREFIX_{s3_place.bucket}"] == s3_place.prefix
    assert s3_place.environment["DTOOL_CACHE_DIRECTORY"]
