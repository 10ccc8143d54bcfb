"""Counts, powers and keys of a bucket object while things change around it."""

import asyncio
from datetime import timedelta

import pytest

from dtool_operator.adapters.credentials import read_credentials
from dtool_operator.errors import OperatorError
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from dtool_s3.errors import BucketUnreachable
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.eventually import eventually_async
from tests.support.fake_cluster import FakeCluster
from tests.support.observed import bucket
from tests.support.play import Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


async def _begin_copy(play: Play) -> None:
    await play.store_dataset()
    play.server.faults.append(Fault(operation="copy", hold=asyncio.Event(), times=None))
    play.dataset("alice", "raw", source=SOURCE)

    async def has_begun() -> None:
        assert any(r.operation == "copy" for r in play.server.requests)

    await eventually_async(has_begun, within=10)


async def test_a_dataset_that_arrives_during_a_listing_is_counted_by_another_one(play: Play) -> None:
    uid = play.cluster.ref(BUCKET_PLURAL, "dtool-system", "lab").uid
    fault = Fault(
        operation="list", key="dtool-", bucket="lab-data", hook=lambda: play.operator.buckets.note_change(uid)
    )
    play.server.faults.append(fault)
    request = {"dtool.dev/reconcileRequestedAt": "now"}

    play.cluster.set_annotations(BUCKET_PLURAL, "dtool-system", "lab", request)
    await play.settle()

    assert fault.hits == 1
    known = play.operator.buckets._memories[uid].listed
    assert known is not None
    assert known.is_stale


async def test_rule_7_the_namespace_whose_prefix_is_ours_is_found_behind_many_that_own_nothing(
    play: Play,
) -> None:
    for number in range(40):
        play.cluster.create_namespace(f"aaa-{number:02}", {"dtool.dev/lab": "true"})
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()
    play.server.requests.clear()

    await play.restart_operator()
    await play.settle()

    written = [r.key for r in play.server.requests if r.operation == "put"]
    assert written, "the self-test of a new operator writes its probe"
    assert all(key.startswith("u/alice/.dtool-") for key in written)


async def test_a_bucket_that_is_made_read_only_ends_a_copy_though_it_does_not_answer(play: Play) -> None:
    await _begin_copy(play)
    error = BucketUnreachable("the endpoint does not answer")
    play.server.faults.append(Fault(bucket="lab-data", error=error, times=None))

    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", accessMode="ReadOnly")
    await play.settle()

    assert play.condition("alice", "raw")["reason"] == "ReadOnlyBucket"
    assert not any(play.operator.running().values())


async def test_what_waits_for_a_place_is_looked_at_when_an_invalid_object_gives_one_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dtool_operator.planning.following.QUEUE_PATIENCE", timedelta(0))
    play = await Play.start(max_transfers=1)
    await play.settle()
    await _begin_copy(play)
    other = await play.store_dataset(uuid="1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22")
    play.dataset("alice", "next", source={"uri": f"s3://instrument-data/{other.uuid}"})

    async def is_queued() -> None:
        assert play.condition("alice", "next").get("reason") == "Queued"

    await eventually_async(is_queued, within=5)
    play.server.faults.clear()
    uid = play.cluster.ref(DATASET_PLURAL, "alice", "next").uid
    for key in list(play.operator.queue._timers):
        if key.uid == uid:  # its own pause may be minutes
            play.operator.queue._drop_timer(key)

    play.cluster.update_spec(DATASET_PLURAL, "alice", "raw", annotations={"no name of dtool": 1})
    await play.settle()

    assert play.status("alice", "next")["state"] == "Frozen"
    await play.stop()


@pytest.mark.parametrize("field", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
async def test_keys_end_where_a_line_of_the_secret_ends_and_never_hold_another(field: str) -> None:
    cluster = FakeCluster()
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "token"}
    cluster.put_secret("dtool-system", "lab-s3", {**keys, field: f"{keys[field]}\n"})

    credentials = (await read_credentials(cluster, bucket())).credentials

    assert credentials is not None
    assert credentials.session_token is not None
    assert (credentials.access_key_id, credentials.session_token.reveal()) == ("id", "token")
    cluster.put_secret("dtool-system", "lab-s3", {**keys, field: "first\nsecond"})
    with pytest.raises(OperatorError) as refused:
        await read_credentials(cluster, bucket())
    assert refused.value.reason == "SecretInvalid"
    assert field in refused.value.message
    assert "second" not in refused.value.message
