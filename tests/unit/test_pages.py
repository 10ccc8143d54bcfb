"""What the pages show is valid, and what they link to is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtool_operator import names
from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.planning.bucket_spec import find_reserved_field
from tests.support.crd import find_faults

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
VALUES = ROOT / "charts" / "dtool-operator" / "values.yaml"

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


def test_every_other_document_of_a_page_is_a_manifest_or_values_of_the_chart() -> None:
    """Values of the chart have no kind, and no key that values.yaml has not."""
    values = yaml.safe_load(VALUES.read_text())

    unknown = {
        page: list(list_unknown_keys(body, values)) for page, body in list_documents() if "kind" not in body
    }

    assert {"install", "monitoring", "credentials"} <= unknown.keys()
    assert not any(unknown.values()), unknown


def list_unknown_keys(given: Body, values: Body, path: str = "") -> Iterator[str]:
    """Yield the keys that the chart does not have; what is below an empty map is free."""
    for key, value in given.items():
        if key not in values:
            yield f"{path}{key}"
        elif path + key not in FREE and isinstance(value, dict) and values[key]:
            yield from list_unknown_keys(value, values[key], f"{path}{key}.")


#: Maps of the chart whose keys are the user's, although the chart has some by default.
FREE = {"metrics.dashboard.labels"}


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
