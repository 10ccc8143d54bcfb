"""The image's base where no registry answers: a small Debian with Python, made by debootstrap.

Owns making and caching it as a tar of a root directory. Needs root and Debian's package archive.
"""

import datetime as dt
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.errors import BuildError, PrerequisiteError
from sandbox.operator_image.debian_tools import UnpackedPackages, unpack_packages
from sandbox.say import Say

CODENAME = "bookworm"
INCLUDED = ("ca-certificates", "python3")
FRESH = dt.timedelta(days=30)
"""An older base is made again: Debian's security updates are in it as of its day."""

_REMOVED = (
    "dev/*", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "usr/share/info/*", "usr/share/lintian/*",
    "usr/share/locale/*", "usr/share/man/*", "var/cache/apt/*", "var/cache/debconf/*-old",
    "var/cache/ldconfig/*", "var/lib/apt/lists/*", "var/lib/dpkg/*-old", "var/log/*", "tmp/*",
)  # fmt: skip
"""What came from this machine, and what only people at a terminal read."""


def find_base_image(cache: Path, say: Say, *, today: dt.date) -> Path:
    """Find the tar of the base's root directory, made at most 30 days ago; make it where there is none.

    Raises PrerequisiteError and BuildError.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = cache / f"base-image-{CODENAME}-{recipe}"
    folder.mkdir(parents=True, exist_ok=True)
    for found in sorted(folder.glob("*.tar"), reverse=True):
        if today - dt.date.fromisoformat(found.stem) <= FRESH:
            return found
        found.unlink()
    made = folder / f"{today.isoformat()}.tar"
    _make(made, cache, say)
    return made


def _make(made: Path, cache: Path, say: Say) -> None:
    """Make the root directory under a temporary name and pack it; a tar that exists is whole."""
    if os.geteuid() != 0:
        raise PrerequisiteError("no registry serves the base image, and only root can make one (debootstrap)")
    tools = unpack_packages(("debootstrap",), cache / "debian-debootstrap", say)
    say(f"making a base image of Debian {CODENAME} with Python (a minute)")
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="unfinished-") as folder:
        root = Path(folder) / "root"
        sources = _read_sources()
        _bootstrap(root, sources, tools)
        _upgrade(root, sources)
        _trim(root)
        unfinished = Path(folder) / "base.tar"
        tar = ["tar", "--numeric-owner", "--one-file-system", "--sort=name", "-C", str(root), "-cf"]
        _run([*tar, str(unfinished), "."], "packing the base image")
        unfinished.rename(made)


def _read_sources() -> list[tuple[str, str]]:
    """Read where this machine's apt finds the release and its updates: (address, suite)."""
    told = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line.split() for line in told.stdout.splitlines()]
    return [
        (_without_user(row[0]), row[1])
        for row in rows
        if len(row) == 3 and row[1].split("-")[0] == CODENAME and row[2] == "main"
    ]


def _without_user(address: str) -> str:
    """Leave out a user and password: the address stays in the image."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _bootstrap(root: Path, sources: Sequence[tuple[str, str]], tools: UnpackedPackages) -> None:
    mirror = [address for address, suite in sources if suite == CODENAME][:1]  # else debootstrap's own
    flags = ("--variant=minbase", f"--include={','.join(INCLUDED)}")
    command = tools.command("debootstrap", *flags, CODENAME, str(root), *mirror)
    scripts = {"DEBOOTSTRAP_DIR": str(tools.root / "usr/share/debootstrap")}
    _run(command, "debootstrap", {**tools.environment(), **scripts})


def _upgrade(root: Path, sources: Sequence[tuple[str, str]]) -> None:
    """Install the release's updates, where this machine's apt knows any."""
    if sources:
        lines = [f"deb {address} {suite} main\n" for address, suite in dict.fromkeys(sources)]
        (root / "etc/apt/sources.list").write_text("".join(lines))
    command = "apt-get update && apt-get --yes --no-install-recommends dist-upgrade"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    isolated = ("unshare", "--mount", "--propagation", "private", "chroot", str(root))
    _run([*isolated, "/bin/sh", "-c", command], "upgrading the base image", environment)


def _trim(root: Path) -> None:
    for pattern in _REMOVED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path in (root / "usr/share/doc").glob("*/*"):  # licences stay
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "copyright":
            path.unlink()


def _run(command: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-12:])
        raise BuildError(f"{what} failed; it said at last:\n{tail}")
