"""A page of a listing by a signed URL: what S3 servers send, and what is none."""

from datetime import UTC, datetime

import pytest

from dtool_operator.transfers.signing.listing_page import ListingPage, parse_page
from dtool_s3.errors import BucketUnreachable
from dtool_s3.store.protocol import ListedObject

ENTRY = "<Contents><Key>u/a+b%C3%BC</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
ENTRY += "<ETag>&quot;abc&quot;</ETag><Size>7</Size><StorageClass>GLACIER</StorageClass></Contents>"
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def page(content: str, *, space: str = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"') -> bytes:
    return f"<?xml version='1.0'?><ListBucketResult{space}>{content}</ListBucketResult>".encode()


@pytest.mark.parametrize("space", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_keys_are_decoded_where_the_server_says_that_it_encodes(space: str) -> None:
    encoded = parse_page(page(f"<EncodingType>url</EncodingType>{ENTRY}", space=space))
    plain = parse_page(page(ENTRY, space=space))

    assert encoded == ListingPage((ListedObject("u/a bü", 7, "abc", TIME, "GLACIER"),), (), None)
    assert plain.objects[0].key == "u/a+b%C3%BC"


def test_common_prefixes_and_the_way_on_are_read() -> None:
    found = parse_page(
        page(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t+/=</NextContinuationToken>"
            "<CommonPrefixes><Prefix>u/a/</Prefix></CommonPrefixes>"
        )
    )

    assert found == ListingPage((), ("u/a/",), "t+/=")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not XML",
        b"<html/>",
        b"<Error><Code>NoSuchKey</Code></Error>",
        page("<IsTruncated>true</IsTruncated>"),
        page("<Contents><Key>a</Key></Contents>"),
        page(ENTRY.replace("<Size>7", "<Size>x")),
        page(ENTRY.replace("2026-01-02", "yesterday")),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + page("&d;")[21:],
    ],
)
def test_what_is_no_listing_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(BucketUnreachable) as caught:
        parse_page(body)

    assert caught.value.code == "MalformedAnswer"
