"""Where the control plane's programs come from; owns finding, building and caching them.

Either the folder named by KUBEBUILDER_ASSETS, or one multi-call binary built once from `sandbox/go` into the
user's cache directory, under a name that changes with its sources.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import BuildError, PrerequisiteError
from sandbox.go_toolchain import find_go
from sandbox.process import tied_command

Say = Callable[[str], None]

SOURCES = Path(__file__).parent / "go"
SOURCE_NAMES = ("go.mod", "go.sum", "main.go")
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
PROGRESS_SECONDS = 15.0
FIRST_BUILD = "about 7 minutes on two cores the first time, and about 3 GB of memory"


def say_at_once(line: str) -> None:
    """Print a line that is seen while the step goes on, also where output goes to a file."""
    print(line, flush=True)


@dataclass(frozen=True, slots=True)
class Binaries:
    """How to call each program: the first elements of its command line."""

    etcd: tuple[str, ...]
    api_server: tuple[str, ...]
    controller_manager: tuple[str, ...]


def find_binaries(say: Say = say_at_once) -> Binaries:
    """Find the control plane's programs, building them when that was never done on this machine.

    `say` is told what a long step does and for how long. Raises PrerequisiteError and BuildError.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        return _find_assets(Path(assets))
    binary = cache_directory() / "controlplane" / _fingerprint() / "controlplane"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        with _locked(binary.parent / "lock", say):
            if not binary.exists():  # another build may have finished while this one waited
                _build(binary, say)
    return Binaries(*((str(binary), program) for program in PROGRAMS))


def find_script(name: str, package: str) -> Path:
    """Find a program that a Python package installed beside this interpreter."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise PrerequisiteError(f"{name} is not in {path.parent}: install the package {package} (`uv sync`)")
    return path


def cache_directory() -> Path:
    """Name the project's folder in the user's cache directory."""
    configured = os.environ.get("XDG_CACHE_HOME")
    return (Path(configured) if configured else Path.home() / ".cache") / "dtool-operator"


def _find_assets(folder: Path) -> Binaries:
    missing = [program for program in PROGRAMS if not (folder / program).exists()]
    if missing:
        raise PrerequisiteError(f"KUBEBUILDER_ASSETS={folder} has no {', '.join(missing)}")
    return Binaries(*((str(folder / program),) for program in PROGRAMS))


def _fingerprint() -> str:
    """Hash everything the binary is made of."""
    digest = hashlib.sha256(_linker_flags().encode())
    for name in SOURCE_NAMES:
        digest.update((SOURCES / name).read_bytes())
    return digest.hexdigest()[:16]


def _linker_flags() -> str:
    """Strip debug information, and stamp the version that Kubernetes' own builds stamp."""
    found = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\S+)", (SOURCES / "go.mod").read_text())
    if found is None:
        raise BuildError(f"{SOURCES / 'go.mod'} does not require k8s.io/kubernetes")
    version, major, minor = found.groups()
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(
        f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items()
    )


def _build(binary: Path, say: Say) -> None:
    """Compile under a temporary name, then rename: a binary that exists is whole."""
    go = find_go(cache_directory(), say)
    unfinished = binary.with_name(f"unfinished-{os.getpid()}")
    command = [str(go.program), "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-v"]
    command += ["-ldflags", _linker_flags(), "-o", str(unfinished), "."]
    environment = {**os.environ, **go.environment, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    say(f"building the Kubernetes control plane with {go.version} ({FIRST_BUILD})")
    log = binary.with_name("build.log")
    started = time.monotonic()
    try:
        with (
            log.open("w") as output,
            subprocess.Popen(tied_command(command), cwd=SOURCES, env=environment, stderr=output) as build,
        ):
            _follow(build, log, started, say)
        if build.returncode != 0:
            tail = "\n".join(log.read_text().splitlines()[-12:])
            raise BuildError(f"the control plane did not compile; {log} ends with:\n{tail}")
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


@contextlib.contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock between processes; the kernel lets it go when the holder ends."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build of the control plane is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
