"""A team keeps bucket, Secret and dataset in Git: order does not matter, and nobody fights over the objects.

Applied as Flux does (server-side apply, a field manager of its own) and as `kubectl apply` and Argo CD do.
"""

import json
from typing import Any

import pytest

from dtool_operator.names import API_VERSION, BUCKET_KIND, DATASET_KIND, FINALIZER, LABEL_UUID
from sandbox.errors import KubectlError
from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.kstatus import KStatus, compute_kstatus
from tests.support.lab import ADMIN_NAMESPACE, Lab, find_condition

FLUX = ("--server-side", "--field-manager=kustomize-controller")
PEOPLE: tuple[str, ...] = ()
BY_BOTH = pytest.mark.parametrize("manner", [FLUX, PEOPLE], ids=["server-side", "client-side"])
OWN = {"team": "alice"}


class Repository:
    """What lies in Git: a team's own S3 bucket with its keys, and a copy into it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.bucket = f"git-{lab.suffix}"
        lab.object_store.create_bucket(self.bucket)
        keys = lab.object_store.identity("admin")
        data = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        spec = {
            "bucket": self.bucket,
            "endpoint": lab.object_store.endpoint,
            "credentials": {"secretRef": {"name": self.bucket}},
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": lab.label}},
        }
        self.documents = {
            "dataset": self.describe_copy("raw"),
            "bucket": self._describe(BUCKET_KIND, self.bucket, ADMIN_NAMESPACE, spec=spec),
            "secret": self._describe("Secret", self.bucket, ADMIN_NAMESPACE, stringData=data),
        }

    def describe_copy(self, name: str, **spec: Any) -> dict[str, Any]:
        """Describe a copy in the team's bucket."""
        place = {"bucketRef": self.lab.ref(self.bucket), "source": {"uri": self.lab.uri(UUID)}}
        return self._describe(DATASET_KIND, name, self.lab.alice, spec={**place, **spec})

    def apply(self, *names: str, manner: tuple[str, ...] = FLUX) -> None:
        """Apply documents in one call, in this order."""
        self.kubectl("apply", *manner, names=names or tuple(self.documents))

    def kubectl(self, *arguments: str, names: tuple[str, ...]) -> str:
        """Call kubectl with documents on its standard input."""
        documents = "\n---\n".join(json.dumps(self.documents[name]) for name in names)
        return self.lab.control_plane.kubectl(*arguments, "--filename=-", stdin=documents)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return bucket object and dataset as the API server shows them."""
        return {
            "bucket": self.lab.get("dtoolbucket", self.bucket, ADMIN_NAMESPACE),
            "dataset": self.lab.get("dtooldataset", "raw"),
        }

    def _describe(self, kind: str, name: str, namespace: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace, "labels": OWN}
        version = "v1" if kind == "Secret" else API_VERSION
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


@pytest.fixture
def repository(lab: Lab) -> Repository:
    lab.write(lab.instruments)
    return Repository(lab)


def test_bucket_and_dataset_applied_together_in_the_wrong_order_converge(repository: Repository) -> None:
    """Rule 20: on the way nothing is Failed, and nothing is called Current before it is."""
    seen: set[tuple[str, KStatus]] = set()

    def watch() -> None:
        bodies = repository.read()
        states = {name: body["status"].get("state") for name, body in bodies.items()}
        seen.update((f"{name} {states[name]}", compute_kstatus(body)) for name, body in bodies.items())
        assert {compute_kstatus(body) for body in bodies.values()} == {KStatus.CURRENT}, bodies

    repository.apply("dataset", "bucket", "secret")
    eventually(watch, within=60)

    assert {status for _, status in seen} <= {KStatus.IN_PROGRESS, KStatus.CURRENT}
    assert {name for name, status in seen if status is KStatus.CURRENT} == {"bucket None", "dataset Frozen"}


def test_a_dataset_that_was_applied_long_before_its_bucket_and_secret_needs_no_edit(
    repository: Repository,
) -> None:
    lab = repository.lab
    repository.apply("dataset")
    lab.wait_reason("dtooldataset", "raw", "BucketNotFound")
    repository.apply("bucket")
    lab.wait_reason("dtoolbucket", repository.bucket, "SecretNotFound", namespace=ADMIN_NAMESPACE)
    lab.wait_reason("dtooldataset", "raw", "BucketNotReady")
    assert {compute_kstatus(body) for body in repository.read().values()} == {KStatus.IN_PROGRESS}

    repository.apply("secret")

    lab.wait_state("raw", "Frozen", within=60)


@BY_BOTH
def test_applying_the_same_again_and_again_changes_nothing_and_takes_nothing_away(
    repository: Repository, manner: tuple[str, ...]
) -> None:
    """Rule 22: label and finalizer are the operator's, everything else of the object is Git's."""
    repository.documents["dataset"]["spec"]["deletionPolicy"] = "Delete"
    repository.apply(manner=manner)
    repository.lab.wait_state("raw", "Frozen", within=60)
    before = repository.read()
    metadata = before["dataset"]["metadata"]
    assert (metadata["finalizers"], metadata["labels"]) == ([FINALIZER], {**OWN, LABEL_UUID: UUID})

    for _ in range(3):
        repository.apply(manner=manner)

    after = repository.read()
    assert after["dataset"] == before["dataset"]
    # the operator goes on to say what it counts there
    assert after["bucket"]["spec"] == before["bucket"]["spec"]
    assert after["bucket"]["metadata"]["generation"] == before["bucket"]["metadata"]["generation"]
    assert_no_diff(repository, manner)


@BY_BOTH
def test_while_a_copy_waits_git_takes_neither_label_nor_finalizer_away(
    repository: Repository, manner: tuple[str, ...]
) -> None:
    """The finalizer is needed until the copy is frozen (rule 18)."""
    lab = repository.lab
    lab.put(lab.instruments, f"{UUID}/manifest.json", b"{}")
    repository.apply(manner=manner)
    lab.wait_reason("dtooldataset", "raw", "InvalidManifest", within=60)
    metadata = repository.read()["dataset"]["metadata"]
    assert metadata["finalizers"] == [FINALIZER]

    repository.documents["dataset"]["spec"]["tags"] = ["later"]
    repository.apply(manner=manner)

    edited = repository.read()["dataset"]
    eventually(lambda: assert_tried(repository, edited), within=20)
    assert edited["spec"]["tags"] == ["later"]
    assert (edited["metadata"]["finalizers"], edited["metadata"]["labels"]) == (
        metadata["finalizers"],
        metadata["labels"],
    )
    assert_no_diff(repository, manner)


def test_what_git_no_longer_has_is_pruned_with_its_data_if_it_says_so(repository: Repository) -> None:
    """Also while the operator's finalizer stands; an imported object is not Git's and stays."""
    lab = repository.lab
    documents = repository.documents
    documents["kept"] = repository.describe_copy("kept", identity="New")
    documents["dropped"] = repository.describe_copy("dropped", identity="New", deletionPolicy="Delete")
    repository.apply("bucket", "secret", "kept", "dropped", manner=PEOPLE)
    kept = lab.wait_state("kept", "Frozen", within=60)["uuid"]
    dropped = lab.wait_state("dropped", "Frozen", within=60)["uuid"]

    prune = ("apply", "--prune", "--selector=team=alice", f"--prune-allowlist={API_VERSION}/{DATASET_KIND}")
    repository.kubectl(*prune, f"--namespace={lab.alice}", names=("kept",))

    def assert_pruned() -> None:
        assert set(lab.datasets()) == {"kept"}
        keys = lab.keys(repository.bucket)
        assert not [key for key in keys if dropped in key]
        assert f"dtool-{kept}" in keys

    eventually(assert_pruned, within=60)


def assert_no_diff(repository: Repository, manner: tuple[str, ...]) -> None:
    """`kubectl diff` ends with 1 and prints what differs; the Secret's stringData always does.

    What the operator writes to a status while kubectl compares differs too, and not again.
    """

    def compare() -> None:
        try:
            repository.kubectl("diff", *manner, names=("dataset", "bucket"))
        except KubectlError as error:
            raise AssertionError(f"Git and the cluster differ: {error}") from error

    eventually(compare, within=5)


def assert_tried(repository: Repository, edited: dict[str, Any]) -> None:
    """The operator has seen an edit, and the copy has failed again."""
    status = repository.read()["dataset"]["status"]
    assert status["observedGeneration"] == edited["metadata"]["generation"]
    assert find_condition(status, "Ready")["reason"] == "InvalidManifest"
