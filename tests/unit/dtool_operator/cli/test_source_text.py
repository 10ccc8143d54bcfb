"""How a SOURCE is written: each form, and what is said of one that is none."""

from typing import Any

import pytest

from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.source_text import SourceText, make_name, parse_bucket_ref, parse_place, parse_source

UUID = "1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01"
REF = {"namespace": "ns", "name": "b"}

FORMS: list[tuple[str, SourceText]] = [
    (f"s3://data/{UUID}", SourceText({"uri": f"s3://data/{UUID}"}, "dataset-1c10766c")),
    (f"s3://data/{UUID}/", SourceText({"uri": f"s3://data/{UUID}"}, "dataset-1c10766c")),
    (f"https://h/b/{UUID}", SourceText({"uri": f"https://h/b/{UUID}"}, "dataset-1c10766c")),
    ("dataset/raw", SourceText({"dataset": {"name": "raw"}}, "raw")),
    ("dataset/bob/raw", SourceText({"dataset": {"name": "raw", "namespace": "bob"}}, "raw")),
    (f"stored/ns/b/{UUID}", SourceText({"stored": {"bucketRef": REF, "uuid": UUID}}, "dataset-1c10766c")),
    (
        "objects/ns/b/Run 17/",
        SourceText({"objects": {"bucketRef": REF, "prefix": "Run 17/"}}, "run-17", True),
    ),
    ("objects/ns/b/", SourceText({"objects": {"bucketRef": REF, "prefix": ""}}, "b", True)),
    ("volume/c", SourceText({"volume": {"claimName": "c", "layout": "Files"}}, "c", True)),
    (
        "volume/c/a/b/",
        SourceText({"volume": {"claimName": "c", "path": "a/b/", "layout": "Files"}}, "b", True),
    ),
    ("volume/c/a:Dataset", SourceText({"volume": {"claimName": "c", "path": "a", "layout": "Dataset"}}, "a")),
    (
        "volume/c/a:b",
        SourceText({"volume": {"claimName": "c", "path": "a:b", "layout": "Files"}}, "a-b", True),
    ),
    ("volume/c:Dataset", SourceText({"volume": {"claimName": "c", "layout": "Dataset"}}, "c")),
]


@pytest.mark.parametrize(("text", "expected"), FORMS, ids=[text for text, _ in FORMS])
def test_every_form_is_read(text: str, expected: SourceText) -> None:
    assert parse_source(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "raw",
        "s3://data",
        "s3://data/not-a-uuid",
        f"file:///{UUID}",
        "dataset/",
        "dataset/a/b/c",
        "stored/ns/b",
        "stored//b/x",
        "objects/ns",
        "objects/ns/b/run",
        "volume/",
        "volume//x",
    ],
)
def test_what_is_no_source_is_a_wrong_call_that_says_where_to_read(text: str) -> None:
    with pytest.raises(CommandFailed, match=r"cp --help") as refused:
        parse_source(text)

    assert refused.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("bucket", "volume", "expected"),
    [
        ("lab", None, {"bucketRef": {"name": "lab"}}),
        ("ns/lab", None, {"bucketRef": {"name": "lab", "namespace": "ns"}}),
        (None, "scratch", {"volume": {"claimName": "scratch"}}),
        (None, "scratch:a/b", {"volume": {"claimName": "scratch", "path": "a/b"}}),
    ],
)
def test_a_place_is_a_bucket_or_a_volume(bucket: str | None, volume: str | None, expected: Any) -> None:
    assert parse_place(bucket, volume) == expected


@pytest.mark.parametrize("text", ["", "/lab", "a/b/c", "ns/"])
def test_what_is_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(CommandFailed, match="NAMESPACE/NAME"):
        parse_bucket_ref(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Run 17/ä", "run-17"), ("...", "dataset"), ("x" * 70, "x" * 63), ("a" * 62 + "-b", "a" * 62)],
)
def test_any_text_becomes_a_name_that_the_api_server_takes(text: str, name: str) -> None:
    assert make_name(text) == name
