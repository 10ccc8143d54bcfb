"""What /metrics says, and that nobody's names or words can break it or make it grow."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from dtool_operator.metrics import Census, Metrics


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Parse the exposition as Prometheus does: value by name and labels."""
    content_type, text = metrics.show()
    assert content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((f"dtool_operator_{name}", tuple(sorted(labels.items()))))


def test_a_look_is_counted_by_kind_and_outcome_and_its_time_taken() -> None:
    metrics = Metrics()

    metrics.observe_reconcile("DtoolDataset", "ok", 0.3)
    metrics.observe_reconcile("DtoolDataset", "failed: the bucket of alice's says no", 3.0)

    assert value(metrics, "reconciles_total", kind="DtoolDataset", outcome="ok") == 1
    assert value(metrics, "reconciles_total", kind="DtoolDataset", outcome="failed") == 1
    assert value(metrics, "reconcile_seconds_count", kind="DtoolDataset") == 2
    assert value(metrics, "reconcile_seconds_bucket", kind="DtoolDataset", le="0.5") == 1


def test_transfers_and_what_they_placed_are_counted_by_kind() -> None:
    metrics = Metrics()

    metrics.observe_placed("Copy", items=3, size_bytes=300)
    metrics.observe_placed("Copy", items=1, size_bytes=50)
    metrics.observe_transfer("Copy", "Succeeded")

    assert value(metrics, "placed_bytes_total", kind="Copy") == 350
    assert value(metrics, "placed_items_total", kind="Copy") == 4
    assert value(metrics, "transfers_total", kind="Copy", result="Succeeded") == 1


def test_s3_requests_are_counted_by_bucket_operation_and_result() -> None:
    metrics = Metrics()

    metrics.observe_requests("dtool-system/lab", "PutObject", "ok", 7)
    metrics.observe_requests("dtool-system/lab", "PutObject", "SlowDown")

    labels = {"bucket": "dtool-system/lab", "operation": "PutObject"}
    assert value(metrics, "s3_requests_total", **labels, result="ok") == 7
    assert value(metrics, "s3_requests_total", **labels, result="SlowDown") == 1


def test_requests_to_the_api_server_and_their_waiting_are_counted() -> None:
    metrics = Metrics()

    metrics.observe_api_request("PATCH", 200)
    metrics.observe_api_request("PATCH", 0)
    metrics.observe_api_wait(0.5)

    assert value(metrics, "api_requests_total", method="PATCH", status="200") == 1
    assert value(metrics, "api_requests_total", method="PATCH", status="0") == 1
    assert value(metrics, "api_wait_seconds_total") == 0.5


def test_how_things_are_is_counted_when_somebody_asks() -> None:
    metrics = Metrics()
    census = Census(
        queue_depth=3,
        queue_oldest_seconds=1.5,
        transfers_running={"Copy": 2},
        datasets={"Frozen": 5, "Damaged": 1},
        buckets={"True": 2},
        datasets_damaged=1,
        oldest_verification_seconds=86400.0,
    )
    assert value(metrics, "queue_depth") == 0
    assert value(metrics, "oldest_verification_seconds") is None

    metrics.take_census_by(lambda: census)

    assert value(metrics, "queue_depth") == 3
    assert value(metrics, "queue_oldest_seconds") == 1.5
    assert value(metrics, "transfers_running", kind="Copy") == 2
    assert value(metrics, "datasets", state="Damaged") == 1
    assert value(metrics, "buckets", ready="True") == 2
    assert value(metrics, "datasets_damaged") == 1
    assert value(metrics, "oldest_verification_seconds") == 86400


def test_two_processes_in_one_test_share_nothing() -> None:
    one, other = Metrics(), Metrics()

    one.observe_left_behind("alice/lab")

    assert value(one, "left_behind_total", bucket="alice/lab") == 1
    assert value(other, "left_behind_total", bucket="alice/lab") is None


HOSTILE: Any = st.text(alphabet=st.characters()) | st.sampled_from(
    ['a"} 1\nforged_metric 7', "\\", "\ud800", "x" * 10_000, "\u2028", "\x85evil", "{}", ""]
)


@given(bucket=HOSTILE, operation=HOSTILE, result=HOSTILE, count=st.integers(-5, 5))
def test_no_name_breaks_the_exposition(bucket: str, operation: str, result: str, count: int) -> None:
    metrics = Metrics()
    metrics.take_census_by(lambda: Census(datasets={result: 1}, buckets={bucket: 1, operation: 2}))

    metrics.observe_requests(bucket, operation, result, count)
    metrics.observe_reconcile(operation, result, -1.0)
    metrics.observe_transfer(bucket, result)

    samples = read(metrics)
    assert {name for name, _ in samples if not name.startswith("dtool_operator_")} == set()
    assert all(len(text) <= 128 for _, labels in samples for _, text in labels)
    assert all(text.isprintable() for _, labels in samples for _, text in labels)


def test_many_names_do_not_make_many_series() -> None:
    metrics = Metrics()
    metrics.take_census_by(lambda: Census(datasets={f"state {n}": 1 for n in range(3000)}))

    for number in range(3000):
        metrics.observe_requests(f"team-{number}/b", "GetObject", "ok")

    counted = [labels for name, labels in read(metrics) if name == "dtool_operator_s3_requests_total"]
    assert len(counted) == 501
    labels = {"operation": "GetObject", "result": "ok"}
    assert value(metrics, "s3_requests_total", bucket="other", **labels) == 2500
    assert value(metrics, "datasets", state="other") == 2500
