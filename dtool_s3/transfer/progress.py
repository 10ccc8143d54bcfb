"""How far a transfer is, as a value; owns the counting, knows nothing of who shows it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """What a transfer does at the moment."""

    COPYING = "Copying"
    VERIFYING = "Verifying"
    FREEZING = "Freezing"
    REMOVING = "Removing"


@dataclass(frozen=True, slots=True)
class Progress:
    """Items and bytes that are in place, of how many."""

    phase: Phase
    items: int
    items_total: int
    bytes: int
    bytes_total: int


ProgressSink = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Show nothing."""


class ProgressCounter:
    """Counts and tells its sink; one event loop only."""

    def __init__(
        self, sink: ProgressSink, *, items_total: int, bytes_total: int, phase: Phase = Phase.COPYING
    ) -> None:
        self._sink = sink
        self._now = Progress(phase, 0, items_total, 0, bytes_total)
        sink(self._now)

    def add(self, *, items: int, size_bytes: int) -> None:
        """Count items and bytes that arrived."""
        self._tell(replace(self._now, items=self._now.items + items, bytes=self._now.bytes + size_bytes))

    def enter(self, phase: Phase, *, restart: bool = False) -> None:
        """Go on to another phase; `restart` counts from zero again."""
        now = replace(self._now, items=0, bytes=0) if restart else self._now
        self._tell(replace(now, phase=phase))

    def _tell(self, now: Progress) -> None:
        self._now = now
        self._sink(now)
