"""Every example is applied as its reader would apply it, names of stores and buckets put in; it works."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

import pytest
import yaml

from dtool_s3 import blocking
from dtool_s3.publication.publishing import publish
from tests.support.datasets import DatasetFixture
from tests.support.eventually import eventually
from tests.support.lab import Body, Lab, find_condition

if TYPE_CHECKING:
    from tests.e2e.conftest import TlsFront

FOLDER = Path(__file__).parents[2] / "crds" / "examples"
BUCKETS = sorted(FOLDER.glob("bucket-*.yaml"))
DATASETS = sorted(FOLDER.glob("dataset-*.yaml"))
UUIDS = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
READER = "dtool-operator-secret-reader"
OPERATOR = "dtool-system:dtool-operator"

#: What becomes of the bucket objects that are not Ready in a minute.
NOT_READY = {
    "cloud": "CredentialsRejected",  # no cloud gives this operator an identity
    "mine": "Suspended",
}
#: What becomes of the datasets that are not Frozen.
NOT_FROZEN = {"plate-reader": "Proto", "rnaseq-later": "Suspended"}
#: Volumes: tests/cluster plays them with Jobs, here no operator runs any.
NEEDS_JOBS = {"results-run-17", "rnaseq-scratch"}


class Reader:
    """Somebody who tries the examples out on this sandbox."""

    def __init__(self, lab: Lab, tls_front: TlsFront) -> None:
        self.lab, self.tls_front = lab, tls_front
        self.made: list[tuple[str, str]] = []

    def read(self, path: Path) -> list[Body]:
        """Read an example; every file has uuids of its own, so that no two claim the same dataset."""
        text = UUIDS.sub(lambda found: str(uuid5(NAMESPACE_URL, path.stem + found[0])), path.read_text())
        return [self.adapt(body) for body in yaml.safe_load_all(text)]

    def adapt(self, body: Body) -> Body:
        """Put in what a reader puts in: namespace, keys, certificates, endpoint, bucket."""
        body["metadata"].setdefault("namespace", self.lab.alice)
        match body["kind"]:
            case "Secret":
                keys = self.lab.object_store.identity("admin")
                body["stringData"] = {
                    "AWS_ACCESS_KEY_ID": keys.access_key,
                    "AWS_SECRET_ACCESS_KEY": keys.secret_key,
                }
            case "ConfigMap":
                body["data"] = {"ca.crt": self.tls_front.ca_file.read_text()}
            case "DtoolBucket":
                self.adapt_bucket(body)
            case _:
                self.adapt_dataset(body)
        return body

    def adapt_bucket(self, body: Body) -> None:
        spec = body["spec"]
        is_private = "caBundle" in spec
        spec["endpoint"] = self.tls_front.front.url if is_private else self.lab.object_store.endpoint
        spec["bucket"] = self.bucket(body["metadata"]["name"])
        self.lab.object_store.create_bucket(spec["bucket"])
        if "credentials" in spec:
            self.lab.secret(
                namespace=body["metadata"]["namespace"], name=spec["credentials"]["secretRef"]["name"]
            )
        self.made.append((body["metadata"]["namespace"], body["metadata"]["name"]))

    def adapt_dataset(self, body: Body) -> None:
        """Point to what lies in this sandbox, and put it there."""
        spec = body["spec"]
        source = spec.get("source", {})
        prefix = f"u/{self.lab.alice}/"
        match source:
            case {"uri": str(uri)} if uri.startswith("s3://instrument-data/"):
                source["uri"] = self.write("instruments", uri)
            case {"uri": str(uri)} if uri.startswith("s3://"):
                source["uri"] = self.write("lab-shared", uri, prefix)
            case {"uri": str(uri)}:
                source["uri"] = self.publish(uri)
            case {"stored": {"uuid": str(uuid)}}:
                self.write("instruments", uuid)
                if "manifestSHA256" in source:
                    source["manifestSHA256"] = hashlib.sha256(DatasetFixture().manifest()).hexdigest()
            case {"objects": {"prefix": str(below)}}:
                self.lab.put(self.bucket("instruments"), f"{below}plate/a.csv", b"well,value\n")
            case {"dataset": dict(other)}:
                other["namespace"] = self.bobs(other["name"])
        if "uuid" in spec:
            self.write("lab-shared", spec["uuid"], prefix)

    def bucket(self, name: str) -> str:
        """Name the S3 bucket behind an example's bucket object."""
        return f"x-{name}-{self.lab.suffix}"

    def write(self, bucket: str, uri: str, prefix: str = "") -> str:
        """Write the dataset that a URI or a uuid names; return its URI here."""
        uuid = uri.rpartition("/")[2]
        self.lab.write(self.bucket(bucket), uuid=uuid, prefix=prefix)
        return f"s3://{self.bucket(bucket)}/{uuid}"

    def publish(self, url: str) -> str:
        """Publish a dataset, from a host that this operator allows; return its URL."""
        uuid = url.rpartition("/")[2]
        self.write("instruments", uuid)
        with closing(self.lab.store(self.bucket("instruments"))) as store:
            layout = DatasetFixture(uuid).layout
            return blocking.run(publish(store, layout, expires_seconds=600))

    def bobs(self, name: str) -> str:
        """Let bob have a dataset that everybody may read; return his namespace."""
        lab, bob = self.lab, f"bob-{self.lab.suffix}"
        uuid = str(uuid5(NAMESPACE_URL, bob))
        lab.namespace(bob)
        lab.write(lab.instruments, uuid=uuid, prefix=f"u/{bob}/")
        lab.dataset(name, namespace=bob, bucketRef=lab.ref(lab.instruments), uuid=uuid)
        return bob

    def apply(self, bodies: list[Body]) -> None:
        """`kubectl apply` all of it."""
        self.lab.apply({"apiVersion": "v1", "kind": "List", "items": bodies})

    def clear(self) -> None:
        """Take the bucket objects away: administrators' are seen by every other test."""
        for namespace, name in self.made:
            self.lab.control_plane.kubectl(
                "delete", "dtoolbucket", name, "--namespace", namespace, "--ignore-not-found", "--wait=false"
            )


