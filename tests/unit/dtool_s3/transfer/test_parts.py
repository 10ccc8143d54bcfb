"""Where objects are cut: every byte once, in order, within what S3 allows."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtool_s3.transfer.parts import (
    GIB,
    MIB,
    S3_LIMITS,
    PartLimits,
    PartRange,
    cut_evenly,
    fits,
    plan_copy_parts,
)

#: What 10,000 parts of 5 GiB hold.
LARGEST = 50_000 * GIB
TINY = PartLimits(
    single_copy_bytes=20, copy_part_bytes=8, chunk_bytes=6, min_part_bytes=5, max_part_bytes=12, max_parts=7
)


def _sizes(ranges: Sequence[PartRange]) -> list[int]:
    return [part.size_bytes for part in ranges]


def _check_whole(ranges: Sequence[PartRange], size_bytes: int) -> None:
    next_byte = 0
    for number, part in enumerate(ranges, start=1):
        assert (part.number, part.first_byte) == (number, next_byte)
        assert part.size_bytes > 0
        next_byte += part.size_bytes
    assert next_byte == size_bytes


@settings(max_examples=40)
@given(st.integers(1, LARGEST))
def test_parts_of_any_object_that_s3_holds_are_whole_and_allowed(size_bytes: int) -> None:
    ranges = plan_copy_parts(size_bytes, ())

    _check_whole(ranges, size_bytes)
    assert fits(size_bytes, _sizes(ranges))


@settings(max_examples=40)
@given(st.integers(1, LARGEST))
def test_streamed_parts_are_chunks_of_16_mib_until_these_would_be_too_many(size_bytes: int) -> None:
    ranges = cut_evenly(size_bytes, S3_LIMITS.chunk_bytes)

    _check_whole(ranges, size_bytes)
    assert len(ranges) <= 10_000
    assert {part.size_bytes for part in ranges[:-1]} <= {max(16 * MIB, -(-size_bytes // 10_000))}


@given(st.lists(st.integers(5, 12), min_size=0, max_size=6), st.integers(1, 12))
def test_the_sources_boundaries_are_reused_wherever_s3_takes_them(sizes: list[int], last: int) -> None:
    boundaries = [*sizes, last]

    ranges = plan_copy_parts(sum(boundaries), boundaries, limits=TINY)

    assert _sizes(ranges) == boundaries
    _check_whole(ranges, sum(boundaries))


@pytest.mark.parametrize(
    ("boundaries", "why"),
    [
        ([], "the store does not tell them"),
        ([10, 10], "they are another object's"),
        ([4, 10, 10], "one before the last is too small"),
        ([0, 12, 12], "one is empty"),
        ([12, 12, 0], "the last is empty"),
        ([13, 11], "one is too large"),
        ([3, 3, 3, 3, 3, 3, 3, 3], "they are too many"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_boundaries_that_do_not_serve_are_replaced_by_equal_parts(boundaries: list[int], why: str) -> None:
    assert not fits(24, boundaries, limits=TINY), why

    assert _sizes(plan_copy_parts(24, boundaries, limits=TINY)) == [8, 8, 8]


def test_the_last_part_takes_what_is_left() -> None:
    assert _sizes(cut_evenly(25, 8, limits=TINY)) == [8, 8, 8, 1]


def test_five_gib_and_a_byte_become_parts_of_512_mib() -> None:
    assert _sizes(plan_copy_parts(5 * GIB + 1, ())) == [512 * MIB] * 10 + [1]
