"""A registration key that says something else, before, during and after a copy; UUID squatting (rule 6)."""

from dtool_operator.names import DATASET_PLURAL
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.play import Play

KEY = f"dtool-{UUID}"
SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


def below(play: Play, prefix: str) -> list[str]:
    return [key for key in play.server.keys("lab-data") if key.startswith(f"{prefix}{UUID}/")]


async def test_a_key_that_was_there_first_is_neither_overwritten_nor_followed(play: Play) -> None:
    """First come, first served: squatting a UUID stops a copy, and gives nobody data."""
    await play.store_dataset()
    play.server.write("lab-data", KEY, b"u/mallory/")

    play.dataset("alice", "mine", source=SOURCE)
    await play.settle()

    told = play.condition("alice", "mine")
    assert told["reason"] == "AlreadyInBucket"
    assert "mallory" not in told["message"], "where it lies is said to those who may read there"
    assert play.server.read("lab-data", KEY).body == b"u/mallory/"
    assert below(play, "u/mallory/") == below(play, "u/alice/") == []


async def test_a_derived_dataset_is_the_way_out_of_a_squatted_uuid(play: Play) -> None:
    await play.store_dataset()
    play.server.write("lab-data", KEY, b"u/mallory/")

    play.dataset("alice", "mine", source=SOURCE, identity="New")
    await play.settle()

    assert play.status("alice", "mine")["state"] == "Frozen"
    assert play.status("alice", "mine")["uuid"] != UUID


async def test_a_key_that_is_replaced_during_a_copy_keeps_it_from_freezing(play: Play) -> None:
    await play.store_dataset()

    def hijack() -> None:
        play.server.write("lab-data", KEY, b"u/mallory/")

    play.server.faults.append(Fault(operation="put", key=f"u/alice/{UUID}/manifest.json", hook=hijack))

    play.dataset("alice", "mine", source=SOURCE)
    await play.settle()

    assert play.status("alice", "mine")["state"] != "Frozen"
    assert play.condition("alice", "mine")["reason"] in {"RegistrationHijacked", "AlreadyInBucket"}
    assert play.server.read("lab-data", KEY).body == b"u/mallory/"


async def test_a_key_that_is_replaced_afterwards_is_an_incident_and_costs_no_data(play: Play) -> None:
    """Neither a look nor the deletion with all powers touches what the key names now, or what it named."""
    await play.store_dataset()
    play.dataset("alice", "mine", source=SOURCE, deletionPolicy="Delete")
    await play.settle()
    await play.store_dataset("lab-data", prefix="u/mallory/", items={"a.txt": b"poison"})
    before = play.server.keys("lab-data")
    request = {"dtool.dev/reconcileRequestedAt": "1"}
    play.cluster.set_annotations(DATASET_PLURAL, "alice", "mine", request)
    await play.settle()
    damaged = play.status("alice", "mine")["state"], play.condition("alice", "mine", "Verified")["reason"]

    play.cluster.delete(DATASET_PLURAL, "alice", "mine")
    await play.settle()

    assert damaged == ("Damaged", "RegistrationHijacked")
    assert not play.cluster.exists(DATASET_PLURAL, "alice", "mine")
    assert play.server.keys("lab-data") == before
