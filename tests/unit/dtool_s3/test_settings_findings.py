"""What is said of settings before a bucket is asked: true of what the library reads, and without secrets."""

import inspect
import re
from pathlib import Path

import pytest

from dtool_s3 import configuration
from dtool_s3.finding import Status
from dtool_s3.settings import Endpoint
from dtool_s3.settings_findings import (
    BUCKET_VARIABLES,
    PLAIN_VARIABLES,
    check_cache_directory,
    describe_chain,
    find_unknown_variables,
)


def test_every_variable_that_the_library_reads_is_known() -> None:
    source = inspect.getsource(configuration)
    read = set(re.findall(r"\bDTOOL_S3_[A-Z_]*[A-Z]\b(?=[\"'])", source))
    read_of_buckets = set(re.findall(r"\b(DTOOL_S3_[A-Z_]*[A-Z])_\{bucket\}", source))

    assert read == PLAIN_VARIABLES
    assert read_of_buckets <= BUCKET_VARIABLES
    assert {"DTOOL_S3_REGION", "DTOOL_S3_SESSION_TOKEN"} <= read_of_buckets
    assert find_unknown_variables({f"{name}_lab": "environment" for name in BUCKET_VARIABLES}, "lab") == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DTOOL_S3_ENDPOINT", "DTOOL_S3_ENDPOINT_lab"),
        ("DTOOL_S3_ENDPONT_field", "DTOOL_S3_ENDPOINT_field"),
        ("DTOOL_S3_PUBLISH_EXPIRE", "DTOOL_S3_PUBLISH_EXPIRY"),
        ("DTOOL_S3_ACCESS_KEY_field", "DTOOL_S3_ACCESS_KEY_ID_field"),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_name(name: str, meant: str) -> None:
    (finding,) = find_unknown_variables({name: "environment", "PATH": "environment"}, "lab")

    assert (finding.status, finding.advice) == (Status.WARN, f"is {meant} meant?")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An AWS configuration that is this test's own; no machine is asked for keys."""
    path = tmp_path / "config"
    path.write_text(
        "[profile field]\nendpoint_url = https://alice:hush@s3.example.org\nregion = eu-central-1\n"
        "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = hush\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return path


@pytest.mark.parametrize("where", ["variable of dtool", "AWS_PROFILE"])
def test_what_the_aws_chain_decides_is_shown_without_secrets(
    aws: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    profile = "field" if where == "variable of dtool" else None
    if profile is None:
        monkeypatch.setenv("AWS_PROFILE", "field")

    finding = describe_chain(Endpoint(profile=profile))

    assert finding.status is Status.OK
    assert "endpoint https://s3.example.org, profile field, access key id AKIA… " in finding.message
    assert "hush" not in finding.message
    assert "AKIAE" not in finding.message


def test_a_chain_without_keys_is_a_warning(aws: Path) -> None:
    aws.write_text("[default]\nregion = eu-central-1\n")

    finding = describe_chain(Endpoint())

    assert finding.status is Status.WARN
    assert "profile default, no keys were found" in finding.message


def test_a_profile_that_is_not_there_is_a_failure(aws: Path) -> None:
    assert describe_chain(Endpoint(profile="nowhere")).status is Status.FAIL


def test_a_cache_directory_that_is_made_later_is_no_problem(tmp_path: Path) -> None:
    assert check_cache_directory(tmp_path / "new" / "cache").status is Status.OK
    assert not (tmp_path / "new").exists()
