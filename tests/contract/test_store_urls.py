"""URLs of objects, signed and public. One suite for every implementation."""

import pytest

from dtool_s3.errors import AccessDenied, NotFound, RequestRefused, SettingsError
from dtool_s3.store.protocol import UrlStore

DAY = 24 * 3600


@pytest.mark.parametrize("key", ["key", "ü +/100%/q?x=1&y#z", "u/alice/日本"])
async def test_anybody_reads_an_object_by_its_signed_url(store: UrlStore, key: str) -> None:
    await store.put(key, b"content")

    url = await store.presign("GET", key, expires_seconds=60)

    assert await store.fetch_unsigned(url, max_bytes=7) == b"content"


async def test_a_signed_url_is_for_its_object_alone(store: UrlStore) -> None:
    await store.put("key", b"content")
    await store.put("other", b"secret")
    url = await store.presign("GET", "key", expires_seconds=60)

    with pytest.raises(AccessDenied):
        await store.fetch_unsigned(url.replace("/key?", "/other?"), max_bytes=10)
    with pytest.raises(AccessDenied):
        await store.fetch_unsigned(url[:-4] + "0000", max_bytes=10)


async def test_an_object_without_a_signature_is_not_read(store: UrlStore) -> None:
    await store.put("key", b"content")

    with pytest.raises(AccessDenied):
        await store.fetch_unsigned(store.public_url("key"), max_bytes=10)


async def test_a_url_of_nothing_and_one_of_too_much_are_named_without_the_signature(store: UrlStore) -> None:
    await store.put("key", b"content")
    missing = await store.presign("GET", "missing", expires_seconds=60)
    large = await store.presign("GET", "key", expires_seconds=60)

    with pytest.raises(NotFound) as not_found:
        await store.fetch_unsigned(missing, max_bytes=10)
    with pytest.raises(RequestRefused) as too_large:
        await store.fetch_unsigned(large, max_bytes=6)

    assert too_large.value.code == "EntityTooLarge"
    assert "ignature" not in f"{not_found.value} {too_large.value}"


@pytest.mark.parametrize("seconds", [0, -1, 7 * DAY + 1])
async def test_a_signed_url_lives_at_most_seven_days(store: UrlStore, seconds: int) -> None:
    with pytest.raises(SettingsError):
        await store.presign("GET", "key", expires_seconds=seconds)

    assert await store.presign("GET", "key", expires_seconds=7 * DAY)


async def test_a_url_is_signed_for_reading_or_writing_only(store: UrlStore) -> None:
    with pytest.raises(SettingsError):
        await store.presign("DELETE", "key", expires_seconds=60)


async def test_a_public_url_names_the_object_and_has_no_query(store: UrlStore) -> None:
    url = store.public_url("u/ü")

    assert url.startswith(store.endpoint_url or "http")  # "": the environment may name one
    assert url.endswith("u/%C3%BC")
    assert "?" not in url


async def test_a_published_object_is_read_by_everybody_until_it_is_taken_back(store: UrlStore) -> None:
    await store.put("key", b"content")

    await store.make_public("key")

    assert await store.fetch_unsigned(store.public_url("key"), max_bytes=10) == b"content"
    await store.make_private("key")
    with pytest.raises(AccessDenied):
        await store.fetch_unsigned(store.public_url("key"), max_bytes=10)


async def test_what_is_not_there_is_not_published(store: UrlStore) -> None:
    with pytest.raises(NotFound):
        await store.make_public("missing")
