"""Frozen datasets over time: README, tags and annotations from the spec, verification, quotas, owners."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from dtool_operator.reconcile.relations import object_key
from dtool_s3.creation import create_proto
from dtool_s3.layout import DatasetLayout, item_identifier
from tests.support.datasets import UUID, DatasetFixture
from tests.support.play import Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}
TARGET = DatasetFixture(prefix="u/alice/").layout


async def copied(play: Play, **spec: Any) -> None:
    """Bring a dataset to Frozen."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE, **spec)
    await play.settle()
    assert play.status("alice", "raw")["state"] == "Frozen"


def edit(play: Play, **changes: Any) -> None:
    play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", **changes)


def request(play: Play, name: str, value: str = "now") -> None:
    play.cluster.set_annotations(DATASET_PLURAL, "alice", "raw", {f"dtool.dev/{name}": value})


def tags(play: Play) -> set[str]:
    start = TARGET.tag_key("")
    return {key.removeprefix(start) for key in play.server.keys("lab-data") if key.startswith(start)}


async def test_rule_13_the_specs_metadata_come_on_top_of_the_sources(play: Play) -> None:
    await copied(play, readme="description: ours\n", tags=["green"], annotations={"phase": [1, 2]})

    assert tags(play) == {"blue", "green"}
    assert play.server.read("lab-data", TARGET.readme_key).body == b"description: ours\n"
    assert json.loads(play.server.read("lab-data", TARGET.annotation_key("phase")).body) == [1, 2]
    assert json.loads(play.server.read("lab-data", TARGET.annotation_key("project")).body) == "atlas"
    assert [k for k in play.server.keys("lab-data") if k.startswith(f"{TARGET.readme_key}-")]
    assert play.status("alice", "raw")["managed"] == {"tags": ["green"], "annotations": ["phase"]}
    assert play.condition("alice", "raw", "MetadataSynced")["status"] == "True"


@pytest.mark.parametrize("spec", [{"tags": ["green"]}, {"readme": "ours: 1\n"}], ids=["tags", "readme"])
async def test_rule_13_a_copy_is_not_ready_before_it_has_what_the_spec_adds(
    play: Play, spec: dict[str, Any]
) -> None:
    told, pass_on = [], play.cluster.on_change
    assert pass_on is not None

    def note(plural: str, event: str, body: Mapping[str, Any]) -> None:
        if plural == DATASET_PLURAL:
            told.append({one["type"]: one["status"] for one in body.get("status", {}).get("conditions", ())})
        pass_on(plural, event, body)

    play.cluster.on_change = note
    await copied(play, **spec)

    assert {one["MetadataSynced"] for one in told if one.get("Ready") == "True"} == {"True"}
    assert {one["MetadataSynced"] for one in told if one.get("Frozen") == "True"} == {"False", "True"}


async def test_tags_that_the_spec_no_longer_names_go_and_everybody_elses_stay(play: Play) -> None:
    await copied(play, tags=["green", "blue"])
    play.server.write("lab-data", TARGET.tag_key("theirs"), b"")

    edit(play, tags=[])
    await play.settle()

    assert tags(play) == {"blue", "theirs"}
    assert "managed" not in play.status("alice", "raw")


async def test_drift_of_metadata_is_repaired_at_the_next_look(play: Play) -> None:
    await copied(play, tags=["green"], readme="description: ours\n")
    play.server.remove("lab-data", TARGET.tag_key("green"))
    play.server.write("lab-data", TARGET.readme_key, b"scribbled")

    request(play, "reconcileRequestedAt")
    await play.settle()

    assert "green" in tags(play)
    assert play.server.read("lab-data", TARGET.readme_key).body == b"description: ours\n"


async def test_metadata_that_cannot_be_written_are_said_and_the_data_stay_frozen(play: Play) -> None:
    await copied(play)
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", accessMode="ReadOnly")
    await play.settle()

    edit(play, tags=["green"])
    await play.settle()

    assert play.condition("alice", "raw", "MetadataSynced")["reason"] == "ReadOnlyBucket"
    assert play.condition("alice", "raw")["status"] == "False"
    assert play.condition("alice", "raw", "Frozen")["status"] == "True"


