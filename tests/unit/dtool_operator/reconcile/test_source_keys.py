"""Which keys a copy is read with, where several bucket objects know the source."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from dtool_operator.names import DATASET_PLURAL
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.eventually import eventually_async
from tests.support.play import ADMITTED, Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


async def test_new_keys_of_the_bucket_object_that_is_read_reach_a_running_worker() -> None:
    """An older bucket object of the same bucket lets nobody read; its keys are not the worker's."""
    play = await Play.start()
    play.cluster.delete("dtoolbuckets", "dtool-system", "instruments")
    times = iter((datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)))
    play.cluster._kept._now = lambda: next(times)  # which one is older counts
    for name, access in (("a-narrow", "Prefix"), ("b-wide", "Bucket")):
        play.secret(name)
        play.bucket(
            name,
            bucket="instrument-data",
            accessMode="ReadOnly",
            readAccess=access,
            acknowledgedPrefixes=[""],
            prefixTemplate=f"{name}/{{namespace}}/",
            allowedNamespaces=ADMITTED,
            credentials={"secretRef": {"name": name}},
        )
    play.cluster._kept._now = lambda: datetime.now(UTC)
    await play.settle()
    await play.store_dataset()
    play.server.faults.append(Fault(operation="copy", hold=asyncio.Event(), times=None))
    play.dataset("alice", "raw", source=SOURCE)
    executor: Any = play.operator._executor
    uid = play.cluster.ref(DATASET_PLURAL, "alice", "raw").uid

    async def reads_with(key_id: str) -> None:
        assert uid in executor.credentials
        assert executor.credentials[uid].source.access_key_id == key_id

    async def begins() -> None:
        await reads_with("b-wide")

    async def has_fresh_keys() -> None:
        await reads_with("fresh")

    await eventually_async(begins, within=10)
    play.secret("b-wide", key_id="fresh")
    request = {"dtool.dev/reconcileRequestedAt": "now"}
    play.cluster.set_annotations(DATASET_PLURAL, "alice", "raw", request)

    await eventually_async(has_fresh_keys, within=5)
    await play.stop()
