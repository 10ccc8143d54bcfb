"""The commands of `dtool` on our broker, on a real S3 server, as a user types them.

They run in this process, where one takes a tenth of the time that it takes as a program.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from dtool_s3.errors import BucketUnreachable
from dtool_s3.layout import item_identifier

if TYPE_CHECKING:
    from tests.support.s3_place import S3Place

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pkg_resources, which dtool-cli imports, warns of itself
    from dtool_cli.cli import dtool as dtool_command

README = "---\ndescription: a sample\nproject: atlas\n"
EDITOR = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('---\\ndescription: edited\\n')"


@dataclass(frozen=True, slots=True)
class Dtool:
    """The command `dtool` with the environment of one user."""

    environment: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """Run `dtool …`; return what it printed. Raises what it raised."""
        result = self.attempt(*arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, f"dtool {' '.join(arguments)}: {result.output}"
        return result.output.strip()

    def attempt(self, *arguments: str) -> Result:
        """Run `dtool …` whatever comes of it."""
        return CliRunner().invoke(dtool_command, arguments, env=self.environment)


@dataclass(frozen=True, slots=True)
class Desk:
    """A user's dtool, a directory, and where datasets go."""

    dtool: Dtool
    directory: Path
    base_uri: str

    def file(self, name: str, text: str) -> str:
        """Write a local file; return its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def create(self, name: str = "sample") -> str:
        """Create a proto dataset with one item; return its URI."""
        uri = self.dtool.run("create", "--quiet", name, self.base_uri)
        self.dtool.run("add", "item", self.file("a.csv", "1,2\n"), uri)
        return uri

    def freeze(self, uri: str) -> str:
        """Freeze it; return its URI."""
        self.dtool.run("freeze", uri)
        return uri


@pytest.fixture
def desk(s3_place: S3Place, tmp_path: Path) -> Desk:
    editor = tmp_path / "editor"
    editor.write_text(f"#!{sys.executable}\n{EDITOR}\n")
    editor.chmod(0o755)
    environment = {**s3_place.environment, "EDITOR": str(editor), "VISUAL": str(editor)}
    return Desk(Dtool(environment), tmp_path, s3_place.base_uri)


def test_a_proto_dataset_is_described_and_filled(desk: Desk) -> None:
    uri = desk.create()

    desk.dtool.run("readme", "write", uri, desk.file("readme.yml", README))
    desk.dtool.run("add", "metadata", uri, "a.csv", "lines", "1")
    desk.dtool.run("name", uri, "renamed")
    desk.dtool.run("tag", "set", uri, "blue")
    desk.dtool.run("tag", "set", uri, "v1.2")
    desk.dtool.run("annotation", "set", uri, "project.name", "atlas")

    assert desk.dtool.run("status", uri) == "proto"
    assert desk.dtool.run("name", uri) == "renamed"
    assert "project: atlas" in desk.dtool.run("readme", "show", uri)
    desk.dtool.run("readme", "edit", uri)
    assert "description: edited" in desk.dtool.run("readme", "show", uri)
    desk.dtool.run("tag", "delete", uri, "blue")
    assert desk.dtool.run("tag", "ls", uri) == "v1.2"
    assert desk.dtool.run("annotation", "get", uri, "project.name") == "atlas"
    assert "renamed" in desk.dtool.run("ls", desk.base_uri)


def test_a_frozen_dataset_is_read_and_described_further(desk: Desk) -> None:
    uri = desk.create()
    desk.dtool.run("readme", "write", uri, desk.file("readme.yml", README))
    desk.dtool.run("add", "metadata", uri, "a.csv", "lines", "1")
    desk.freeze(uri)
    item = item_identifier("a.csv")

    assert desk.dtool.run("status", uri) == "frozen"
    assert desk.dtool.run("identifiers", uri) == item
    assert Path(desk.dtool.run("item", "fetch", uri, item)).read_text() == "1,2\n"
    assert "a.csv" in desk.dtool.run("item", "properties", uri, item)
    assert "lines" in desk.dtool.run("overlays", "show", uri)
    table = desk.dtool.run("overlays", "template", "glob", uri, "is_csv", "*.csv")
    desk.dtool.run("overlays", "write", uri, desk.file("table.csv", f"{table}\n"))
    assert "is_csv" in desk.dtool.run("overlays", "show", uri)
    desk.dtool.run("readme", "edit", uri)
    assert "description: edited" in desk.dtool.run("readme", "show", uri)
    desk.dtool.run("annotation", "set", uri, "project", "atlas")
    assert desk.dtool.run("annotation", "ls", uri).split() == ["project", "atlas"]
    desk.dtool.run("tag", "set", uri, "blue")
    desk.dtool.run("tag", "delete", uri, "blue")
    assert desk.dtool.run("tag", "ls", uri) == ""
    assert "All good" in desk.dtool.run("verify", "--full", uri)
    assert "sample" in desk.dtool.run("inventory", "--format", "csv", desk.base_uri)
    assert "1 item" in desk.dtool.run("summary", uri) or "number_of_items" in desk.dtool.run("summary", uri)


def test_of_what_is_frozen_the_name_alone_may_change(desk: Desk) -> None:
    uri = desk.freeze(desk.create())

    assert desk.dtool.attempt("add", "item", desk.file("b.csv", "x"), uri).exit_code != 0
    assert desk.dtool.attempt("freeze", uri).exit_code != 0
    desk.dtool.run("name", uri, "other")

    assert desk.dtool.run("name", uri) == "other"
    assert desk.dtool.run("identifiers", uri) == item_identifier("a.csv")
    assert desk.dtool.run("status", uri) == "frozen"


def test_two_datasets_are_compared(desk: Desk) -> None:
    one, same, other = desk.freeze(desk.create()), desk.freeze(desk.create()), desk.create()
    desk.dtool.run("add", "item", desk.file("b.csv", "x"), other)
    desk.freeze(other)

    assert desk.dtool.attempt("diff", "--full", one, same).exit_code == 0
    assert desk.dtool.attempt("diff", one, other).exit_code != 0


def test_a_base_uri_with_an_unreachable_server_says_so(desk: Desk) -> None:
    environment = {
        name: "http://127.0.0.1:9" if name.startswith("DTOOL_S3_ENDPOINT_") else value
        for name, value in desk.dtool.environment.items()
    } | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}

    with pytest.raises(BucketUnreachable, match=r"127\.0\.0\.1:9"):
        Dtool(environment).run("ls", desk.base_uri)
