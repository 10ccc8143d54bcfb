"""Real upstream dtool-s3 in an environment of its own, and both dtools as subprocesses; for tests only.

Both packages are called `dtool_s3`, so they never meet in one interpreter. The environment is made once per
pinned set of requirements, in the user's cache directory.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.cache import cache_directory

_PROJECT = Path(__file__).parents[2]
_REQUIREMENTS = _PROJECT / "tests" / "data" / "upstream-requirements.txt"
_SCRIPT = _PROJECT / "tests" / "support" / "dtoolcore_script.py"
_CLI_SCRIPT = _PROJECT / "tests" / "support" / "dtool_cli_script.py"
_DONE = "complete"


def ensure_upstream() -> Path:
    """Return upstream's environment, made first if need be; needs the package index only then."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    directory = cache_directory() / f"upstream-{digest}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / _DONE).exists():
            shutil.rmtree(directory, ignore_errors=True)
            _install(directory)
            (directory / _DONE).touch()
    return directory


def _install(directory: Path) -> None:
    uv = shutil.which(
        "uv", path=f"{os.environ.get('PATH', '')}:{_PROJECT / '.uv' / 'bin'}:{_PROJECT / '.uv'}"
    )
    python = directory / "bin" / "python"
    if uv:
        _call(uv, "venv", "--quiet", "--python", sys.executable, str(directory))
        _call(uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(_REQUIREMENTS))
    else:
        _call(sys.executable, "-m", "venv", str(directory))
        _call(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(_REQUIREMENTS))


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"upstream dtool cannot be installed: {' '.join(command)}: {done.stderr[-600:]}")


@dataclass(frozen=True, slots=True)
class Dtool:
    """One installation of dtool with its configuration: ours or upstream's."""

    bin_directory: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `dtool …`; return what it printed. AssertionError with its messages if it fails."""
        done = self.attempt(*arguments, stdin=stdin)
        assert done.returncode == 0, (
            f"dtool {' '.join(arguments)}: {done.stdout[-500:]} {done.stderr[-2000:]}"
        )
        return done.stdout.strip()

    def attempt(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `dtool …` whatever comes of it."""
        return self._start("dtool", *arguments, stdin=stdin)

    def script(self, task: str, **values: Any) -> Any:
        """Run a task of `dtoolcore_script.py` in this installation; return what it gives."""
        document = json.dumps({"task": task, **values})
        done = self._start("python", str(_SCRIPT), stdin=document)
        assert done.returncode == 0, f"{task}: {done.stderr[-2000:]}"
        return json.loads(done.stdout)

    def commands(self, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Run many `dtool …` in one process, see `dtool_cli_script.py`; return exit codes and outputs."""
        done = self._start("python", str(_CLI_SCRIPT), stdin=json.dumps(commands))
        assert done.returncode == 0, done.stderr[-2000:]
        results: list[dict[str, Any]] = json.loads(done.stdout)
        return results

    def _start(self, program: str, *arguments: str, stdin: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin_directory / program), *arguments],
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def bucket_environment(
    bucket: str, endpoint: str, access_key: str, secret_key: str, home: Path, prefix: str = ""
) -> dict[str, str]:
    """Environment of a user whose dtool knows one bucket."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "USER": "olssont",
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DTOOL_CACHE_DIRECTORY": str(home / "cache"),
        f"DTOOL_S3_ENDPOINT_{bucket}": endpoint,
        f"DTOOL_S3_ACCESS_KEY_ID_{bucket}": access_key,
        f"DTOOL_S3_SECRET_ACCESS_KEY_{bucket}": secret_key,
        f"DTOOL_S3_DATASET_PREFIX_{bucket}": prefix,
    }
