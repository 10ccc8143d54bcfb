"""What helm makes of the chart, for whole values files: compared with what was read and found right."""

import pytest

from sandbox.helm import run_helm
from tests.chart.cases import CASES, HERE, golden_file, read_values
from tests.support.chart import CHART, find, pod_of, render, render_text

REWRITE = "read the difference; if it is right: python -m tests.chart.cases"


@pytest.mark.parametrize("case", CASES)
def test_the_chart_is_rendered_as_expected(case: str) -> None:
    assert render_text(read_values(case)) == golden_file(case).read_text(), REWRITE


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_no_fault(case: str) -> None:
    run_helm("lint", "--strict", f"--values={HERE / 'values' / case}.yaml", str(CHART))


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_rendered(case: str) -> None:
    assert "Secret" not in {one["kind"] for one in render(read_values(case))}


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_the_pod_of_this_release_alone(case: str) -> None:
    objects = render(read_values(case), release="one", namespace="a")
    labels = pod_of(objects)["metadata"]["labels"].items()
    of_another = pod_of(render(read_values(case), release="two", namespace="a"))["metadata"]["labels"].items()

    selectors = [find(objects, "Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["selector"] for one in objects if one["kind"] == "Service"]
    selectors += [
        one["spec"]["podSelector"]["matchLabels"] for one in objects if one["kind"] == "NetworkPolicy"
    ]

    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= of_another


@pytest.mark.parametrize("case", CASES)
def test_what_belongs_to_a_namespace_says_which(case: str) -> None:
    namespaced = [one for one in render(read_values(case), namespace="a") if "ClusterRole" not in one["kind"]]

    assert all(one["metadata"].get("namespace") for one in namespaced)


def test_two_installations_share_no_name() -> None:
    def list_names(name: str) -> set[tuple[str, str, str]]:
        values = {"crds": {"enabled": False}, "rbac": {"sharedRoles": False}, "fullnameOverride": name}
        found = render({**values, "watchNamespaces": ["x"]}, namespace=name)
        return {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in found}

    assert list_names("a") & list_names("b") == set()
