"""docs/library.md: every command on the page is executed, in its order, as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

_PAGE = Path(__file__).parents[2] / "docs" / "library.md"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("a file to put into datasets\n")
    return tmp_path


def _blocks(language: str) -> list[str]:
    return [body for found, body in _BLOCK.findall(_PAGE.read_text()) if found == language]


def _environment(object_store: ObjectStore, home: Path) -> dict[str, str]:
    keys = object_store.identity("admin")
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "USER": "olssont",
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
        "AWS_EC2_METADATA_DISABLED": "true",
        "ENDPOINT": object_store.endpoint,
        "ACCESS_KEY_ID": keys.access_key,
        "SECRET_ACCESS_KEY": keys.secret_key,
    }


def _run(command: list[str], script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        input=script,
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_command_of_the_page_works(object_store: ObjectStore, bucket_name: str, home: Path) -> None:
    environment = _environment(object_store, home)
    for name in ("one.csv", "sub/two.csv"):
        object_store.client().put_object(Bucket=bucket_name, Key=f"run-17/{name}", Body=name.encode())
    script = "\n".join(["set -euxo pipefail", *_blocks("sh")]).replace("lab-data", bucket_name)

    said = _run(["bash"], script, environment)

    assert "conditional" in said.lower() or "If-Match" in said  # doctor told what it tried
    program = "\n".join(_blocks("python")).replace("lab-data", bucket_name)
    program = program.replace("https://s3.example.org", object_store.endpoint)
    program = program.replace("AKIA…", environment["ACCESS_KEY_ID"])
    program = program.replace('Secret("…")', f'Secret("{environment["SECRET_ACCESS_KEY"]}")')
    assert "wheat" in _run([sys.executable, "-"], program, environment)
