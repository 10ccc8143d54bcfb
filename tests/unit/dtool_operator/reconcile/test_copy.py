"""A dataset's way from `apply` to Frozen, whatever happens on it; on a fake cluster and a memory store."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, FINALIZER
from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import item_identifier
from dtool_s3.store.faults import Fault
from tests.support.datasets import ITEMS, UUID, DatasetFixture
from tests.support.play import ADMITTED, Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}
TARGET = DatasetFixture(prefix="u/alice/").layout


async def test_a_copy_ends_frozen_and_verified_under_the_namespaces_prefix(play: Play) -> None:
    """Rules 3 and 22: under the derived prefix; the object gets its label, and keeps no finalizer."""
    await play.store_dataset()

    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()

    status = play.status("alice", "raw")
    assert (status["state"], status["items"], status["sizeBytes"]) == ("Frozen", 3, 209)
    assert status["uri"] == f"s3://lab-data/{UUID}"
    assert status["verified"]["evidence"] == {"etagMD5": 3, "read": 0, "sameAsSource": 0}
    for type_ in ("Ready", "Frozen", "Verified", "MetadataSynced"):
        assert play.condition("alice", "raw", type_)["status"] == "True"
    assert not play.condition("alice", "raw", "Reconciling")
    assert play.server.read("lab-data", TARGET.registration_key).body == b"u/alice/"
    metadata = play.cluster.get(DATASET_PLURAL, "alice", "raw")["metadata"]
    assert metadata["labels"]["dtool.dev/uuid"] == UUID
    assert FINALIZER not in metadata.get("finalizers", [])


async def test_the_finalizer_and_the_owner_marker_come_before_the_first_write(play: Play) -> None:
    """Rules 4 and 11."""
    await play.store_dataset()
    seen: list[bool] = []

    def look() -> None:
        metadata = play.cluster.get(DATASET_PLURAL, "alice", "raw")["metadata"]
        has_marker = "u/alice/.dtool-owner" in play.server.keys("lab-data")
        seen.append(FINALIZER in metadata.get("finalizers", []) and has_marker)

    play.server.faults.append(Fault(operation="put", key="dtool-*", hook=look))
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()

    assert seen == [True]


async def test_a_second_operator_over_unchanged_objects_writes_nothing(play: Play) -> None:
    """Rule 10."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    play.dataset("mallory", "raw", source=SOURCE)
    await play.settle()
    await play.restart_operator()
    await play.settle()
    writes = len(play.cluster.writes)
    objects = _puts(play)

    await play.restart_operator()
    await play.settle()

    assert play.cluster.writes[writes:] == []
    assert [key for key in _puts(play)[len(objects) :] if "selftest" not in key] == []


async def test_an_operator_killed_at_any_request_converges_to_the_same_state() -> None:
    """Rules 10 and 15."""
    clean = await _run_to_the_end(kill_at=None)
    requests = clean["requests"]
    assert requests > 30

    for kill_at in range(requests):
        killed = await _run_to_the_end(kill_at=kill_at)
        assert killed["keys"] == clean["keys"], f"killed at request {kill_at}"
        assert killed["state"] == "Frozen", f"killed at request {kill_at}"
        assert max(killed["copies"].values()) <= 2, f"killed at request {kill_at}"


async def _run_to_the_end(*, kill_at: int | None) -> dict[str, Any]:
    """Copy a dataset; hold the k-th request for ever, stop the operator there, and start another one."""
    play = await Play.start()
    await play.settle()
    await play.store_dataset()
    reached, never = asyncio.Event(), asyncio.Event()
    if kill_at is not None:
        play.server.faults.append(Fault(skip=kill_at, times=None, hook=reached.set, hold=None))
        play.server.faults.append(Fault(skip=kill_at, times=None, hold=never))
    play.dataset("alice", "raw", source=SOURCE)
    if kill_at is not None:
        await asyncio.wait_for(reached.wait(), 10)
        # the dead ask for nothing: no request of a clean-up gets through
        play.server.faults[:] = [Fault(error=BucketUnreachable("dead"), times=None)]
        await play.stop()
        play.server.faults.clear()
        await play.restart_operator()
    await play.settle()
    copied = [r.key for r in play.server.requests if r.operation == "copy"]
    result = {
        "keys": play.server.keys("lab-data"),
        "state": play.status("alice", "raw")["state"],
        "copies": {key: copied.count(key) for key in copied},
        "requests": len(play.server.requests),
    }
    await play.stop()
    return result


