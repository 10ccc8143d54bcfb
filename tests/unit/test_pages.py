"""What the pages show is valid, and what they link to is there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from dtool_operator import names
from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.planning.bucket_spec import find_reserved_field
from tests.support.crd import find_faults

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]

_CREATED = {"uid": "7a0c5b52-0000-4000-8000-000000000001", "creationTimestamp": "2026-11-01T00:00:00Z"}

Body = dict[str, Any]


def list_documents() -> list[tuple[str, Body]]:
    """Return every YAML document of the pages, with the page's name; no block is empty or no YAML."""
    found = []
    for page in DOCS:
        for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            found += [(page.stem, body) for body in yaml.safe_load_all(block)]
    assert len(found) > 20, "the manifests of the pages are not found any more"
    return found


def list_manifests(kind: str) -> list[Any]:
    """Return the objects of a kind that the pages show, as the API server would send them."""
    return [
        pytest.param(
            {**body, "metadata": {**body["metadata"], **_CREATED}}, id=f"{page}: {body['metadata']['name']}"
        )
        for page, body in list_documents()
        if body.get("kind") == kind
    ]


@pytest.mark.parametrize("body", list_manifests(names.DATASET_KIND))
def test_every_dataset_of_a_page_is_valid(body: Body) -> None:
    assert find_faults(names.DATASET_PLURAL, body) == []
    assert parse_dataset(body).spec


@pytest.mark.parametrize("body", list_manifests(names.BUCKET_KIND))
def test_every_bucket_of_a_page_is_valid_where_it_is_shown(body: Body) -> None:
    bucket = parse_bucket(body)

    assert find_faults(names.BUCKET_PLURAL, body) == []
    assert bucket.namespace == "dtool-system" or find_reserved_field(bucket) is None


def test_every_document_without_a_kind_is_values_of_the_chart() -> None:
    """As Helm does it: put over the chart's own values, and judged by their schema."""
    chart = ROOT / "charts" / "dtool-operator"
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    schema = Draft7Validator(json.loads((chart / "values.schema.json").read_text()))
    given = [(page, body) for page, body in list_documents() if "kind" not in body]

    faults = {page: [f.message for f in schema.iter_errors(merge(defaults, body))] for page, body in given}

    assert {"install", "monitoring", "credentials"} <= faults.keys()
    assert not any(faults.values()), faults


def merge(values: Body, given: Body) -> Body:
    """Put given values over a chart's."""
    both = {
        key: merge(values[key], given[key]) for key in values.keys() & given.keys() if is_map(values[key])
    }
    return {**values, **given, **both}


def is_map(value: object) -> bool:
    return isinstance(value, dict)


def list_links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor of each link to a place in this repository."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, by GitHub's rule."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for path, anchor in list_links(page):
        assert path.exists(), f"{path.relative_to(ROOT)} is not there"
        assert not anchor or anchor in list_anchors(path), f"{path.name} has no heading {anchor!r}"
