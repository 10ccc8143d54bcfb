"""Builds the documentation site: `python docs/build_site.py DIRECTORY`.

The pages are written for readers of the repository. Here they are laid out for Sphinx: README.md becomes
the first page, what lies outside docs/ and is linked from a page becomes a page, and links are turned to
where the site has what they lead to. A link that leads nowhere ends the build, as every warning does. Nothing
is fetched, neither here nor by who reads the site.
"""
# ruff: noqa: INP001 (a script beside the pages)

import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: What of the repository has a place of its own, by its path from the top.
PLACES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "crds/examples": "examples.md",
}
#: The navigation; a page that is nowhere in it ends the build, one that is not written yet is left out.
NAVIGATION = {
    "For researchers": ["guide", "kubectl-dtool", "volumes", "library"],
    "For administrators": [
        "install",
        "image",
        "existing-buckets",
        "tenants",
        "credentials",
        "policy",
        "gitops",
        "operations",
        "monitoring",
        "alerts",
        "scale",
        "upgrade-and-backup",
        "troubleshooting",
    ],
    "Reference": ["api", "examples", "benchmarks", "changes"],
    "Design": ["architecture", "security", "signing", "contributing", "decisions/README"],
}
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
_LANGUAGES = {".lua": "lua", ".py": "python", ".yaml": "yaml"}


def build(directory: Path) -> int:
    """Build the site into a directory; return Sphinx's exit code: 0, or else it has said why not."""
    with tempfile.TemporaryDirectory() as source:
        lay_out(Path(source))
        return build_main(
            ["-c", str(DOCS), "-b", "html", "-q", "-W", "--keep-going", "-E", source, str(directory)]
        )


def lay_out(target: Path) -> None:
    """Write all pages as Sphinx reads them."""
    pending = [*PLACES, *(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))]
    done: set[str] = set()
    while pending:
        source = pending.pop()
        if source in done:
            continue
        done.add(source)
        text, linked = turn_links(source, _read(ROOT / source))
        pending += linked
        place = target / find_place(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + _write_navigation(source))


def turn_links(source: str, markdown: str) -> tuple[str, list[str]]:
    """Turn the links of a page to places of the site; return also the paths from the top they lead to."""
    here, linked = posixpath.dirname(find_place(source)), list[str]()

    def turn(match: re.Match[str]) -> str:
        led_to = _resolve(source, match[1])
        if led_to is None:
            return match[0]
        linked.append(led_to)
        return f"]({posixpath.relpath(find_place(led_to), here or '.')}{match[2] or ''})"

    parts = _CODE.split(markdown)
    text = "".join(part if number % 2 else _LINK.sub(turn, part) for number, part in enumerate(parts))
    return text, linked


def find_place(source: str) -> str:
    """Return where the site has a file or directory of the repository."""
    if source in PLACES:
        return PLACES[source]
    inside = source.startswith("docs/")
    return source.removeprefix("docs/") if inside else f"repository/{source.replace('.', '-')}.md"


def _resolve(source: str, target: str) -> str | None:
    """Return the path from the top that a link on a page leads to; None: to no file of the repository."""
    if re.match(r"[a-z]+:", target):
        return None
    led_to = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return led_to if not led_to.startswith("..") and (ROOT / led_to).exists() else None


def _read(path: Path) -> str:
    """Return a page's text; a page with a file's text, or with a directory's manifests."""
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".md":
        return path.read_text()
    if path.is_dir():
        parts = [f"## {one.name}\n\n{_quote(one)}" for one in sorted(path.glob("*.yaml"))]
        text = "\n".join([f"# {name}/\n", *parts])
    else:
        text = f"# {name}\n\n{_quote(path)}"
    # what is in no table of contents says so
    return text if name in PLACES else f"---\norphan: true\n---\n{text}"


def _quote(path: Path) -> str:
    return f"```{_LANGUAGES.get(path.suffix, '')}\n{path.read_text().rstrip()}\n```\n"


def _write_navigation(source: str) -> str:
    """Return the tables of contents that Sphinx reads at the end of a page, and no reader sees there."""
    if source == "README.md":
        written = [*PLACES.values(), *(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))]
        return "".join(
            _write_contents([page for page in pages if f"{page}.md" in written], title)
            for title, pages in NAVIGATION.items()
        )
    if source == "docs/decisions/README.md":
        decisions = (path.stem for path in (DOCS / "decisions").glob("[0-9]*.md"))
        return _write_contents(sorted(decisions))
    return ""


def _write_contents(pages: list[str], title: str = "") -> str:
    entries = "\n".join(pages)
    caption = f":caption: {title}\n" if title else ""
    return f"\n```{{toctree}}\n:hidden:\n{caption}\n{entries}\n```\n"


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    shutil.rmtree(directory, ignore_errors=True)
    sys.exit(build(directory))