async def test_missing_source_and_bucket_that_come_later_need_no_edit(play: Play) -> None:
    """Rule 20: what may come from outside is waited for."""
    ref = {"name": "later", "namespace": "dtool-system"}
    play.dataset("alice", "raw", bucketRef=ref, source={"uri": f"s3://other-data/{UUID}"})
    await play.settle()
    assert play.condition("alice", "raw")["reason"] == "BucketNotFound"

    play.bucket("later", allowedNamespaces=ADMITTED, prefixTemplate="w/{namespace}/", credentials=KEYS)
    await play.settle()
    assert play.condition("alice", "raw")["reason"] == "SourceNotAllowed"

    play.server.create_bucket("other-data")
    await play.store_dataset("other-data")
    play.bucket(
        "others",
        bucket="other-data",
        accessMode="ReadOnly",
        readAccess="Bucket",
        allowedNamespaces=ADMITTED,
        credentials=KEYS,
    )
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"


KEYS = {"secretRef": {"name": "lab-s3"}}


async def test_a_dataset_that_is_in_the_bucket_already_is_not_copied(play: Play) -> None:
    """Rule 11: it names the place only to those who may see it."""
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    await play.store_dataset()
    play.dataset("bob", "raw", source=SOURCE)
    await play.settle()

    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()

    ready = play.condition("alice", "raw")
    assert ready["reason"] == "AlreadyInBucket"
    assert "u/bob/" not in ready["message"]
    assert not any(key.startswith("u/alice/") for key in play.server.keys("lab-data"))


async def test_adopting_what_is_registered_elsewhere_is_uuid_taken(play: Play) -> None:
    """Rules 6 and 11."""
    await play.store_dataset("lab-data", prefix="u/bob/")

    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()

    assert play.condition("alice", "raw")["reason"] == "UUIDTaken"


async def test_a_frozen_dataset_that_is_there_is_adopted_without_a_write(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")

    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert play.condition("alice", "raw", "Verified")["status"] == "True"
    written = [r for r in play.server.requests if r.operation in {"put", "copy", "delete"}]
    assert {r.key for r in written if "selftest" not in r.key} == {"u/alice/.dtool-owner"}


async def test_an_adopted_dataset_with_a_hole_is_not_frozen(play: Play) -> None:
    """Rule 13."""
    await play.store_dataset("lab-data", prefix="u/alice/", stored={"a.txt": None})

    play.dataset("alice", "raw", uuid=UUID)
    await play.settle()

    assert play.condition("alice", "raw")["reason"] == "ItemMissing"
    assert play.condition("alice", "raw", "Frozen")["status"] == "False"


async def test_a_namespace_that_was_created_again_does_not_own_the_prefix(play: Play) -> None:
    """Rule 4: the owner is an identity and not a name."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    marker = play.server.read("lab-data", "u/alice/.dtool-owner").body

    play.cluster.delete_namespace("alice")
    await play.settle()
    play.cluster.create_namespace("alice", {"dtool.dev/lab": "true"})
    play.dataset("alice", "again", source=SOURCE)
    await play.settle()

    ready = play.condition("alice", "again")
    assert ready["reason"] == "PrefixOwnedByOther"
    assert play.operator.world.cluster_uid in ready["message"]
    assert play.server.read("lab-data", "u/alice/.dtool-owner").body == marker


async def test_suspending_cancels_and_resuming_copies_only_what_is_missing(play: Play) -> None:
    """Rules 15 and 20."""
    await play.store_dataset()
    hold = asyncio.Event()
    last = TARGET.item_key(max(item_identifier(relpath) for relpath in ITEMS))
    play.server.faults.append(Fault(operation="copy", key=last, hold=hold))
    play.dataset("alice", "raw", source=SOURCE)
    await _until(lambda: sum(r.operation == "head" for r in play.server.requests) >= len(ITEMS) - 1)

    play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", suspend=True)
    await play.settle()
    assert play.status("alice", "raw")["state"] == "Suspended"
    assert play.condition("alice", "raw")["status"] == "False"
    play.server.requests.clear()
    play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", suspend=False)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert [r.key for r in play.server.requests if r.operation == "copy"] == [last]


async def test_withdrawn_consent_cancels_and_deletes_nothing(play: Play) -> None:
    """Rule 5."""
    await play.store_dataset()
    hold = asyncio.Event()
    play.server.faults.append(Fault(operation="copy", hold=hold, times=None))
    play.dataset("alice", "raw", source=SOURCE)
    await _until(lambda: any(r.operation == "copy" for r in play.server.requests))

    play.cluster.label_namespace("alice", {"dtool.dev/lab": None})
    await play.settle()
    assert play.condition("alice", "raw")["reason"] == "NamespaceNotAllowed"
    keys = play.server.keys("lab-data")
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert play.server.keys("lab-data") == keys


async def test_deleting_an_unfinished_copy_removes_it(play: Play) -> None:
    """Rule 18."""
    await play.store_dataset()
    play.server.faults.append(Fault(operation="copy", hold=asyncio.Event(), times=None))
    play.dataset("alice", "raw", source=SOURCE)
    await _until(lambda: any(r.operation == "copy" for r in play.server.requests))

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert play.server.keys("lab-data") == ["u/alice/.dtool-owner"]


async def test_deleting_a_frozen_copy_keeps_the_data(play: Play) -> None:
    """Rule 18."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    keys = play.server.keys("lab-data")

    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()

    assert not play.cluster.exists(DATASET_PLURAL, "alice", "raw")
    assert play.server.keys("lab-data") == keys


@pytest.mark.parametrize(
    ("harm", "reason"),
    [("missing", "DatasetMissing"), ("hijacked", "RegistrationHijacked")],
)
async def test_harm_to_a_frozen_dataset_is_an_incident_and_never_repaired_silently(
    play: Play, harm: str, reason: str
) -> None:
    """Rules 6 and 16."""
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    if harm == "missing":
        play.server.remove("lab-data", TARGET.admin_metadata_key)
    else:
        play.server.write("lab-data", TARGET.registration_key, b"u/mallory/")
    puts = _puts(play)

    play.cluster.set_annotations(DATASET_PLURAL, "alice", "raw", {"dtool.dev/reconcileRequestedAt": "1"})
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Damaged"
    assert play.condition("alice", "raw", "Verified") | {"reason": reason} == play.condition(
        "alice", "raw", "Verified"
    )
    assert _puts(play) == puts


async def test_credentials_that_change_during_a_copy_reach_the_worker(play: Play) -> None:
    """Rule 19."""
    await play.store_dataset()
    play.server.rejected_identities.add("expired")
    play.secret("lab-s3", key_id="expired")
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="x")
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    assert play.condition("alice", "raw")["reason"] == "BucketNotReady"

    play.secret("lab-s3", key_id="fresh")
    request = {"dtool.dev/reconcileRequestedAt": "1"}
    play.cluster.set_annotations(BUCKET_PLURAL, "dtool-system", "lab", request)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"


