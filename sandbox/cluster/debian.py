"""Programs from Debian's packages, unpacked into the cache; owns fetching them. Nothing is installed.

containerd and runc have no other home in a package registry, and busybox is what test pods are made of.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sandbox.cache import cache_directory, locked
from sandbox.errors import PrerequisiteError
from sandbox.say import Say, say_at_once

PACKAGES = ("containerd", "runc", "busybox-static")
TOOLS = ("apt-get", "dpkg")
TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class ContainerPrograms:
    """Where the packages were unpacked."""

    root: Path

    @property
    def containerd(self) -> Path:
        """The container engine."""
        return self.root / "usr" / "bin" / "containerd"

    @property
    def ctr(self) -> Path:
        """Its command line."""
        return self.root / "usr" / "bin" / "ctr"

    @property
    def runc(self) -> Path:
        """What starts containers."""
        return self.root / "usr" / "sbin" / "runc"

    @property
    def busybox(self) -> Path:
        """A shell and its tools in one static program."""
        return self.root / "bin" / "busybox"


def find_container_programs(say: Say = say_at_once) -> ContainerPrograms:
    """Find the programs, fetching the packages when that was never done on this machine.

    Raises PrerequisiteError where this is no Debian, or its package servers do not answer.
    """
    folder = cache_directory() / "debian-node"
    if not folder.exists():
        with locked(folder.with_suffix(".lock"), say, busy="another fetch of containerd is running; waiting"):
            if not folder.exists():
                _fetch(folder, say)
    found = ContainerPrograms(folder)
    for program in (found.containerd, found.ctr, found.runc, found.busybox):
        if not program.exists():
            raise PrerequisiteError(f"{program} is missing: remove {folder}, and it is fetched again")
    return found


def _fetch(folder: Path, say: Say) -> None:
    """Unpack under a temporary name, then rename: a folder that exists is whole."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise PrerequisiteError(
            f"the node takes {', '.join(PACKAGES)} from Debian's packages, and there is no {missing[0]} here"
        )
    say(f"fetching {', '.join(PACKAGES)} (Debian packages, 30 MB; unpacked, not installed)")
    unfinished = folder.with_name(f"{folder.name}-unfinished-{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        try:
            _run("apt-get", "--quiet", "download", *PACKAGES, folder=unfinished)
        except PrerequisiteError:  # the lists of packages are missing, or older than what the servers have
            _run("apt-get", "--quiet", "update", folder=unfinished)
            _run("apt-get", "--quiet", "download", *PACKAGES, folder=unfinished)
        for package in sorted(unfinished.glob("*.deb")):
            _run("dpkg", "--extract", package.name, ".", folder=unfinished)
            package.unlink()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    if done.returncode != 0:
        raise PrerequisiteError(f"{' '.join(command)}: {done.stderr.strip()}")
