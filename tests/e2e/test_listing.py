"""What a bucket's listing leads to: imports, violations, overrides, quotas, a prefix that is taken over."""

import json
from typing import Any

from tests.support.datasets import ITEMS, UUID, DatasetFixture
from tests.support.eventually import eventually
from tests.support.lab import ADMIN_NAMESPACE, Lab, find_condition

OTHER = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"
THIRD = "3c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a33"
SIZE = sum(len(body) for body in ITEMS.values())


def test_found_datasets_are_imported_yield_to_users_and_go_with_their_data(lab: Lab) -> None:
    prefix = f"u/{lab.alice}/"
    for uuid, name in ((UUID, "RNA seq, 2026"), (OTHER, "old"), (THIRD, "mine")):
        lab.write(lab.bucket, prefix=prefix, uuid=uuid, name=name)
    lab.dataset("kept", uuid=THIRD)
    lab.wait_state("kept", "Frozen")

    lab.patch("dtoolbucket", lab.bucket, {"spec": {"listing": {"import": "Frozen"}}}, ADMIN_NAMESPACE)
    found = eventually(
        lambda: assert_names(lab, {"kept", f"rna-seq-2026-{UUID[:8]}", f"old-{OTHER[:8]}"}), within=40
    )
    labels = found[f"old-{OTHER[:8]}"]["metadata"]["labels"]
    assert (labels["dtool.dev/imported"], labels["dtool.dev/uuid"]) == ("true", OTHER)
    lab.wait_state(f"old-{OTHER[:8]}", "Frozen")

    lab.dataset("rnaseq", uuid=UUID)
    eventually(lambda: assert_names(lab, {"kept", "rnaseq", f"old-{OTHER[:8]}"}), within=40)
    assert lab.wait_state("rnaseq", "Frozen")["uuid"] == UUID

    for uuid in (OTHER, THIRD):
        remove(lab, DatasetFixture(uuid, prefix))
    lab.request("dtoolbucket", lab.bucket, namespace=ADMIN_NAMESPACE)
    eventually(lambda: assert_names(lab, {"kept", "rnaseq"}), within=40)
    lab.wait_condition("dtooldataset", "kept", "Verified", ("False", "DatasetMissing"))
    assert lab.status("kept")["state"] == "Damaged"


def test_datasets_outside_every_prefix_are_violations_unless_acknowledged(lab: Lab) -> None:
    lab.write(lab.bucket, prefix="")
    lab.write(lab.bucket, prefix="archive/2019/", uuid=OTHER)
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/", uuid=THIRD)
    lab.object_store.client().delete_object(Bucket=lab.bucket, Key=f"dtool-{THIRD}")
    acknowledged = {"acknowledgedPrefixes": ["archive/2019/"]}

    lab.patch("dtoolbucket", lab.bucket, {"spec": acknowledged}, ADMIN_NAMESPACE)
    status = eventually(lambda: assert_violations(lab, 2, registered=2), within=40)

    told = {(one["uuid"], one["prefix"], one["reason"]) for one in status["violations"]}
    missing = (THIRD, f"u/{lab.alice}/", "RegistrationMissing")
    assert told == {(UUID, "", "OutsideAnyPrefix"), missing}
    assert find_condition(status, "PrefixesRespected")["status"] == "False"
    assert find_condition(status, "Ready")["status"] == "True"
    lab.wait_event(lab.bucket, "OutsideAnyPrefix", ADMIN_NAMESPACE)

    lab.put(lab.bucket, f"dtool-{THIRD}", f"u/{lab.alice}/".encode())
    acknowledged = {"acknowledgedPrefixes": ["archive/2019/", ""]}
    lab.patch("dtoolbucket", lab.bucket, {"spec": acknowledged}, ADMIN_NAMESPACE)
    status = eventually(lambda: assert_violations(lab, 0, registered=3), within=40)
    assert status["datasets"]["frozen"] == 3
    respected = ("True", "WithinPrefixes")
    lab.wait_condition("dtoolbucket", lab.bucket, "PrefixesRespected", respected, namespace=ADMIN_NAMESPACE)


