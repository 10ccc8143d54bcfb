"""What kubectl says becomes one line with what to do next; what is for people passes on at once."""

from __future__ import annotations

import io
import os

import pytest

from dtool_operator.cli.kubectl_words import Relay, explain
from dtool_operator.cli.watch import split_documents
from tests.support.eventually import eventually


def relay(*chunks: bytes) -> tuple[str, bytes]:
    read_end, write_end = os.pipe()
    output = io.BytesIO()
    thread = Relay(read_end, output)
    thread.start()
    for chunk in chunks:
        os.write(write_end, chunk)
    os.close(write_end)
    thread.join(5)
    return thread.error, output.getvalue()


def test_an_error_of_several_lines_is_kept_and_nothing_of_it_shown() -> None:
    said = b'The DtoolDataset "x" is invalid: \n* spec.tags: too many\n* spec.uuid: none\n'

    assert relay(said) == (said.decode(), b"")


def test_a_warning_passes_and_a_log_line_of_the_client_does_not() -> None:
    said = b"Warning: old\nE1123 10:00:00.000000 1 memcache.go] unhandled\nerror: no\n"

    assert relay(said) == ("error: no\n", b"Warning: old\n")


def test_a_question_that_waits_for_an_answer_is_shown_before_its_line_ends() -> None:
    read_end, write_end = os.pipe()
    output = io.BytesIO()
    thread = Relay(read_end, output)
    thread.start()

    os.write(write_end, b"Password: ")

    eventually(lambda: _assert_equal(output.getvalue(), b"Password: "), within=5)
    os.close(write_end)
    thread.join(5)


def _assert_equal(one: object, other: object) -> None:
    assert one == other


@pytest.mark.parametrize(
    ("said", "reason", "expected"),
    [
        (
            'Error from server (NotFound): x "y" not found',
            "NotFound",
            'tried: x "y" not found; `kubectl dtool ls',
        ),
        ("Error from server (Forbidden): no", "Forbidden", "tried: no; ask for the role"),
        ("Error from server (Teapot): no", "Teapot", "tried: no"),
        ('error: the server doesn\'t have a resource type "x"', "NoKind", "CRDs are not in this cluster"),
        ("Unable to connect to the server: EOF", "Unreachable", "is the cluster up"),
        ('The DtoolDataset "x" is invalid:\n* a\n* b\n', "Invalid", "* a * b; correct it"),
        ("Apply failed with 1 conflict: conflict with x", "Conflict", "choose another --name"),
        ("", "", "tried: kubectl failed"),
    ],
)
def test_what_kubectl_said_is_explained(said: str, reason: str, expected: str) -> None:
    error = explain("tried", said)

    assert error.reason == reason
    assert expected in str(error)
    assert "\n" not in str(error)


def test_what_a_server_says_moves_no_cursor_and_has_an_end() -> None:
    error = explain("tried", "error: \x1b[2J\u202e" + "x" * 5000)

    assert str(error).isprintable()
    assert len(str(error)) < 700


def test_documents_of_a_stream_are_read_wherever_it_is_cut() -> None:
    text = '{"a": 1}\n{\n "b": [2, "}{"]\n}\n  {"c": 3}\n'
    for cut in range(len(text)):
        first, rest = split_documents(text[:cut])
        second, rest = split_documents(rest + text[cut:])
        assert [*first, *second] == [{"a": 1}, {"b": [2, "}{"]}, {"c": 3}]
        assert rest.strip() == ""
