"""A kubectl that answers from files."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """#!/bin/sh
cd "{directory}"
printf '%s\\n' "$*" >> calls
name=$(printf '%s' "$1 $2" | tr ' /' '--')
test -e "$name.err" && {{ cat "$name.err" >&2; exit 1; }}
test -e "$name.json" && {{ cat "$name.json"; exit 0; }}
echo 'Error from server (NotFound): nothing of the kind' >&2
exit 1
"""


@dataclass(frozen=True, slots=True)
class FakeKubectl:
    """Answers the first two words of a call with what was put there for them."""

    directory: Path

    @property
    def calls(self) -> list[str]:
        """How it was called, so far."""
        path = self.directory / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def answer(self, words: str, body: Any) -> None:
        """Print a document from now on."""
        (self.directory / f"{words.replace(' ', '-')}.json").write_text(json.dumps(body))

    def fail(self, words: str, said: str) -> None:
        """Say something on standard error, and fail."""
        (self.directory / f"{words.replace(' ', '-')}.err").write_text(said)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """The kubectl of the search path."""
    program = tmp_path / "kubectl"
    program.write_text(_PROGRAM.format(directory=tmp_path))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return FakeKubectl(tmp_path)
