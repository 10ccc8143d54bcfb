"""Keys for looks: read once for all of a moment, never old (rule 19); the cluster is played."""

import asyncio
from datetime import datetime, timedelta

import pytest

from dtool_operator.adapters.cluster import SecretData
from dtool_operator.adapters.credentials_cache import LIFETIME, CredentialsCache
from dtool_operator.errors import OperatorError
from tests.support.fake_cluster import FakeCluster
from tests.support.observed import ADMIN, NOW, bucket, changed

LAB = bucket(credentials={"secretRef": {"name": "lab-s3"}})
OTHER = bucket("other", credentials={"secretRef": {"name": "lab-s3"}})


class SlowCluster(FakeCluster):
    """Answers after other work had its turn, and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__(operator_namespace=ADMIN)
        self.read = 0

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        self.read += 1
        await asyncio.sleep(0)
        return await super().read_secret(namespace, name)


class Stage:
    """A Secret, a clock, and the cache."""

    def __init__(self) -> None:
        self.cluster, self.now = SlowCluster(), NOW
        self.put("AK")
        self.cache = CredentialsCache(self.cluster, self.clock)

    def clock(self) -> datetime:
        return self.now

    def put(self, key_id: str) -> None:
        keys = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": "sk"}
        self.cluster.put_secret(ADMIN, "lab-s3", keys)

    async def key_id(self) -> str:
        credentials = (await self.cache.read(LAB)).credentials
        assert credentials is not None
        return credentials.access_key_id


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_many_looks_of_one_moment_read_a_secret_once(stage: Stage) -> None:
    found = await asyncio.gather(*(stage.cache.read(LAB) for _ in range(20)))

    assert stage.cluster.read == 1
    assert found == [found[0]] * 20


async def test_every_bucket_object_has_its_own(stage: Stage) -> None:
    await asyncio.gather(stage.cache.read(LAB), stage.cache.read(OTHER))

    assert stage.cluster.read == 2


AGES = {
    "a moment later": (LIFETIME - timedelta(milliseconds=1), "AK"),
    "seconds later": (LIFETIME, "NEW"),
    "by a clock that was set back": (timedelta(seconds=-1), "NEW"),
}


@pytest.mark.parametrize("age", AGES)
async def test_rule_19_keys_that_changed_are_seen(stage: Stage, age: str) -> None:
    passed, expected = AGES[age]
    await stage.cache.read(LAB)
    stage.put("NEW")
    stage.now += passed

    assert await stage.key_id() == expected


async def test_rule_19_keys_that_changed_are_seen_at_once_where_somebody_asks(stage: Stage) -> None:
    await stage.cache.read(LAB)
    stage.put("NEW")

    stage.cache.clear()

    assert await stage.key_id() == "NEW"


async def test_an_edited_bucket_object_is_read_for_anew(stage: Stage) -> None:
    await stage.cache.read(LAB)

    await stage.cache.read(changed(LAB, generation=2))

    assert stage.cluster.read == 2


async def test_what_could_not_be_read_is_not_remembered(stage: Stage) -> None:
    stage.cluster.put_secret(ADMIN, "lab-s3", {})
    with pytest.raises(OperatorError):
        await stage.cache.read(LAB)

    stage.put("NEW")

    assert await stage.key_id() == "NEW"
