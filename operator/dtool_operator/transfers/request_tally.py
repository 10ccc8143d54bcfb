"""Counts the S3 requests of a worker by side, operation and result, between one report and the next."""

import time
from collections import Counter
from collections.abc import Callable

from dtool_operator.planning.task import ProgressLine, RequestCount, RequestsLine, Side, WorkerLine
from dtool_s3.store.faults import Request

REPORT_INTERVAL_SECONDS = 5.0

OnAnswer = Callable[[Request, str], None]


class RequestTally:
    """Reports through `emit`: before the end, with progress every few seconds, and when told to."""

    def __init__(
        self, emit: Callable[[WorkerLine], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._counts: Counter[tuple[Side, str, str]] = Counter()
        self._next_time = clock() + REPORT_INTERVAL_SECONDS

    def listener(self, side: Side) -> OnAnswer:
        """Return what a store of this side is to tell its answers to."""

        def note(request: Request, result: str) -> None:
            self._counts[side, request.operation, result] += 1

        return note

    def pass_on(self, line: WorkerLine) -> None:
        """Emit a line, and a report before it if one is due."""
        if not isinstance(line, ProgressLine) or self._clock() >= self._next_time:
            self.report()
        self._emit(line)

    def report(self) -> None:
        """Emit what was counted since the last report, if anything was."""
        self._next_time = self._clock() + REPORT_INTERVAL_SECONDS
        counts, self._counts = self._counts, Counter()
        if counts:
            told = (
                RequestCount(side=side, operation=operation, result=result, count=count)
                for (side, operation, result), count in counts.items()
            )
            self._emit(RequestsLine(counts=tuple(told)))
