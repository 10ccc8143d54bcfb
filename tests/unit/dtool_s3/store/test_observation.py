"""Where botocore would send requests, as told to the object loop; no request leaves the process."""

from pathlib import Path

import pytest

from dtool_s3.settings import Addressing, Credentials, Endpoint, Secret
from dtool_s3.store.boto.client import build_client, open_session
from dtool_s3.store.boto.observation import observe_target
from dtool_s3.store.boto.target import Target

PRIVATE = Endpoint("https://s3.example.org:9000")
KEYS = Credentials("AKIA/with+odd", Secret("secret"), Secret("token"))


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [
        "ENDPOINT_URL",
        "ENDPOINT_URL_S3",
        "PROFILE",
        "REGION",
        "DEFAULT_REGION",
        "ACCESS_KEY_ID",
        "CA_BUNDLE",
    ]
    for name in (*(f"AWS_{name}" for name in names), "HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def observed(
    endpoint: Endpoint, credentials: Credentials | None = KEYS, bucket: str = "lab"
) -> Target | None:
    session = open_session(endpoint)
    client = build_client(session, endpoint, credentials, max_connections=1, read_timeout_seconds=60)
    return observe_target(client, session, endpoint=endpoint, bucket=bucket, credentials=credentials)


@pytest.mark.parametrize(
    ("endpoint", "bucket", "url", "region"),
    [
        (PRIVATE, "lab", "https://s3.example.org:9000/lab", "us-east-1"),
        (Endpoint("http://localhost:1", region="here"), "lab", "http://localhost:1/lab", "here"),
        (Endpoint("https://example.org/s3/"), "lab", "https://example.org/s3/lab", "us-east-1"),
        (Endpoint("http://[::1]:9000"), "lab", "http://[::1]:9000/lab", "us-east-1"),
        (
            Endpoint(PRIVATE.url, addressing=Addressing.VIRTUAL),
            "lab",
            "https://lab.s3.example.org:9000",
            "us-east-1",
        ),
        (Endpoint(), "lab", "https://lab.s3.amazonaws.com", "us-east-1"),
        (
            Endpoint(region="eu-central-1"),
            "lab",
            "https://lab.s3.eu-central-1.amazonaws.com",
            "eu-central-1",
        ),
        (
            Endpoint(region="eu-central-1"),
            "lab.with.dots",
            "https://s3.eu-central-1.amazonaws.com/lab.with.dots",
            "eu-central-1",
        ),
        (
            Endpoint(region="eu-central-1", addressing=Addressing.PATH),
            "lab",
            "https://s3.eu-central-1.amazonaws.com/lab",
            "eu-central-1",
        ),
    ],
)
def test_a_bucket_is_where_botocore_sends_its_requests(
    endpoint: Endpoint, bucket: str, url: str, region: str
) -> None:
    target = observed(endpoint, bucket=bucket)

    assert target is not None
    assert (target.bucket, target.url, target.region) == (bucket, url, region)
    assert target.read_credentials() == KEYS


def test_the_aws_chain_gives_what_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:8333")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")

    target = observed(Endpoint(), None)

    assert target is not None
    assert (target.url, target.region) == ("http://localhost:8333/lab", "eu-north-1")
    assert target.read_credentials() == Credentials("ambient", Secret("secret"))


def test_given_keys_with_a_profile_go_to_its_endpoint(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = http://localhost:1\nregion = here\n")

    target = observed(Endpoint(profile="lab"))

    assert target is not None
    assert (target.url, target.region) == ("http://localhost:1/lab", "here")
    assert target.read_credentials() == KEYS


def test_authorities_are_those_that_botocore_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ca_bundle(endpoint: Endpoint) -> str | None:
        target = observed(endpoint)
        assert target is not None
        return target.ca_bundle

    named = tmp_path / "named.pem"
    named.touch()
    assert ca_bundle(Endpoint("http://localhost:1")) is None
    assert str(ca_bundle(PRIVATE)).endswith(".pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/requests.pem")
    assert ca_bundle(PRIVATE) == "/requests.pem"
    monkeypatch.setenv("AWS_CA_BUNDLE", "/aws.pem")
    assert ca_bundle(PRIVATE) == "/aws.pem"
    assert ca_bundle(Endpoint(PRIVATE.url, ca_bundle=str(named))) == str(named)


def test_a_bucket_behind_a_proxy_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_direct(endpoint: Endpoint) -> bool:
        target = observed(endpoint)
        assert target is not None
        return target.is_direct

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")

    assert not is_direct(PRIVATE)
    assert is_direct(Endpoint("http://s3.example.org"))
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert is_direct(PRIVATE)


def test_without_keys_or_with_an_impossible_bucket_name_nothing_is_told() -> None:
    assert observed(PRIVATE, None) is None
    assert observed(PRIVATE, bucket="no bucket") is None


def test_keys_are_not_in_what_a_target_prints() -> None:
    assert "secret" not in repr(observed(PRIVATE)).replace("read_credentials", "")
