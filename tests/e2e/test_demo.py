"""The demo is a user story itself: it must play to its end and leave nothing running."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.usefixtures("control_plane_programs", "object_store_programs")
def test_the_demo_plays_to_its_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", "sandbox.demo"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Copying" in done.stdout
    assert "NamespaceNotAllowed" in done.stdout
    assert "u/alice/.dtool-owner" in done.stdout
    assert "All good" in done.stdout
    assert '"frozen":2' in done.stdout
    assert "old-measurements-" in done.stdout
    assert "Proto" in done.stdout
    assert "Damaged" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert _processes_that_name(str(tmp_path)) == []


def _processes_that_name(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if text in command:
            found.append(command)
    return found
