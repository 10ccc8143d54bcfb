"""Entries of a listing: what our parser finds is what botocore's own would."""

from typing import Any

import pytest
from botocore import parsers
from botocore.session import Session

from dtool_s3.store.boto.entries import take_entries

_PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lab</Name><Prefix></Prefix>
<KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>
<NextContinuationToken>t/1==</NextContinuationToken><EncodingType>url</EncodingType>
<Contents><Key>u/%C3%BC%20a%2Bb</Key><LastModified>2026-11-22T21:05:00.250Z</LastModified>
<ETag>&#34;0cc175b9c0f1b6a831c399e269772661&#34;</ETag><Size>0</Size><StorageClass>GLACIER</StorageClass></Contents>
<Contents><Key>b</Key><LastModified>2026-11-22T21:05:00Z</LastModified><ETag>"x-2"</ETag>
<Size>5368709121</Size><Owner><ID>o</ID></Owner></Contents>
<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"""


@pytest.fixture(scope="module")
def parse() -> Any:
    """Parse as botocore does, with or without our handler in front."""
    model = Session().get_service_model("s3").operation_model("ListObjectsV2")

    def call(body: str, *, is_ours: bool, status: int = 200) -> dict[str, Any]:
        response = {"status_code": status, "headers": {}, "body": body.encode()}
        ours: dict[str, Any] = {}
        if is_ours:
            take_entries(response, ours)
        found: dict[str, Any] = parsers.create_parser("rest-xml").parse(response, model.output_shape)
        return found | ours

    return call


@pytest.mark.parametrize(
    "page", [_PAGE, _PAGE.replace(' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', "")]
)
def test_a_page_is_parsed_as_botocore_parses_it(parse: Any, page: str) -> None:
    ours, theirs = parse(page, is_ours=True), parse(page, is_ours=False)

    for entry in theirs["Contents"]:
        entry.pop("Owner", None)  # nobody asks for it
    assert ours == theirs
    assert [entry["Size"] for entry in ours["Contents"]] == [0, 5368709121]


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        ("<Size>0</Size>", ""),
        ("<Size>0</Size>", "<Size>many</Size>"),
        ("<Key>b</Key>", ""),
        ('<ETag>"x-2"</ETag>', ""),
        ("2026-11-22T21:05:00Z", "yesterday"),
        ("2026-11-22T21:05:00Z", "2026-11-22T21:05:00"),
        ("</ListBucketResult>", ""),
    ],
)
def test_a_page_that_is_not_what_it_should_be_is_left_to_botocore(broken: str, by: str) -> None:
    body = _PAGE.replace(broken, by).encode()
    response, ours = {"status_code": 200, "headers": {}, "body": body}, {}

    take_entries(response, ours)

    assert (response["body"], ours) == (body, {})


def test_an_error_is_left_to_botocore() -> None:
    response, ours = {"status_code": 500, "headers": {}, "body": _PAGE.encode()}, {}

    take_entries(response, ours)

    assert (response["body"], ours) == (_PAGE.encode(), {})
