"""Values out of answers of S3, and parameters out of values."""

from datetime import UTC, datetime

import pytest

from dtool_s3.digest import md5_digest
from dtool_s3.store.boto.answer import (
    condition_parameters,
    content_md5,
    expected_upload_etag,
    parse_date,
    parse_info,
    parse_listed,
)
from dtool_s3.store.protocol import ALWAYS, IF_ABSENT, ListedObject, ObjectInfo, Part, Precondition, if_match

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_an_object_is_read_from_an_answer() -> None:
    answer = {"ContentLength": 3, "ETag": '"abc-2"', "LastModified": NOON, "Metadata": {"Handle": "x"}}

    assert parse_info("key", answer) == ObjectInfo("key", 3, "abc-2", NOON, {"handle": "x"})


def test_a_listed_object_without_a_storage_class_is_a_standard_one() -> None:
    entry = {"Key": "key", "Size": 3, "ETag": '"abc"', "LastModified": NOON}

    assert parse_listed(entry) == ListedObject("key", 3, "abc", NOON, "STANDARD")
    assert parse_listed({**entry, "StorageClass": "GLACIER"}).storage_class == "GLACIER"


def test_the_servers_clock_is_read_where_it_is_given() -> None:
    def answer(date: str) -> dict[str, object]:
        return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    assert parse_date(answer("Thu, 01 Jan 2026 12:00:00 GMT")) == NOON
    for unclear in (answer("noon"), {}):
        assert abs((parse_date(unclear) - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("precondition", "parameters"),
    [
        (ALWAYS, {}),
        (IF_ABSENT, {"IfNoneMatch": "*"}),
        (if_match("abc-2"), {"IfMatch": '"abc-2"'}),
        (Precondition(True, "a"), {"IfNoneMatch": "*", "IfMatch": '"a"'}),
    ],
)
def test_a_condition_becomes_parameters(precondition: Precondition, parameters: dict[str, str]) -> None:
    assert condition_parameters(precondition) == parameters


def test_the_etag_of_an_upload_is_known_from_its_parts() -> None:
    first, second = md5_digest(b"a").hex(), md5_digest(b"b").hex()

    assert expected_upload_etag([Part(1, first), Part(2, second)]) == "96e024ba2074fe77e8e965ba43a704be-2"
    assert expected_upload_etag([Part(1, "not-an-md5")]) is None


def test_the_checksum_header_is_the_md5_in_base64() -> None:
    assert content_md5(b"") == "1B2M2Y8AsgTpgAmY7PhCfg=="
