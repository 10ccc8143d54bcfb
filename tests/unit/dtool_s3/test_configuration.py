"""dtool's variables: environment over file, the trio or nothing, prefixes end in a slash."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtool_s3.configuration import (
    Configuration,
    check_installation,
    close_stores,
    open_store,
    read_configuration,
)
from dtool_s3.errors import SettingsError
from dtool_s3.settings import (
    Addressing,
    ConditionalWrites,
    Credentials,
    Encryption,
    EncryptionMode,
    Endpoint,
    Secret,
)
from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.memory import MemoryServer

BUCKET = "lab-data"
TRIO = {
    f"DTOOL_S3_ENDPOINT_{BUCKET}": "http://s3.example.org",
    f"DTOOL_S3_ACCESS_KEY_ID_{BUCKET}": "alice",
    f"DTOOL_S3_SECRET_ACCESS_KEY_{BUCKET}": "hush",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DTOOL_")]:
        monkeypatch.delenv(name)


def write_file(directory: Path, content: object) -> Path:
    path = directory / "dtool.json"
    path.write_text(json.dumps(content))
    return path


def read(directory: Path, content: object) -> Configuration:
    return read_configuration(BUCKET, write_file(directory, content))


def test_without_variables_everything_is_left_to_the_aws_chain(tmp_path: Path) -> None:
    configuration = read(tmp_path, {})

    assert configuration.endpoint.url is None
    assert configuration.credentials() is None
    assert configuration.prefix == ""


def test_the_file_given_by_path_is_honoured_for_every_value(tmp_path: Path) -> None:
    content = TRIO | {f"DTOOL_S3_DATASET_PREFIX_{BUCKET}": "u/a/", "DTOOL_CACHE_DIRECTORY": "/scratch/dtool"}

    configuration = read(tmp_path, content)

    assert configuration.endpoint.url == "http://s3.example.org"
    assert configuration.credentials() == Credentials("alice", Secret("hush"))
    assert configuration.prefix == "u/a/"
    assert configuration.cache_directory == Path("/scratch/dtool")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DTOOL_S3_ENDPOINT_{BUCKET}", "http://elsewhere.example.org")

    assert read(tmp_path, TRIO).endpoint.url == "http://elsewhere.example.org"


@pytest.mark.parametrize("lacking", TRIO)
@pytest.mark.parametrize("is_empty", [True, False])
def test_an_incomplete_endpoint_is_refused_naming_what_lacks(
    tmp_path: Path, lacking: str, is_empty: bool
) -> None:
    content = {name: value for name, value in TRIO.items() if name != lacking}
    if is_empty:
        content[lacking] = ""

    with pytest.raises(RuntimeError, match=f"missing or empty: {lacking}"):
        read(tmp_path, content)


def test_the_broker_itself_refuses_an_incomplete_endpoint(tmp_path: Path) -> None:
    path = write_file(tmp_path, {f"DTOOL_S3_ENDPOINT_{BUCKET}": "http://s3.example.org"})

    with pytest.raises(RuntimeError):
        S3StorageBroker(f"s3://{BUCKET}", path)


def test_the_secret_is_not_in_the_representation(tmp_path: Path) -> None:
    configuration = read(tmp_path, TRIO)

    assert "hush" not in repr(configuration)


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        ({f"DTOOL_S3_DATASET_PREFIX_{BUCKET}": "u/alice/"}, "u/alice/"),
        ({f"DTOOL_S3_DATASET_PREFIX_{BUCKET}": "u/olssont"}, "u/olssont/"),
        ({"DTOOL_S3_DATASET_PREFIX": "u/olssont"}, "u/olssont/"),
        ({"DTOOL_S3_DATASET_PREFIX": "a/", f"DTOOL_S3_DATASET_PREFIX_{BUCKET}": "b/"}, "b/"),
        ({"DTOOL_S3_DATASET_PREFIX": "a/", f"DTOOL_S3_DATASET_PREFIX_{BUCKET}": ""}, ""),
        ({"DTOOL_S3_DATASET_PREFIX_other": "a/"}, ""),
    ],
)
def test_the_prefix_gets_its_slash_and_the_buckets_own_wins(
    tmp_path: Path, content: dict[str, str], prefix: str
) -> None:
    assert read(tmp_path, content).prefix == prefix


@pytest.mark.parametrize("prefix", ["/u/alice", "u//alice", "u/../bob", "dtool-data", "./u"])
def test_an_unsafe_prefix_is_refused_only_for_creation(tmp_path: Path, prefix: str) -> None:
    configuration = read(tmp_path, {f"DTOOL_S3_DATASET_PREFIX_{BUCKET}": prefix})

    with pytest.raises(SettingsError, match=f"DTOOL_S3_DATASET_PREFIX_{BUCKET}"):
        configuration.check_prefix()


@pytest.mark.parametrize("text", ["{", "7", '{"DTOOL_S3_DATASET_PREFIX": 7}'])
def test_a_broken_file_is_named_as_such(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dtool.json"
    path.write_text(text)

    with pytest.raises(SettingsError, match="configuration file"):
        read_configuration(BUCKET, path)


def test_upstream_installed_beside_us_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "dtool_s3-0.14.1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text("Metadata-Version: 2.1\nName: dtool-s3\nVersion: 0.14.1\n")
    check_installation()
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(SettingsError, match="pip uninstall dtool-s3"):
        S3StorageBroker(f"s3://{BUCKET}")


def test_equal_configurations_share_a_store_until_the_aws_environment_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(read(tmp_path, TRIO))
    again = open_store(read(tmp_path, TRIO))
    monkeypatch.setenv("AWS_PROFILE", "another")
    changed = open_store(read(tmp_path, TRIO))

    assert first is again
    assert changed is not first
    assert (first.bucket, first.endpoint_url) == (BUCKET, "http://s3.example.org")


def test_every_part_of_a_configuration_makes_a_store_of_its_own(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("")
    parts = {
        "REGION": "eu-central-1",
        "ADDRESSING": "virtual",
        "CA_BUNDLE": str(certificates),
        "CONDITIONAL_WRITES": "BestEffort",
        "ENCRYPTION": "SSE-S3",
        "SESSION_TOKEN": "token",
    }
    plain = open_store(read(tmp_path, TRIO))

    others = [
        open_store(read(tmp_path, TRIO | {f"DTOOL_S3_{name}_{BUCKET}": value}))
        for name, value in parts.items()
    ]

    assert len({id(store) for store in (plain, *others)}) == 1 + len(parts)


def test_closed_stores_are_opened_anew(tmp_path: Path) -> None:
    first = open_store(read(tmp_path, TRIO))

    close_stores()

    assert open_store(read(tmp_path, TRIO)) is not first


def test_a_configuration_is_given_in_python_without_reading_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DTOOL_S3_DATASET_PREFIX", "u/somebody-else/")
    keys = Credentials("alice", Secret("hush"))

    configuration = Configuration(
        BUCKET, endpoint=Endpoint("http://s3.example.org"), credentials=keys, prefix="u/a"
    )

    assert configuration.check_prefix() == "u/a/"
    assert configuration.credentials() == keys
    assert configuration.publish_expiry_seconds is None
    assert "hush" not in repr(configuration)
    assert open_store(configuration).endpoint_url == "http://s3.example.org"


def test_a_store_given_in_python_is_used_as_it_is() -> None:
    store = MemoryServer().store(BUCKET)

    assert open_store(Configuration(BUCKET, store=store)) is store


def test_what_upstream_cannot_say_is_said_by_bucket(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("")
    content = TRIO | {
        f"DTOOL_S3_REGION_{BUCKET}": "eu-central-1",
        f"DTOOL_S3_SESSION_TOKEN_{BUCKET}": "token",
        f"DTOOL_S3_CA_BUNDLE_{BUCKET}": str(certificates),
        f"DTOOL_S3_ADDRESSING_{BUCKET}": "path",
        f"DTOOL_S3_ENCRYPTION_{BUCKET}": "sse-kms",
        f"DTOOL_S3_KMS_KEY_ID_{BUCKET}": "key-1",
        f"DTOOL_S3_CONDITIONAL_WRITES_{BUCKET}": "besteffort",
        "DTOOL_S3_PUBLISH_EXPIRY": "3600",
    }

    configuration = read(tmp_path, content)

    assert configuration.endpoint == Endpoint(
        "http://s3.example.org",
        region="eu-central-1",
        addressing=Addressing.PATH,
        ca_bundle=str(certificates),
        conditional_writes=ConditionalWrites.BEST_EFFORT,
        encryption=Encryption(EncryptionMode.SSE_KMS, "key-1"),
    )
    assert configuration.credentials() == Credentials("alice", Secret("hush"), Secret("token"))
    assert configuration.publish_expiry_seconds == 3600


@pytest.mark.parametrize("value", [3600, "3600", " 3600 "])
def test_an_expiry_in_the_file_may_be_a_number(tmp_path: Path, value: object) -> None:
    assert read(tmp_path, {"DTOOL_S3_PUBLISH_EXPIRY": value}).publish_expiry_seconds == 3600


def test_an_expiry_that_is_empty_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, {"DTOOL_S3_PUBLISH_EXPIRY": ""}).publish_expiry_seconds is None


def test_a_profile_gives_the_keys_without_the_trio(tmp_path: Path) -> None:
    configuration = read(tmp_path, {f"DTOOL_S3_PROFILE_{BUCKET}": "lab"})

    assert configuration.endpoint == Endpoint(profile="lab")
    assert configuration.credentials() is None


def test_an_empty_variable_of_the_environment_takes_back_what_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DTOOL_S3_REGION_{BUCKET}", "")

    assert read(tmp_path, {f"DTOOL_S3_REGION_{BUCKET}": "eu-central-1"}).endpoint.region is None


@pytest.mark.parametrize("bucket", ["lab.data", "lab-data.2026", "a-b-c"])
def test_names_of_buckets_with_dots_and_hyphens_are_part_of_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    monkeypatch.setenv(f"DTOOL_S3_REGION_{bucket}", "eu-central-1")
    path = write_file(tmp_path, {f"DTOOL_S3_DATASET_PREFIX_{bucket}": "u/a/"})

    configuration = read_configuration(bucket, path)

    assert (configuration.endpoint.region, configuration.prefix) == ("eu-central-1", "u/a/")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (f"DTOOL_S3_REGION_{BUCKET}", "Frankfurt am Main", "no name of a region"),
        (f"DTOOL_S3_ADDRESSING_{BUCKET}", "dns", "none of Auto, Path, Virtual"),
        (f"DTOOL_S3_ENCRYPTION_{BUCKET}", "aes", "none of SSE-S3, SSE-KMS"),
        (f"DTOOL_S3_KMS_KEY_ID_{BUCKET}", "key-1", f"needs DTOOL_S3_ENCRYPTION_{BUCKET}=SSE-KMS"),
        (f"DTOOL_S3_CONDITIONAL_WRITES_{BUCKET}", "yes", "none of Required, BestEffort"),
        (f"DTOOL_S3_CA_BUNDLE_{BUCKET}", "/no/such/file.pem", "no such file"),
        (f"DTOOL_S3_PROFILE_{BUCKET}", "lab", "contradict"),
        (f"DTOOL_S3_ENDPOINT_{BUCKET}", "s3.example.org", "no URL such as"),
        (f"DTOOL_S3_ENDPOINT_{BUCKET}", "http://[", "no URL such as"),
        (f"DTOOL_S3_ENDPOINT_{BUCKET}", "https://alice:hush@s3.example.org", "variables of their own"),
        ("DTOOL_S3_PUBLISH_EXPIRY", "a day", "no number of seconds"),
        ("DTOOL_S3_PUBLISH_EXPIRY", "0", "no number of seconds"),
    ],
)
def test_a_value_that_cannot_be_is_refused_naming_its_variable(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read(tmp_path, TRIO | {name: value})

    assert name in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_session_token_without_its_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"DTOOL_S3_SESSION_TOKEN_{BUCKET} is given without"):
        read(tmp_path, {f"DTOOL_S3_SESSION_TOKEN_{BUCKET}": "token"})


def test_it_is_known_where_each_value_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DTOOL_S3_REGION_{BUCKET}", "eu-central-1")

    origins = read(tmp_path, {"DTOOL_S3_DATASET_PREFIX": "u/a/"}).origins

    assert origins == {
        f"DTOOL_S3_REGION_{BUCKET}": "environment",
        "DTOOL_S3_DATASET_PREFIX": str(tmp_path / "dtool.json"),
    }


def test_the_broker_loads_no_client_before_its_first_request() -> None:
    code = "import sys, dtool_s3.storagebroker; print(sorted({'boto3', 'botocore'} & set(sys.modules)))"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
