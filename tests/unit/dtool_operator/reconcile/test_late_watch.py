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


async def test_a_namespace_that_was_created_again_is_not_taken_for_the_one_that_ends(play: Play) -> None:
    """Namespaces and datasets have watches of their own: the dataset may be told first."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    tell = play.cluster.on_change
    assert tell is not None
    late: list[tuple[Any, ...]] = []

    def lag(plural: str, event: str, body: Any) -> None:
        """Only that the namespace is being deleted comes in time."""
        if plural == "namespaces" and event != "MODIFIED":
            late.append((plural, event, body))
        else:
            tell(plural, event, body)

    play.cluster.on_change = lag
    play.cluster.delete_namespace("alice")
    await play.settle()
    play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
    play.dataset("alice", "again", source=SOURCE)
    await play.settle()
    assert play.status("alice", "again")["state"] == "Pending"

    for event in late:
        tell(*event)
    await play.settle()

    assert len(late) == 2
    assert play.condition("alice", "again")["reason"] == "PrefixOwnedByOther"


async def test_a_namespace_that_was_created_again_unseen_is_asked_for_before_anything_is_written(
    play: Play,
) -> None:
    """The watch of namespaces may be silent altogether; the API server itself is asked before a write."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    tell = play.cluster.on_change
    assert tell is not None
    play.cluster.on_change = lambda plural, *event: None if plural == "namespaces" else tell(plural, *event)
    play.server.remove("lab-data", "u/alice/.dtool-owner")
    keys = play.server.keys("lab-data")

    play.cluster.delete_namespace("alice")
    await play.settle()
    play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
    play.dataset("alice", "again", source=SOURCE)
    await play.settle()

    assert play.status("alice", "again").get("state") in {None, "Pending"}
    assert play.server.keys("lab-data") == keys
