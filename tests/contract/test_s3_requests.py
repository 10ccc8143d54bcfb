"""What S3Store sends, and makes of answers that a real server gives too rarely to wait for."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest

from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketUnreachable,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    SettingsError,
    StorageError,
)
from dtool_s3.settings import Addressing, Credentials, Encryption, EncryptionMode, Endpoint, Secret
from dtool_s3.store.faults import Request
from dtool_s3.store.protocol import ListedObject, Upload, if_match
from dtool_s3.store.s3 import S3Store
from tests.support.scripted_s3 import Answer, ScriptedS3, error_answer, scripted_s3

KEYS = Credentials("AKIA", Secret("very-secret"))
SOURCE = ListedObject("source", 7, "0" * 32, datetime.now(UTC))
UPLOAD = Upload("key", "upload-1")
WRITTEN = Answer(headers={"ETag": '"0"'})
STARTED = Answer(
    body=b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
)
NONE_FAILED = Answer(body=b"<DeleteResult/>")


def md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def encoded_md5(body: bytes) -> str:
    return base64.b64encode(md5(body)).decode()


def failed(**codes: str) -> Answer:
    """An answer to DeleteObjects: keys and why they are still there."""
    errors = "".join(f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key, code in codes.items())
    return Answer(body=f"<DeleteResult>{errors}</DeleteResult>".encode())


@pytest.fixture
def script() -> Iterator[ScriptedS3]:
    with scripted_s3() as running:
        yield running


@pytest.fixture
def requests() -> list[Request]:
    return []


@pytest.fixture
async def store(script: ScriptedS3, requests: list[Request]) -> AsyncIterator[S3Store]:
    async with open_store(script, requests) as opened:
        yield opened


def open_store(
    script: ScriptedS3, requests: list[Request] | None = None, encryption: Encryption | None = None
) -> S3Store:
    endpoint = Endpoint(script.url, "us-east-1", encryption=encryption)
    listener = None if requests is None else requests.append
    return S3Store(endpoint, "lab", lambda: KEYS, attempts=3, on_request=listener)


def operations(requests: list[Request]) -> list[str]:
    return [request.operation for request in requests]


# Listing


def page(*keys: str, token: str | None = None) -> Answer:
    """A page of a listing; `token`: of the next one."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05Z</LastModified>"
        f"<ETag>&quot;0&quot;</ETag><Size>1</Size></Contents>"
        for key in keys
    )
    more = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    is_cut = "false" if token is None else "true"
    told = f"<IsTruncated>{is_cut}</IsTruncated>{more}{entries}"
    return Answer(body=f"<ListBucketResult>{told}</ListBucketResult>".encode())


