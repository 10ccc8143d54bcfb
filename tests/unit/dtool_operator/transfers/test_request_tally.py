"""How a worker's S3 requests are counted and when it tells of them."""

from dtool_operator.planning.task import (
    ProgressLine,
    RequestCount,
    RequestsLine,
    ResultLine,
    Side,
    WorkerLine,
)
from dtool_operator.transfers.request_tally import REPORT_INTERVAL_SECONDS, RequestTally
from dtool_s3.store.faults import Request

PROGRESS = ProgressLine(phase="Copying", items=0, items_total=1, bytes=0, bytes_total=1)
PUT = Request("put", "lab", "key")


class Stage:
    """A tally with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[WorkerLine] = []
        self.tally = RequestTally(self.lines.append, lambda: self.now)


def test_requests_are_counted_by_side_operation_and_result() -> None:
    stage = Stage()
    target, source = (stage.tally.listener(side) for side in (Side.TARGET, Side.SOURCE))
    for result in ("ok", "ok", "Throttled"):
        target(PUT, result)
    source(Request("get", "data", "key"), "ok")

    stage.tally.report()

    (line,) = stage.lines
    assert isinstance(line, RequestsLine)
    assert line.counts == (
        RequestCount(side=Side.TARGET, operation="put", result="ok", count=2),
        RequestCount(side=Side.TARGET, operation="put", result="Throttled", count=1),
        RequestCount(side=Side.SOURCE, operation="get", result="ok", count=1),
    )


def test_a_request_is_told_once_and_nothing_is_told_of_none() -> None:
    stage = Stage()
    stage.tally.listener(Side.TARGET)(PUT, "ok")

    stage.tally.report()
    stage.tally.report()

    assert len(stage.lines) == 1


def test_progress_brings_a_report_with_it_only_after_a_while() -> None:
    stage = Stage()
    stage.tally.listener(Side.TARGET)(PUT, "ok")

    stage.tally.pass_on(PROGRESS)
    stage.now = REPORT_INTERVAL_SECONDS
    stage.tally.pass_on(PROGRESS)

    assert [line.type for line in stage.lines] == ["progress", "requests", "progress"]


def test_the_end_is_told_after_the_requests() -> None:
    stage = Stage()
    stage.tally.listener(Side.TARGET)(PUT, "ok")

    stage.tally.pass_on(ResultLine())

    assert [line.type for line in stage.lines] == ["requests", "result"]


def test_the_last_of_a_pods_reports_has_all_of_its_requests() -> None:
    lines: list[WorkerLine] = []
    tally = RequestTally(lines.append, lambda: 0.0, is_whole=True)
    tally.listener(Side.TARGET)(PUT, "ok")
    tally.report()
    tally.listener(Side.TARGET)(PUT, "ok")

    tally.report()
    tally.report()

    assert len(lines) == 2
    assert isinstance(lines[-1], RequestsLine)
    assert [one.count for one in lines[-1].counts] == [2]
