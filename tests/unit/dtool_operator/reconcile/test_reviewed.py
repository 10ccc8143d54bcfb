"""What reviewers found by playing interleavings that nobody had thought of, one after the other."""

import asyncio
from typing import Any

from dtool_operator.names import DATASET_PLURAL
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID, DatasetFixture
from tests.support.eventually import eventually_async
from tests.support.play import Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}
TARGET = DatasetFixture(prefix="u/alice/").layout


def edit(play: Play, name: str = "raw", **changes: Any) -> None:
    play.cluster.update_spec(DATASET_PLURAL, "alice", name, **changes)


async def suspend_at_the_end_of_a_copy(play: Play) -> None:
    """Suspend an object after its worker has ended, and before that is looked at."""
    await play.store_dataset()
    held = asyncio.Event()
    play.server.faults.append(Fault(operation="copy", hold=held, times=None))
    play.dataset("alice", "raw", source=SOURCE)

    async def has_begun() -> None:
        assert any(request.operation == "copy" for request in play.server.requests)

    await eventually_async(has_begun, within=10)
    ended, tell = asyncio.Event(), play.operator._waking.place_is_free

    def suspend() -> None:
        edit(play, suspend=True)
        ended.set()
        tell()

    play.operator._waking.place_is_free = suspend  # type: ignore[method-assign]
    held.set()
    await asyncio.wait_for(ended.wait(), 10)
    play.operator._waking.place_is_free = tell  # type: ignore[method-assign]
    await play.settle()


async def test_rule_13_a_copy_that_went_while_it_was_suspended_is_not_reported_frozen(play: Play) -> None:
    await suspend_at_the_end_of_a_copy(play)
    assert play.status("alice", "raw")["state"] == "Suspended"
    for key in [key for key in play.server.keys("lab-data") if UUID in key]:
        play.server.remove("lab-data", key)

    edit(play, suspend=False)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert TARGET.admin_metadata_key in play.server.keys("lab-data")
