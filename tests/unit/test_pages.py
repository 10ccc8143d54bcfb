"""What the pages show is valid, what they link to is there, and the guide explains every reason."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtool_operator import names
from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.bucket_spec import find_reserved_field
from dtool_operator.planning.placement import find_unsupported
from tests.support.crd import find_faults

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_CREATED = {"uid": "7a0c5b52-0000-4000-8000-000000000001", "creationTimestamp": "2026-11-01T00:00:00Z"}


def list_manifests(kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind that the guide shows, as the API server would send them."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    found = [body for block in blocks for body in yaml.safe_load_all(block)]
    assert len(found) > 15, "the guide's manifests are not found any more"
    return [{**one, "metadata": {**one["metadata"], **_CREATED}} for one in found if one["kind"] == kind]


def name_of(body: dict[str, Any]) -> str:
    return str(body["metadata"]["name"])


@pytest.mark.parametrize("body", list_manifests(names.DATASET_KIND), ids=name_of)
def test_every_dataset_of_the_guide_is_valid_and_supported(body: dict[str, Any]) -> None:
    assert find_faults(names.DATASET_PLURAL, body) == []
    assert find_unsupported(parse_dataset(body).spec) is None


@pytest.mark.parametrize("body", list_manifests(names.BUCKET_KIND), ids=name_of)
def test_every_bucket_of_the_guide_is_valid_where_it_is_shown(body: dict[str, Any]) -> None:
    bucket = parse_bucket(body)

    assert find_faults(names.BUCKET_PLURAL, body) == []
    assert bucket.namespace == "dtool-system" or find_reserved_field(bucket) is None


def test_the_guide_says_of_every_reason_what_to_do() -> None:
    explained = set(re.findall(r"`([A-Za-z]+)`", GUIDE.partition("# What conditions say")[2]))

    assert {str(reason) for reason in Reason} - explained == set()


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
