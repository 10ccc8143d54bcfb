"""The broker as other packages use upstream's: boto3 objects, subclasses, private names."""

from __future__ import annotations

import copy
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import dtoolcore
import pytest
from botocore.config import Config

from dtool_s3.errors import AccessDenied, CredentialsRejected
from dtool_s3.layout import FORMAT_VERSION, DatasetLayout, item_identifier
from dtool_s3.storagebroker import _STRUCTURE_PARAMETERS, S3StorageBroker

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

_OWN_PARAMETERS = copy.deepcopy(_STRUCTURE_PARAMETERS)
_OWN_PARAMETERS["storage_broker_version"] = "0.5.0"


class OtherBroker(S3StorageBroker):
    """As dtool-ecs derives its broker: it calls no constructor of ours and shares one dictionary."""

    key = "ecs"
    endpoint = access_key = secret_key = cache = ""

    def __init__(self, uri: str, config_path: str | None = None) -> None:  # noqa: ARG002 - dtoolcore's
        self.bucket, _, self.uuid = uri.removeprefix("ecs://").partition("/")
        session = boto3.session.Session(self.access_key, self.secret_key, region_name="us-east-1")
        options = {
            "endpoint_url": self.endpoint,
            "config": Config(retries={"max_attempts": 20}),
            "verify": False,
        }
        self.s3resource = session.resource("s3", **options)
        self.s3client = session.client("s3", **options)
        self._structure_parameters = _OWN_PARAMETERS
        self.dataset_registration_key = f"dtool-{self.uuid}"
        self._structure_parameters["dataset_registration_key"] = self.dataset_registration_key
        self.data_key_prefix = self._generate_key_prefix("data_key_infix")
        self.fragments_key_prefix = self._generate_key_prefix("fragment_key_infix")
        self.overlays_key_prefix = self._generate_key_prefix("overlays_key_infix")
        self.annotations_key_prefix = self._generate_key_prefix("annotations_key_infix")
        self.http_manifest_key = self._generate_key("http_manifest_key")
        self._s3_cache_abspath = self.cache

    @classmethod
    def list_dataset_uris(cls, base_uri: str, config_path: str | None = None) -> list[str]:  # noqa: ARG003
        bucket = cls(base_uri).s3resource.Bucket(base_uri.removeprefix("ecs://"))
        uris = [
            cls.generate_uri(None, o.key.removeprefix("dtool-"), base_uri)
            for o in bucket.objects.filter(Prefix="dtool-")
        ]
        return [uri for uri in uris if cls(uri).has_admin_metadata()]


