"""Every write asks for the encryption that the bucket object names; who cannot give it gets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.datasets import ITEMS, UUID
from tests.support.lab import ADMIN_NAMESPACE, Lab

if TYPE_CHECKING:
    from tests.support.front import Front
    from tests.support.moto import MotoServer

MODE, KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
ASKED = {"SSE-S3": ("AES256", None), "SSE-KMS": ("aws:kms", "key-1")}


@pytest.mark.parametrize("mode", ASKED)
def test_every_write_asks_for_the_encryption_that_the_bucket_names(
    lab: Lab, moto_server: MotoServer, moto_front: Front, mode: str
) -> None:
    name = f"clinical-{lab.suffix}"
    moto_server.create_bucket(name)
    lab.write(lab.instruments)
    asked = ASKED[mode]
    encryption = {"mode": mode, **({"kmsKeyId": asked[1]} if asked[1] else {})}
    lab.bucket_object(name, endpoint=moto_front.url, region="us-east-1", encryption=encryption)
    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)
    before = len(moto_front.passed)

    lab.dataset("raw", bucketRef=lab.ref(name), source={"uri": lab.uri(UUID)}, tags=["ours"])

    assert lab.wait_state("raw", "Frozen")["items"] == len(ITEMS)
    lab.wait_ready("dtooldataset", "raw")  # its tags are written after it was frozen
    writes = [one for one in moto_front.passed[before:] if one.method == "PUT"]
    paths = {one.path.partition("?")[0] for one in writes}
    prefix = f"/{name}/u/{lab.alice}/"
    assert {f"{prefix}.dtool-owner", f"{prefix}{UUID}/dtool", f"/{name}/dtool-{UUID}"} <= paths
    assert f"{prefix}{UUID}/tags/ours" in paths
    assert len([path for path in paths if f"{UUID}/data/" in path]) == len(ITEMS)
    assert {(one.headers.get(MODE), one.headers.get(KEY)) for one in writes} == {asked}


def test_a_store_that_cannot_encrypt_gets_nothing_in_the_clear(lab: Lab) -> None:
    name = f"plain-{lab.suffix}"
    lab.object_store.create_bucket(name)
    lab.write(lab.instruments)
    lab.bucket_object(name, encryption={"mode": "SSE-S3"})
    lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)

    lab.dataset("raw", bucketRef=lab.ref(name), source={"uri": lab.uri(UUID)})

    ready = lab.wait_reason("dtooldataset", "raw", "BucketUnreachable")
    assert "HTTP 500" in ready["message"]
    assert lab.keys(name) == {}
