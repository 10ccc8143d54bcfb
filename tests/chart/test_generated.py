"""What the chart has from elsewhere is what is there: CRDs, and the plain roles made of its templates."""

import importlib.util
from types import ModuleType

import pytest
import yaml

from tests.support.chart import CHART, ROOT, render

REWRITE = "run docs/generate_chart.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_chart", ROOT / "docs/generate_chart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_templates_of_the_crds_are_made_of_the_crds(generator: ModuleType) -> None:
    expected = generator.build_crd_templates()

    assert {path: path.read_text() for path in (CHART / "templates/crds").iterdir()} == expected, REWRITE


def test_the_plain_roles_are_made_of_the_templates(generator: ModuleType) -> None:
    expected = generator.build_plain_rbac()

    assert {path: path.read_text() for path in (CHART / "rbac").iterdir()} == expected, REWRITE


def test_the_rendered_crds_are_the_crds() -> None:
    rendered = {one["metadata"]["name"]: one for one in render() if one["kind"] == "CustomResourceDefinition"}

    for path in (ROOT / "crds").glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())
        found = rendered.pop(crd["metadata"]["name"])
        assert found["spec"] == crd["spec"]
        assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert rendered == {}


def test_crds_may_go_with_the_chart_or_not_come_with_it() -> None:
    def crds(**values: bool) -> list[dict[str, object]]:
        found = render({"crds": values})
        return [one["metadata"] for one in found if one["kind"] == "CustomResourceDefinition"]

    assert all("annotations" not in metadata for metadata in crds(keep=False))
    assert len(crds(keep=False)) == 2
    assert crds(enabled=False) == []