@pytest.fixture
def base_uri(
    object_store: ObjectStore, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    admin = object_store.identity("admin")
    monkeypatch.setattr(OtherBroker, "endpoint", object_store.endpoint)
    monkeypatch.setattr(OtherBroker, "access_key", admin.access_key)
    monkeypatch.setattr(OtherBroker, "secret_key", admin.secret_key)
    monkeypatch.setattr(OtherBroker, "cache", str(tmp_path / "cache"))
    brokers = {"ecs": OtherBroker, "s3": S3StorageBroker}
    monkeypatch.setattr(dtoolcore, "_generate_storage_broker_lookup", lambda: brokers)
    for name, value in {
        f"DTOOL_S3_ENDPOINT_{bucket_name}": object_store.endpoint,
        f"DTOOL_S3_ACCESS_KEY_ID_{bucket_name}": admin.access_key,
        f"DTOOL_S3_SECRET_ACCESS_KEY_{bucket_name}": admin.secret_key,
        f"DTOOL_S3_DATASET_PREFIX_{bucket_name}": "u/alice/",
        "DTOOL_CACHE_DIRECTORY": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return f"ecs://{bucket_name}"


def filled(base_uri: str, path: Path) -> Any:
    """A frozen dataset with one item, an overlay and an annotation, through dtoolcore alone."""
    path.write_bytes(b"alpha")
    proto = dtoolcore.create_proto_dataset("sample", base_uri, "description: x", "olssont")
    proto.put_item(str(path), "ü/a.txt")
    proto.add_item_metadata("ü/a.txt", "key", 7)
    proto.put_annotation("project", "atlas")
    proto.freeze()
    return dtoolcore.DataSet.from_uri(proto.uri)


def test_a_subclass_without_our_constructor_creates_fills_freezes_and_reads(
    base_uri: str, tmp_path: Path
) -> None:
    dataset = filled(base_uri, tmp_path / "file")

    (identifier,) = dataset.identifiers
    assert identifier == item_identifier("ü/a.txt")
    assert Path(dataset.item_content_abspath(identifier)).read_bytes() == b"alpha"
    assert dataset.get_overlay("key") == {identifier: 7}
    assert dataset.get_annotation("project") == "atlas"
    assert dataset.uri.startswith("ecs://")
    assert [found.uri for found in dtoolcore.iter_datasets_in_base_uri(base_uri)] == [dataset.uri]


def test_a_subclass_with_a_version_of_its_own_writes_the_formats(base_uri: str, tmp_path: Path) -> None:
    dataset = filled(base_uri, tmp_path / "file")

    broker = dataset._storage_broker
    structure = json.loads(broker.get_text(broker.get_structure_key()))
    assert structure["storage_broker_version"] == FORMAT_VERSION
    assert structure["dataset_registration_key"] == f"dtool-{dataset.uuid}"


def test_what_a_subclass_wrote_is_read_by_our_own(base_uri: str, tmp_path: Path) -> None:
    dataset = filled(base_uri, tmp_path / "file")

    ours = dtoolcore.DataSet.from_uri(dataset.uri.replace("ecs://", "s3://"))

    assert ours.generate_manifest()["items"] == dataset._manifest["items"]


def test_the_boto3_objects_reach_the_bucket_of_the_broker(base_uri: str, tmp_path: Path) -> None:
    dataset = filled(base_uri.replace("ecs://", "s3://"), tmp_path / "file")
    broker = dataset._storage_broker
    layout = DatasetLayout("u/alice/", dataset.uuid)

    keys = [found.key for found in broker.s3resource.Bucket(broker.bucket).objects.filter(Prefix=layout.root)]
    head = broker.s3client.head_object(Bucket=broker.bucket, Key=layout.readme_key)
    parameters = {"Bucket": broker.bucket, "Key": layout.readme_key}
    unsigned = broker.unsigned_s3client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=0)

    assert layout.manifest_key in keys
    assert head["ContentLength"] == len("description: x")
    assert unsigned.partition("?")[0] == broker.store.public_url(layout.readme_key)
    assert broker.s3client is broker.s3client
    assert broker._get_prefix() == "u/alice/"
    assert broker.fragments_key_prefix == layout.fragments_prefix


def test_requests_are_made_with_the_client_that_was_assigned(base_uri: str, tmp_path: Path) -> None:
    dataset = filled(base_uri.replace("ecs://", "s3://"), tmp_path / "file")
    broker = S3StorageBroker(dataset.uri)
    session = boto3.session.Session("nobody", "wrong", region_name="us-east-1")
    right = broker.s3client

    broker.s3client = session.client("s3", endpoint_url=OtherBroker.endpoint)
    with pytest.raises((AccessDenied, CredentialsRejected)):
        broker.get_readme_content()
    broker.s3client = right

    assert broker.get_readme_content() == "description: x"


def test_historical_readmes_are_found_on_a_custom_endpoint(base_uri: str, tmp_path: Path) -> None:
    dataset = filled(base_uri.replace("ecs://", "s3://"), tmp_path / "file")
    dataset.put_readme("description: better")

    (key,) = dataset._storage_broker._list_historical_readme_keys()

    assert dataset._storage_broker.get_text(key) == "description: x"


def test_a_manifest_for_http_is_made_without_publishing(base_uri: str, tmp_path: Path) -> None:
    dataset = filled(base_uri.replace("ecs://", "s3://"), tmp_path / "file")

    document = dataset._storage_broker._generate_http_manifest(expiry=None)

    assert list(document["item_urls"]) == list(dataset.identifiers)
    assert document["admin_metadata"]["uuid"] == dataset.uuid


@pytest.mark.parametrize("base", ["s3", "ecs"])
def test_a_broker_of_a_base_uri_can_be_made(base_uri: str, base: str) -> None:
    broker_class = {"s3": S3StorageBroker, "ecs": OtherBroker}[base]
    place = base_uri.replace("ecs://", f"{base}://")

    broker = broker_class(place)

    dataset_uuid = str(uuid.uuid4())
    assert broker.uuid == ""
    assert not broker.has_admin_metadata()
    assert broker.generate_uri("x", dataset_uuid, place) == f"{place}/{dataset_uuid}"
