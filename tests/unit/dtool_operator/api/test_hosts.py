"""Hosts that the CRDs' patterns let through and that no URL can have."""

import pytest
from pydantic import ValidationError

from dtool_operator.api.bucket import DtoolBucketSpec
from dtool_operator.api.source import Source

WRONG = ["[", "[::1", "host:port", "host:99999", ":80", "\u2100.example"]


@pytest.mark.parametrize("host", WRONG)
def test_an_endpoint_whose_host_means_nothing_is_not_valid(host: str) -> None:
    with pytest.raises(ValidationError, match="host"):
        DtoolBucketSpec.model_validate({"bucket": "lab-data", "endpoint": f"https://{host}"})


@pytest.mark.parametrize("host", WRONG)
def test_a_source_whose_host_means_nothing_is_not_valid(host: str) -> None:
    with pytest.raises(ValidationError, match="host"):
        Source.model_validate({"uri": f"https://{host}/1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11"})


@pytest.mark.parametrize("host", ["[::1]:9000", "minio.storage.svc:9000", "s3.example.org", "bücher.example"])
def test_addresses_names_and_ports_are_valid(host: str) -> None:
    DtoolBucketSpec.model_validate({"bucket": "lab-data", "endpoint": f"https://{host}/"})
