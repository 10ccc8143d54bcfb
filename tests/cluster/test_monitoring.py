"""Alerts, dashboard and metrics as the real Prometheus takes them; the operator is in its Pod."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from tests.support.chart import CHART, NAMESPACE
from tests.support.eventually import eventually
from tests.support.lab import Lab
from tests.support.prometheus import run_promtool, running_prometheus

if TYPE_CHECKING:
    from sandbox.cluster.node import Node
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore
    from tests.support.chart_release import ChartRelease
    from tests.support.lab import OperatorProcess
    from tests.support.real_cluster import RealCluster

ALERTS = CHART / "files" / "alerts.yaml"
JOB = "dtool-operator-metrics"
LABELS = {"namespace": NAMESPACE, "job": JOB}
COPIED = "1c10766c-4a46-4d55-9c5b-0c2d1f6f0b01"
#: Panels that show nothing where nothing goes on and nothing is wrong.
EMPTY_WHEN_ALL_IS_QUIET = {"Transfers running", "S3 errors", "Left behind"}

# the image, where it is not up to date, takes minutes
pytestmark = pytest.mark.timeout(1200)


def series(name: str, **labels: str) -> str:
    """Name one series of one replica, as Prometheus stores it."""
    every = {**LABELS, "pod": "a", **labels}
    selector = ",".join(f"{key}={json.dumps(value)}" for key, value in every.items())
    return f"dtool_operator_{name}{{{selector}}}"


@dataclass(frozen=True)
class Case:
    """What is collected each minute, and which alert fires when.

    `series`: values in promtool's notation. `alert` None: none fires. `labels`: beside those of the rule.
    """

    at: str
    series: dict[str, str]
    alert: str | None = None
    summary: str = ""
    labels: dict[str, str] = field(default_factory=lambda: dict(LABELS))


WORKS = {series("leading"): "1x3000"}
FAILURES = series("transfers_total", kind="Copy", result="AccessDenied")
CRASHES = series("reconciles_total", kind="DtoolDataset", outcome="crashed")
LEFT = series("left_behind_total", bucket="dtool-system/lab")
CASES = {
    "all is well": Case(
        "30m",
        {
            series("leading"): "1x60",
            series("leading", pod="b"): "0x60",
            series("datasets_damaged"): "0x60",
            series("buckets", ready="True"): "3x60",
            series("queue_oldest_seconds"): "2x60",
            series("reconciles_total", kind="DtoolDataset", outcome="done"): "0+100x60",
            series("transfers_total", kind="Copy", result="Cancelled"): "0+100x60",
        },
    ),
    "a dataset is damaged": Case(
        "1m",
        {**WORKS, series("datasets_damaged"): "2x5"},
        "DtoolDatasetDamaged",
        "2 frozen dataset(s) have changed since they were frozen",
    ),
    "nobody tells metrics": Case(
        "3m",
        {},
        "DtoolOperatorNobodyWorks",
        "no replica of dtool-operator works, or more than one says that it does",
        labels={},
    ),
    "a restart": Case("4m", {series("leading"): "1 _ _ 1x60"}),
    "two work": Case(
        "3m",
        {**WORKS, series("leading", pod="b"): "1x60"},
        "DtoolOperatorNobodyWorks",
        "no replica of dtool-operator works, or more than one says that it does",
    ),
    "looks crash": Case(
        "5m",
        {**WORKS, CRASHES: "0+1x60"},
        "DtoolOperatorCrashes",
        "looks at a DtoolDataset end with a defect of the operator",
        labels={**LABELS, "kind": "DtoolDataset"},
    ),
    "one look waits a moment": Case("3m", {**WORKS, series("queue_oldest_seconds"): "400x60"}),
    "looks wait": Case(
        "6m",
        {**WORKS, series("queue_oldest_seconds"): "400x60"},
        "DtoolOperatorFallsBehind",
        "an object waits to be looked at since 6m 40s",
    ),
    "a bucket is away for minutes": Case("10m", {**WORKS, series("buckets", ready="False"): "1x60"}),
    "buckets are away": Case(
        "16m",
        {**WORKS, series("buckets", ready="False"): "1x60", series("buckets", ready="Unknown"): "1x60"},
        "DtoolBucketNotReady",
        "2 DtoolBucket(s) are not Ready",
    ),
    "data are left behind for the first time": Case(
        "15m",
        {**WORKS, LEFT: "_x10 1x3000"},
        "DtoolDataLeftBehind",
        "data of deleted datasets were left in the bucket of dtool-system/lab",
        labels={**LABELS, "bucket": "dtool-system/lab", "pod": "a"},
    ),
    "data are left behind again": Case(
        "40h",
        {**WORKS, LEFT: "1x2300 2x700"},
        "DtoolDataLeftBehind",
        "data of deleted datasets were left in the bucket of dtool-system/lab",
        labels={**LABELS, "bucket": "dtool-system/lab", "pod": "a"},
    ),
    "data were left behind long ago": Case("40h", {**WORKS, LEFT: "_x10 1x3000"}),
    "some transfers fail": Case("1h", {**WORKS, FAILURES: "0x30 1+1x10 11x60"}),
    "transfers fail": Case(
        "1h",
        {**WORKS, FAILURES: "0+1x60"},
        "DtoolTransfersFail",
        "60 transfers (Copy) failed within an hour",
        labels={**LABELS, "kind": "Copy"},
    ),
}


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("case", CASES)
def test_an_alert_fires_when_it_should_and_no_other_does(
    case: str, alerts: list[dict[str, Any]], tmp_path: Path
) -> None:
    one = CASES[case]
    expected = [{"eval_time": one.at, "alertname": rule["alert"], **expect(one, rule)} for rule in alerts]
    inputs = [{"series": name, "values": values} for name, values in one.series.items()]
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": expected}
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]})
    )

    told = run_promtool("test", "rules", str(file))

    assert told.returncode == 0, told.stdout + told.stderr


def expect(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    """Say how promtool shall find an alert."""
    if rule["alert"] != case.alert:
        return {"exp_alerts": []}
    annotations = {**rule["annotations"], "summary": case.summary}
    fires = {"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": annotations}
    return {"exp_alerts": [fires]}


def test_every_alert_has_a_case(alerts: list[dict[str, Any]]) -> None:
    assert {rule["alert"] for rule in alerts} == {case.alert for case in CASES.values()} - {None}


@pytest.fixture
def release(
    make_release: Callable[..., ChartRelease], node: Node, object_store: ObjectStore
) -> Iterator[ChartRelease]:
    """The operator on the sandbox's node, where Prometheus reaches it."""
    release = make_release(object_store.endpoint)
    release.install()
    yield release
    release.clear()