@pytest.fixture
def reader(lab: Lab, tls_front: TlsFront) -> Iterator[Reader]:
    """The examples' namespace is labelled as they say, and lets the operator read its Secrets."""
    lab.control_plane.kubectl("label", "namespace", lab.alice, "dtool.dev/lab=true")
    binding = ("create", "rolebinding", "reader", f"--clusterrole={READER}", f"--serviceaccount={OPERATOR}")
    lab.control_plane.kubectl(*binding, "--namespace", lab.alice)
    reader = Reader(lab, tls_front)
    yield reader
    reader.clear()


def test_every_example_works(reader: Reader) -> None:
    buckets = [body for path in BUCKETS for body in reader.read(path)]
    reader.apply(buckets)
    for body in buckets:
        if body["kind"] == "DtoolBucket":
            eventually(lambda body=body: assert_bucket(reader, body), within=60)
    datasets = [body for path in DATASETS for body in reader.read(path)]
    reader.apply(datasets)
    for body in datasets:
        eventually(lambda body=body: assert_dataset(reader, body), within=60)


def assert_bucket(reader: Reader, body: Body) -> None:
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    ready = find_condition(reader.lab.get("dtoolbucket", name, namespace).get("status", {}), "Ready")
    wanted = NOT_READY.get(name, "Succeeded")
    assert (name, ready.get("reason")) == (name, wanted), ready


def assert_dataset(reader: Reader, body: Body) -> None:
    name = body["metadata"]["name"]
    status = reader.lab.status(name)
    if name in NEEDS_JOBS:
        assert find_condition(status, "Ready").get("reason") == "JobsDisabled", status
    else:
        assert (name, status.get("state")) == (name, NOT_FROZEN.get(name, "Frozen")), status
