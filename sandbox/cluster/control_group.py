"""The node's own control group in every cgroup v1 hierarchy; owns making and removing it.

All that the node starts runs below it, and sees it as the root (a cgroup namespace), so that its accounts are
the node's and its end is found by its name. Must not touch any other group. See cgroups(7).
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import ProcessError

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
MOUNTS = Path("/proc/self/mountinfo")  # see proc(5)
NAMED = "name=systemd"  # runc keeps its containers in this hierarchy too
PREFIX = "dtool-sandbox-"
REMOVE_SECONDS = 20.0
INTERVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup v1 hierarchy."""

    folder: Path
    """Where it is mounted."""
    controllers: tuple[str, ...]
    """Those it is for; `name=…` for one without any."""

    @property
    def name(self) -> str:
        """How its mount point is called by those who look for a controller."""
        return ",".join(self.controllers).removeprefix("name=")

    @property
    def mount_options(self) -> str:
        """The options with which the same hierarchy is mounted once more."""
        return ",".join(f"none,{each}" if each.startswith("name=") else each for each in self.controllers)


def find_hierarchies() -> tuple[Hierarchy, ...]:
    """Read which hierarchies of ours are mounted, and where."""
    wanted = {*CONTROLLERS, NAMED}
    found: dict[tuple[str, ...], Hierarchy] = {}
    for line in MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        controllers = tuple(each for each in options.split(",") if each in wanted)
        if kind == "cgroup" and controllers:
            found.setdefault(controllers, Hierarchy(Path(before.split()[4]), controllers))
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group of one name in all hierarchies."""

    name: str

    @property
    def folders(self) -> tuple[Path, ...]:
        """Its folders, existing or not."""
        return tuple(each.folder / self.name for each in find_hierarchies())

    def has_processes(self) -> bool:
        """Whether any process is in it, or in a group below it."""
        return any(_read_processes(group) for folder in self.folders for group in _walk(folder))

    def remove(self) -> None:
        """Remove it with all groups below it, once the last processes have ended; raises ProcessError.

        A group of which nothing is left is no error.
        """
        deadline = time.monotonic() + REMOVE_SECONDS
        for folder in self.folders:
            while not _removed(folder):
                if time.monotonic() > deadline:
                    left = {pid for group in _walk(folder) for pid in _read_processes(group)}
                    raise ProcessError(f"{folder} cannot be removed; processes in it: {sorted(left)}")
                time.sleep(INTERVAL_SECONDS)


def create_control_group() -> ControlGroup:
    """Make a group of its own name in every hierarchy."""
    group = ControlGroup(f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}")
    for folder in group.folders:
        folder.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):  # both are empty in a new group: nothing could run in it
            if (folder / name).exists():
                (folder / name).write_text((folder.parent / name).read_text())
    return group


def remove_abandoned_groups() -> None:
    """Remove groups of nodes that were killed together with the program that made them."""
    names = {
        path.name for each in find_hierarchies() for path in each.folder.glob(f"{PREFIX}*") if path.is_dir()
    }
    for name in names:
        maker = name.removeprefix(PREFIX).partition("-")[0]
        group = ControlGroup(name)
        if not Path(f"/proc/{maker}").exists() and not group.has_processes():
            group.remove()


def _walk(folder: Path) -> Iterator[Path]:
    """List a group and all below it, the innermost first; groups that go away meanwhile are left out."""
    with contextlib.suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            if path.is_dir():
                yield from _walk(path)
        yield folder


def _read_processes(group: Path) -> list[int]:
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:  # ENOENT or ENODEV: the group is being removed
        return []


def _removed(folder: Path) -> bool:
    for group in _walk(folder):
        try:
            group.rmdir()
        except FileNotFoundError:
            continue
        except OSError:  # EBUSY: a process is ending in it
            return False
    return True
