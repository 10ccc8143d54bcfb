"""How the S3 client is set up, and how its failures are named; no request leaves the process."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    ClockSkewed,
    CredentialsRejected,
    NotFound,
    RequestRefused,
    SettingsError,
    StorageError,
)
from dtool_s3.settings import Addressing, Credentials, Endpoint, Secret
from dtool_s3.store.boto.client import FAILURES, build_client, open_session, translate

PRIVATE = Endpoint("https://s3.example.org:9000")
KEYS = Credentials("AKIA", Secret("secret"), Secret("token"))


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def build(endpoint: Endpoint, credentials: Credentials | None = KEYS) -> Any:
    session = open_session(endpoint)
    return build_client(session, endpoint, credentials, max_connections=7, read_timeout_seconds=60)


class Stopped(Exception):
    """Raised in place of sending."""


def sent_by(client: Any) -> Any:
    """Request that reads an object, as it would have been sent."""

    def stop(request: Any, **_: object) -> None:
        raise Stopped(request)

    client.meta.events.register("before-send.s3", stop)
    with pytest.raises(Stopped) as caught:
        client.head_object(Bucket="lab", Key="key")
    return caught.value.args[0]


def url_of(client: Any) -> str:
    return str(sent_by(client).url)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (PRIVATE, "https://s3.example.org:9000/lab/key"),
        (Endpoint(PRIVATE.url, addressing=Addressing.VIRTUAL), "https://lab.s3.example.org:9000/key"),
        (Endpoint("http://localhost:1"), "http://localhost:1/lab/key"),
        (Endpoint(), "https://lab.s3.amazonaws.com/key"),
        (Endpoint(region="eu-central-1"), "https://lab.s3.eu-central-1.amazonaws.com/key"),
        (
            Endpoint(region="eu-central-1", addressing=Addressing.PATH),
            "https://s3.eu-central-1.amazonaws.com/lab/key",
        ),
        (Endpoint("https://s3.eu-west-1.amazonaws.com"), "https://s3.eu-west-1.amazonaws.com/lab/key"),
    ],
)
def test_a_bucket_is_addressed_as_its_kind_of_server_expects(endpoint: Endpoint, url: str) -> None:
    assert url_of(build(endpoint)) == url


def test_requests_signed_with_given_keys_go_to_the_given_endpoint_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere:1")

    assert url_of(build(Endpoint())) == "https://lab.s3.amazonaws.com/key"


def test_the_aws_chain_gives_what_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:8333")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")

    request = sent_by(build(Endpoint(), None))

    assert request.url == "http://localhost:8333/lab/key"
    assert b"Credential=ambient/" in request.headers["Authorization"]
    assert b"/eu-north-1/s3/" in request.headers["Authorization"]


def test_the_client_leaves_repetition_and_checksums_to_us() -> None:
    config = build(PRIVATE).meta.config

    assert config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (10, 60, 7)


@pytest.mark.parametrize("url", ["not a url", "http://", "http://[", "https://user:pa55word@"])
def test_an_endpoint_that_is_no_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="not a URL") as caught:
        build(Endpoint(url))

    assert "pa55word" not in str(caught.value)


def test_a_missing_ca_bundle_or_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.pem"):
        build(Endpoint(PRIVATE.url, ca_bundle="nowhere.pem"))

    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SettingsError, match="nobody"):
        build(Endpoint(), None)


def test_a_profile_of_the_endpoint_gives_what_is_left_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = http://localhost:8333\nregion = here\n")
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = its\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    request = sent_by(build(Endpoint(profile="lab"), None))

    assert request.url == "http://localhost:8333/lab/key"
    assert b"Credential=its/" in request.headers["Authorization"]
    assert b"/here/s3/" in request.headers["Authorization"]
    with pytest.raises(SettingsError, match="nobody"):
        build(Endpoint(profile="nobody"), None)


def test_a_process_that_gives_no_keys_is_named_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile lab]\ncredential_process = sh -c 'echo pa55word; exit 1'\n")

    with pytest.raises(CredentialsRejected) as caught:
        build(Endpoint(profile="lab"), None)

    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="x"), BucketUnreachable),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), BucketUnreachable),
        (exceptions.ReadTimeoutError(endpoint_url="x"), BucketUnreachable),
        (exceptions.ConnectionClosedError(endpoint_url="x"), BucketUnreachable),
        (exceptions.SSLError(endpoint_url="x", error="x"), BucketUnreachable),
        (exceptions.ProxyConnectionError(proxy_url="x"), BucketUnreachable),
        (exceptions.ResponseStreamingError(error="x"), BucketUnreachable),
        (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), BucketUnreachable),
        (ResponseParserError("not XML"), BucketUnreachable),
        (ProtocolError("x"), BucketUnreachable),
        (ConnectionResetError("x"), BucketUnreachable),
        (exceptions.NoCredentialsError(), CredentialsRejected),
        (exceptions.PartialCredentialsError(provider="x", cred_var="x"), CredentialsRejected),
        (exceptions.CredentialRetrievalError(provider="x", error_msg="x"), CredentialsRejected),
        (exceptions.FlexibleChecksumError(error_msg="x"), BadDigest),
        (exceptions.ParamValidationError(report="x"), RequestRefused),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_failure_of_the_client_is_named(failure: Exception, expected: type[StorageError]) -> None:
    assert isinstance(failure, FAILURES)

    error = translate(failure, "put of s3://lab/key", PRIVATE)

    assert type(error) is expected
    assert error.code == type(failure).__name__
    assert str(error).startswith("put of s3://lab/key: ")


@pytest.mark.parametrize(
    ("code", "status", "expected", "message"),
    [
        ("AccessDenied", 403, AccessDenied, "put of s3://lab/key: AccessDenied (HTTP 403)"),
        ("404", 404, NotFound, "put of s3://lab/key: HTTP 404"),
        ("", 502, BucketUnreachable, "put of s3://lab/key: HTTP 502"),
        (
            "SignatureDoesNotMatch",
            403,
            CredentialsRejected,
            "put of s3://lab/key: SignatureDoesNotMatch (HTTP 403)",
        ),
    ],
)
def test_an_answer_of_the_server_is_named_without_its_text(
    code: str, status: int, expected: type[StorageError], message: str
) -> None:
    response = {
        "Error": {"Code": code, "Message": "do not show", "StringToSign": "do not show"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }

    error = translate(exceptions.ClientError(response, "PutObject"), "put of s3://lab/key", PRIVATE)

    assert type(error) is expected
    assert str(error) == message


def test_a_clock_that_is_wrong_is_told_by_how_much() -> None:
    def skewed(date: str) -> str:
        answer = {"HTTPStatusCode": 403, "HTTPHeaders": {"date": date}}
        response = {"Error": {"Code": "RequestTimeTooSkewed"}, "ResponseMetadata": answer}
        error = translate(exceptions.ClientError(response, "PutObject"), "put", PRIVATE)
        assert type(error) is ClockSkewed
        return str(error)

    assert "+3600 s from the server's" in skewed(
        format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    ).replace("+3601", "+3600")
    assert skewed("nonsense") == "put: RequestTimeTooSkewed (HTTP 403)"


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        (Endpoint("https://user:pa55word@s3.example.org:9000/x?y=z"), "s3.example.org:9000 "),
        (Endpoint("https://s3.example.org"), "s3.example.org "),
        (Endpoint(), "s3.lab.example:9000 "),
        (Endpoint(region="eu-central-1"), "s3.lab.example:9000 "),
    ],
)
def test_an_endpoint_that_does_not_answer_is_named_without_its_password(
    endpoint: Endpoint, host: str
) -> None:
    tried = exceptions.EndpointConnectionError(endpoint_url="https://me:pa55word@s3.lab.example:9000/lab/key")

    with pytest.raises(BucketUnreachable, match=f"no answer from {host}"):
        raise translate(tried, "put", endpoint)


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [(Endpoint(), "AWS S3 "), (Endpoint(region="eu-central-1"), r"AWS S3 \(eu-central-1\)")],
)
def test_an_answer_that_breaks_off_is_named_by_what_is_known(endpoint: Endpoint, host: str) -> None:
    with pytest.raises(BucketUnreachable, match=f"no answer from {host}"):
        raise translate(ConnectionResetError(), "put", endpoint)


def test_no_client_is_loaded_before_the_first_request() -> None:
    code = (
        "import sys, dtool_s3.store.s3 as s3; from dtool_s3.settings import Endpoint\n"
        "s3.S3Store(Endpoint(), 'lab')\n"
        "assert not {'boto3', 'botocore', 'urllib3', 'obstore'} & set(sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
