"""What cannot be done ends in a condition that says why; what is mended goes on without an edit."""

import json
from typing import Any

import pytest

from dtool_s3.layout import item_identifier
from tests.support.datasets import ITEMS, UUID
from tests.support.lab import ADMIN_NAMESPACE, Lab


def test_an_item_that_differs_from_its_manifest_is_named(lab: Lab) -> None:
    lab.write(lab.instruments, stored={"sub/b.csv": b"9,9\n"})

    lab.dataset("raw", source={"uri": lab.uri(UUID)})

    ready = lab.wait_reason("dtooldataset", "raw", "SourceDamaged")
    assert "sub/b.csv" in ready["message"]
    lab.wait_event("raw", "SourceDamaged")
    admin = lab.object_store.client().head_object(Bucket=lab.bucket, Key=f"u/{lab.alice}/{UUID}/dtool")
    assert admin["Metadata"]["type"] == "protodataset"


def test_a_manifest_that_names_items_the_data_do_not_hold_is_refused(lab: Lab) -> None:
    lab.write(lab.instruments, stored={"a.txt": None, "sub/b.csv": None})

    lab.dataset("raw", source={"uri": lab.uri(UUID)})

    ready = lab.wait_reason("dtooldataset", "raw", "ItemMissing")
    assert "a.txt" in ready["message"]
    assert "sub/b.csv" in ready["message"]


def test_a_manifest_that_is_not_json_stalls_the_copy(lab: Lab) -> None:
    lab.write(lab.instruments, manifest_body=b"{")

    lab.dataset("raw", source={"uri": lab.uri(UUID)})

    lab.wait_reason("dtooldataset", "raw", "InvalidManifest")
    assert lab.status("raw")["state"] == "Failed"


def test_wrong_keys_are_named_and_right_ones_are_noticed(lab: Lab) -> None:
    name = f"wrong-{lab.suffix}"
    lab.secret(name=name, secret_key="0" * 40)
    lab.bucket_object(
        name, bucket=lab.bucket, prefixTemplate="w/{namespace}/", credentials={"secretRef": {"name": name}}
    )
    lab.dataset("raw", bucketRef={"name": name, "namespace": ADMIN_NAMESPACE}, uuid=UUID)

    ready = lab.wait_reason("dtoolbucket", name, "CredentialsRejected", namespace=ADMIN_NAMESPACE)
    lab.wait_reason("dtooldataset", "raw", "BucketNotReady")
    secret = lab.get("secret", name, ADMIN_NAMESPACE)["data"]["AWS_SECRET_ACCESS_KEY"]
    assert secret not in ready["message"]
    assert "0" * 40 not in lab.operator.log()
    lab.secret(name=name)

    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)


def test_source_and_buckets_that_come_later_need_no_edit(lab: Lab) -> None:
    name = f"later-{lab.suffix}"
    lab.dataset("raw", bucketRef={"name": name, "namespace": ADMIN_NAMESPACE}, source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "raw", "BucketNotFound")

    lab.bucket_object(name)
    lab.wait_reason("dtoolbucket", name, "BucketNotFound", namespace=ADMIN_NAMESPACE)
    lab.object_store.create_bucket(name)
    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)
    lab.wait_reason("dtooldataset", "raw", "SourceNotFound")
    lab.write(lab.instruments)

    lab.wait_state("raw", "Frozen", within=60)


def test_a_uuid_that_is_registered_elsewhere_is_taken(lab: Lab) -> None:
    lab.write(lab.bucket, prefix="u/bob/")

    lab.dataset("raw", uuid=UUID)

    ready = lab.wait_reason("dtooldataset", "raw", "UUIDTaken")
    assert "u/bob/" not in ready["message"]


def test_a_namespace_that_was_created_again_does_not_own_the_prefix(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen")
    before = lab.lasting_keys()

    lab.control_plane.kubectl("delete", "namespace", lab.alice, "--timeout=60s")
    lab.namespace(lab.alice)
    lab.dataset("again", source={"uri": lab.uri(UUID)})

    ready = lab.wait_reason("dtooldataset", "again", "PrefixOwnedByOther")
    cluster = json.loads(lab.control_plane.kubectl("get", "namespace", "kube-system", "--output=json"))
    assert cluster["metadata"]["uid"] in ready["message"]
    assert lab.lasting_keys() == before


def test_a_namespace_that_is_not_admitted_is_refused(lab: Lab) -> None:
    mallory = f"mallory-{lab.suffix}"
    lab.namespace(mallory, is_admitted=False)
    lab.write(lab.instruments)

    lab.dataset("raw", namespace=mallory, source={"uri": lab.uri(UUID)})

    lab.wait_reason("dtooldataset", "raw", "NamespaceNotAllowed", namespace=mallory)
    assert lab.keys(lab.bucket) == {}


RESERVED: dict[str, dict[str, Any]] = {
    "the operator's own identity": {"credentials": None},
    "admitting other namespaces": {"allowedNamespaces": {"from": "All"}},
    "overrides": {"prefixOverrides": [{"namespace": "somebody", "prefix": "u/else/"}]},
    "taking over another's prefix": {"takeOver": [{"namespace": "somebody", "fromOwner": "a/b"}]},
}


@pytest.mark.parametrize("power", RESERVED)
def test_a_teams_bucket_cannot_take_a_reserved_power(lab: Lab, power: str) -> None:
    spec = {"allowedNamespaces": {"from": "Same"}, **RESERVED[power]}

    lab.bucket_object("own", namespace=lab.alice, **spec)

    lab.wait_reason("dtoolbucket", "own", "ReservedForAdministrators")


def test_a_teams_bucket_is_not_found_by_name_from_other_namespaces(lab: Lab) -> None:
    team, own = f"team-{lab.suffix}", f"team-data-{lab.suffix}"
    lab.namespace(team)
    lab.object_store.create_bucket(own)
    lab.secret(namespace=team)
    binding = ("create", "rolebinding", "reader", "--clusterrole=dtool-operator-secret-reader")
    lab.control_plane.kubectl(*binding, "--serviceaccount=dtool-system:dtool-operator", "--namespace", team)
    lab.bucket_object(own, namespace=team, allowedNamespaces={"from": "Same"})
    lab.wait_ready("dtoolbucket", own, team)
    lab.write(own)

    lab.dataset("raw", source={"uri": f"s3://{own}/{UUID}"})

    lab.wait_reason("dtooldataset", "raw", "SourceNotAllowed")


def test_a_mended_item_is_found_on_request(lab: Lab) -> None:
    fixture = lab.write(lab.instruments, stored={"a.txt": b"ALPHA"})
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "raw", "SourceDamaged")
    key = fixture.layout.item_key(item_identifier("a.txt"))
    client = lab.object_store.client()
    metadata = client.head_object(Bucket=lab.instruments, Key=key)["Metadata"]
    client.put_object(Bucket=lab.instruments, Key=key, Body=ITEMS["a.txt"], Metadata=metadata)

    lab.control_plane.kubectl(
        "annotate", "dtooldataset", "raw", "--namespace", lab.alice, "dtool.dev/reconcileRequestedAt=now"
    )

    status = lab.wait_state("raw", "Frozen")
    assert status["lastHandledReconcileAt"] == "now"
    lab.wait_event("raw", "SourceDamaged")
    lab.wait_event("raw", "Succeeded")
