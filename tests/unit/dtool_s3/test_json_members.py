"""JSON objects read member by member, whatever the window, are what the standard library reads."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_s3.json_members import iterate_members

SMALL = 64
_texts = st.text(st.characters(codec="utf-8"), max_size=4)
_values = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | _texts
_small = _values | st.lists(_values, max_size=1) | st.dictionaries(_texts, st.integers(0, 9), max_size=1)
_objects = st.dictionaries(_texts, _small, max_size=6)


def read(body: bytes, window_bytes: int = SMALL) -> dict[str, Any]:
    """Put the members together again."""
    found: dict[str, Any] = {}
    for parent, name, value in iterate_members(body, inside={"items"}, window_bytes=window_bytes):
        (found[parent] if parent else found)[name] = value
    return found


@given(_objects, _objects | st.none(), st.sampled_from([None, 1]), st.booleans(), st.integers(0, 200))
def test_any_object_is_read_through_a_small_window(
    document: dict[str, Any], items: dict[str, Any] | None, indent: int | None, is_ascii: bool, blanks: int
) -> None:
    document = {**document, "items": items, "last": 1234567}
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii)
    text = text[:-1] + " " * blanks + "}"

    assert read(text.encode(), 128) == json.loads(text)


@given(st.text('{}[]",:01.e-+ \\untrlfase', max_size=12))
def test_what_is_no_object_is_refused_where_the_standard_library_refuses_it(inner: str) -> None:
    text = f'{{"items": {inner}}}'
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None

    if expected is None:
        with pytest.raises(ValueError, match="byte"):
            read(text.encode())
    else:
        assert read(text.encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": 1',
        b'{"a": 1}}',
        b'{"a": 1} 2',
        b'{"a": 1,}',
        b'{"items": {"a": 1,}}',
        b'{"items": {"a": 1} "b": 2}',
        b"{1: 2}",
        b'{"a" 1}',
    ],
)
def test_broken_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="at byte"):
        read(body)


@pytest.mark.parametrize("value", [b'"' + b"a" * SMALL + b'"', b"1" * SMALL, b"[" + b"0," * SMALL + b"0]"])
def test_a_value_above_the_window_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="above 64 bytes at byte"):
        read(b'{"a": ' + value + b', "b": 1' + b" " * SMALL + b"}")


def test_bytes_that_are_no_utf_8_are_refused_and_a_mark_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf{}") == {}
    with pytest.raises(UnicodeDecodeError):
        read(b'{"a": "\xff"}')


def test_a_number_that_the_window_cuts_is_read_whole() -> None:
    for blanks in range(SMALL):
        body = b'{"a":' + b" " * blanks + b"12345.67890e+12" + b" " * SMALL + b"}"
        assert read(body) == {"a": 12345.67890e12}
