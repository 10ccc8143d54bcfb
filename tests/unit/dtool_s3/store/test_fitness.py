"""What obstore may be given: only what it sends as it is."""

from array import array

import pytest

from dtool_s3.store.object_loop.fitness import (
    is_plain_body,
    is_plain_environment,
    is_plain_key,
    is_plain_metadata,
)


@pytest.mark.parametrize(
    "key", ["a", "a/b", "a b/ü+%#?&", "..a/.b/c...", "日本/e\u0301", " ", "a\u0080b", "~*'()"]
)
def test_keys_without_odd_segments_are_plain(key: str) -> None:
    assert is_plain_key(key)


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/.", "./a", "a/../b", "a\nb", "\x00", "a\x7f", "a\udc80"],
)
def test_keys_that_obstore_would_change_or_refuse_are_not_plain(key: str) -> None:
    assert not is_plain_key(key)


@pytest.mark.parametrize("metadata", [{}, {"handle": "aGk="}, {"Creator_Name-2": "one two"}])
def test_metadata_of_simple_names_and_values_are_plain(metadata: dict[str, str]) -> None:
    assert is_plain_metadata(metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {"Content-Type": "x"},
        {"cache-control": "x"},
        {"a.b": "x"},
        {"": "x"},
        {"a\n": "x"},
        {"a": ""},
        {"a": " x"},
        {"a": "x "},
        {"a": "x\n"},
        {"a": "two  spaces"},
        {"a": "tab\tbed"},
        {"a": "Müller"},
        {"good": "x", "b": "ü"},
    ],
)
def test_metadata_that_are_signed_or_sent_in_several_ways_are_not_plain(metadata: dict[str, str]) -> None:
    assert not is_plain_metadata(metadata)


def test_bodies_that_are_bytes_in_one_row_are_plain() -> None:
    view = memoryview(b"content")

    assert is_plain_body(b"")
    assert is_plain_body(view[2:4])
    assert not is_plain_body(view[::2])
    assert not is_plain_body(view.cast("B", (7, 1)))
    assert not is_plain_body(memoryview(array("I", [1, 2])))


def test_an_environment_that_asks_obstore_for_encryption_is_not_plain() -> None:
    assert is_plain_environment({"AWS_REGION": "x", "HOME": "/"})
    assert not is_plain_environment({"AWS_SSE_KMS_KEY_ID": "x"})
