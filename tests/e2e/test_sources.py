"""Every source that a dataset may have, played with the operator; upstream's dtool reads what arrives."""

import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from dtool_s3 import blocking
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.publication.publishing import publish
from tests.support.datasets import ITEMS, UUID, DatasetFixture, md5
from tests.support.http_site import open_site
from tests.support.lab import Lab, find_condition


def test_another_namespaces_dataset_is_copied_once_it_is_frozen(lab: Lab) -> None:
    bob, shared = f"bob-{lab.suffix}", f"shared-{lab.suffix}"
    lab.namespace(bob)
    lab.object_store.create_bucket(shared)
    lab.bucket_object(shared, readAccess="Bucket")
    lab.dataset("copy", source={"dataset": {"name": "raw", "namespace": bob}})
    lab.wait_reason("dtooldataset", "copy", "SourceDatasetNotFound")

    lab.dataset("raw", namespace=bob, bucketRef=lab.ref(shared))
    lab.wait_reason("dtooldataset", "copy", "SourceNotFrozen")
    uuid = lab.wait_state("raw", "Proto", namespace=bob)["uuid"]
    fill(lab, shared, DatasetLayout(f"u/{bob}/", uuid))
    lab.edit("raw", namespace=bob, freeze=True)

    assert lab.wait_state("copy", "Frozen")["uuid"] == uuid
    lab.dataset("twin", bucketRef=lab.ref(shared), source={"dataset": {"name": "raw", "namespace": bob}})
    ready = lab.wait_reason("dtooldataset", "twin", "AlreadyInBucket")
    assert f"u/{bob}/" in ready["message"]


def test_plain_objects_become_a_dataset_that_upstream_reads(lab: Lab, tmp_path: Path) -> None:
    for relpath, body in ITEMS.items():
        lab.put(lab.instruments, f"run-17/{relpath}", body)

    objects = {"bucketRef": lab.ref(lab.instruments), "prefix": "run-17/"}
    lab.dataset(
        "run-17", source={"objects": objects}, name="sequencer-run-17", readme="description: run 17\n"
    )

    status = lab.wait_state("run-17", "Frozen")
    read = lab.upstream(lab.bucket, tmp_path / "home").script("read", uri=status["uri"])
    assert status["uuid"] == lab.get("dtooldataset", "run-17")["metadata"]["uid"]
    assert (read["admin"]["name"], read["readme"]) == ("sequencer-run-17", "description: run 17\n")
    assert items_of(read) == dict(ITEMS)


def test_a_published_dataset_is_copied_from_a_host_that_is_allowed(lab: Lab) -> None:
    fixture = lab.write(lab.instruments)
    with closing(lab.store(lab.instruments)) as store:
        url = blocking.run(publish(store, fixture.layout, expires_seconds=600))

    lab.dataset("published", source={"uri": url})

    status = lab.wait_state("published", "Frozen")
    assert (status["uuid"], status["items"]) == (UUID, len(ITEMS))
    assert find_condition(status, "Verified")["status"] == "True"
    signature = url.partition("Signature=")[2]
    assert signature
    assert signature not in lab.operator.log() + json.dumps(status)


def test_a_host_that_is_not_allowed_is_never_asked(lab: Lab) -> None:
    with open_site() as site:
        lab.dataset("published", source={"uri": site.publish(DatasetFixture())})

        lab.wait_reason("dtooldataset", "published", "EndpointNotAllowed")
        asked = site.requests

    assert asked == []
    assert not [key for key in lab.keys(lab.bucket) if UUID in key]


def test_a_derived_dataset_lies_beside_its_source(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/")

    lab.dataset(
        "filtered", source={"uri": f"s3://{lab.bucket}/{UUID}"}, identity="New", name="sample-filtered"
    )

    status = lab.wait_state("filtered", "Frozen")
    read = lab.upstream(lab.bucket, tmp_path / "home").script("read", uri=status["uri"])
    assert status["uuid"] == lab.get("dtooldataset", "filtered")["metadata"]["uid"]
    assert (status["name"], status["creatorUsername"]) == ("sample-filtered", lab.alice)
    assert read["annotations"]["derived_from"] == {"uuid": UUID, "name": "sample"}
    assert items_of(read) == dict(ITEMS)


def test_only_the_manifest_that_is_pinned_is_copied(lab: Lab) -> None:
    fixture = lab.write(lab.instruments)
    stored = {"bucketRef": lab.ref(lab.instruments), "uuid": UUID}
    digest = hashlib.sha256(fixture.manifest()).hexdigest()

    lab.dataset("other", source={"stored": stored, "manifestSHA256": "0" * 64})
    lab.wait_reason("dtooldataset", "other", "InvalidManifest")
    assert lab.status("other")["state"] == "Failed"
    assert not lab.keys(lab.bucket, f"u/{lab.alice}/{UUID}/data/")
    lab.delete("dtooldataset", "other")
    lab.dataset("pinned", source={"stored": stored, "manifestSHA256": digest})

    assert lab.wait_state("pinned", "Frozen")["items"] == len(ITEMS)


def test_upstream_fills_an_empty_proto_dataset_and_an_edit_freezes_it(lab: Lab, tmp_path: Path) -> None:
    lab.dataset("plate", name="plate-2026", readme="description: a plate\n", tags=["plate"])
    lab.wait_ready("dtooldataset", "plate")
    status = lab.status("plate")
    assert (status["state"], find_condition(status, "Frozen")["status"]) == ("Proto", "False")
    upstream = lab.upstream(lab.bucket, tmp_path / "home", prefix=f"u/{lab.alice}/")
    file = tmp_path / "a.csv"
    file.write_text("well,value\nA1,0.1\n")

    upstream.run("add", "item", str(file), status["uri"])
    lab.edit("plate", freeze=True)

    frozen = lab.wait_state("plate", "Frozen")
    assert (frozen["uuid"], frozen["items"], frozen["name"]) == (status["uuid"], 1, "plate-2026")
    assert "All good" in upstream.run("verify", "--full", frozen["uri"])
    assert upstream.run("tag", "ls", frozen["uri"]) == "plate"


def test_a_proto_dataset_that_is_there_is_adopted_and_frozen(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/", is_frozen=False)
    lab.dataset("old", uuid=UUID)
    status = lab.wait_state("old", "Proto")
    assert status["name"] == "sample"

    lab.edit("old", freeze=True)

    assert lab.wait_state("old", "Frozen")["items"] == len(ITEMS)
    read = lab.upstream(lab.bucket, tmp_path / "home").script("read", uri=status["uri"])
    assert items_of(read) == dict(ITEMS)


def test_a_frozen_dataset_that_is_there_is_adopted_and_verified(lab: Lab) -> None:
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/")
    before = lab.lasting_keys()

    lab.dataset("old", uuid=UUID)

    status = lab.wait_state("old", "Frozen")
    assert (status["items"], find_condition(status, "Verified")["status"]) == (len(ITEMS), "True")
    after = lab.lasting_keys()
    after.pop(f"u/{lab.alice}/.dtool-owner", None)
    assert after == before


def fill(lab: Lab, bucket: str, layout: DatasetLayout) -> None:
    """Put items into a proto dataset, as `dtool add item` does."""
    client = lab.object_store.client()
    for relpath, body in ITEMS.items():
        key = layout.item_key(item_identifier(relpath))
        client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=item_metadata(relpath, md5(body)))


def items_of(read: dict[str, Any]) -> dict[str, bytes]:
    """Bytes by relpath of what the script read."""
    manifest = read["manifest"]["items"]
    return {manifest[i]["relpath"]: Path(path).read_bytes() for i, path in read["paths"].items()}