def test_an_override_gives_a_namespace_the_prefix_where_its_data_are(lab: Lab) -> None:
    name = f"classic-{lab.suffix}"
    lab.object_store.create_bucket(name)
    lab.write(name, prefix="u/olssont/", uuid=OTHER)
    lab.write(lab.instruments)
    overrides = [{"namespace": lab.alice, "prefix": "u/olssont/"}]
    lab.bucket_object(name, prefixOverrides=overrides)
    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)

    lab.dataset("old", bucketRef=lab.ref(name), uuid=OTHER)
    lab.dataset("raw", bucketRef=lab.ref(name), source={"uri": lab.uri(UUID)})

    for dataset in ("old", "raw"):
        lab.wait_state(dataset, "Frozen")
    assert lab.keys(name, f"u/olssont/{UUID}/data/")
    assert not lab.keys(name, f"u/{lab.alice}/")
    lab.patch("dtoolbucket", name, {"spec": {"prefixOverrides": None}}, ADMIN_NAMESPACE)
    ready = lab.wait_reason("dtoolbucket", name, "InvalidSpec", namespace=ADMIN_NAMESPACE)
    assert "u/olssont/" in ready["message"]
    lab.patch("dtoolbucket", name, {"spec": {"prefixOverrides": overrides}}, ADMIN_NAMESPACE)
    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)
    assert {one["state"] for one in (lab.status("old"), lab.status("raw"))} == {"Frozen"}


def test_a_quota_is_checked_before_copying_and_a_raised_one_noticed(lab: Lab) -> None:
    lab.write(lab.instruments)
    set_limits(lab, datasets=1, sizeBytes=None)
    lab.dataset("first")
    lab.wait_state("first", "Proto")
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_reason("dtooldataset", "raw", "QuotaExceeded")

    set_limits(lab, datasets=2, sizeBytes=SIZE - 1)
    ready = eventually(lambda: assert_refused(lab, "bytes"), within=40)
    assert ready["reason"] == "QuotaExceeded"
    assert not lab.keys(lab.bucket, f"u/{lab.alice}/{UUID}/data/")

    set_limits(lab, datasets=2, sizeBytes=SIZE)
    lab.wait_state("raw", "Frozen")


def test_a_namespace_that_was_created_again_takes_its_prefix_over_when_told_to(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen")
    lab.delete("namespace", lab.alice)
    lab.namespace(lab.alice)
    lab.dataset("again", uuid=UUID)
    ready = lab.wait_reason("dtooldataset", "again", "PrefixOwnedByOther")
    owner = ready["message"].rpartition("fromOwner: ")[2].rstrip(".")

    taken = [{"namespace": lab.alice, "fromOwner": owner}]
    lab.patch("dtoolbucket", lab.bucket, {"spec": {"takeOver": taken}}, ADMIN_NAMESPACE)

    assert lab.wait_state("again", "Frozen")["items"] == len(ITEMS)
    marker = json.loads(lab.read(lab.bucket, f"u/{lab.alice}/.dtool-owner"))
    namespace = json.loads(lab.control_plane.kubectl("get", "namespace", lab.alice, "--output=json"))
    assert marker["namespaceUid"] == namespace["metadata"]["uid"]


def assert_names(lab: Lab, names: set[str]) -> dict[str, Any]:
    found = lab.datasets()
    assert found.keys() == names
    return found


def assert_violations(lab: Lab, count: int, *, registered: int) -> dict[str, Any]:
    status: dict[str, Any] = lab.get("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)["status"]
    assert status.get("datasets", {}).get("total") == registered, status
    assert status["violationsCount"] == count, status
    return status


def assert_refused(lab: Lab, word: str) -> dict[str, Any]:
    ready = find_condition(lab.status("raw"), "Ready")
    assert word in ready["message"], ready
    return ready


def set_limits(lab: Lab, **limits: int | None) -> None:
    spec = {"limits": {"perNamespace": limits}}
    lab.patch("dtoolbucket", lab.bucket, {"spec": spec}, ADMIN_NAMESPACE)


def remove(lab: Lab, fixture: DatasetFixture) -> None:
    """Remove a dataset behind the operator's back."""
    layout = fixture.layout
    for key in [*lab.keys(lab.bucket, layout.root), layout.registration_key]:
        lab.object_store.client().delete_object(Bucket=lab.bucket, Key=key)
