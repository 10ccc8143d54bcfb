"""What users do while the operator writes counts, though the watch tells of it late."""

from collections.abc import Mapping
from typing import Any

from dtool_operator.names import DATASET_PLURAL
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.play import Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


async def test_an_edit_that_an_own_write_overtakes_is_acted_on(play: Play) -> None:
    """The answer to the status shows the edit before its own event comes, which is then no news."""
    await play.store_dataset()
    tell = play.cluster.on_change
    assert tell is not None
    late: list[tuple[str, str, Mapping[str, Any]]] = []

    def suspend() -> None:
        play.cluster.on_change = lambda *event: late.append(event)
        play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", suspend=True)

    play.server.faults.append(
        Fault(operation="get", key=f"dtool-{UUID}", bucket="instrument-data", hook=suspend)
    )
    play.server.remove("instrument-data", f"dtool-{UUID}")
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    for event in late:
        tell(*event)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Suspended"
