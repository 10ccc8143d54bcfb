"""Programs built from a Go module of `sandbox/go`; owns compiling and caching them.

Each is built once into the user's cache directory, under a name that changes with its sources. They share
Go's own cache: what one compiled, the next does not. Must not know what the programs are for.
"""

import contextlib
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.cache import cache_directory, locked
from sandbox.errors import BuildError
from sandbox.go_toolchain import find_go
from sandbox.process import tied_command
from sandbox.say import Say

PROGRESS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class GoProgram:
    """What is built, and from what."""

    name: str
    """In the cache."""
    title: str
    """In what the user is told: `building TITLE`."""
    cost: str
    """What the first build takes."""
    sources: Path
    """The folder of its module."""
    source_names: tuple[str, ...]
    """Everything it is made of, in that folder."""
    compose_flags: Callable[[Path], str]
    """Composes the linker's flags from the folder: the version that the program tells."""
    package: str = "."

    def linker_flags(self) -> str:
        """Compose the linker's flags; raises BuildError when go.mod does not tell the version."""
        return self.compose_flags(self.sources)

    def fingerprint(self) -> str:
        """Hash everything the program is made of."""
        digest = hashlib.sha256(self.linker_flags().encode())
        for name in self.source_names:
            digest.update((self.sources / name).read_bytes())
        return digest.hexdigest()[:16]


def find_go_program(program: GoProgram, say: Say) -> Path:
    """Find a program, building it when that was never done on this machine.

    `say` is told what a long step does and for how long. Raises PrerequisiteError and BuildError.
    """
    binary = cache_directory() / program.name / program.fingerprint() / program.name
    if not binary.exists():
        with locked(
            binary.parent / "lock", say, busy=f"another build of {program.title} is running; waiting for it"
        ):
            if not binary.exists():  # another build may have finished while this one waited
                _build(program, binary, say)
    return binary


def read_required_version(sources: Path, module: str) -> str:
    """Read which version of a module go.mod requires, without the `v`."""
    found = re.search(rf"{re.escape(module)} v(\S+)", (sources / "go.mod").read_text())
    if found is None:
        raise BuildError(f"{sources / 'go.mod'} does not require {module}")
    return found[1]


def compose_kubernetes_flags(sources: Path) -> str:
    """Strip debug information, and stamp the version that Kubernetes' own builds stamp."""
    version = read_required_version(sources, "k8s.io/kubernetes")
    major, minor = version.split(".")[:2]
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return compose_stamps({f"k8s.io/component-base/version.{key}": value for key, value in stamps.items()})


def compose_stamps(stamps: dict[str, str]) -> str:
    """Compose the linker's flags that strip debug information and set variables of packages."""
    return "-s -w " + " ".join(f"-X {key}={value}" for key, value in stamps.items())


def _build(program: GoProgram, binary: Path, say: Say) -> None:
    """Compile under a temporary name, then rename: a binary that exists is whole."""
    go = find_go(cache_directory(), say)
    unfinished = binary.with_name(f"unfinished-{os.getpid()}")
    command = [str(go.program), "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-v"]
    command += ["-ldflags", program.linker_flags(), "-o", str(unfinished), program.package]
    environment = {**os.environ, **go.environment, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    say(f"building {program.title} with {go.version} ({program.cost})")
    log = binary.with_name("build.log")
    started = time.monotonic()
    try:
        with (
            log.open("w") as output,
            subprocess.Popen(
                tied_command(command), cwd=program.sources, env=environment, stderr=output
            ) as build,
        ):
            _follow(build, log, started, say)
        if build.returncode != 0:
            tail = "\n".join(log.read_text().splitlines()[-12:])
            raise BuildError(f"{program.title} did not compile; {log} ends with:\n{tail}")
        unfinished.rename(binary)
    finally:
        unfinished.unlink(missing_ok=True)
    say(f"built {binary} in {_clock(time.monotonic() - started)}")


def _follow(build: subprocess.Popen[bytes], log: Path, started: float, say: Say) -> None:
    """Say how far the build is until it ends; end it when this program is interrupted."""
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                build.wait(PROGRESS_SECONDS)
                return
            # `go build -v` prints one line for each module it fetches and each package it compiles.
            lines = log.read_text(errors="replace").splitlines()
            fetched = sum(line.startswith("go: downloading") for line in lines)
            compiled = len(lines) - fetched
            elapsed = _clock(time.monotonic() - started)
            say(f"  {elapsed} elapsed: {fetched} modules fetched, {compiled} packages compiled")
    finally:
        if build.poll() is None:
            build.terminate()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
