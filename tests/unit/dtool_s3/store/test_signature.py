"""Our URLs are those that botocore signs, byte for byte up to the order of parameters."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from dtool_s3.settings import Credentials, Secret
from dtool_s3.store.protocol import UrlRequest
from dtool_s3.store.signature import UrlSigner

NOW = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
ITEM = "u/alice/u-1/data/0a"
REQUESTS = {
    "an item is read": UrlRequest("GET", ITEM),
    "odd characters": UrlRequest("HEAD", "u/a b/ü+%/q?x=1&y#z~*'()!"),
    "an item is written": UrlRequest(
        "PUT",
        ITEM,
        headers={
            "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
            "Content-Length": "5",
            "If-None-Match": "*",
            "x-amz-meta-handle": "a  b ",
        },
    ),
    "a part": UrlRequest("PUT", ITEM, query={"uploadId": "a/b+c=", "partNumber": "3"}),
    "a listing": UrlRequest("GET", "", query={"list-type": "2", "prefix": "u/ü +", "delimiter": "/"}),
}


def sign_with_botocore(
    monkeypatch: pytest.MonkeyPatch, bucket_url: str, request: UrlRequest, token: str | None
) -> str:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: NOW.replace(tzinfo=None))
    url = f"{bucket_url}/{quote(request.key, safe='/~')}"
    if request.query:
        url += f"?{urlencode(request.query, quote_via=quote)}"
    asked = AWSRequest(method=request.method, url=url, headers=dict(request.headers))
    S3SigV4QueryAuth(BotoCredentials("AKID", "secret", token), "s3", "eu-central-1", expires=30).add_auth(
        asked
    )
    return str(asked.url)


@pytest.mark.parametrize("token", [None, "session/token+="])
@pytest.mark.parametrize(
    "bucket_url", ["http://127.0.0.1:8333/lab", "https://lab.s3.eu-central-1.amazonaws.com"]
)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_url_is_signed_as_botocore_signs_it(
    monkeypatch: pytest.MonkeyPatch, request_: UrlRequest, bucket_url: str, token: str | None
) -> None:
    keys = Credentials("AKID", Secret("secret"), None if token is None else Secret(token))

    ours = urlsplit(UrlSigner(bucket_url, "eu-central-1", keys).sign(request_, now=NOW, expires_seconds=30))

    theirs = urlsplit(sign_with_botocore(monkeypatch, bucket_url, request_, token))
    assert (ours.scheme, ours.netloc, ours.path) == (theirs.scheme, theirs.netloc, theirs.path)
    assert parse_qs(ours.query) == parse_qs(theirs.query)


def test_a_signer_shows_no_keys() -> None:
    assert "secret" not in repr(UrlSigner("http://x/lab", "r", Credentials("AKID", Secret("secret"))))
