"""Programs of the node from Debian's packages; owns which they are, and where they lie once unpacked.

containerd and runc have no other home in a package registry, and busybox is what test pods are made of.
"""

from dataclasses import dataclass
from pathlib import Path

from sandbox.cache import cache_directory, locked
from sandbox.operator_image.debian_tools import unpack_packages
from sandbox.say import Say, say_at_once

PACKAGES = ("containerd", "runc", "busybox-static")


@dataclass(frozen=True, slots=True)
class ContainerPrograms:
    """What the node runs; found where the packages were unpacked."""

    containerd: Path
    """The container engine, beside its shims and `ctr`."""
    runc: Path
    """What starts containers."""
    busybox: Path
    """A shell and its tools in one static program."""

    @property
    def ctr(self) -> Path:
        """The command line of containerd."""
        return self.containerd.with_name("ctr")


def find_container_programs(say: Say = say_at_once) -> ContainerPrograms:
    """Find the programs, fetching the packages when that was never done on this machine.

    Raises PrerequisiteError where this is no Debian, or its package servers do not answer.
    """
    folder = cache_directory() / "debian-node"
    with locked(folder.with_suffix(".lock"), say, busy="another fetch of containerd is running; waiting"):
        unpacked = unpack_packages(PACKAGES, folder, say)
    return ContainerPrograms(*(unpacked.find(name) for name in ("containerd", "runc", "busybox")))
