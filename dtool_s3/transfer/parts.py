"""Where objects are cut into parts; pure arithmetic, no I/O.

Source: "Amazon S3 multipart upload limits": 10,000 parts of 5 MiB to 5 GiB each (the last may be smaller),
5 GiB for one CopyObject.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3

CHUNK_BYTES = 16 * MIB
MAX_SINGLE_COPY_BYTES = 5 * GIB


@dataclass(frozen=True, slots=True)
class PartLimits:
    """From which sizes on objects move in parts, and how large those are; the defaults fit every S3.

    `single_copy_bytes`: larger objects are copied in parts, of `copy_part_bytes` where the source's own
    boundaries do not serve. `chunk_bytes`: larger objects are streamed in parts of it.
    """

    single_copy_bytes: int = MAX_SINGLE_COPY_BYTES
    copy_part_bytes: int = 512 * MIB
    chunk_bytes: int = CHUNK_BYTES
    min_part_bytes: int = 5 * MIB
    max_part_bytes: int = 5 * GIB
    max_parts: int = 10_000


#: What S3 allows.
S3_LIMITS = PartLimits()


@dataclass(frozen=True, slots=True)
class PartRange:
    """The bytes of one part; numbers start at 1."""

    number: int
    first_byte: int
    size_bytes: int


def plan_copy_parts(
    size_bytes: int, boundaries: Sequence[int], *, limits: PartLimits = S3_LIMITS
) -> tuple[PartRange, ...]:
    """Cut an object into parts to be copied on the server.

    `boundaries` are the sizes of the parts that it was uploaded in: reused where S3 takes them, because equal
    parts of equal bytes give an equal ETag. Else equal parts.
    """
    if fits(size_bytes, boundaries, limits=limits):
        return _cut(boundaries)
    return cut_evenly(size_bytes, limits.copy_part_bytes, limits=limits)


def fits(size_bytes: int, boundaries: Sequence[int], *, limits: PartLimits = S3_LIMITS) -> bool:
    """Tell whether these parts make an object of `size_bytes` that S3 accepts."""
    return (
        0 < len(boundaries) <= limits.max_parts
        and sum(boundaries) == size_bytes
        and min(boundaries) > 0
        and min(boundaries[:-1], default=limits.min_part_bytes) >= limits.min_part_bytes
        and max(boundaries) <= limits.max_part_bytes
    )


def cut_evenly(size_bytes: int, part_bytes: int, *, limits: PartLimits = S3_LIMITS) -> tuple[PartRange, ...]:
    """Cut `size_bytes` (at least 1) into parts of `part_bytes`, or of more where these would be too many."""
    part_bytes = max(part_bytes, -(-size_bytes // limits.max_parts))
    whole, rest = divmod(size_bytes, part_bytes)
    return _cut([part_bytes] * whole + ([rest] if rest else []))


def _cut(sizes: Sequence[int]) -> tuple[PartRange, ...]:
    ranges, first_byte = [], 0
    for number, size_bytes in enumerate(sizes, start=1):
        ranges.append(PartRange(number, first_byte, size_bytes))
        first_byte += size_bytes
    return tuple(ranges)
