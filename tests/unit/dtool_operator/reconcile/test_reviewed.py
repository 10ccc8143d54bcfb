"""What reviewers found by playing interleavings that nobody had thought of, one after the other."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, FINALIZER, LABEL_UUID
from dtool_operator.reconcile.queue import Key
from dtool_operator.reconcile.waiting import WaitingRoom
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID, DatasetFixture, md5
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


@pytest.mark.parametrize("first", ["original", "copy"])
async def test_what_a_label_alone_says_costs_no_other_objects_dataset_rule_11(play: Play, first: str) -> None:
    """An exported object that is applied again for something else brings label and finalizer along."""
    await play.store_dataset("lab-data", prefix="u/alice/")
    source = {"dataset": {"name": "not-there-yet"}}
    applied: dict[str, dict[str, Any]] = {"original": {"uuid": UUID}, "copy": {"source": source}}
    for name in (first, *(applied.keys() - {first})):
        play.dataset("alice", name, deletionPolicy="Delete", **applied[name])
    await play.settle()
    await mark(play, "copy", UUID)
    keys = play.server.keys("lab-data")

    play.cluster.delete(DATASET_PLURAL, "alice", "copy")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "copy")
    assert play.server.keys("lab-data") == keys


async def test_what_a_label_alone_says_costs_no_frozen_dataset_rule_11(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.dataset("alice", "copy", deletionPolicy="Delete", source={"dataset": {"name": "not-there-yet"}})
    await play.settle()
    await mark(play, "copy", UUID)
    keys = set(play.server.keys("lab-data"))

    play.cluster.delete(DATASET_PLURAL, "alice", "copy")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "copy")
    assert keys <= set(play.server.keys("lab-data"))


async def mark(play: Play, name: str, uuid: str) -> None:
    """Put the operator's label and finalizer on an object, as a user may."""
    body = play.cluster.get(DATASET_PLURAL, "alice", name)
    await play.cluster.patch_metadata(
        play.cluster.ref(DATASET_PLURAL, "alice", name),
        resource_version=body["metadata"]["resourceVersion"],
        finalizers=(FINALIZER,),
        labels={LABEL_UUID: uuid},
    )


async def test_a_label_that_is_no_uuid_names_nothing_to_be_removed(play: Play) -> None:
    play.dataset("alice", "first")
    play.dataset("alice", "copy", deletionPolicy="Delete", source={"dataset": {"name": "not-there-yet"}})
    await play.settle()
    play.server.write("lab-data", "u/alice/run-17/plain", b"an object of theirs")
    await mark(play, "copy", "run-17")

    play.cluster.delete(DATASET_PLURAL, "alice", "copy")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "copy")
    assert "u/alice/run-17/plain" in play.server.keys("lab-data")


async def test_rule_13_metadata_are_not_called_synced_before_they_are_written(play: Play) -> None:
    tell, told = play.cluster.on_change, []
    assert tell is not None

    def listen(plural: str, event: str, body: dict[str, Any]) -> None:
        tell(plural, event, body)
        conditions = {c["type"]: c["status"] for c in body.get("status", {}).get("conditions", [])}
        if plural == DATASET_PLURAL and conditions.get("MetadataSynced") == "True":
            told.append(TARGET.tag_key("green") in play.server.keys("lab-data"))

    play.cluster.on_change = listen
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE, tags=["green"])
    await play.settle()

    assert told == [True]


