"""What the metrics are told of the world and of transfers; decides nothing and changes nothing."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.metrics import Census, Metrics
from dtool_operator.planning.plan import CancelTransfer, DatasetAction, ReportLeftBehind
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState

UNKNOWN = "Unknown"
_COPYING = "Copying"
_DAMAGED = "Damaged"
_PLACING = frozenset({TaskKind.COPY, TaskKind.INGEST})


def take_census(
    datasets: Iterable[DtoolDataset],
    buckets: Iterable[DtoolBucket],
    *,
    now: datetime,
    queue_depth: int,
    queue_oldest_seconds: float,
    find_transfer: Callable[[str], TransferRecord | None],
) -> Census:
    """Count objects by what their status says, and the transfers that run for them."""
    states: Counter[str] = Counter()
    running: Counter[str] = Counter()
    oldest: datetime | None = None
    for dataset in datasets:
        states[str(dataset.status.state or UNKNOWN)] += 1
        transfer = find_transfer(dataset.uid)
        if transfer is not None and transfer.state is TransferState.RUNNING:
            running[str(transfer.task.kind)] += 1
        verified = dataset.status.verified
        if verified is not None and (oldest is None or verified.time < oldest):
            oldest = verified.time
    readiness: Counter[str] = Counter()
    for bucket in buckets:
        ready = find_condition(bucket.status.conditions, ConditionType.READY)
        readiness[UNKNOWN if ready is None else str(ready.status)] += 1
    return Census(
        queue_depth=queue_depth,
        queue_oldest_seconds=queue_oldest_seconds,
        transfers_running=running,
        datasets=states,
        buckets=readiness,
        datasets_damaged=states[_DAMAGED],
        oldest_verification_seconds=None if oldest is None else max(0.0, (now - oldest).total_seconds()),
    )


@dataclass(slots=True)
class _Counted:
    """What was told of a transfer so far."""

    kind: str
    started_at: datetime
    items: int = 0
    size_bytes: int = 0


class TransferMeter:
    """Turns records, which say how things stand, into what has been added since."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counted: dict[str, _Counted] = {}

    def observe(self, record: TransferRecord) -> None:
        """Take in a record each time it changes; its end is told once."""
        key = record.task.key
        counted = self._counted.get(key)
        if counted is None or counted.started_at != record.started_at:
            counted = self._counted[key] = _Counted(str(record.task.kind), record.started_at)
        progress = record.progress
        if progress is not None and progress.phase == _COPYING:
            self._observe_placed(counted, progress.items, progress.bytes)
        if record.facts is not None and record.task.kind in _PLACING:
            # a short one ends before it has told how far it is
            self._observe_placed(counted, record.facts.items, record.facts.size_bytes)
        if record.state is not TransferState.RUNNING:
            del self._counted[key]
            failure = None if record.error is None else record.error.reason
            self._metrics.observe_transfer(counted.kind, failure or str(record.state))

    def _observe_placed(self, counted: _Counted, items: int, size_bytes: int) -> None:
        self._metrics.observe_placed(
            counted.kind, items=items - counted.items, size_bytes=size_bytes - counted.size_bytes
        )
        counted.items, counted.size_bytes = items, size_bytes

    def observe_plan(self, dataset: DtoolDataset, actions: Iterable[DatasetAction]) -> None:
        """Take in what was done for a dataset."""
        for action in actions:
            match action:
                case CancelTransfer():
                    self.cancel(dataset.uid)
                case ReportLeftBehind():
                    ref = dataset.spec.bucket_ref
                    namespace = "" if ref is None else ref.namespace or dataset.namespace
                    self._metrics.observe_left_behind("" if ref is None else f"{namespace}/{ref.name}")
                case _:
                    pass

    def cancel(self, key: str) -> None:
        """Take in that a transfer was given up, if it was one that was told of."""
        counted = self._counted.pop(key, None)
        if counted is not None:
            self._metrics.observe_transfer(counted.kind, "Cancelled")