def test_prometheus_reads_the_operator_and_every_panel_shows_something(
    release: ChartRelease, cluster: RealCluster, object_store: ObjectStore, tmp_path: Path
) -> None:
    # of both a lab uses what a cluster has as well: kubectl, and nothing
    lab = Lab(cast("ControlPlane", cluster), object_store, cast("OperatorProcess", None))
    target = f"127.0.0.1:{release.values['healthPort']}"

    with running_prometheus(tmp_path, target=target, labels=LABELS, rules=ALERTS) as prometheus:
        lab.set_up()
        lab.write(lab.instruments, uuid=COPIED)
        lab.dataset("copied", source={"uri": lab.uri(COPIED)})
        lab.wait_ready("dtooldataset", "copied")

        def assert_shown() -> None:
            empty = {title for title, query in list_queries() if not prometheus.query(query)}
            assert empty == EMPTY_WHEN_ALL_IS_QUIET

        eventually(assert_shown, within=60)
        (frozen,) = prometheus.query('sum(dtool_operator_datasets{state="Frozen"})')
        assert frozen["value"][1] == "1"
        rules = prometheus.list_rules()
        assert {(rule["name"], rule["health"], rule["state"]) for rule in rules} == {
            (rule["name"], "ok", "inactive") for rule in rules
        }


def list_queries() -> list[tuple[str, str]]:
    """Return the panels' titles and queries, with what Grafana puts in for its variables."""
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    chosen = {"$namespace": NAMESPACE, "$job": JOB, "$__rate_interval": "1m"}
    queries = []
    for panel in panels:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in chosen.items():
                query = query.replace(name, value)
            assert "$" not in query
            queries.append((panel["title"], query))
    return queries