async def test_rule_13_metadata_that_are_not_in_place_keep_it_from_being_ready(play: Play) -> None:
    """Also while nobody can look at them."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    play.server.allows = lambda _, operation, __, key: operation != "put" or "/tags/" not in key
    edit(play, tags=["green"])
    await play.settle()
    assert play.condition("alice", "raw", "MetadataSynced")["status"] == "False"

    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", suspend=True)
    await play.settle()

    assert play.condition("alice", "raw", "MetadataSynced")["status"] == "False"
    assert play.condition("alice", "raw")["status"] == "False"
    assert play.condition("alice", "raw")["reason"] == "AccessDenied"


async def test_rule_14_what_is_written_after_the_flip_is_damage_of_a_frozen_dataset() -> None:
    play = await Play.start(freeze_quiet_period=timedelta(0))
    play.dataset("alice", "raw")
    await play.settle()
    layout = DatasetLayout("u/alice/", play.status("alice", "raw")["uuid"])
    late = layout.item_key(item_identifier("late.txt"))
    has_flipped = False

    def write_late(_: str | None, operation: str, __: str, key: str) -> bool:
        nonlocal has_flipped
        if has_flipped:
            play.server.write("lab-data", late, b"late", metadata=item_metadata("late.txt", md5(b"late")))
            play.server.allows = None
        has_flipped = operation == "put" and key == layout.admin_metadata_key
        return True

    play.server.allows = write_late
    edit(play, freeze=True)
    await play.settle()

    assert late in play.server.keys("lab-data")
    verified = play.condition("alice", "raw", "Verified")
    assert (verified["status"], verified["reason"]) == ("False", "WrittenWhileFreezing")
    assert play.condition("alice", "raw", "Frozen")["status"] == "True"
    assert play.condition("alice", "raw")["status"] == "False"
    assert (play.status("alice", "raw")["state"], play.status("alice", "raw")["items"]) == ("Damaged", 0)
    await play.stop()


async def test_rule_6_a_proto_that_lost_its_registration_key_is_not_ready(play: Play) -> None:
    play.dataset("alice", "raw")
    await play.settle()
    play.server.remove("lab-data", f"dtool-{play.status('alice', 'raw')['uuid']}")

    play.cluster.set_annotations(DATASET_PLURAL, "alice", "raw", {"dtool.dev/reconcileRequestedAt": "now"})
    await play.settle()

    ready = play.condition("alice", "raw")
    assert (ready["status"], ready["reason"]) == ("False", "RegistrationMissing")


async def test_rule_6_a_registration_key_that_later_says_otherwise_is_an_incident_of_a_proto_too(
    play: Play,
) -> None:
    play.dataset("alice", "raw")
    await play.settle()
    play.server.write("lab-data", f"dtool-{play.status('alice', 'raw')['uuid']}", b"u/mallory/")

    play.cluster.set_annotations(DATASET_PLURAL, "alice", "raw", {"dtool.dev/reconcileRequestedAt": "now"})
    await play.settle()

    ready = play.condition("alice", "raw")
    assert (ready["status"], ready["reason"]) == ("False", "RegistrationHijacked")
    assert "Delete this object" not in ready["message"]


OTHER = "0b0c91b5-2a20-46e7-be45-003d662e9731"


async def take_all_places(play: Play) -> asyncio.Event:
    """Let one copy begin, which is all that may run, and come no further until the event is set."""
    await play.store_dataset()
    held = asyncio.Event()
    play.server.faults.append(Fault(operation="copy", hold=held, times=None))
    play.dataset("alice", "long", source=SOURCE)

    async def runs() -> None:
        assert play.operator.running()

    await eventually_async(runs, within=10)
    return held


def look_now(play: Play, name: str) -> None:
    play.cluster.set_annotations(DATASET_PLURAL, "alice", name, {"dtool.dev/reconcileRequestedAt": "now"})


async def until_looked_at(play: Play, name: str) -> None:
    async def is_answered() -> None:
        assert play.status("alice", name).get("lastHandledReconcileAt") == "now"

    await eventually_async(is_answered, within=10)


async def test_rule_20_an_adopted_proto_stays_ready_while_all_places_are_taken() -> None:
    play = await Play.start(max_transfers=1)
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER, is_frozen=False)
    play.dataset("alice", "raw", uuid=OTHER)
    await play.settle()
    await take_all_places(play)

    look_now(play, "raw")
    await until_looked_at(play, "raw")

    assert play.status("alice", "raw")["state"] == "Proto"
    assert play.condition("alice", "raw")["status"] == "True"
    await play.stop()


async def test_rule_20_what_only_an_edit_changes_is_still_said_while_all_places_are_taken() -> None:
    play = await Play.start(max_transfers=1)
    await play.store_dataset(uuid=OTHER)
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER, items={"x": b"another"})
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{OTHER}"})
    await play.settle()
    await play.restart_operator()
    await play.settle()
    await take_all_places(play)
    looks = len(play.server.requests)

    play.cluster.label_namespace("alice", {"whatever": "wakes-its-objects"})

    async def is_looked_at() -> None:
        assert play.operator.queue.is_quiet(timedelta(0))

    await eventually_async(is_looked_at, within=10)
    assert play.condition("alice", "raw")["reason"] == "ContentDiffers"
    assert not [r for r in play.server.requests[looks:] if OTHER in r.key]
    await play.stop()


async def test_rule_18_running_work_is_cancelled_before_s3_is_asked(play: Play) -> None:
    await take_all_places(play)
    play.server.faults.insert(0, Fault(operation="get", hold=asyncio.Event(), times=None))

    play.cluster.delete(DATASET_PLURAL, "alice", "long")

    async def has_ended() -> None:
        assert not play.operator.running()

    await eventually_async(has_ended, within=10)
    play.server.faults.clear()


async def test_rule_18_a_deletion_does_not_wait_for_all_that_wait_for_a_place() -> None:
    room = WaitingRoom()
    for name in ("first", "second"):
        room.add(Key(DATASET_PLURAL, "alice", name))
    room.add(Key(DATASET_PLURAL, "alice", "deleted"), is_urgent=True)

    assert [key.uid for key in room.call(3)] == ["deleted", "first", "second"]


async def test_rule_18_a_deletion_without_a_place_is_called_when_there_is_one() -> None:
    play = await Play.start(max_transfers=1)
    await play.store_dataset("lab-data", prefix="u/alice/", uuid=OTHER)
    play.dataset("alice", "raw", uuid=OTHER, deletionPolicy="Delete")
    await play.settle()
    held = await take_all_places(play)
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")

    async def waits() -> None:
        assert play.operator.queue.is_quiet(timedelta(0))

    await eventually_async(waits, within=10)
    started = asyncio.get_running_loop().time()
    held.set()

    async def is_gone() -> None:
        assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")

    await eventually_async(is_gone, within=10)
    assert asyncio.get_running_loop().time() - started < 1.5  # a look in vain is repeated after 2 s
    await play.stop()


@pytest.mark.parametrize("kind", ["frozen", "proto"])
async def test_rule_18_delete_counts_though_it_was_asked_for_while_suspended(play: Play, kind: str) -> None:
    await play.store_dataset()
    play.dataset("alice", "raw", **({"source": SOURCE} if kind == "frozen" else {}))
    await play.settle()

    edit(play, suspend=True, deletionPolicy="Delete")
    await play.settle()
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert play.server.keys("lab-data") == ["u/alice/.dtool-owner"]


async def test_rule_18_delete_counts_though_it_was_asked_for_while_the_bucket_was_suspended(
    play: Play,
) -> None:
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", suspend=True)
    await play.settle()

    edit(play, deletionPolicy="Delete")
    await play.settle()

    assert play.cluster.get(DATASET_PLURAL, "alice", "raw")["metadata"]["finalizers"] == [FINALIZER]


@pytest.mark.parametrize("is_frozen", [True, False], ids=["frozen", "proto"])
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_rule_18_what_a_copy_was_refused_to_replace_stays(
    play: Play, policy: str, *, is_frozen: bool
) -> None:
    """Also where the refusal is not the last thing that was said of the object."""
    await play.store_dataset()
    there = {"prefix": "u/alice/", "items": {"precious": b"only here"}, "is_frozen": is_frozen}
    await play.store_dataset("lab-data", **there)
    keys = set(play.server.keys("lab-data"))
    play.dataset("alice", "raw", source=SOURCE, deletionPolicy=policy)
    await play.settle()
    assert play.condition("alice", "raw")["reason"] == "ContentDiffers"
    edit(play, suspend=True)
    await play.settle()

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert keys <= set(play.server.keys("lab-data"))
    assert any(event.reason == "DataLeftBehind" for event in play.cluster.events)


async def test_rule_17_copies_that_begin_at_once_do_not_exceed_the_quota_together() -> None:
    play = await Play.start()
    limits = {"perNamespace": {"sizeBytes": 450}}
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", limits=limits)
    await play.settle()
    uuids = [f"{number}b0c91b5-2a20-46e7-be45-003d662e9731" for number in range(3)]
    for number, uuid in enumerate(uuids):
        await play.store_dataset(uuid=uuid)  # 209 bytes
        play.dataset("alice", f"raw-{number}", source={"uri": f"s3://instrument-data/{uuid}"})

    async def have_ended() -> None:
        said = sorted(play.condition("alice", f"raw-{number}").get("reason", "") for number in range(3))
        assert said == ["QuotaExceeded", "Succeeded", "Succeeded"]

    await eventually_async(have_ended, within=10)
    await play.stop()
