"""What the metrics are told of transfers and of the world."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from dtool_operator.api.dataset import parse_dataset
from dtool_operator.metrics import Metrics
from dtool_operator.planning.plan import CancelTransfer, ReportLeftBehind
from dtool_operator.planning.task import ErrorLine, Location, ProgressLine, Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_operator.reconcile.metering import TransferMeter
from tests.support.observed import facts

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TASK = Task(
    kind=TaskKind.COPY,
    key="uid-1",
    namespace="alice",
    fingerprint="f",
    uuid="1c10766c-c4be-4b4e-8c3d-9e2d2f0d5c11",
    target=Location(bucket="lab", prefix="u/alice/"),
    bucket_key="dtool-system/lab",
)
RUNNING = TransferRecord(TASK, TransferState.RUNNING, 1, NOW)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(metrics.show()[1].decode())
    samples = [sample for family in families for sample in family.samples]
    return sum(one.value for one in samples if (one.name, one.labels) == (f"dtool_operator_{name}", labels))


def progress(items: int, size_bytes: int, phase: str = "Copying") -> ProgressLine:
    return ProgressLine(phase=phase, items=items, items_total=9, bytes=size_bytes, bytes_total=900)


def test_progress_is_counted_once_and_other_phases_are_not() -> None:
    metrics = Metrics()
    meter = TransferMeter(metrics)

    for line in (progress(1, 100), progress(1, 100), progress(4, 400), progress(9, 900, phase="Verifying")):
        meter.observe(replace(RUNNING, progress=line))

    assert value(metrics, "placed_items_total", kind=str(TaskKind.COPY)) == 4
    assert value(metrics, "placed_bytes_total", kind=str(TaskKind.COPY)) == 400


def test_the_next_transfer_of_an_object_counts_from_its_own_start() -> None:
    metrics = Metrics()
    meter = TransferMeter(metrics)
    meter.observe(replace(RUNNING, progress=progress(5, 500)))

    later = replace(RUNNING, started_at=NOW + timedelta(minutes=1))
    meter.observe(replace(later, progress=progress(2, 200)))

    assert value(metrics, "placed_bytes_total", kind=str(TaskKind.COPY)) == 700


def test_a_copy_that_ends_before_it_tells_how_far_it_is_is_counted_too() -> None:
    metrics = Metrics()
    meter = TransferMeter(metrics)
    meter.observe(replace(RUNNING, progress=progress(1, 100)))

    meter.observe(replace(RUNNING, state=TransferState.SUCCEEDED, facts=facts(items=3, size_bytes=209)))

    assert value(metrics, "placed_items_total", kind=str(TaskKind.COPY)) == 3
    assert value(metrics, "placed_bytes_total", kind=str(TaskKind.COPY)) == 209


def test_an_end_is_counted_by_its_result() -> None:
    metrics = Metrics()
    meter = TransferMeter(metrics)
    error = ErrorLine(reason="AccessDenied", message="no", retryable=True)

    meter.observe(replace(RUNNING, state=TransferState.SUCCEEDED))
    meter.observe(replace(RUNNING, state=TransferState.FAILED, error=error))
    meter.observe(RUNNING)
    meter.cancel(TASK.key)
    meter.cancel("never heard of")

    for result in ("Succeeded", "AccessDenied", "Cancelled"):
        assert value(metrics, "transfers_total", kind=str(TaskKind.COPY), result=result) == 1


def test_what_was_left_behind_is_counted_by_bucket_and_a_cancelled_transfer_once() -> None:
    metrics = Metrics()
    meter = TransferMeter(metrics)
    metadata = {"namespace": "alice", "name": "raw", "uid": TASK.key, "resourceVersion": "1", "generation": 1}
    metadata["creationTimestamp"] = "2026-01-31T12:00:00Z"
    spec = {"bucketRef": {"name": "lab", "namespace": "dtool-system"}}
    dataset = parse_dataset({"metadata": metadata, "spec": spec})
    meter.observe(RUNNING)

    meter.observe_plan(dataset, (CancelTransfer(), ReportLeftBehind("Its bucket is gone.")))
    meter.observe_plan(dataset, (CancelTransfer(),))

    assert value(metrics, "left_behind_total", bucket="dtool-system/lab") == 1
    assert value(metrics, "transfers_total", kind=str(TaskKind.COPY), result="Cancelled") == 1
