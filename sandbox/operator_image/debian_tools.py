"""Debian packages with all they need, unpacked into the cache: nothing is installed on the machine.

Owns fetching, unpacking and how an unpacked program finds its unpacked libraries. Must not know what the
programs do.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import PrerequisiteError
from sandbox.say import Say

_ENVIRONMENT = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
_PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")
_LIBRARY_CACHE = "/etc/ld.so.cache"


@dataclass(frozen=True, slots=True)
class UnpackedPackages:
    """Packages with what they need, below `root` as they would be below /."""

    root: Path

    def command(self, program: str, *arguments: str) -> list[str]:
        """Compose the command line of an unpacked program that finds its unpacked libraries. Needs root.

        The library cache is replaced for this program and its children only, in a mount namespace of their
        own: unlike LD_LIBRARY_PATH it reaches children that get a new environment. Mounts they make end
        with them.
        """
        replace = f'mount --bind "$0" {_LIBRARY_CACHE} && exec "$@"'
        private = ("unshare", "--mount", "--propagation", "private")
        return [*private, "sh", "-c", replace, str(self._library_cache), str(self.find(program)), *arguments]

    def find(self, program: str) -> Path:
        """Find an unpacked program. Raises PrerequisiteError."""
        for folder in _PROGRAM_FOLDERS:
            if (path := self.root / folder / program).exists():
                return path
        raise PrerequisiteError(f"no {program} in the packages unpacked to {self.root}")

    def environment(self) -> Mapping[str, str]:
        """Return this process' environment with the unpacked programs in front on PATH."""
        folders = [str(self.root / folder) for folder in _PROGRAM_FOLDERS]
        return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])}

    @property
    def _library_cache(self) -> Path:
        return self.root / "ld.so.cache"


def unpack_packages(names: Sequence[str], folder: Path, say: Say) -> UnpackedPackages:
    """Unpack packages, and those they need that the machine lacks, into `folder` unless that was done.

    Raises PrerequisiteError: no Debian, no root, or no package archive answers.
    """
    if not folder.exists():
        _check_machine(names)
        say(f"fetching the Debian packages {' '.join(names)} into {folder} (nothing is installed)")
        unfinished = folder.with_name(f"{folder.name}-unfinished-{os.getpid()}")
        (unfinished / "archives").mkdir(parents=True)
        try:
            _fetch(_list_needed(names), unfinished / "archives")
            _unpack(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    unpacked = UnpackedPackages(folder)
    _write_library_cache(unpacked)
    return unpacked


def _check_machine(names: Sequence[str]) -> None:
    wanted = f"{' and '.join(names)} are Debian packages"
    for program in ("apt-get", "dpkg-deb", "unshare"):
        if shutil.which(program) is None:
            raise PrerequisiteError(f"{wanted}, and this machine has no {program}: install them yourself")
    if os.geteuid() != 0:
        raise PrerequisiteError(f"{wanted}, and only root can run them from where they are unpacked")


def _list_needed(names: Sequence[str]) -> list[str]:
    """List the packages and what apt would install beside them; read the archives' lists where it must."""
    simulate = ["apt-get", "--simulate", "--no-install-recommends", "install", *names]
    told = _run(simulate)
    if told.returncode != 0:  # a new machine has no lists of packages
        _check(_run(["apt-get", "update"]), "apt-get update")
        told = _check(_run(simulate), f"apt-get cannot find {' '.join(names)}")
    # `Inst NAME (VERSION ...)`; with `[INSTALLED]` before the version it would only be a newer one
    return sorted({*names, *re.findall(r"^Inst (\S+) \(", told.stdout, flags=re.MULTILINE)})


def _fetch(names: Sequence[str], folder: Path) -> None:
    download = ["apt-get", "download", *names]
    if _run(download, folder).returncode != 0:  # the lists may name versions that are gone
        _check(_run(["apt-get", "update"]), "apt-get update")
        _check(_run(download, folder), f"apt-get download {' '.join(names)}")


def _unpack(folder: Path) -> None:
    archives = folder / "archives"
    for archive in sorted(archives.glob("*.deb")):
        _check(_run(["dpkg-deb", "--extract", str(archive), str(folder)]), f"unpacking {archive.name}")
    shutil.rmtree(archives)


def _write_library_cache(unpacked: UnpackedPackages) -> None:
    """Write the machine's library cache with the unpacked libraries added."""
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    folders = sorted({str(found.parent) for found in unpacked.root.glob("**/lib*.so.*")})
    command = [ldconfig, "-C", str(unpacked.root / "ld.so.cache"), *folders]
    _check(_run(command), "ldconfig")


def _run(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **_ENVIRONMENT}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _check(done: subprocess.CompletedProcess[str], what: str) -> subprocess.CompletedProcess[str]:
    if done.returncode != 0:
        raise PrerequisiteError(f"{what} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done