async def test_a_key_that_two_pages_show_is_listed_once(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [page("a", "b", token="1"), page("b", "c")]

    assert [listed.key for listed in (await store.list("")).objects] == ["a", "b", "c"]


async def test_a_listing_that_does_not_go_on_is_an_error(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [page("a", token="1")]

    with pytest.raises(BucketUnreachable) as raised:
        await asyncio.wait_for(store.list(""), 5)

    assert raised.value.code == "MalformedAnswer"


# Removing many


async def test_a_bulk_delete_is_one_request_protected_by_its_md5(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [NONE_FAILED]

    await store.delete_many(["a", "<b>"])

    (request,) = script.received
    assert (request.method, request.path) == ("POST", "/lab?delete")
    assert request.headers["content-md5"] == encoded_md5(request.body)
    assert not [name for name in request.headers if "checksum" in name]
    assert b"<Key>a</Key>" in request.body
    assert b"<Key>&lt;b&gt;</Key>" in request.body


async def test_only_keys_that_may_succeed_are_deleted_again(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [failed(a="SlowDown", b="AccessDenied", c="NoSuchKey"), NONE_FAILED]

    with pytest.raises(AccessDenied, match="s3://lab/b"):
        await store.delete_many(["a", "b", "c", "d"])

    assert [request.body.count(b"<Key>") for request in script.received] == [4, 1]
    assert b"<Key>a</Key>" in script.received[1].body


async def test_keys_that_fail_to_the_end_are_reported_after_all_were_tried(
    store: S3Store, script: ScriptedS3
) -> None:
    script.answers = [
        failed(k0="InternalError"),
        failed(k0="InternalError"),
        failed(k0="InternalError"),
        NONE_FAILED,
    ]

    with pytest.raises(BucketUnreachable, match="s3://lab/k0"):
        await store.delete_many([f"k{number}" for number in range(1001)])

    assert [request.body.count(b"<Key>") for request in script.received] == [1000, 1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        error_answer(501, "NotImplemented"),
        error_answer(400, "MalformedXML"),
        error_answer(405, "MethodNotAllowed"),
        error_answer(403, "AccessDenied"),
    ],
)
async def test_a_server_that_takes_no_bulk_delete_is_asked_key_by_key(
    store: S3Store, script: ScriptedS3, requests: list[Request], answer: Answer
) -> None:
    script.answers = [answer, Answer(204)]

    await store.delete_many(["a", "b"])

    assert operations(requests) == ["delete_many", "delete", "delete"]
    assert sorted(request.path for request in script.received[1:]) == ["/lab/a", "/lab/b"]


async def test_a_key_by_key_delete_tries_all_and_tells_the_first_error(
    store: S3Store, script: ScriptedS3
) -> None:
    script.answers = [error_answer(501, "NotImplemented"), error_answer(403, "AccessDenied")]

    with pytest.raises(AccessDenied):
        await store.delete_many(["a", "b", "c"])

    assert {request.path for request in script.received[1:]} == {"/lab/a", "/lab/b", "/lab/c"}


# Parts


async def test_a_part_that_is_twice_not_what_its_md5_says_is_not_sent_again(
    store: S3Store, script: ScriptedS3
) -> None:
    script.answers = [error_answer(400, "BadDigest")]

    with pytest.raises(BadDigest):
        await store.put_part(UPLOAD, 1, b"content", md5=md5(b"content"))
    sent = len(script.received)
    with pytest.raises(BadDigest):
        await store.put_part(UPLOAD, 1, b"content")

    assert (sent, len(script.received) - sent) == (2, 3)


async def test_a_part_is_sent_with_the_md5_that_was_given(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [WRITTEN]

    await store.put_part(UPLOAD, 1, memoryview(b"content")[2:], md5=md5(b"given"))

    (request,) = script.received
    assert request.body == b"ntent"
    assert request.headers["content-md5"] == encoded_md5(b"given")
    assert "expect" not in request.headers


async def test_the_signature_of_a_part_holds_its_md5_and_that_of_an_object_its_sha256(
    store: S3Store, script: ScriptedS3
) -> None:
    script.answers = [WRITTEN]

    await store.put_part(UPLOAD, 1, b"content")
    await store.put("key", b"content", precondition=if_match("0"))

    part, whole = script.received
    assert part.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert whole.headers["x-amz-content-sha256"] == hashlib.sha256(b"content").hexdigest()
    assert all("content-md5;" in request.headers["authorization"] for request in (part, whole))


async def test_a_copy_that_fails_with_200_is_repeated_and_then_an_error(
    store: S3Store, script: ScriptedS3
) -> None:
    script.answers = [Answer(200, error_answer(200, "InternalError").body)]

    with pytest.raises(BucketUnreachable):
        await store.copy_part(UPLOAD, 1, "lab", SOURCE, first_byte=0, size_bytes=7)
    with pytest.raises(BucketUnreachable):
        await store.copy("lab", SOURCE, "target", metadata={})

    assert len(script.received) == 6
    assert script.received[0].headers["x-amz-copy-source-range"] == "bytes=0-6"
    assert script.received[0].headers["x-amz-copy-source-if-match"] == f'"{SOURCE.etag}"'


async def test_an_answer_that_tells_of_no_copy_is_an_error(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [Answer(200, b"<CopyPartResult/>")]

    with pytest.raises(BucketUnreachable) as caught:
        await store.copy_part(UPLOAD, 1, "lab", SOURCE, first_byte=0, size_bytes=7)

    assert caught.value.code == "MalformedAnswer"


@pytest.mark.parametrize(
    ("status", "headers", "body", "error"),
    [
        (206, {"Content-Range": "bytes 1-3/7"}, b"ont", None),
        (206, {"Content-Range": "bytes 1-2/3"}, b"on", RequestRefused),
        (206, {"Content-Range": "bytes 0-2/7"}, b"con", NotSupported),
        (200, {}, b"content", NotSupported),
        (206, {"Content-Range": "bytes 1-3/7", "ETag": '"other"'}, b"ont", PreconditionFailed),
    ],
)
async def test_a_range_is_what_was_asked_for_or_an_error(
    store: S3Store,
    script: ScriptedS3,
    status: int,
    headers: dict[str, str],
    body: bytes,
    error: type[StorageError] | None,
) -> None:
    date = "Sun, 22 Nov 2026 10:00:00 GMT"
    script.answers = [Answer(status, body, {"ETag": '"mine"', "Last-Modified": date} | headers)]

    if error is None:
        assert await store.get_range("key", 1, 3, etag="mine") == body
        return
    with pytest.raises(error):
        await store.get_range("key", 1, 3, etag="mine")


@pytest.mark.parametrize("status", [400, 416, 501])
async def test_a_server_that_knows_no_part_numbers_tells_no_parts(
    store: S3Store, script: ScriptedS3, status: int
) -> None:
    script.answers = [Answer(status)]
    if status == 400:  # answered once more after a look at why: a HEAD says nothing
        script.answers = [Answer(400), Answer(200, b"c", {"ETag": '"e"'}), Answer(400)]

    assert list(await store.part_sizes("key")) == []


# Encryption


@pytest.mark.parametrize(
    ("encryption", "sent"),
    [
        (None, {}),
        (Encryption(EncryptionMode.SSE_S3), {"x-amz-server-side-encryption": "AES256"}),
        (Encryption(EncryptionMode.SSE_KMS), {"x-amz-server-side-encryption": "aws:kms"}),
        (
            Encryption(EncryptionMode.SSE_KMS, "key-1"),
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            },
        ),
    ],
)
async def test_every_write_asks_for_the_encryption(
    script: ScriptedS3, encryption: Encryption | None, sent: dict[str, str]
) -> None:
    copied = Answer(body=b"<CopyObjectResult><ETag>0</ETag></CopyObjectResult>")

    async with open_store(script, encryption=encryption) as store:
        script.answers = [WRITTEN]
        await store.put("key", b"content")
        await store.put("key", b"content", precondition=if_match("0"))
        script.answers = [STARTED]
        await store.start_upload("key", {})
        script.answers = [copied]
        await store.copy("lab", SOURCE, "key", metadata={"a": "b"})

    for request in script.received:
        asked = {name: value for name, value in request.headers.items() if "encryption" in name}
        assert asked == sent


# URLs


async def test_a_url_for_writing_signs_what_must_come_with_the_bytes(store: S3Store) -> None:
    url = await store.presign(
        "PUT",
        "key",
        expires_seconds=60,
        headers={"Content-MD5": encoded_md5(b"x"), "x-amz-meta-handle": "aGk="},
    )

    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    assert "X-Amz-SignedHeaders=content-md5%3Bhost%3Bx-amz-meta-handle" in url
    with pytest.raises(SettingsError, match="x-amz-acl"):
        await store.presign("PUT", "key", expires_seconds=60, headers={"x-amz-acl": "public-read"})


async def test_urls_are_signed_with_the_keys_of_the_moment_and_without_a_request(script: ScriptedS3) -> None:
    requests: list[Request] = []

    async with open_store(script, requests) as store:
        url = await store.presign("GET", "key", expires_seconds=60)

    assert "X-Amz-Credential=AKIA%2F" in url
    assert (requests, script.received) == ([], [])


async def test_addresses_follow_the_endpoint(script: ScriptedS3) -> None:
    for endpoint, url in (
        (Endpoint("https://s3.example.org:9000"), "https://s3.example.org:9000/lab/a%20b"),
        (
            Endpoint("https://s3.example.org", addressing=Addressing.VIRTUAL),
            "https://lab.s3.example.org/a%20b",
        ),
        (Endpoint(None, "eu-central-1"), "https://lab.s3.eu-central-1.amazonaws.com/a%20b"),
    ):
        async with S3Store(endpoint, "lab", lambda: KEYS) as store:
            assert store.public_url("a b") == url


async def test_a_bucket_without_acls_says_so(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [error_answer(400, "AccessControlListNotSupported")]

    with pytest.raises(NotSupported, match="ACLs disabled"):
        await store.make_public("key")

    script.answers = [error_answer(501, "NotImplemented")]
    with pytest.raises(NotSupported):
        await store.make_private("key")
    assert [request.headers["x-amz-acl"] for request in script.received] == ["public-read", "private"]


async def test_a_stranger_sends_no_credentials(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [Answer(body=b"content")]

    assert await store.fetch_unsigned(f"{script.url}/lab/key", max_bytes=7) == b"content"

    (request,) = script.received
    assert "authorization" not in request.headers


async def test_redirects_are_followed_on_the_same_host_only(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [Answer(307, headers={"Location": "/lab/there"}), Answer(body=b"content")]
    assert await store.fetch_unsigned(f"{script.url}/lab/key", max_bytes=7) == b"content"

    for location in ("http://localhost:1/elsewhere", "//elsewhere.example.org/x", "/lab/again"):
        script.answers = [Answer(302, headers={"Location": location})]
        with pytest.raises(RequestRefused) as caught:
            await store.fetch_unsigned(f"{script.url}/lab/key", max_bytes=7)
        assert caught.value.code == "Redirect"


async def test_a_stranger_asks_again_where_that_may_help(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [Answer(503), Answer(body=b"content")]

    assert await store.fetch_unsigned(f"{script.url}/lab/key", max_bytes=7) == b"content"

    script.answers = [Answer(403, b"<Error>very secret</Error>")]
    with pytest.raises(AccessDenied) as caught:
        await store.fetch_unsigned(f"{script.url}/lab/key?X-Amz-Signature=abc", max_bytes=7)
    assert "abc" not in str(caught.value)
    with pytest.raises(SettingsError):
        await store.fetch_unsigned("file:///etc/hostname", max_bytes=7)


async def test_if_match_where_nothing_is_does_not_hold(store: S3Store, script: ScriptedS3) -> None:
    script.answers = [error_answer(404, "NoSuchKey")]

    with pytest.raises(PreconditionFailed):
        await store.put("key", b"content", precondition=if_match("0"))
