"""Whatever the S3 endpoint does in the middle of a copy: it goes on where it was; nothing is done twice."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.identity import FULL_ACCESS, Identity, create_identity
from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.fault_lab import DONE, ITEMS, FaultLab
from tests.support.fault_proxy import Fault, fault_proxy, refusal
from tests.support.lab import ADMIN_NAMESPACE, find_condition

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

OTHER = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"
SLOW_DOWN = refusal(503, "SlowDown")
SKEWED = refusal(403, "RequestTimeTooSkewed")


def test_an_endpoint_that_is_down_in_the_middle_of_a_copy(lab: FaultLab) -> None:
    done = lab.start_copy()

    lab.end_endpoint()
    look(lab, lab.bucket)
    lab.wait_reason("dtoolbucket", lab.bucket, "BucketUnreachable", namespace=ADMIN_NAMESPACE, within=90)
    look(lab, "raw", kind="dtooldataset", namespace=lab.alice)
    eventually(lambda: _assert_looked(lab), within=40)
    assert find_condition(lab.status("raw"), "Ready")["status"] == "False"
    assert len(lab.data()) == DONE
    lab.start_endpoint()
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)
    lab.wait_ready("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)


def test_an_endpoint_that_is_down_does_not_flip_what_is_frozen(lab: FaultLab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    frozen = lab.wait_state("raw", "Frozen")["conditions"]

    lab.end_endpoint()
    look(lab, lab.bucket)
    lab.wait_reason("dtoolbucket", lab.bucket, "BucketUnreachable", namespace=ADMIN_NAMESPACE, within=90)
    look(lab, "raw", kind="dtooldataset", namespace=lab.alice)

    eventually(lambda: _assert_looked(lab), within=40)
    assert lab.status("raw")["conditions"] == frozen


def test_an_endpoint_that_is_slow(lab: FaultLab) -> None:
    lab.write(lab.instruments)

    lab.s3.delay_seconds = 0.4
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen", within=60)

    assert set(lab.copies().values()) == {1}


def test_refusals_of_a_third_of_the_requests(lab: FaultLab) -> None:
    lab.write(lab.instruments, items=ITEMS)
    fault = Fault(SLOW_DOWN, times=None, every=3)

    lab.s3.faults.append(fault)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    status = lab.wait_state("raw", "Frozen", within=90)

    assert fault.hits > len(ITEMS) // 3
    assert status["items"] == len(ITEMS)
    assert len(lab.data()) == len(ITEMS)


def test_keys_that_are_revoked_and_restored_in_the_middle_of_a_copy(
    lab: FaultLab, identity: Identity, object_store: "ObjectStore"
) -> None:
    give_keys(lab, identity)
    done = lab.start_copy()

    others = [each for each in object_store.identities if each != identity]
    object_store.replace_identities(others)
    lab.let_go()
    lab.wait_reason("dtooldataset", "raw", "CredentialsRejected", within=60)
    assert identity.secret_key not in lab.operator.log()
    object_store.replace_identities([*others, identity])
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)


def test_a_secret_with_other_keys_in_the_middle_of_a_copy(
    lab: FaultLab, identity: Identity, object_store: "ObjectStore"
) -> None:
    give_keys(lab, identity)
    done = lab.start_copy()

    object_store.replace_identities([each for each in object_store.identities if each != identity])
    lab.secret()
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)


def test_a_clock_that_is_skewed_and_set_right(lab: FaultLab) -> None:
    lab.write(lab.instruments)
    lab.s3.faults.append(Fault(SKEWED, times=None))

    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "raw", "ClockSkewed", within=60)
    lab.let_go()

    lab.wait_state("raw", "Frozen", within=60)


def test_a_bucket_that_is_deleted_in_the_middle_of_a_copy_and_made_again(lab: FaultLab) -> None:
    lab.start_copy()

    empty(lab, lab.bucket)
    look(lab, lab.bucket)
    lab.let_go()
    lab.wait_reason("dtoolbucket", lab.bucket, "BucketNotFound", namespace=ADMIN_NAMESPACE, within=60)
    assert find_condition(lab.status("raw"), "Ready")["status"] == "False"
    lab.object_store.create_bucket(lab.bucket)
    lab.wait_state("raw", "Frozen", within=90)

    assert len(lab.data()) == len(ITEMS)
    assert f"u/{lab.alice}/.dtool-owner" in lab.keys(lab.bucket)


def test_an_endpoint_that_points_at_an_empty_bucket_is_left_empty(
    lab: FaultLab, other_store: "ObjectStore"
) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen")
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/", uuid=OTHER)
    lab.patch("dtoolbucket", lab.bucket, {"spec": {"listing": {"import": "Frozen"}}}, ADMIN_NAMESPACE)
    imported = f"sample-{OTHER[:8]}"
    eventually(lambda: _assert_there(lab, imported), within=30)
    lab.wait_state(imported, "Frozen")
    before = lab.keys(lab.bucket)
    other_store.create_bucket(lab.bucket)

    with fault_proxy(other_store.endpoint) as other:
        lab.patch("dtoolbucket", lab.bucket, {"spec": {"endpoint": other.url}}, ADMIN_NAMESPACE)
        lab.wait_ready("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)
        look(lab, "raw", kind="dtooldataset", namespace=lab.alice)
        eventually(lambda: _assert_not_ready(lab), within=30)
        look(lab, lab.bucket)
        eventually(lambda: _assert_counted(lab, 0), within=30)
        look(lab, lab.bucket)
        eventually(lambda: _assert_answered(lab), within=30)

        _assert_there(lab, imported)
        assert "Contents" not in other_store.client().list_objects_v2(Bucket=lab.bucket)
        assert [one for one in other.requests if one.method not in {"GET", "HEAD"}] == []
        assert lab.keys(lab.bucket) == before
        lab.patch("dtoolbucket", lab.bucket, {"spec": {"endpoint": lab.s3.url}}, ADMIN_NAMESPACE)
        lab.wait_state("raw", "Frozen", within=60)


# ---- who else is there -------------------------------------------------------------------------------


@pytest.fixture
def identity(lab: FaultLab, object_store: "ObjectStore") -> Iterator[Identity]:
    """A user of the S3 server for this test alone."""
    identity = create_identity(f"lab-{secrets.token_hex(4)}", *FULL_ACCESS)
    object_store.replace_identities([*object_store.identities, identity])
    yield identity
    object_store.replace_identities([each for each in object_store.identities if each != identity])


@pytest.fixture(scope="module")
def other_store(
    object_store: "ObjectStore", tmp_path_factory: pytest.TempPathFactory
) -> Iterator["ObjectStore"]:
    """Another S3 server, which knows the same keys and has none of the data."""
    from sandbox.seaweedfs import running_object_store

    directory: Path = tmp_path_factory.mktemp("other") / "object-store"
    with running_object_store(directory, identities=object_store.identities) as store:
        yield store


def give_keys(lab: FaultLab, identity: Identity) -> None:
    """Put an identity's keys into the lab's Secret, and wait until the operator uses them."""
    data = {"AWS_ACCESS_KEY_ID": identity.access_key, "AWS_SECRET_ACCESS_KEY": identity.secret_key}
    lab.patch("secret", lab.bucket, {"stringData": data}, ADMIN_NAMESPACE)


def look(lab: FaultLab, name: str, kind: str = "dtoolbucket", namespace: str = ADMIN_NAMESPACE) -> None:
    """Ask for a look now."""
    request = {"dtool.dev/reconcileRequestedAt": secrets.token_hex(4)}
    lab.patch(kind, name, {"metadata": {"annotations": request}}, namespace)


def empty(lab: FaultLab, bucket: str) -> None:
    """Delete a bucket with all it holds."""
    client = lab.object_store.client()
    for key in lab.keys(bucket):
        client.delete_object(Bucket=bucket, Key=key)
    client.delete_bucket(Bucket=bucket)


def _assert_looked(lab: FaultLab) -> None:
    status = lab.status("raw")
    annotations = lab.get("dtooldataset", "raw")["metadata"]["annotations"]
    assert status.get("lastHandledReconcileAt") == annotations["dtool.dev/reconcileRequestedAt"], status


def _assert_there(lab: FaultLab, name: str) -> None:
    assert lab.is_there("dtooldataset", name)


def _assert_counted(lab: FaultLab, total: int) -> None:
    counts = lab.get("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)["status"]["datasets"]
    assert counts["total"] == total, counts


def _assert_answered(lab: FaultLab) -> None:
    body = lab.get("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)
    asked = body["metadata"]["annotations"]["dtool.dev/reconcileRequestedAt"]
    assert body["status"].get("lastHandledReconcileAt") == asked


def _assert_not_ready(lab: FaultLab) -> None:
    ready = find_condition(lab.status("raw"), "Ready")
    assert ready["status"] == "False", ready
