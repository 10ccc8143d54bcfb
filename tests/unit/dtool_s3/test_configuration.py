"""dtool's variables: environment over file, the trio or nothing, prefixes end in a slash."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dtool_s3.configuration import (
    Configuration,
    check_installation,
    given_configuration,
    open_store,
    read_configuration,
)
from dtool_s3.errors import SettingsError
from dtool_s3.settings import Credentials, Secret
from dtool_s3.storagebroker import S3StorageBroker

BUCKET = "lab-data"
TRIO = {
    f"DTOOL_S3_ENDPOINT_{BUCKET}": "http://s3.example.org",
    f"DTOOL_S3_ACCESS_KEY_ID_{BUCKET}": "alice",
    f"DTOOL_S3_SECRET_ACCESS_KEY_{BUCKET}": "hush",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *TRIO,
        "DTOOL_S3_DATASET_PREFIX",
        f"DTOOL_S3_DATASET_PREFIX_{BUCKET}",
        "DTOOL_CACHE_DIRECTORY",
    ):
        monkeypatch.delenv(name, raising=False)


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


def test_a_configuration_may_be_given_in_python() -> None:
    configuration = given_configuration(BUCKET, "u/a/", Path("/scratch"))

    assert (configuration.check_prefix(), configuration.cache_directory) == ("u/a/", Path("/scratch"))


def test_the_broker_loads_no_client_before_its_first_request() -> None:
    code = "import sys, dtool_s3.storagebroker; print(sorted({'boto3', 'botocore'} & set(sys.modules)))"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
