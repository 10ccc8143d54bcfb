"""Rule 5: what the Pod of a Job without keys may ask for, as a table; whatever is not in it is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dtool_operator.planning.task import Encryption, Side, TaskKind
from dtool_operator.transfers.signing.grant import Scope, build_scope, check_call, find_location, permit_url
from dtool_operator.transfers.signing.wire import CallAsked, UrlsAsked
from dtool_s3.documents import MAX_MANIFEST_BYTES, MAX_README_BYTES
from dtool_s3.errors import AccessDenied
from dtool_s3.layout import encode_handle, item_identifier, item_metadata
from dtool_s3.settings import ConditionalWrites, EncryptionMode
from tests.support.signing import PREFIX, ROOT, UUID, build_location, build_task

MD5 = "9a0364b9e99bb480dd25e1f0284c8555"
MD5_HEADERS = {"Content-Length": "7", "Content-MD5": "mgNkuembtIDdJeHwKEyFVQ=="}
ITEM = f"{ROOT}data/{item_identifier('a.txt')}"
HEADERS = item_metadata("a.txt", MD5)
OTHER = "11111111-82f4-4e60-9ba8-0ee8c1dd1b0e"

OURS = {
    "an item": ITEM,
    "README": f"{ROOT}README.yml",
    "manifest": f"{ROOT}manifest.json",
    "a tag": f"{ROOT}tags/rnaseq",
    "an overlay": f"{ROOT}overlays/a.b-c_d.json",
    "an annotation": f"{ROOT}annotations/project.json",
}
OPERATORS = {
    "administrative metadata": f"{ROOT}dtool",
    "structure": f"{ROOT}structure.json",
    "the text for people": f"{ROOT}README.txt",
}
NOBODYS = {
    "nothing": "",
    "the registration key": f"dtool-{UUID}",
    "the owner marker": f"{PREFIX}.dtool-owner",
    "the root": ROOT,
    "the bucket": "/",
    "another dataset": f"{PREFIX}{OTHER}/README.yml",
    "a dataset whose uuid begins as ours": f"{PREFIX}{UUID}0/README.yml",
    "another prefix": f"u/bob/{UUID}/README.yml",
    "a slash before": f"/{ROOT}README.yml",
    "a slash too much": f"{PREFIX}/{UUID}/README.yml",
    "an unknown file": f"{ROOT}other.json",
    "an unknown folder": f"{ROOT}fragments/{item_identifier('a.txt')}.x.json",
    "below an item": f"{ITEM}/x",
    "the folder": f"{ROOT}data/",
    "a short identifier": ITEM[:-1],
    "a long identifier": f"{ITEM}0",
    "an identifier in capitals": ITEM.replace("a", "A").replace("dAtA", "data").replace("Alice", "alice"),
    "dots": f"{ROOT}tags/..",
    "a dot": f"{ROOT}tags/.",
    "dots on the way": f"{ROOT}data/../dtool",
    "out of the dataset": f"{ROOT}tags/../../{OTHER}/README.yml",
    "dots of an overlay": f"{ROOT}overlays/...json",
    "an overlay without its ending": f"{ROOT}overlays/x",
    "an overlay without a name": f"{ROOT}overlays/.json",
    "a folder of a tag": f"{ROOT}tags/a/b",
    "a backslash": f"{ROOT}tags/a\\b",
    "NUL": f"{ROOT}tags/a\x00b",
    "a line break": f"{ROOT}tags/a\nb",
    "a line break at the end": f"{ROOT}README.yml\n",
    "a long name": f"{ROOT}tags/{'a' * 256}",
}
#: May be read, because other programs wrote them so; is never written so.
ODD = {
    "a space": f"{ROOT}tags/a b",
    "a question": f"{ROOT}tags/a?acl",
    "letters": f"{ROOT}annotations/ü.json",
}


def scope(kind: TaskKind = TaskKind.UPLOAD, **changes: Any) -> Scope:
    found = build_scope(build_task(kind, build_location("http://s3", "lab", **changes)))
    assert found is not None
    return found


def url(asked: dict[str, Any], within: Scope | None = None) -> Any:
    """Ask for a URL; return the request that would be signed."""
    (one,) = UrlsAsked.model_validate({"asked": [asked]}).asked
    return permit_url(within or scope(), one)


def put(key: str, within: Scope | None = None, **changes: Any) -> Any:
    metadata = HEADERS if "/data/" in key else {}
    asked = {"do": "put", "key": key, "size_bytes": 7, "md5": MD5, "metadata": metadata, **changes}
    return url(asked, within)


def call(asked: dict[str, Any], within: Scope | None = None) -> None:
    check_call(within or scope(), CallAsked.model_validate({"call": asked}).call)


@pytest.mark.parametrize("kind", [TaskKind.UPLOAD, TaskKind.DOWNLOAD])
@pytest.mark.parametrize("key", {**OURS, **OPERATORS, **ODD}.values(), ids=[*OURS, *OPERATORS, *ODD])
def test_everything_of_the_tasks_dataset_may_be_read(kind: TaskKind, key: str) -> None:
    for method in ("get", "head"):
        permit = url({"do": method, "key": key}, scope(kind))
        assert (permit.request.method, permit.request.key) == (method.upper(), key)
        assert (dict(permit.request.query), dict(permit.request.headers), permit.counted) == ({}, {}, None)
    call({"do": "sizes", "key": key}, scope(kind))


@pytest.mark.parametrize("kind", [TaskKind.UPLOAD, TaskKind.DOWNLOAD])
@pytest.mark.parametrize("key", NOBODYS.values(), ids=NOBODYS)
def test_nothing_else_may_be_read(kind: TaskKind, key: str) -> None:
    for method in ("get", "head"):
        with pytest.raises(AccessDenied, match="not granted"):
            url({"do": method, "key": key}, scope(kind))
    with pytest.raises(AccessDenied):
        call({"do": "sizes", "key": key}, scope(kind))


@pytest.mark.parametrize("key", OURS.values(), ids=OURS)
def test_an_upload_writes_items_and_documents_with_their_bytes_signed_in(key: str) -> None:
    permit = put(key)

    assert (permit.request.method, permit.request.key, permit.counted) == ("PUT", key, (key, 7))
    assert MD5_HEADERS.items() <= permit.request.headers.items()


@pytest.mark.parametrize("key", {**NOBODYS, **OPERATORS, **ODD}.values(), ids=[*NOBODYS, *OPERATORS, *ODD])
def test_an_upload_writes_nothing_else(key: str) -> None:
    with pytest.raises(AccessDenied):
        put(key)
    for asked in (
        {"do": "start", "key": key, "metadata": HEADERS},
        {"do": "complete", "key": key, "upload_id": "1", "parts": [{"number": 1, "etag": "e"}]},
        {"do": "abort", "key": key, "upload_id": "1"},
        {"do": "delete", "key": key},
    ):
        with pytest.raises(AccessDenied):
            call(asked)
    with pytest.raises(AccessDenied):
        url({"do": "part", "key": key, "upload_id": "1", "number": 1, "size_bytes": 7, "md5": MD5})


@pytest.mark.parametrize("key", OURS.values(), ids=OURS)
def test_a_download_writes_nothing(key: str) -> None:
    reading = scope(TaskKind.DOWNLOAD)

    with pytest.raises(AccessDenied, match="only reads"):
        put(key, reading)
    for asked in ({"do": "delete", "key": key}, {"do": "uploads", "prefix": key}):
        with pytest.raises(AccessDenied, match="only reads"):
            call(asked, reading)


@pytest.mark.parametrize("kind", sorted(set(TaskKind) - {TaskKind.UPLOAD, TaskKind.DOWNLOAD}))
def test_other_tasks_get_nothing(kind: TaskKind) -> None:
    task = build_task(kind, build_location("http://s3", "lab"))

    assert (build_scope(task), find_location(task)) == (None, None)


def test_a_download_without_a_bucket_gets_nothing() -> None:
    task = build_task(TaskKind.DOWNLOAD, build_location("http://s3", "lab"))

    assert build_scope(task.model_copy(update={"source": None})) is None


def test_each_task_has_its_own_side() -> None:
    assert (scope().side, scope(TaskKind.DOWNLOAD).side) == (Side.TARGET, Side.SOURCE)


def test_an_item_carries_its_own_handle_and_the_md5_of_its_bytes() -> None:
    headers = put(ITEM).request.headers

    assert headers["x-amz-meta-handle"] == encode_handle("a.txt")
    assert headers["x-amz-meta-checksum"] == MD5


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"handle": HEADERS["handle"]},
        {"checksum": MD5},
        {**HEADERS, "extra": "1"},
        {**HEADERS, "handle": encode_handle("b.txt")},
        {**HEADERS, "handle": "a.txt"},
        {**HEADERS, "handle": "=?UTF-8?B?YS50eHQ=?="},
        {**HEADERS, "checksum": "0" * 32},
        {**HEADERS, "checksum": MD5.upper()},
    ],
    ids=str,
)
def test_an_item_with_other_headers_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(AccessDenied):
        put(ITEM, metadata=metadata)


@pytest.mark.parametrize("relpath", ["../x", "/etc/passwd", "a/../../b"])
def test_an_item_whose_path_leaves_the_dataset_is_refused(relpath: str) -> None:
    key = f"{ROOT}data/{item_identifier(relpath)}"

    with pytest.raises(AccessDenied):
        put(key, metadata=item_metadata(relpath, MD5))
    with pytest.raises(AccessDenied):
        call({"do": "start", "key": key, "metadata": item_metadata(relpath, MD5)})


def test_a_document_has_no_metadata_and_a_bounded_size() -> None:
    with pytest.raises(AccessDenied, match="no metadata"):
        put(OURS["README"], metadata=HEADERS)
    assert put(OURS["README"], size_bytes=MAX_README_BYTES)
    for key, size_bytes in (
        (OURS["README"], MAX_README_BYTES + 1),
        (OURS["manifest"], MAX_MANIFEST_BYTES + 1),
        (OURS["a tag"], 1025),
    ):
        with pytest.raises(AccessDenied, match="it may have"):
            put(key, size_bytes=size_bytes)


def test_items_are_written_where_nothing_is_and_documents_over_what_is_there() -> None:
    best_effort = scope(conditional_writes=ConditionalWrites.BEST_EFFORT)

    assert put(ITEM).request.headers["If-None-Match"] == "*"
    assert "If-None-Match" not in put(ITEM, best_effort).request.headers
    assert "If-None-Match" not in put(OURS["README"]).request.headers


def test_conditions_that_are_asked_for_are_signed() -> None:
    assert put(OURS["README"], if_absent=True).request.headers["If-None-Match"] == "*"
    best_effort = scope(conditional_writes=ConditionalWrites.BEST_EFFORT)
    for conditional in (put(OURS["README"], if_match="abc"), put(ITEM, best_effort, if_match="abc")):
        assert conditional.request.headers["If-Match"] == '"abc"'
        assert "If-None-Match" not in conditional.request.headers


def test_rule_16_no_url_replaces_an_item_that_is_there() -> None:
    """Its body could drip until the dataset is frozen, and the condition would hold: it was proven so."""
    with pytest.raises(AccessDenied, match="it is deleted first"):
        put(ITEM, if_match="abc")


@pytest.mark.parametrize(
    ("encryption", "expected"),
    [
        (None, {}),
        (Encryption(mode=EncryptionMode.SSE_S3), {"x-amz-server-side-encryption": "AES256"}),
        (Encryption(mode=EncryptionMode.SSE_KMS), {"x-amz-server-side-encryption": "aws:kms"}),
        (
            Encryption(mode=EncryptionMode.SSE_KMS, kms_key_id="key-1"),
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            },
        ),
    ],
    ids=str,
)
def test_what_is_written_is_encrypted_as_the_bucket_says(
    encryption: Encryption | None, expected: dict[str, str]
) -> None:
    headers = put(ITEM, scope(encryption=encryption)).request.headers

    assert {name: value for name, value in headers.items() if "encryption" in name} == expected


def test_parts_are_of_items_and_carry_their_own_md5() -> None:
    permit = url({"do": "part", "key": ITEM, "upload_id": "u", "number": 3, "size_bytes": 7, "md5": MD5})

    assert (permit.request.method, permit.request.key) == ("PUT", ITEM)
    assert permit.request.query == {"partNumber": "3", "uploadId": "u"}
    assert permit.request.headers == MD5_HEADERS
    assert permit.counted == ("u/3", 7)


def test_an_upload_starts_ends_and_removes_uploads_of_items() -> None:
    for asked in (
        {"do": "start", "key": ITEM, "metadata": HEADERS},
        {"do": "complete", "key": ITEM, "upload_id": "1", "parts": [{"number": 1, "etag": "e"}]},
        {"do": "abort", "key": ITEM, "upload_id": "1"},
        {"do": "delete", "key": ITEM},
        {"do": "uploads", "prefix": f"{ROOT}data/"},
        {"do": "uploads", "prefix": ITEM},
    ):
        call(asked)


@pytest.mark.parametrize("key", [OURS["README"], OURS["manifest"], OURS["a tag"]])
def test_documents_are_neither_uploaded_in_parts_nor_deleted(key: str) -> None:
    for asked in ({"do": "delete", "key": key}, {"do": "start", "key": key, "metadata": HEADERS}):
        with pytest.raises(AccessDenied, match="no item"):
            call(asked)


def test_a_page_of_the_dataset_is_listed_with_everything_signed() -> None:
    asked = {"do": "list", "prefix": ROOT, "delimiter": "/", "token": "t", "limit": 10}

    assert url(asked).request.query == {
        "list-type": "2",
        "encoding-type": "url",
        "prefix": ROOT,
        "max-keys": "10",
        "delimiter": "/",
        "continuation-token": "t",
    }
    assert set(url({"do": "list", "prefix": f"{ROOT}tags/"}).request.query) == {
        "list-type",
        "encoding-type",
        "prefix",
        "max-keys",
    }


@pytest.mark.parametrize("prefix", [ROOT, f"{ROOT}data/", f"{ROOT}tags/rna", f"{ROOT}REA", ITEM])
def test_a_prefix_within_the_dataset_may_be_listed(prefix: str) -> None:
    assert url({"do": "list", "prefix": prefix}, scope(TaskKind.DOWNLOAD)).request.key == ""


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "u/",
        PREFIX,
        ROOT[:-1],
        f"{PREFIX}{OTHER}/",
        f"{ROOT}..",
        f"{ROOT}data/..",
        f"{ROOT}../",
        f"{ROOT}tags/./x",
    ],
)
def test_nothing_else_may_be_listed(prefix: str) -> None:
    with pytest.raises(AccessDenied):
        url({"do": "list", "prefix": prefix})
    with pytest.raises(AccessDenied):
        call({"do": "uploads", "prefix": prefix})


def test_a_refusal_names_the_key_and_nothing_that_is_long() -> None:
    with pytest.raises(AccessDenied) as caught:
        url({"do": "get", "key": "k" * 1024})

    assert caught.value.code == "NotGranted"
    assert re.fullmatch("'k{200}' is not granted: it is no key of this task's dataset", str(caught.value))
