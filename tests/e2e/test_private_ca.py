"""A store behind https whose certificate only its own authority vouches for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.datasets import ITEMS, UUID
from tests.support.lab import ADMIN_NAMESPACE, Lab

if TYPE_CHECKING:
    from tests.e2e.conftest import TlsFront


def test_a_certificate_is_trusted_by_the_bundle_that_the_bucket_names(lab: Lab, tls_front: TlsFront) -> None:
    name = f"basement-{lab.suffix}"
    lab.object_store.create_bucket(name)
    lab.write(lab.instruments)
    spec = {"endpoint": tls_front.front.url, "addressing": "Path"}
    lab.bucket_object(name, **spec)
    lab.wait_reason("dtoolbucket", name, "BucketUnreachable", namespace=ADMIN_NAMESPACE)

    bundle = {"configMapKeyRef": {"name": name, "key": "ca.crt"}}
    lab.bucket_object(name, **spec, caBundle=bundle)
    lab.wait_reason("dtoolbucket", name, "CABundleInvalid", namespace=ADMIN_NAMESPACE)
    put_bundle(lab, name, tls_front.ca_file.read_text())
    lab.request("dtoolbucket", name, namespace=ADMIN_NAMESPACE)
    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)
    before = len(tls_front.front.passed)
    lab.dataset("raw", bucketRef=lab.ref(name), source={"uri": lab.uri(UUID)})

    status = lab.wait_state("raw", "Frozen")

    assert status["items"] == len(ITEMS)
    written = [one.path for one in tls_front.front.passed[before:] if one.method == "PUT"]
    assert [path for path in written if f"/{name}/u/{lab.alice}/{UUID}/data/" in path]


def put_bundle(lab: Lab, name: str, text: str) -> None:
    metadata = {"name": name, "namespace": ADMIN_NAMESPACE}
    lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": text}})