async def test_a_dataset_of_the_same_kind_with_an_older_sibling_yields(play: Play) -> None:
    """Rule 11."""
    await play.store_dataset()
    play.dataset("alice", "first", source=SOURCE)
    await play.settle()

    play.dataset("alice", "second", source=SOURCE)
    await play.settle()

    names = {n: play.condition("alice", n)["reason"] for n in ("first", "second")}
    assert sorted(names.values()) == ["ClaimedByAnother", "Succeeded"]


async def test_a_bucket_of_a_team_serves_its_own_namespace_once_the_role_is_bound(play: Play) -> None:
    await play.store_dataset()
    play.secret("own", namespace="mallory")
    play.server.create_bucket("team-data")
    play.bucket("own", namespace="mallory", bucket="team-data", credentials={"secretRef": {"name": "own"}})
    await play.settle()
    forbidden = play.condition("mallory", "own", plural=BUCKET_PLURAL)
    assert forbidden["reason"] == "SecretForbidden"
    assert "kubectl create rolebinding" in forbidden["message"]

    play.cluster.let_operator_read_secrets("mallory")
    request = {"dtool.dev/reconcileRequestedAt": "1"}
    play.cluster.set_annotations(BUCKET_PLURAL, "mallory", "own", request)
    await play.settle()

    assert play.condition("mallory", "own", plural=BUCKET_PLURAL)["status"] == "True"


RESERVED: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("ambient credentials", {"credentials": None}),
    ("admitting others", {"allowedNamespaces": {"from": "All"}}),
    ("overrides", {"prefixOverrides": [{"namespace": "alice", "prefix": "u/x/"}]}),
    ("take-over", {"takeOver": [{"namespace": "alice", "fromOwner": "a/b"}]}),
)


@pytest.mark.parametrize(("power", "spec"), RESERVED, ids=[power for power, _ in RESERVED])
async def test_a_reserved_power_on_a_teams_bucket_is_refused(
    play: Play, power: str, spec: Mapping[str, Any]
) -> None:
    full = {"credentials": {"secretRef": {"name": "own"}}, **spec}
    play.bucket("own", namespace="mallory", **{k: v for k, v in full.items() if v is not None})
    await play.settle()

    ready = play.condition("mallory", "own", plural=BUCKET_PLURAL)
    assert (ready["status"], ready["reason"]) == ("False", "ReservedForAdministrators")
    assert play.condition("mallory", "own", "Stalled", BUCKET_PLURAL)["status"] == "True"


def _puts(play: Play) -> list[str]:
    return [r.key for r in play.server.requests if r.operation in {"put", "copy"}]


async def _until(check: Any) -> None:
    for _ in range(2000):
        if check():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came so far")


async def test_looks_for_a_changed_secret_ask_nothing_of_s3(play: Play) -> None:
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    play.server.requests.clear()

    for bucket in play.operator.world.view().buckets:
        if bucket.name == "instruments":
            await play.operator.buckets.reconcile(bucket)

    assert play.server.requests == []
