"""Whatever is wrong ends in a condition with its reason, an Event, and a pause; nothing looks frozen."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL
from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import item_identifier
from dtool_s3.store.faults import Fault
from tests.support.datasets import ITEMS, UUID, DatasetFixture
from tests.support.play import SECRET_KEY, Play

Arrange = Callable[[Play], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """What somebody did, and what the dataset says; `bucket_reason`: what the bucket object says."""

    name: str
    arrange: Arrange
    reason: str
    says: str
    bucket_reason: str | None = None


async def _no_source(play: Play) -> None:
    pass


def _source(**fields: Any) -> Arrange:
    async def arrange(play: Play) -> None:
        await play.store_dataset(**fields)

    return arrange


def _manifest_with(**items: dict[str, Any]) -> bytes:
    return json.dumps({"hash_function": "md5sum_hexdigest", "items": items}).encode()


def _manifest_item(relpath: str) -> dict[str, dict[str, Any]]:
    item = {"relpath": relpath, "size_in_bytes": 1, "hash": "0" * 32, "utc_timestamp": 0.0}
    return {item_identifier(relpath): item}


async def _endpoint_is_down(play: Play) -> None:
    await play.store_dataset()
    error = BucketUnreachable("the endpoint does not answer")
    play.server.faults.append(Fault(bucket="lab-data", error=error, times=None))
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-central-1")
    await play.settle()


async def _keys_are_wrong(play: Play) -> None:
    await play.store_dataset()
    play.server.rejected_identities.add("wrong")
    play.secret("lab-s3", key_id="wrong")
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-central-1")
    await play.settle()


async def _bucket_is_missing(play: Play) -> None:
    await play.store_dataset()
    play.server.delete_bucket("lab-data")
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-central-1")
    await play.settle()


async def _secret_is_missing(play: Play) -> None:
    await play.store_dataset()
    play.cluster.delete_secret("dtool-system", "lab-s3")
    play.cluster.update_spec(BUCKET_PLURAL, "dtool-system", "lab", region="eu-central-1")
    await play.settle()


def _all_but_writing_for_alice(_identity: str | None, operation: str, _bucket: str, key: str) -> bool:
    return operation not in {"put", "copy", "start_upload"} or not key.startswith("u/alice/")


async def _prefix_is_forbidden(play: Play) -> None:
    await play.store_dataset()
    play.server.allows = _all_but_writing_for_alice


CASES = (
    Case("an unreachable endpoint", _endpoint_is_down, "BucketNotReady", "lab", "BucketUnreachable"),
    Case("wrong keys", _keys_are_wrong, "BucketNotReady", "lab", "CredentialsRejected"),
    Case("a missing bucket", _bucket_is_missing, "BucketNotReady", "lab", "BucketNotFound"),
    Case("a missing Secret", _secret_is_missing, "BucketNotReady", "lab", "SecretNotFound"),
    Case("a forbidden prefix", _prefix_is_forbidden, "AccessDenied", "u/alice/"),
    Case("a source that is not there", _no_source, "SourceNotFound", UUID),
    Case("a proto dataset as source", _source(is_frozen=False), "SourceNotFrozen", "proto"),
    Case("a manifest that is not JSON", _source(manifest_body=b"{"), "InvalidManifest", "JSON"),
    Case(
        "two items that the data do not hold",
        _source(stored={"a.txt": None, "sub/b.csv": None}),
        "ItemMissing",
        "2 items",
    ),
    Case(
        "a relpath that leaves the directory",
        _source(manifest_body=_manifest_with(**_manifest_item("../x"))),
        "UnsafePath",
        "../x",
    ),
    Case(
        "an item whose bytes differ from the manifest",
        _source(stored={"a.txt": b"ALPHA"}),
        "SourceDamaged",
        "a.txt",
    ),
    Case(
        "an item whose size differs from the manifest",
        _source(stored={"a.txt": b"alpha and more"}),
        "SourceDamaged",
        "a.txt",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_ends_in_a_condition_an_event_and_a_pause(case: Case, play: Play) -> None:
    await case.arrange(play)

    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()

    ready = play.condition("alice", "raw")
    assert (ready["status"], ready["reason"]) == ("False", case.reason)
    assert case.says in ready["message"]
    assert case.reason in {event.reason for event in play.cluster.events if event.ref.name == "raw"}
    if case.bucket_reason is not None:
        bucket = play.condition("dtool-system", "lab", plural=BUCKET_PLURAL)
        assert (bucket["status"], bucket["reason"]) == ("False", case.bucket_reason)
    assert_nothing_looks_frozen(play)
    assert_no_secret_is_told(play)


async def test_a_failed_copy_is_not_tried_again_at_once(play: Play) -> None:
    await play.store_dataset(stored={"a.txt": b"ALPHA"})
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()
    starts = _proto_looks(play)

    for _ in range(20):
        play.cluster.set_annotations("dtooldatasets", "alice", "raw", {"somebody": "else"})
        await play.settle()

    assert _proto_looks(play) == starts


async def test_retries_of_one_failure_are_told_once(play: Play) -> None:
    await play.store_dataset(stored={"a.txt": b"ALPHA"})
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()
    told = len(play.cluster.events)

    for request in ("1", "2"):
        annotation = {"dtool.dev/reconcileRequestedAt": request}
        play.cluster.set_annotations("dtooldatasets", "alice", "raw", annotation)
        await play.settle()

    assert play.status("alice", "raw")["lastHandledReconcileAt"] == "2"
    assert len(play.cluster.events) == told


async def test_a_requested_look_tries_a_failed_copy_again_at_once(play: Play) -> None:
    fixture = await play.store_dataset(stored={"a.txt": b"ALPHA"})
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()
    item = fixture.layout.item_key(item_identifier("a.txt"))
    broken = play.server.read("instrument-data", item)
    play.server.write("instrument-data", item, ITEMS["a.txt"], metadata=broken.info.metadata)

    request = {"dtool.dev/reconcileRequestedAt": "now"}
    play.cluster.set_annotations("dtooldatasets", "alice", "raw", request)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert play.status("alice", "raw")["lastHandledReconcileAt"] == "now"


async def test_a_stalled_copy_is_not_tried_again_after_a_restart(play: Play) -> None:
    await play.store_dataset(manifest_body=b"{")
    play.dataset("alice", "raw", source={"uri": f"s3://instrument-data/{UUID}"})
    await play.settle()
    before = play.status("alice", "raw")

    await play.restart_operator()
    await play.settle()

    assert play.status("alice", "raw") == before
    assert play.condition("alice", "raw", "Stalled")["status"] == "True"


def _proto_looks(play: Play) -> int:
    """Count how often a worker began to read the source's manifest."""
    return sum(r.operation == "get" and r.key.endswith("manifest.json") for r in play.server.requests)


def assert_nothing_looks_frozen(play: Play) -> None:
    """No dataset in the lab's bucket has type `dataset`."""
    play.server.create_bucket("lab-data")  # one that is there stays as it is
    keys = play.server.keys("lab-data")
    admin = DatasetFixture(prefix="u/alice/").layout.admin_metadata_key
    if admin in keys:
        assert play.server.read("lab-data", admin).info.metadata["type"] == "protodataset"


def assert_no_secret_is_told(play: Play) -> None:
    """No status and no Event holds a secret key."""
    told = json.dumps([play.cluster.list("dtooldatasets"), play.cluster.list("dtoolbuckets")])
    assert SECRET_KEY not in told + "".join(event.message for event in play.cluster.events)
