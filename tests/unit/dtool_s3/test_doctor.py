"""The doctor asks everything that can still be asked, leaves nothing behind and shows no secret."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir

import pytest

from dtool_s3.configuration import Configuration
from dtool_s3.doctor import REGISTRATION_PROBE_KEY, examine
from dtool_s3.errors import AccessDenied, BucketNotFound, InvalidURI, SettingsError
from dtool_s3.finding import Finding, Status
from dtool_s3.settings import ConditionalWrites, Credentials, Endpoint, Secret
from dtool_s3.store.memory import MemoryServer

PREFIX = "u/alice/"
KEYS = Credentials("alice", Secret("hush"))


@dataclass(slots=True)
class Patient:
    """A bucket in memory and its configuration."""

    server: MemoryServer = field(default_factory=MemoryServer)
    prefix: str = PREFIX
    endpoint: Endpoint = field(default_factory=lambda: Endpoint("https://s3.example.org"))

    cache_directory: Path = field(default_factory=lambda: Path(gettempdir()))

    def configure(self, bucket: str) -> Configuration:
        """Give the configuration."""
        return Configuration(
            bucket,
            self.endpoint,
            KEYS,
            prefix=self.prefix,
            cache_directory=self.cache_directory,
            store=self.server.store(bucket),
            origins={"DTOOL_S3_REGION_lab": "environment"},
        )

    async def examine(self) -> dict[str, Finding]:
        """Ask the doctor; the findings by name."""
        return {f.name: f for f in await examine("s3://lab", configure=self.configure)}


@pytest.fixture
def patient() -> Patient:
    patient = Patient()
    patient.server.create_bucket("lab")
    return patient


async def test_a_healthy_bucket_has_no_failures_and_is_left_as_it_was(patient: Patient) -> None:
    patient.server.write("lab", "u/bob/data", b"of others")

    found = await patient.examine()

    assert {f.status for f in found.values()} == {Status.OK}
    assert set(found) == {
        "installation",
        "configuration",
        "variable",
        "cache directory",
        "bucket",
        "writing",
        "clock",
        "ETags",
        "registration keys",
        "signed URLs",
    }
    assert patient.server.keys("lab") == ["u/bob/data"]


async def test_only_the_prefix_and_one_registration_probe_are_written(patient: Patient) -> None:
    await patient.examine()

    written = {r.key for r in patient.server.requests if r.operation == "put"}
    assert written == {f"{PREFIX}.dtool-selftest", REGISTRATION_PROBE_KEY}


async def test_settings_are_shown_with_their_origin_and_without_secrets(patient: Patient) -> None:
    found = await patient.examine()

    assert "s3.example.org" in found["configuration"].message
    assert found["variable"].message == "DTOOL_S3_REGION_lab from environment"
    assert "hush" not in str(found)


async def test_a_configuration_that_cannot_be_is_a_finding() -> None:
    def configure(bucket: str) -> Configuration:
        raise SettingsError("DTOOL_S3_REGION_lab='' is wrong")

    findings = await examine("s3://lab", configure=configure)

    assert (findings[-1].name, findings[-1].status) == ("configuration", Status.FAIL)
    assert "DTOOL_S3_REGION_lab" in findings[-1].message


async def test_a_bucket_that_is_not_there_ends_the_examination(patient: Patient) -> None:
    patient.server.delete_bucket("lab")

    found = await patient.examine()

    assert isinstance(found["bucket"].error, BucketNotFound)
    assert "writing" not in found


async def test_rights_that_are_missing_are_named_one_by_one(patient: Patient) -> None:
    patient.server.allows = lambda _who, operation, _bucket, key: (
        operation not in {"put", "delete"} or key.startswith("dtool-")
    )

    found = await patient.examine()

    assert isinstance(found["writing"].error, AccessDenied)
    assert found["writing"].advice
    assert "`dtool-s3 ls`, `verify` and `cp` from this bucket" in found["reading"].message
    assert found["registration keys"].status is Status.OK


async def test_registration_keys_that_may_not_be_written_are_a_failure(patient: Patient) -> None:
    patient.server.allows = lambda _who, operation, _bucket, key: (
        operation == "get" or not key.startswith("dtool-")
    )

    found = await patient.examine()

    assert found["writing"].status is Status.OK
    assert found["registration keys"].status is Status.FAIL


@pytest.mark.parametrize(
    ("writes", "name", "status"),
    [
        (ConditionalWrites.REQUIRED, "conditional writes", Status.FAIL),
        (ConditionalWrites.BEST_EFFORT, "writing", Status.WARN),
    ],
)
async def test_a_store_that_ignores_conditions_is_told(
    writes: ConditionalWrites, name: str, status: Status
) -> None:
    patient = Patient(MemoryServer(honours_preconditions=False), endpoint=Endpoint(conditional_writes=writes))
    patient.server.create_bucket("lab")

    finding = (await patient.examine())[name]

    assert finding.status is status
    assert finding.advice


async def test_a_clock_that_is_off_is_told() -> None:
    patient = Patient(MemoryServer(clock=lambda: datetime.now(UTC) - timedelta(minutes=5)))
    patient.server.create_bucket("lab")

    finding = (await patient.examine())["clock"]

    assert finding.status is Status.WARN
    assert "+300 s" in finding.message or "+301 s" in finding.message


async def test_md5_etags_are_said_to_prove_no_more_than_they_do(patient: Patient) -> None:
    message = (await patient.examine())["ETags"].message

    assert "equal to the manifest's MD5 proves" in message
    assert "unproven until they are read" in message
    assert "a listing proves bytes" not in message


async def test_an_unsafe_prefix_is_named_with_nothing_written_there(patient: Patient) -> None:
    patient.prefix = "u/../bob/"

    found = await patient.examine()

    assert isinstance(found["writing"].error, SettingsError)
    assert not any(r.key.startswith("u/") for r in patient.server.requests if r.operation == "put")


async def test_http_to_another_machine_is_a_warning(patient: Patient) -> None:
    patient.endpoint = Endpoint("http://s3.example.org")

    assert (await patient.examine())["configuration"].status is Status.WARN


async def test_a_dataset_where_a_bucket_is_meant_is_an_error(patient: Patient) -> None:
    with pytest.raises(InvalidURI):
        await examine("s3://lab/1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11", configure=patient.configure)


async def test_unknown_variables_are_told_even_where_the_configuration_cannot_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "dtool.json"
    path.write_text(json.dumps({"DTOOL_S3_REGOIN_other": "x", "DTOOL_S3_REGION_other": "eu-central-1"}))
    monkeypatch.setenv("DTOOL_S3_SECRET_KEY_lab", "hush")

    def configure(bucket: str) -> Configuration:
        raise SettingsError("something is missing")

    findings = await examine("s3://lab", configure=configure, config_path=path)

    warnings = {f.message.split()[0]: f for f in findings if f.status is Status.WARN}
    assert set(warnings) == {"DTOOL_S3_SECRET_KEY_lab", "DTOOL_S3_REGOIN_other"}
    assert warnings["DTOOL_S3_SECRET_KEY_lab"].advice == "is DTOOL_S3_SECRET_ACCESS_KEY_lab meant?"
    assert warnings["DTOOL_S3_REGOIN_other"].advice == "is DTOOL_S3_REGION_other meant?"
    assert str(path) in warnings["DTOOL_S3_REGOIN_other"].message
    assert "hush" not in str(findings)


async def test_a_cache_directory_that_cannot_be_made_is_a_warning(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    patient.cache_directory = tmp_path / "file" / "cache"

    finding = (await patient.examine())["cache directory"]

    assert finding.status is Status.WARN
    assert str(tmp_path / "file" / "cache") in finding.message
    assert "DTOOL_CACHE_DIRECTORY" in finding.advice


async def test_of_a_key_only_the_beginning_of_its_id_is_shown(patient: Patient) -> None:
    message = (await patient.examine())["configuration"].message

    assert "access key id alic…" in message
    assert "alice," not in message


async def test_what_the_aws_chain_decides_is_told_where_no_keys_are_given(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr("dtool_s3.doctor.open_store", lambda _: patient.server.store("lab"))

    findings = await examine("s3://lab", configure=Configuration)

    (message,) = [f.message for f in findings if f.name == "AWS chain"]
    assert "endpoint https://s3.example.org, profile default, access key id AKIA… (from env)" in message
