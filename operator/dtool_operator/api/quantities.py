"""Durations and sizes as users write and read them. Pure text and arithmetic, no I/O."""

import re
from datetime import timedelta
from typing import Final

DURATION_PATTERN: Final = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$"
"""Hours, minutes, seconds, in this order, each at most once: `168h`, `1h30m`, `90s`. Same as in the CRDs."""

_DURATION = re.compile(DURATION_PATTERN)
_SIZE = re.compile(r"([0-9]{1,18})(Ki|Mi|Gi|Ti|Pi|Ei|)")
_BINARY_UNITS: Final = ("B", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def parse_duration(text: str) -> timedelta:
    """Read `10m`, `168h` or `1h30m`; raise ValueError, which names no input, for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError("a duration is written as hours, minutes and seconds, such as 168h, 10m or 1h30m")
    hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def parse_size(text: str) -> int:
    """Read a number of bytes, `100Gi` or `4096`; raise ValueError, which names no input, for another."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size is written as bytes, or with Ki, Mi, Gi, Ti, Pi or Ei, such as 100Gi")
    number, unit = match.groups()
    factor: int = 1024 ** (_BINARY_UNITS.index(unit) if unit else 0)
    return int(number) * factor


def format_size(size_bytes: int) -> str:
    """Write a number of bytes for people, with binary units and at most one decimal: `3.4Gi`, `512B`."""
    scaled, unit = float(size_bytes), 0
    # 1023.95 and above would be printed as 1024.0: it belongs to the next unit
    while scaled >= 1023.95 and unit < len(_BINARY_UNITS) - 1:
        scaled, unit = scaled / 1024, unit + 1
    return f"{scaled:.1f}".removesuffix(".0") + _BINARY_UNITS[unit]
