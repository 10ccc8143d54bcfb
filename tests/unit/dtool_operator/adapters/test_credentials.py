"""From a bucket's references to keys and certificates; the cluster is played."""

from pathlib import Path
from typing import Any

import certifi
import pytest

from dtool_operator.adapters.credentials import AMBIENT, BucketCredentials, read_credentials
from dtool_operator.errors import OperatorError
from tests.support.fake_cluster import FakeCluster
from tests.support.observed import ADMIN, bucket

CERTIFICATE = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")[0] + (
    "-----END CERTIFICATE-----\n"
)
KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "sk"}
CA = {"caBundle": {"configMapKeyRef": {"name": "ca", "key": "root.pem"}}}
SECRET = {"credentials": {"secretRef": {"name": "lab-s3"}}}


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster(operator_namespace=ADMIN)
    cluster.put_secret(ADMIN, "lab-s3", KEYS)
    return cluster


async def _read(cluster: FakeCluster, **spec: Any) -> BucketCredentials:
    return await read_credentials(cluster, bucket(**spec))


async def _refusal(cluster: FakeCluster, **spec: Any) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        await _read(cluster, **spec)
    return caught.value


async def test_a_bucket_that_names_neither_has_the_operators_identity_and_the_public_certificates(
    cluster: FakeCluster,
) -> None:
    assert await _read(cluster, credentials=None) == AMBIENT


async def test_certificates_come_with_the_keys_and_the_version_covers_both(cluster: FakeCluster) -> None:
    cluster.put_config_map(ADMIN, "ca", {"root.pem": CERTIFICATE})

    first = await _read(cluster, **SECRET, **CA)
    cluster.put_config_map(ADMIN, "ca", {"root.pem": CERTIFICATE * 2})
    second = await _read(cluster, **SECRET, **CA)
    cluster.put_secret(ADMIN, "lab-s3", KEYS)
    third = await _read(cluster, **SECRET, **CA)

    assert first.ca_bundle == CERTIFICATE
    assert second.ca_bundle == CERTIFICATE * 2
    assert first.credentials == second.credentials
    assert len({first.version, second.version, third.version}) == 3


async def test_the_ambient_identity_may_have_certificates_too(cluster: FakeCluster) -> None:
    cluster.put_config_map(ADMIN, "ca", {"root.pem": CERTIFICATE})

    found = await _read(cluster, credentials=None, **CA)

    assert (found.credentials, found.ca_bundle) == (None, CERTIFICATE)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "missing"),
        ({"root.pem": ""}, "missing"),
        ({"ca.crt": CERTIFICATE}, "missing"),
        ({"root.pem": "no certificate"}, "no certificates in PEM"),
        ({"root.pem": CERTIFICATE[:400]}, "no certificates in PEM"),
        ({"root.pem": CERTIFICATE.replace("M", "!")}, "no certificates in PEM"),
        ({"root.pem": "ünï"}, "no certificates in PEM"),
        ({"root.pem": CERTIFICATE * 1000}, "longer than"),
    ],
    ids=["empty-map", "empty-text", "another-key", "words", "cut-off", "no-base64", "not-ascii", "too-long"],
)
async def test_what_is_no_certificate_is_named_with_its_place(
    cluster: FakeCluster, data: dict[str, str], problem: str
) -> None:
    cluster.put_config_map(ADMIN, "ca", data)

    error = await _refusal(cluster, **SECRET, **CA)

    assert error.reason == "CABundleInvalid"
    assert f"root.pem in ConfigMap {ADMIN}/ca" in error.message
    assert problem in error.message
    assert "no certificate\n" not in error.message


PUBLIC = Path(certifi.where()).read_text(encoding="utf-8")


async def test_all_public_certificates_with_their_comments_are_taken(cluster: FakeCluster) -> None:
    text = f"# Főtanúsítvány\n{PUBLIC}"
    cluster.put_config_map(ADMIN, "ca", {"root.pem": text})

    assert (await _read(cluster, **SECRET, **CA)).ca_bundle == text


async def test_a_config_map_that_is_not_there_is_the_same_reason(cluster: FakeCluster) -> None:
    assert (await _refusal(cluster, **SECRET, **CA)).reason == "CABundleInvalid"
