"""A bucket that takes requests and never answers: its users' trouble, nobody else's."""

import asyncio

import pytest

from dtool_operator.adapters import storage
from dtool_operator.names import BUCKET_PLURAL
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.play import Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.2)


async def test_looks_at_a_bucket_that_hangs_leave_room_for_others(play: Play) -> None:
    """The stage has four workers; eight objects hang."""
    await play.store_dataset()
    play.server.faults.append(Fault(key="dtool-00000000-*", hold=asyncio.Event(), times=None))
    for number in range(8):
        uuid = f"00000000-0000-4000-8000-00000000000{number}"
        play.dataset("alice", f"hangs-{number}", source={"uri": f"s3://instrument-data/{uuid}"})
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle(within=10)

    assert play.status("alice", "raw")["state"] == "Frozen"
    hanging = play.condition("alice", "hangs-0")
    assert (hanging["reason"], hanging["status"]) == ("BucketUnreachable", "False")


@pytest.mark.parametrize("generation", [0, 1], ids=["at its listing", "at its self-test"])
async def test_a_bucket_object_whose_bucket_hangs_says_so(play: Play, generation: int) -> None:
    play.server.faults.append(Fault(bucket="lab-data", hold=asyncio.Event(), times=None))
    if generation:
        play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-central-1")
    request = {"dtool.dev/reconcileRequestedAt": "now"}
    play.cluster.set_annotations(BUCKET_PLURAL, "dtool-system", "lab", request)
    await play.settle(within=10)

    ready = play.condition("dtool-system", "lab", plural=BUCKET_PLURAL)
    assert (ready["reason"], ready["status"]) == ("BucketUnreachable", "False")
