"""What a user sees at a terminal: a real pseudo-terminal, whose screen follows from what was written."""

import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dtool_s3.console.main import main
from dtool_s3.layout import DatasetLayout
from tests.support.datasets import UUID, DatasetFixture
from tests.support.two_buckets import TwoBuckets

Write = Callable[..., DatasetLayout]

URI = f"s3://source/{UUID}"
_TOKEN = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|(.)", re.DOTALL)


def _screen(written: str) -> list[str]:
    """Return the lines that a terminal shows: moves up, erased lines and carriage returns are followed."""
    lines, row, column = [""], 0, 0
    for number, action, text in _TOKEN.findall(written):
        if action == "A":
            row = max(0, row - int(number or 1))
        elif action == "K":
            lines[row] = ""
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif text:
            lines[row] = f"{lines[row]:<{column}}"[:column] + text + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@dataclass(slots=True)
class Pty:
    """Both ends of a pseudo-terminal; reads what is written to it, so that nobody waits."""

    buckets: TwoBuckets
    monkeypatch: pytest.MonkeyPatch
    _read: list[bytes] = field(default_factory=list)

    def run(self, *argv: str, columns: int = 80) -> list[str]:
        """Run a command that succeeds, with stdout and stderr on the terminal; return the screen."""
        return _screen(self.write_of(*argv, columns=columns))

    def write_of(self, *argv: str, columns: int = 80) -> str:
        """Run a command that succeeds; return everything that it wrote to the terminal."""
        self.monkeypatch.setenv("COLUMNS", str(columns))
        self.monkeypatch.setenv("TERM", "xterm-256color")
        ours, theirs = os.openpty()
        reader = threading.Thread(target=self._drain, args=(ours,))
        reader.start()
        with os.fdopen(theirs, "w", buffering=1) as terminal, self.monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stderr", terminal)
            code = main(argv, configure=self.buckets.configure)
        reader.join()
        os.close(ours)
        assert code == 0
        return b"".join(self._read).decode()

    def _drain(self, ours: int) -> None:
        self._read.clear()
        try:
            while chunk := os.read(ours, 65536):
                self._read.append(chunk)
        except OSError:  # how Linux says that the other end is closed
            return


@pytest.fixture
def pty(buckets: TwoBuckets, monkeypatch: pytest.MonkeyPatch) -> Pty:
    return Pty(buckets, monkeypatch)


@pytest.mark.parametrize(
    ("argv", "first"),
    [
        (("cp", URI, "s3://target"), "3 items, "),
        (("verify", URI), f"{URI}: complete"),
        (("rm", "--yes", URI), f"{URI}: "),
        (("doctor", "s3://source"), "ok   installation"),
        (("ls", "s3://source"), "state "),
        (("publish", "--expires-seconds", "60", URI), "memory://"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_first_line_begins_where_a_line_begins_and_no_bar_is_left(
    pty: Pty, write: Write, argv: tuple[str, ...], first: str
) -> None:
    write(DatasetFixture())

    shown = pty.run(*argv)

    assert shown[0].startswith(first)
    assert "━" not in "\n".join(shown)


def test_the_bar_is_drawn_while_a_copy_runs(pty: Pty, write: Write) -> None:
    write(DatasetFixture())

    written = pty.write_of("cp", URI, "s3://target")

    assert "━" in written
    assert "3/3 items" in written


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_no_width_cuts_state_name_or_uuid(pty: Pty, write: Write, buckets: TwoBuckets, columns: int) -> None:
    layout = write(DatasetFixture(name="wheat-2026", prefix="u/olssont/"))
    buckets.server.write("source", layout.admin_metadata_key, b"{")
    other = "2d21877d-d5ba-4b5a-8c6e-1e6a1f2d8b22"
    write(DatasetFixture(uuid=other, name="barley-2026"))

    shown = pty.run("ls", "s3://source", columns=columns)

    words = [line.split() for line in shown]
    for whole in (UUID, other, "unreadable", "frozen", "barley-2026"):
        assert any(whole in line for line in words)
    assert all(len(line) <= columns for line in shown)
    assert not any(word.startswith("u/olssont") and word != "u/olssont/" for line in words for word in line)


def test_creator_and_prefix_go_where_there_is_no_room_for_them(pty: Pty, write: Write) -> None:
    write(DatasetFixture(name="wheat", prefix="u/bob/"))

    assert pty.run("ls", "s3://source", columns=80)[0].split() == [
        "state",
        "name",
        "uuid",
        "creator",
        "prefix",
    ]
    assert pty.run("ls", "s3://source", columns=60)[0].split() == ["state", "name", "uuid", "prefix"]
    assert pty.run("ls", "s3://source", columns=52)[0].split() == ["state", "name", "uuid"]
    assert pty.run("ls", "s3://source", columns=40)[:2] == ["frozen  wheat", f"  {UUID}"]


def test_a_detail_has_an_indented_line_under_its_row(pty: Pty, buckets: TwoBuckets) -> None:
    buckets.server.write("source", f"dtool-{UUID}", b"gone/")

    shown = pty.run("ls", "s3://source", "--prefix=u/bob/")

    assert shown[1].startswith("dangling")
    assert shown[2].startswith("  a registration key without a dataset: `dtool-s3 rm`")
    assert shown[3] == "  prefixes asked for"
