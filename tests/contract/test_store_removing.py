"""Many objects removed at once. One suite for every implementation."""

import asyncio

import pytest

from dtool_s3.errors import AccessDenied, BucketNotFound
from dtool_s3.store.protocol import Store, UrlStore
from tests.support.services import LIMITED, SHARED, STRANGER, Service


async def keys(store: Store, prefix: str = "") -> list[str]:
    return [listed.key for listed in (await store.list(prefix)).objects]


async def test_many_objects_are_removed_and_no_other(store: UrlStore) -> None:
    for key in ("a/1", "a/2", "a/3", "b"):
        await store.put(key, b"")

    await store.delete_many(["a/1", "a/3", "a/never-there", "a/1"])

    assert await keys(store) == ["a/2", "b"]
    await store.delete_many([])
    assert await keys(store) == ["a/2", "b"]


@pytest.mark.parametrize("name", ["a b", "ü/日本", "a+b", "100%", "<x>&'\"", "q?x=1&y", "tab\there"])
async def test_odd_keys_are_removed(store: UrlStore, name: str) -> None:
    await store.put(name, b"")
    await store.put("other", b"")

    await store.delete_many([name])

    assert await keys(store) == ["other"]


@pytest.mark.parametrize("name", ["bell\x07", "\x1funit"])
async def test_keys_that_xml_cannot_say_are_no_obstacle(store: UrlStore, name: str) -> None:
    await store.put("key", b"")

    await store.delete_many(["key", name])

    assert await keys(store) == []


async def test_more_than_a_thousand_objects_are_removed(store: UrlStore) -> None:
    names = [f"items/{number:04}" for number in range(1003)]
    await asyncio.gather(*(store.put(name, b"") for name in names))
    await store.put("kept", b"")

    await store.delete_many(names)

    assert await keys(store) == ["kept"]


async def test_the_objects_that_may_be_removed_are_gone_when_another_may_not(service: Service) -> None:
    mine, theirs = f"u/alice/{service.bucket}", f"u/bob/{service.bucket}"
    admin = service.as_admin(SHARED)
    await admin.put(mine, b"")
    await admin.put(theirs, b"")

    with pytest.raises(AccessDenied, match=theirs):
        await service.open(SHARED, LIMITED).delete_many([theirs, mine])

    assert await keys(admin, mine) == []
    assert await keys(admin, theirs) == [theirs]
    with pytest.raises(AccessDenied):
        await service.open(SHARED, STRANGER).delete_many([theirs])
    await admin.delete_many([theirs])


async def test_removing_from_a_missing_bucket_says_so(service: Service) -> None:
    with pytest.raises(BucketNotFound, match="no-such-bucket"):
        await service.as_admin("no-such-bucket").delete_many(["key"])
