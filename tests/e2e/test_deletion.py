"""What becomes of the data when their object goes, or its whole namespace, or the consent to be there."""

from tests.support.datasets import UUID
from tests.support.lab import ADMIN_NAMESPACE, Lab

ABSENT = "00000000-0000-4000-8000-000000000000"
READER = "dtool-operator-secret-reader"
OPERATOR = "dtool-system:dtool-operator"


def test_the_data_go_with_an_object_that_says_so_and_stay_with_any_other(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)}, deletionPolicy="Delete")
    lab.dataset("kept", readme="description: kept\n")
    lab.wait_state("raw", "Frozen")
    kept = lab.wait_state("kept", "Proto")["uuid"]

    for name in ("raw", "kept"):
        lab.delete("dtooldataset", name)

    keys = set(lab.keys(lab.bucket))
    assert not [key for key in keys if UUID in key]
    assert {f"dtool-{kept}", f"u/{lab.alice}/{kept}/README.yml", f"u/{lab.alice}/.dtool-owner"} <= keys


def test_a_namespace_goes_with_its_bucket_object_its_secret_and_its_datasets(lab: Lab) -> None:
    team = f"team-{lab.suffix}"
    lab.namespace(team)
    lab.object_store.create_bucket(team)
    lab.secret(namespace=team, name="own")
    binding = ("create", "rolebinding", "reader", f"--clusterrole={READER}", f"--serviceaccount={OPERATOR}")
    lab.control_plane.kubectl(*binding, "--namespace", team)
    keys = {"secretRef": {"name": "own"}}
    own = {"bucket": team, "credentials": keys, "allowedNamespaces": {"from": "Same"}}
    lab.bucket_object("own", namespace=team, **own)
    lab.write(lab.instruments)
    here = {"name": "own"}
    lab.dataset("raw", namespace=team, bucketRef=here, source={"uri": lab.uri(UUID)})
    lab.dataset("temporary", namespace=team, bucketRef=here, deletionPolicy="Delete")
    lab.dataset("lost", namespace=team, bucketRef=here, source={"uri": lab.uri(ABSENT)})
    lab.wait_state("raw", "Frozen", namespace=team)
    lab.wait_state("temporary", "Proto", namespace=team)

    lab.delete("namespace", team)

    assert f"u/{team}/{UUID}/dtool" in lab.keys(team)


def test_data_left_behind_are_told_on_the_bucket_object(lab: Lab) -> None:
    lab.dataset("plate", deletionPolicy="Delete")
    uuid = lab.wait_state("plate", "Proto")["uuid"]
    nobody = {"from": "Selector", "selector": {"matchLabels": {"lab.test/nobody": "true"}}}

    lab.patch("dtoolbucket", lab.bucket, {"spec": {"allowedNamespaces": nobody}}, ADMIN_NAMESPACE)
    lab.wait_reason("dtooldataset", "plate", "NamespaceNotAllowed")
    lab.delete("dtooldataset", "plate")

    told = lab.wait_event(lab.bucket, "DataLeftBehind", ADMIN_NAMESPACE)
    assert uuid in told["message"]
    assert f"{lab.alice}/plate" in told["message"]
    assert f"u/{lab.alice}/{uuid}/dtool" in lab.keys(lab.bucket)
    assert lab.logged("data_left_behind")
