"""A process of `replica_script`, and what it and its worker said of their work."""

import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "replica_script.py"


@dataclass
class Replica:
    """One process, and where it and its worker say that they work."""

    process: subprocess.Popen[Any]
    file: Path
    port: int

    def times(self) -> list[float]:
        """Return when somebody of it said that it works."""
        if not self.file.exists():
            return []
        return [float(line.split()[1]) for line in self.file.read_text().splitlines() if " " in line]

    def assert_works(self) -> None:
        """Assert that it and its worker have said so lately."""
        lines = self.file.read_text().splitlines()[-20:] if self.file.exists() else []
        lately = {line.split()[0] for line in lines if float(line.split()[1]) > time.monotonic() - 1}
        assert lately == {"leader", "worker"}

    def assert_ended(self) -> None:
        """Assert that the process is gone."""
        assert self.process.poll() is not None

    def is_ready(self) -> bool:
        """Ask its probe."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    def assert_ready(self) -> None:
        """Assert what the probe says."""
        assert self.is_ready()
