"""The form of the log, and that nothing secret gets into it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from dtool_operator.logs import JsonFormatter, configure_logs, log_reconcile, redact
from dtool_s3.settings import Credentials, Secret

KEY = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged; the process's own logging comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("info", stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def only_line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_record_is_one_line_of_json(stream: io.StringIO) -> None:
    logging.getLogger("test").info("bucket_listed", extra={"datasets": 3, "prefixes": ["u/a/", "u/b/"]})

    line = only_line(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "bucket_listed",
        "logger": "test",
        "datasets": 3,
        "prefixes": ["u/a/", "u/b/"],
    }


def test_a_reconcile_is_one_line_that_names_the_object(stream: io.StringIO) -> None:
    log_reconcile(
        kind="DtoolDataset",
        namespace="alice",
        name="rnaseq",
        generation=2,
        actions=("StartTransfer",),
        outcome="Copying",
        seconds=0.12345,
    )

    line = only_line(stream)
    assert line["event"] == "reconciled"
    assert (line["kind"], line["namespace"], line["name"]) == ("DtoolDataset", "alice", "rnaseq")
    assert (line["generation"], line["actions"], line["seconds"]) == (2, ["StartTransfer"], 0.123)


def test_an_exception_stays_on_the_line(stream: io.StringIO) -> None:
    logging.getLogger("test").error("reconcile_failed", exc_info=RuntimeError("boom"))

    line = only_line(stream)
    assert line["level"] == "error"
    assert "RuntimeError: boom" in line["exception"]


def test_kopf_does_not_tell_of_every_event(stream: io.StringIO) -> None:
    logging.getLogger("kopf.objects").info("Handler succeeded")
    assert stream.getvalue() == ""

    logging.getLogger("kopf.objects").warning("Handler failed")
    assert only_line(stream)["event"] == "Handler failed"


def test_a_secret_is_hidden_wherever_it_stands(stream: io.StringIO) -> None:
    credentials = Credentials("AKIDEXAMPLE", Secret(KEY), Secret("session"))
    logging.getLogger("test").info(
        "opened %s",
        Secret(KEY),
        extra={
            "one": Secret(KEY),
            "many": [Secret(KEY)],
            "deep": {"a": {"b": {"c": Secret(KEY)}}},
            "all": credentials,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "data": {"aws_session_token": KEY, "password": KEY},
        },
    )

    assert KEY not in stream.getvalue()
    assert only_line(stream)["data"] == {"aws_session_token": "***", "password": "***"}


@pytest.mark.parametrize(
    "text",
    [
        "key AKIA@@@@@@@@@@@@@@@@ refused",
        "https://s3/x?X-Amz-Signature=@@@@&a=b",
        "https://s3/x?X-Amz-Credential=@@@@/eu-central-1&a=b",
        "https://s3/x?X-Amz-Security-Token=@@@@&a=b",
        "AWS4-HMAC-SHA256 Credential=x, Signature=@@@@",
        "Authorization: Bearer @@@@",
        "token eyJ@@@@@@@@.eyJ@@@@@@@@.@@@@@@@@",
        "-----BEGIN RSA PRIVATE KEY-----\n@@@@\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n@@@@ cut off",
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_texts(text: str) -> None:
    hidden = redact(text.replace("@@@@", "S3CR"))

    assert "S3CR" not in hidden
    assert "***" in hidden


def test_an_exception_that_carries_a_signed_url_hides_it() -> None:
    error = OSError("GET https://s3/x?X-Amz-Signature=0123abcd failed")
    info = (type(error), error, None)
    record = logging.LogRecord("test", logging.ERROR, __file__, 1, "failed", None, info)

    assert "0123abcd" not in JsonFormatter().format(record)


def test_a_text_is_bounded_and_a_line_has_no_line_breaks() -> None:
    record = logging.LogRecord("test", logging.INFO, __file__, 1, "%s\n%s", ("a", "b" * 10_000), None)

    line = JsonFormatter().format(record)

    assert len(line) < 5000
    assert "\n" not in line


def test_what_json_does_not_know_appears_as_its_text() -> None:
    assert redact({"path": {1}, "error": ValueError("no"), 3: None}) == {
        "path": [1],
        "error": "no",
        "3": None,
    }


HOSTILE = (
    'x"}\n{"event": "forged"}',
    "next\x85line\u2028and\u2029paragraph\r\n",
    "\x1b[2K\x1b[1Agone",
    "half a pair \ud800",
    "\u202egnp.exe",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_or_message_forges_a_line_or_hides_one(stream: io.StringIO, text: str) -> None:
    log_reconcile(
        kind="DtoolDataset",
        namespace=text,
        name=text,
        generation=1,
        actions=(text,),
        outcome=f"failed: {text}",
        seconds=0.1,
    )
    logging.getLogger("test").warning(
        "bucket_listed", extra={text: [text], "level": text, "deep": {text: text}}
    )

    written = stream.getvalue()
    lines = written.split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    assert written.encode("utf-8").decode().splitlines() == lines[:2]
    assert all(one.isprintable() or one == "\n" for one in written)
    reconciled, listed = map(json.loads, lines[:2])
    assert reconciled["event"] == "reconciled"
    assert reconciled["name"] == text
    assert (listed["event"], listed["level"]) == ("bucket_listed", "warning")


def test_a_message_of_an_error_that_carries_keys_or_signed_urls_hides_them(stream: io.StringIO) -> None:
    log_reconcile(
        kind="DtoolBucket",
        namespace="alice",
        name="lab",
        generation=1,
        actions=(),
        outcome="failed: GET https://s3/x?X-Amz-Signature=0123abcd of AKIAIOSFODNN7EXAMPLE",
        seconds=0.1,
    )

    assert "0123abcd" not in stream.getvalue()
    assert "AKIAIOSFODNN7EXAMPLE" not in stream.getvalue()
