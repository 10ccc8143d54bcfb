"""What Prometheus is told: the names, labels and bounds of every metric, in a registry of its own.

Owns the form of what is exposed: label values are made harmless and few, whatever they are made of. Must not
decide anything, read the cluster, or raise: a metric is never worth a failed look.
"""

from collections import Counter as Count
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX: Final = "dtool_operator"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
"""Takes the place of label values beyond the bound."""

_VALUES_MAXIMUM: Final = 500
"""Label values of one label of one metric: bucket objects at most; everything else has a dozen."""
_LENGTH_MAXIMUM: Final = 128
_SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Census:
    """How things are at the moment of asking; ages in seconds, None where there is nothing of an age."""

    queue_depth: int = 0
    queue_oldest_seconds: float = 0.0
    transfers_running: Mapping[str, int] = field(default_factory=dict)
    """By kind of the task."""
    datasets: Mapping[str, int] = field(default_factory=dict)
    """By status.state; `Unknown` without one."""
    buckets: Mapping[str, int] = field(default_factory=dict)
    """By the status of their condition Ready: True, False or Unknown."""
    datasets_damaged: int = 0
    oldest_verification_seconds: float | None = None


class Metrics:
    """All metrics of one process. Give one to whoever has something to tell; `show` is what /metrics says.

    Bucket keys are `namespace/name` of the bucket object.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._known: dict[str, set[str]] = {}
        self._take_census: Callable[[], Census] = Census
        self._build_own_metrics()
        self._registry.register(_CensusCollector(self._count))

    def show(self) -> tuple[str, bytes]:
        """Return content type and text of the exposition."""
        return CONTENT_TYPE, generate_latest(self._registry)

    def take_census_by(self, census: Callable[[], Census]) -> None:
        """Say who counts, each time somebody asks; quick, and without I/O."""
        self._take_census = census

    def lead(self, *, is_leading: bool) -> None:
        """Take in whether this process is the one that works."""
        self._leading.set(int(is_leading))

    def observe_reconcile(self, kind: str, outcome: str, seconds: float) -> None:
        """Take in one look: the outcome up to a colon is the label, what follows may be anybody's words."""
        kind = self._bound("kind", kind)
        self._reconciles.labels(kind, self._bound("outcome", outcome.partition(":")[0])).inc()
        self._reconcile_seconds.labels(kind).observe(max(0.0, seconds))

    def observe_transfer(self, kind: str, result: str) -> None:
        """Take in the end of a transfer: `Succeeded`, `Cancelled` or the reason of its failure."""
        self._transfers.labels(self._bound("kind", kind), self._bound("result", result)).inc()

    def observe_placed(self, kind: str, *, items: int, size_bytes: int) -> None:
        """Take in what a transfer has in place, more than when it was last asked."""
        kind = self._bound("kind", kind)
        self._placed_items.labels(kind).inc(max(0, items))
        self._placed_bytes.labels(kind).inc(max(0, size_bytes))

    def observe_requests(self, bucket_key: str, operation: str, result: str, count: int = 1) -> None:
        """Take in S3 requests: operation as S3 names it, result `ok` or the S3 error code."""
        bucket = self._bound("bucket", bucket_key)
        operation, result = self._bound("operation", operation), self._bound("s3_result", result)
        self._requests.labels(bucket, operation, result).inc(max(0, count))

    def observe_left_behind(self, bucket_key: str) -> None:
        """Take in that the data of a dataset were left behind in a bucket."""
        # any name that a user wrote down: it must not take the place of a bucket object that exists
        self._left_behind.labels(self._bound("left_behind", bucket_key)).inc()

    def observe_api_request(self, method: str, status: int) -> None:
        """Take in an answer of the API server; status 0: there was none."""
        self._api_requests.labels(self._bound("method", method), self._bound("status", str(status))).inc()

    def observe_api_wait(self, seconds: float) -> None:
        """Take in how long a write to the API server waited for its turn."""
        self._api_wait.inc(max(0.0, seconds))

    def _count(self) -> Census:
        return self._take_census()

    def _bound(self, label: str, value: str) -> str:
        """Make a label value harmless, and one of few."""
        value = clean_label(value)
        known = self._known.setdefault(label, set())
        if value in known or len(known) < _VALUES_MAXIMUM:
            known.add(value)
            return value
        return OTHER

    def _build_own_metrics(self) -> None:
        registry = self._registry

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", meaning, labels, registry=registry)

        self._leading = Gauge(
            f"{PREFIX}_leading",
            "1 where this process works, 0 where it waits for the Lease.",
            registry=registry,
        )
        self._reconciles = counter("reconciles", "Looks at objects, by how they ended.", "kind", "outcome")
        self._reconcile_seconds = Histogram(
            f"{PREFIX}_reconcile_seconds",
            "How long a look took.",
            ("kind",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._transfers = counter("transfers", "Transfers that have ended, by how.", "kind", "result")
        here = "that transfers have brought in place, or found there when they resumed."
        self._placed_bytes = counter("placed_bytes", f"Bytes {here}", "kind")
        self._placed_items = counter("placed_items", f"Items {here}", "kind")
        self._requests = counter(
            "s3_requests", "S3 requests, by the bucket object they were for.", "bucket", "operation", "result"
        )
        self._left_behind = counter("left_behind", "Datasets whose data were left behind.", "bucket")
        self._api_requests = counter(
            "api_requests", "Requests to the API server; status 0: no answer.", "method", "status"
        )
        self._api_wait = counter("api_wait_seconds", "Time writes to the API server waited for their turn.")


class _CensusCollector(Collector):
    """Counts when somebody asks."""

    def __init__(self, census: Callable[[], Census]) -> None:
        self._census = census

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        census = self._census()
        yield _gauge("queue_depth", "Objects that wait to be looked at.", census.queue_depth)
        yield _gauge("queue_oldest_seconds", "How long the first of them waits.", census.queue_oldest_seconds)
        yield _gauges("transfers_running", "Transfers that run.", "kind", census.transfers_running)
        yield _gauges("datasets", "DtoolDatasets by state.", "state", census.datasets)
        yield _gauges("buckets", "DtoolBuckets by their condition Ready.", "ready", census.buckets)
        yield _gauge("datasets_damaged", "Frozen datasets that have changed.", census.datasets_damaged)
        if census.oldest_verification_seconds is not None:
            age = census.oldest_verification_seconds
            yield _gauge("oldest_verification_seconds", "Age of the oldest last verification.", age)


def clean_label(value: str) -> str:
    """Return the value as printable text of bounded length; what is not printable becomes `?`."""
    text = value[:_LENGTH_MAXIMUM]
    return "".join(one if one.isprintable() else "?" for one in text) or OTHER


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, value=value)


def _gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """Make one gauge with one sample per value of a label; those beyond the bound are one together."""
    counted: Count[str] = Count()
    for value, count in values.items():
        cleaned = clean_label(value)
        counted[cleaned if cleaned in counted or len(counted) < _VALUES_MAXIMUM else OTHER] += int(count)
    family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=[label])
    for value, count in counted.items():
        family.add_metric([value], count)
    return family