async def test_rule_21_a_verification_is_made_on_request_and_echoed(play: Play) -> None:
    await copied(play)
    before = len(play.server.requests)

    request(play, "verifyRequestedAt", "please")
    await play.settle()

    assert play.status("alice", "raw")["lastHandledVerifyAt"] == "please"
    assert len(play.server.requests) > before
    assert play.status("alice", "raw")["state"] == "Frozen"


async def test_rule_16_reading_finds_bytes_that_changed_after_freezing(play: Play) -> None:
    await copied(play, verify={"interval": "168h", "method": "Content"})
    key = TARGET.item_key(item_identifier("a.txt"))
    play.server.write("lab-data", key, b"ALPHA", metadata=play.server.read("lab-data", key).info.metadata)

    request(play, "verifyRequestedAt")
    await play.settle()

    status = play.status("alice", "raw")
    assert (status["state"], status["verified"]["mismatchCount"]) == ("Damaged", 1)
    assert status["verified"]["mismatches"][0]["relpath"] == "a.txt"
    assert play.condition("alice", "raw", "Verified")["reason"] == "ContentDiffers"
    assert play.condition("alice", "raw", "Frozen")["status"] == "True"

    await play.restart_operator()
    await play.settle()
    assert play.status("alice", "raw")["state"] == "Damaged"


async def test_an_idle_frozen_dataset_costs_no_request_of_its_own(play: Play) -> None:
    await copied(play)
    await play.restart_operator()
    await play.settle()

    play.server.requests.clear()
    for one in play.operator.world.datasets("alice"):
        play.operator.queue.add(object_key(DATASET_PLURAL, one.meta))
    await play.settle()

    assert [request for request in play.server.requests if UUID in request.key] == []


async def test_rule_16_a_dataset_that_a_listing_misses_is_missing_at_once(play: Play) -> None:
    await copied(play)
    for key in play.server.keys("lab-data"):
        if UUID in key:
            play.server.remove("lab-data", key)

    play.cluster.set_annotations(
        BUCKET_PLURAL, "dtool-system", "lab", {"dtool.dev/reconcileRequestedAt": "1"}
    )
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Damaged"
    assert play.condition("alice", "raw", "Verified")["reason"] == "DatasetMissing"


async def test_rule_8_a_namespace_keeps_no_more_than_its_quota(play: Play) -> None:
    limits = {"perNamespace": {"datasets": 1, "sizeBytes": 1000}}
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", limits=limits)
    await copied(play)

    play.dataset("alice", "plate")
    await play.settle()

    assert play.condition("alice", "plate")["reason"] == "QuotaExceeded"


async def test_rule_17_a_copy_that_is_larger_than_the_room_left_writes_nothing(play: Play) -> None:
    limits = {"perNamespace": {"sizeBytes": 100}}
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", limits=limits)
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()

    assert play.condition("alice", "raw")["reason"] == "QuotaExceeded"
    assert TARGET.registration_key not in play.server.keys("lab-data")


async def test_rule_4_a_take_over_replaces_exactly_the_named_owner(play: Play) -> None:
    await copied(play)
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()
    play.cluster.delete_namespace("alice")
    play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
    await play.settle()
    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()
    said = play.condition("alice", "raw")
    assert said["reason"] == "PrefixOwnedByOther"
    owner = said["message"].rsplit("fromOwner: ", 1)[1].rstrip(".")

    take_over = [{"namespace": "alice", "fromOwner": owner}]
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", takeOver=take_over)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    marker = json.loads(play.server.read("lab-data", "u/alice/.dtool-owner").body)
    assert f"{marker['cluster']}/{marker['namespaceUid']}" != owner


