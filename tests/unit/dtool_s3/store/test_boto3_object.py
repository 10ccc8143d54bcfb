"""boto3's own objects and the stores made from them; no request is sent."""

import logging
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from dtool_s3.settings import Addressing, Credentials, Endpoint, Secret
from dtool_s3.store.boto import boto3_object

KEYS = Credentials("AKIAEXAMPLE", Secret("very-secret"), Secret("token"))
URL = "https://s3.example.org:9000"


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def client(**options: Any) -> Any:
    session = boto3.session.Session("AKIAEXAMPLE", "very-secret", "token", region_name="eu-central-1")
    return session.client("s3", **options)


def test_a_client_has_the_endpoint_the_keys_and_the_region() -> None:
    made = boto3_object.open_client(Endpoint(URL, "eu-central-1", Addressing.PATH), KEYS)

    keys = made._get_credentials()
    assert (made.meta.endpoint_url, made.meta.region_name) == (URL, "eu-central-1")
    assert (keys.access_key, keys.secret_key, keys.token) == ("AKIAEXAMPLE", "very-secret", "token")
    assert made.meta.config.s3["addressing_style"] == "path"
    assert made.meta.config.signature_version == "s3v4"


def test_a_resource_has_the_same() -> None:
    made = boto3_object.open_resource(Endpoint(URL, "eu-central-1"), KEYS)

    assert made.meta.client.meta.endpoint_url == URL


def test_an_unsigned_client_makes_urls_without_signature() -> None:
    made = boto3_object.open_client(Endpoint(URL, "eu-central-1"), KEYS, is_unsigned=True)

    url = made.generate_presigned_url("get_object", Params={"Bucket": "b-1", "Key": "k"}, ExpiresIn=0)

    assert url == f"{URL}/b-1/k"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Endpoint(None, "eu-central-1")),
        ({"endpoint_url": URL}, Endpoint(URL, "eu-central-1")),
        (
            {"endpoint_url": URL, "config": Config(s3={"addressing_style": "virtual"})},
            Endpoint(URL, "eu-central-1", Addressing.VIRTUAL),
        ),
        ({"endpoint_url": URL, "verify": __file__}, Endpoint(URL, "eu-central-1", ca_bundle=__file__)),
    ],
)
def test_a_store_is_made_of_what_a_client_knows(options: dict[str, Any], expected: Endpoint) -> None:
    store = boto3_object.adopt_client(client(**options), "lab-data")

    assert store.bucket == "lab-data"
    assert store._connection.endpoint == expected
    assert store._connection._credentials() == KEYS
    store.close()


@pytest.mark.parametrize(("url", "is_told"), [(URL, True), ("http://127.0.0.1:9000", False)])
def test_certificates_are_verified_although_a_client_would_not(
    caplog: pytest.LogCaptureFixture, url: str, is_told: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        store = boto3_object.adopt_client(client(endpoint_url=url, verify=False), "lab-data")

    assert store._connection.endpoint.ca_bundle is None
    assert ("certificates_are_verified" in caplog.text) is is_told
    store.close()


def test_a_client_without_keys_leaves_them_to_the_aws_chain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = boto3.session.Session(region_name="us-east-1").client("s3", endpoint_url=URL)

    store = boto3_object.adopt_client(made, "lab-data")

    assert store._connection._credentials() is None
    store.close()
