"""The documentation site builds without a warning, and a reader's browser fetches nothing from elsewhere."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dtool_operator.api.reasons import Reason

ROOT = Path(__file__).parents[2]


def build(checkout: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(checkout / "docs" / "build_site.py"), str(site)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs-site` does; every warning of Sphinx is an error."""
    directory = tmp_path_factory.mktemp("site")
    done = build(ROOT, directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_every_page_of_the_repository_is_a_page_of_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}

    assert {page for page in pages if not (site / page).exists()} == set()
    assert (site / "index.html").exists()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    tags = re.compile(r"<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=\"([^\"]+)\"")
    inside = re.compile(r"@import[^;]*|url\([\"']?(?!data:)([^)]+)\)")

    fetched = {url for page in site.rglob("*.html") for url in tags.findall(page.read_text())}
    styles = {url for sheet in site.rglob("*.css") for url in inside.findall(sheet.read_text())}

    assert len(fetched) > 5
    assert {url for url in fetched | styles if re.match(r"(?:[a-z]+:)?//", url)} == set()


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    """Also those that Sphinx does not check: of raw HTML, and of the theme."""
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    anchors = {path: set(re.findall(r"\bid=\"([^\"]+)\"", text)) for path, text in pages.items()}

    broken = []
    for page, text in pages.items():
        for link in re.findall(r"<a\b[^>]*?href=\"([^\"]+)\"", text):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = html.unescape(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors[target]):
                broken.append(f"{page.relative_to(site)}: {link}")

    assert broken == []


def test_no_page_shows_markup_as_text(site: Path) -> None:
    shown = []
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code|script|style)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
            words = html.unescape(re.sub(r"<[^>]+>", "", paragraph))
            if re.match(r"\s*(\|-|- |#)", words) or "](" in words:
                shown.append(f"{page.relative_to(site)}: {words[:60]}")

    assert shown == []


def test_every_reason_can_be_linked_to(site: Path) -> None:
    page = (site / "troubleshooting.html").read_text()

    assert [reason for reason in Reason if f'id="{reason.lower()}"' not in page] == []


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for part in ("docs", "crds/examples", "charts/dtool-operator", "gitops", "benchmarks"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / page, checkout)
    with (checkout / "docs" / "guide.md").open("a") as guide:
        guide.write("\n[nowhere](nowhere.md), [no anchor](install.md#nowhere)\n")

    done = build(checkout, tmp_path / "site")

    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "install.md#nowhere" in done.stderr or "'nowhere'" in done.stderr
