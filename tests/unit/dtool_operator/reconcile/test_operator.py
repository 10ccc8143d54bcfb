"""What the operator as a whole owes its users: nobody waits in vain, nobody's trouble is everybody's."""

import asyncio
from typing import Any

import pytest

from dtool_operator.errors import OperatorError
from dtool_operator.names import DATASET_PLURAL
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.eventually import eventually_async
from tests.support.play import Play

COPIES = [f"1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a{number:02}" for number in range(10, 16)]


async def test_with_one_place_everybody_has_a_turn_and_only_one_runs_at_a_time() -> None:
    play = await Play.start(max_transfers=1)
    await play.settle()
    running: list[int] = []

    def count() -> None:
        running.append(sum(play.operator.running().values()))

    for uuid in COPIES:
        await play.store_dataset(uuid=uuid)
    play.server.faults.append(Fault(operation="copy", hook=count, times=None))
    for uuid in COPIES:
        play.dataset("alice", f"raw-{uuid[-2:]}", source={"uri": f"s3://instrument-data/{uuid}"})
    await play.settle()

    states = {play.status("alice", f"raw-{uuid[-2:]}")["state"] for uuid in COPIES}
    assert states == {"Frozen"}
    assert set(running) == {1}
    await play.stop()


async def test_a_dataset_is_looked_at_when_its_bucket_becomes_ready_though_the_watch_lags(play: Play) -> None:
    await play.store_dataset()
    play.cluster.update_spec("dtoolbuckets", "dtool-system", "lab", suspend=True)
    await play.settle()
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()
    tell, late = play.cluster.on_change, []

    def lag(*event: Any) -> None:
        """Only what users do arrives; the echoes of the operator's own writes do not."""
        late.append(event)

    play.cluster.update_spec("dtoolbuckets", "dtool-system", "lab", suspend=False)
    play.cluster.on_change = lag
    await play.settle()

    assert tell is not None
    assert play.status("alice", "raw")["state"] == "Frozen"
    assert late


async def test_an_object_whose_spec_means_nothing_says_so_and_can_be_deleted(play: Play) -> None:
    await play.store_dataset()
    play.server.faults.append(Fault(operation="copy", hold=asyncio.Event(), times=None))
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await asyncio.sleep(0.2)
    assert any(play.operator.running().values())

    play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", annotations={"no name of dtool": 1})
    await play.settle()
    ready = play.condition("alice", "raw")
    assert (ready["reason"], play.status("alice", "raw")["state"]) == ("InvalidSpec", "Failed")
    assert not any(play.operator.running().values())
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    # rule 18: what was begun stays, for nobody can say where all of it is
    (event,) = [event for event in play.cluster.events if event.reason == "DataLeftBehind"]
    assert event.ref.name == "raw"
    assert UUID in event.message
    shown = play.operator._metrics.show()[1].decode()
    assert 'dtool_operator_left_behind_total{bucket="other"} 1.0' in shown


async def test_work_whose_end_cannot_be_seen_does_not_hold_up_what_nobody_can_read(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team takes its consent to Jobs back, and an edit of the CRD makes the spec mean nothing."""
    await play.store_dataset()
    play.server.faults.append(Fault(operation="copy", hold=asyncio.Event(), times=None))
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})

    async def runs() -> None:
        assert any(play.operator.running().values())

    await eventually_async(runs, within=10)
    end = play.operator._executor.cancel

    async def refuse(key: str) -> None:
        raise OperatorError("JobsForbidden", f"the operator may not run Jobs here ({key})")

    monkeypatch.setattr(play.operator._executor, "cancel", refuse)
    play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", annotations={"no name of dtool": 1})
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")

    async def is_gone() -> None:
        assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")

    await eventually_async(is_gone, within=10)
    monkeypatch.setattr(play.operator._executor, "cancel", end)


async def test_a_crash_becomes_a_condition_and_others_go_on(play: Play) -> None:
    await play.store_dataset()
    other = await play.store_dataset(uuid=COPIES[0])
    crash = RuntimeError("of a kind that nobody foresaw, with a secret in it")
    play.server.faults.append(Fault(key=f"dtool-{UUID}", hook=lambda: _raise(crash), times=None))

    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    play.dataset("alice", "fine", source={"uri": f"s3://instrument-data/{other.uuid}"})
    await play.settle()

    ready = play.condition("alice", "raw")
    assert (ready["status"], ready["reason"]) == ("False", "InternalError")
    assert "secret" not in ready["message"]
    assert play.status("alice", "fine")["state"] == "Frozen"


def _raise(error: Exception) -> None:
    raise error
