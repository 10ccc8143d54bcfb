"""Counts the S3 requests of a worker by side, operation and result, between one report and the next."""

import time
from collections import Counter
from collections.abc import Callable

from dtool_operator.planning.task import ProgressLine, RequestCount, RequestsLine, Side, WorkerLine
from dtool_s3.store.faults import Request

REPORT_INTERVAL_SECONDS = 5.0

OnAnswer = Callable[[Request, str], None]


class RequestTally:
    """Reports through `emit`: before the end, with progress every few seconds, and when told to.

    A report has what was counted since the one before. `is_whole`: it has all, for a Pod's log, of which only
    the last lines are read.
    """

    def __init__(
        self,
        emit: Callable[[WorkerLine], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        is_whole: bool = False,
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._is_whole = is_whole
        self._has_news = False
        self._counts: Counter[tuple[Side, str, str]] = Counter()
        self._next_time = clock() + REPORT_INTERVAL_SECONDS

    def listener(self, side: Side) -> OnAnswer:
        """Return what a store of this side is to tell its answers to."""

        def note(request: Request, result: str) -> None:
            self._counts[side, request.operation, result] += 1
            self._has_news = True

        return note

    def pass_on(self, line: WorkerLine) -> None:
        """Emit a line, and a report before it if one is due."""
        if not isinstance(line, ProgressLine) or self._clock() >= self._next_time:
            self.report()
        self._emit(line)

    def report(self) -> None:
        """Emit what was counted, if anything was since the last report."""
        self._next_time = self._clock() + REPORT_INTERVAL_SECONDS
        if not self._has_news:
            return
        told = tuple(
            RequestCount(side=side, operation=operation, result=result, count=count)
            for (side, operation, result), count in self._counts.items()
        )
        self._has_news = False
        if not self._is_whole:
            self._counts.clear()
        self._emit(RequestsLine(counts=told))
