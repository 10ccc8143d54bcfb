"""Durations and sizes as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_operator.api.quantities import format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("168h", 604_800), ("90s", 90), ("1h30m", 5400), ("1h1m1s", 3661), ("0s", 0)],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "7d", "10", "m", "1m1h", "-1m", "1.5h", " 10m", "10m\n", "10M", "9" * 30 + "h"]
)
def test_anything_else_is_no_duration_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="such as 168h, 10m or 1h30m") as caught:
        parse_duration(text)

    assert not text.strip() or f"'{text}'" not in str(caught.value)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1Ki"),
        (1536, "1.5Ki"),
        (1_048_524, "1023.9Ki"),
        (1_048_570, "1Mi"),
        (3_650_722_201, "3.4Gi"),
        (2**60, "1Ei"),
        (5000 * 2**60, "5000Ei"),
    ],
)
def test_a_size_is_written_with_one_decimal_at_most(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@given(st.integers(min_value=0, max_value=2**63))
def test_a_size_never_reads_as_a_thousand_and_more_of_a_unit_that_has_a_larger_one(size_bytes: int) -> None:
    text = format_size(size_bytes)

    number = float(text.rstrip("BKMGTPEi"))
    assert number < 1024 or text.endswith("Ei")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("4096", 4096), ("1Ki", 1024), ("100Gi", 100 * 1024**3), (" 2Ei ", 2**61)],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "Gi", "1G", "1.5Gi", "-1", "1 Gi", "1gi", "9" * 19])
def test_anything_else_is_no_size_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="such as 100Gi") as caught:
        parse_size(text)

    assert not text.strip() or f"'{text}'" not in str(caught.value)
