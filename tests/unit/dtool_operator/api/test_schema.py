"""What all models share: text of others, moments, dumps."""

import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dtool_operator.api.dataset_status import Managed, Mismatch, Progress, Verification
from dtool_operator.api.schema import Interval, ShortText, Timestamp, sanitize


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("plain", 10, "plain"),
        ("two\nlines\r\n\tand a tab", 50, "two lines and a tab"),
        ("\x1b[31mred\x1b[0m", 50, "[31mred [0m"),
        ("right\u202eto left", 50, "right to left"),
        ("nul\x00", 50, "nul"),
        ("half a pair \ud800", 50, "half a pair"),
        ("grün ☂", 10, "grün ☂"),
        ("exactly10c", 10, "exactly10c"),
        ("eleven char", 10, "eleven ch…"),
        ("cut here before", 9, "cut here…"),
        (" " * 1000 + "x", 10, "…"),
    ],
)
def test_text_of_others_becomes_one_bounded_visible_line(text: str, limit: int, line: str) -> None:
    """Rule 20."""
    assert sanitize(text, limit) == line


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_sanitized_text_fits_has_no_control_characters_and_stays_as_it_is(text: str, limit: int) -> None:
    line = sanitize(text, limit)

    assert len(line) <= limit
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in line)
    assert sanitize(line, limit) == line


def test_a_field_for_text_of_others_sanitizes_it_and_still_refuses_what_is_no_text() -> None:
    field = TypeAdapter(ShortText)

    assert field.validate_python("a\nb" + "c" * 300) == "a b" + "c" * 252 + "…"
    with pytest.raises(ValidationError):
        field.validate_python(3)


def test_a_moment_is_kept_in_utc_and_whole_seconds() -> None:
    moment = datetime(2026, 11, 22, 12, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))

    assert TypeAdapter(Timestamp).validate_python(moment) == datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("interval", ["59s", "8761h", timedelta(0), "weekly", 3.5j])
def test_an_interval_out_of_bounds_is_refused(interval: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Interval).validate_python(interval)


def test_a_dump_is_camel_case_json_without_what_is_absent_or_empty() -> None:
    progress = Progress(items=0, items_total=3, started_at=datetime(2026, 11, 22, tzinfo=UTC))

    assert progress.dump() == {
        "items": 0,
        "itemsTotal": 3,
        "bytes": 0,
        "bytesTotal": 0,
        "startedAt": "2026-11-22T00:00:00Z",
    }
    assert Managed().dump() == {}


def test_a_dump_keeps_zero_and_empty_text_and_drops_empty_parts_within_lists() -> None:
    verified = Verification.model_validate(
        {
            "time": "2026-11-22T00:00:00Z",
            "method": "Listing",
            "mismatches": [{"relpath": "a", "expected": "", "found": "none"}],
        }
    )

    assert verified.dump() == {
        "time": "2026-11-22T00:00:00Z",
        "method": "Listing",
        "items": 0,
        "evidence": {"etagMD5": 0, "read": 0, "sameAsSource": 0},
        "mismatches": [{"relpath": "a", "expected": "", "found": "none"}],
        "mismatchCount": 0,
    }


def test_models_are_frozen() -> None:
    mismatch = Mismatch(relpath="a", expected="b", found="c")

    with pytest.raises(ValidationError, match="frozen"):
        mismatch.relpath = "d"  # type: ignore[misc]
