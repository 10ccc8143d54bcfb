"""The two forms of an s3 URI."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_s3.errors import InvalidURI
from dtool_s3.uri import BaseURI, DatasetURI, is_uuid, parse_dataset_uri, parse_uri

UUID = "1f8b1c3c-3b0a-4b0e-8f0a-6a2f8d0a9c11"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", BaseURI("bucket")),
        ("s3://bucket/", BaseURI("bucket")),
        ("s3://my-bucket.of_1", BaseURI("my-bucket.of_1")),
        ("s3://Bucket", BaseURI("Bucket")),
        (f"s3://bucket/{UUID}", DatasetURI("bucket", UUID)),
        (f"s3://bucket/{UUID}/", DatasetURI("bucket", UUID)),
    ],
)
def test_a_uri_is_parsed(text: str, expected: BaseURI | DatasetURI) -> None:
    assert parse_uri(text) == expected
    assert parse_uri(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket",
        "http://bucket",
        "file:///bucket",
        "s3:bucket",
        "s3://",
        "s3:///key",
        "s3://x",
        "s3://-bucket",
        "s3://bucket:80",
        "s3://user@bucket",
        "s3://[",
        "s3://[::1]/",
        "s3://bück",
        "s3://buc\nket",
        f"s3://bucket/{UUID}\n",
        "s3://bucket?versions",
        "s3://bucket#part",
        f"s3://bucket/{UUID}?versionId=1",
        "s3://bucket/u/alice",
        f"s3://bucket/u/alice/{UUID}",
        f"s3://bucket/{UUID.upper()}",
        f"s3://bucket/{UUID[:-1]}",
        f"s3://bucket//{UUID}/x",
    ],
)
def test_what_is_not_an_s3_uri_is_refused(text: str) -> None:
    with pytest.raises(InvalidURI):
        parse_uri(text)


def test_a_dataset_is_asked_for_where_a_bucket_was_named() -> None:
    with pytest.raises(InvalidURI, match="append /<uuid>"):
        parse_dataset_uri("s3://bucket")

    assert parse_dataset_uri(f"s3://bucket/{UUID}") == DatasetURI("bucket", UUID)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for candidate in (text, f"s3://{text}", f"s3://bucket/{text}"):
        try:
            assert parse_uri(str(parse_uri(candidate))) == parse_uri(candidate)
        except InvalidURI:
            continue


@given(st.uuids())
def test_every_uuid_is_one(uuid: object) -> None:
    assert is_uuid(str(uuid))
    assert not is_uuid(f"{uuid} ")