async def test_rule_4_whoever_adopts_a_proto_dataset_owns_its_prefix(play: Play) -> None:
    """A namespace of the same name that is made later owns nothing of it, and removes nothing."""
    store, layout = play.server.store("lab-data"), DatasetLayout("u/alice/", UUID)
    await create_proto(store, layout, name="raw", creator_username="olssont")
    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()
    assert play.status("alice", "raw")["state"] == "Proto"
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()
    play.cluster.delete_namespace("alice")
    play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
    await play.settle()

    play.dataset("alice", "mine", uuid=UUID, deletionPolicy="Delete")
    await play.settle()
    assert play.condition("alice", "mine")["reason"] == "PrefixOwnedByOther"
    play.cluster.delete(DATASET_PLURAL, "alice", "mine")
    await play.settle()

    assert layout.admin_metadata_key in play.server.keys("lab-data")


async def test_rule_16_damage_that_a_listing_found_is_looked_for_once_in_a_while(play: Play) -> None:
    await copied(play)
    play.server.remove("lab-data", TARGET.item_key(item_identifier("a.txt")))
    request(play, "verifyRequestedAt")
    await play.settle()
    assert play.condition("alice", "raw", "Verified")["reason"] == "ItemMissing"
    play.server.requests.clear()

    for one in play.operator.world.datasets("alice"):
        play.operator.queue.add(object_key(DATASET_PLURAL, one.meta))
    await play.settle()

    assert [r for r in play.server.requests if r.operation == "list"] == []
    assert play.status("alice", "raw")["verified"]["mismatches"][0]["relpath"] == "a.txt"


async def test_rule_16_a_repair_is_found_on_request(play: Play) -> None:
    await copied(play)
    key = TARGET.item_key(item_identifier("a.txt"))
    was = play.server.read("lab-data", key)
    play.server.remove("lab-data", key)
    request(play, "verifyRequestedAt")
    await play.settle()
    assert play.status("alice", "raw")["state"] == "Damaged"

    play.server.write("lab-data", key, was.body, metadata=was.info.metadata)
    request(play, "reconcileRequestedAt")
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert play.condition("alice", "raw", "Verified")["status"] == "True"


async def test_rule_7_keys_that_are_refused_do_not_flip_a_frozen_dataset(play: Play) -> None:
    await copied(play)
    play.server.rejected_identities.add("lab-s3")

    request(play, "verifyRequestedAt")
    await play.settle()

    assert play.condition("alice", "raw")["status"] == "True"
    assert play.status("alice", "raw")["state"] in {"Frozen", "Verifying"}
    assert "lastHandledVerifyAt" not in play.status("alice", "raw")


async def test_rule_22_the_operator_writes_label_finalizer_and_status_and_never_the_spec(play: Play) -> None:
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE, tags=["green"], deletionPolicy="Delete")
    applied = play.cluster.get(DATASET_PLURAL, "alice", "raw")

    await play.settle()

    now = play.cluster.get(DATASET_PLURAL, "alice", "raw")
    assert now["spec"] == applied["spec"]
    changed = {name for name in now["metadata"] if now["metadata"][name] != applied["metadata"].get(name)} - {
        "resourceVersion"
    }
    assert changed == {"labels", "finalizers"}
    assert now["metadata"]["labels"] == {"dtool.dev/uuid": UUID}
    assert now["metadata"]["finalizers"] == ["dtool.dev/finalizer"]


async def test_a_listing_that_shows_a_dataset_again_has_it_looked_at(play: Play) -> None:
    await copied(play)
    play.server.write("lab-data", TARGET.registration_key, b"u/mallory/")
    ask_for_a_listing(play, "1")
    await play.settle()
    assert play.condition("alice", "raw", "Verified")["reason"] == "RegistrationHijacked"

    play.server.write("lab-data", TARGET.registration_key, b"u/alice/")
    ask_for_a_listing(play, "2")
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert play.condition("alice", "raw", "Verified")["status"] == "True"


def ask_for_a_listing(play: Play, value: str) -> None:
    asked = {"dtool.dev/reconcileRequestedAt": value}
    play.cluster.set_annotations(BUCKET_PLURAL, "dtool-system", "lab", asked)
