"""A share of a dataset's items, by their identifiers; pure, no I/O.

Identifiers are SHA-1 digests: evenly spread. A share is a range of them, so that a bucket can be asked to
list it alone.
"""

from dataclasses import dataclass

from dtool_s3.errors import SettingsError

#: Shares are cut by the leading 8 hex digits, and listed by at most 3 of them.
_BITS = 32
_DIGITS = 8
_LISTED_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Shard:
    """Share `index` (from 0 on) of `count`: together they hold every item once."""

    index: int
    count: int

    def __post_init__(self) -> None:
        """Refuse shares that there are not."""
        if not 0 <= self.index < self.count <= 2**_BITS:
            raise SettingsError(f"there is no share {self.index} of {self.count}")

    def holds(self, identifier: str) -> bool:
        """Tell whether an item (40 hex digits) belongs to this share."""
        return (int(identifier[:_DIGITS], 16) * self.count) >> _BITS == self.index

    def prefixes(self) -> tuple[str, ...]:
        """Return starts of identifiers (hex digits) that cover the share, and little beside it."""
        return tuple(self._cover(""))

    def _cover(self, start: str) -> list[str]:
        width = _BITS - 4 * len(start)
        first = int(start or "0", 16) << width
        low, high = self._range()
        if first >= high or first + (1 << width) <= low:
            return []
        if len(start) == _LISTED_DIGITS or (low <= first and first + (1 << width) <= high):
            return [start]
        return [prefix for digit in "0123456789abcdef" for prefix in self._cover(start + digit)]

    def _range(self) -> tuple[int, int]:
        """Return the first number of the share, and that after its last."""
        return -(-(self.index << _BITS) // self.count), -(-((self.index + 1) << _BITS) // self.count)
