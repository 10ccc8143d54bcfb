"""Alerts and dashboard speak of metrics that exist, and each alert says where to read what to do."""

import importlib.util
import json
import re
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, ROOT, find, render

RUNBOOK = ROOT / "docs" / "alerts.md"


def list_metrics() -> set[str]:
    """List the names of all series that the operator exposes."""
    spec = importlib.util.spec_from_file_location("generate_operations", ROOT / "docs/generate_operations.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    rows = re.findall(r"^\| `(\w+)` \| (\w+)", generator.build_metrics_table(), re.MULTILINE)
    histograms = {
        f"{name}_{end}" for name, kind in rows if kind == "histogram" for end in ("bucket", "sum", "count")
    }
    return {name for name, _ in rows} | histograms


def read_alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def read_dashboard() -> dict[str, Any]:
    return dict(json.loads((CHART / "files" / "dashboard.json").read_text()))


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"dtool_operator_\w+", expression))


@pytest.mark.parametrize("rule", read_alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_is_about_metrics_that_exist_and_names_its_line_in_the_runbook(
    rule: dict[str, Any],
) -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert metrics_of(rule["expr"])
    assert metrics_of(rule["expr"]) <= list_metrics()
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["alert"] in headings
    assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"
    assert rule["annotations"]["summary"]


def test_the_runbook_speaks_of_no_other_alert() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert headings == [rule["alert"] for rule in read_alerts()]


def test_every_panel_shows_metrics_that_exist_and_no_metric_is_left_out() -> None:
    dashboard = read_dashboard()
    shown = [metrics_of(target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]

    assert all(shown)
    assert set().union(*shown) <= list_metrics()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in list_metrics()}
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in set().union(*shown)} == set()


def test_no_panel_lies_on_another() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in read_dashboard()["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_is_a_labelled_configmap_with_the_file_as_it_is() -> None:
    objects = render({"metrics": {"dashboard": {"enabled": True}}})

    (body,) = (one for one in objects if one["metadata"]["name"] == "dtool-operator-dashboard")

    assert body["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(body["data"]["dtool-operator.json"]) == read_dashboard()


def test_the_rules_are_those_of_the_file_with_the_runbooks_address() -> None:
    rule = find(
        render({"metrics": {"prometheusRule": {"enabled": True, "runbookURL": "https://x.example.org/d/"}}}),
        "PrometheusRule",
    )
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]

    for alert, expected in zip(alerts, read_alerts(), strict=True):
        assert alert["expr"] == expected["expr"]
        url = alert["annotations"]["runbook_url"]
        assert url == f"https://x.example.org/d/alerts.md#{alert['alert'].lower()}"


def test_prometheus_finds_the_service_that_serves_metrics_alone() -> None:
    objects = render({"metrics": {"serviceMonitor": {"enabled": True}}})
    wanted = find(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]

    found = [
        one
        for one in objects
        if wanted.items() <= one["metadata"]["labels"].items() and one["kind"] == "Service"
    ]

    assert [one["metadata"]["name"] for one in found] == ["dtool-operator-metrics"]
    assert [port["name"] for port in found[0]["spec"]["ports"]] == ["metrics"]


def test_nothing_that_needs_an_operator_of_prometheus_is_there_unasked() -> None:
    assert not [one for one in render() if "monitoring.coreos.com" in one["apiVersion"]]
