"""Whether this machine can run a node; owns what is looked for and the words for what is missing.

Looks only: nothing is changed. What a container would be refused later is asked for here, all at once.
"""

import os
import shutil
import sys
from pathlib import Path

from sandbox.cluster.control_group import CONTROLLERS, find_hierarchies
from sandbox.errors import PrerequisiteError

PROGRAMS = ("unshare", "nsenter", "setpriv", "mount", "umount")
CAP_SYS_ADMIN = 21  # capability.h


def check_machine() -> None:
    """Raise PrerequisiteError, with everything that is missing, where no node can run."""
    missing = list(_find_missing())
    if missing:
        lines = "".join(f"\n  - {each}" for each in missing)
        raise PrerequisiteError(
            f"the cluster with a real node cannot run here:{lines}\n"
            "`make demo`, `make sandbox` and the other tests do without it."
        )


def _find_missing() -> list[str]:
    if not sys.platform.startswith("linux"):
        return [f"it needs Linux, and this is {sys.platform}"]
    missing = []
    if os.geteuid() != 0:
        missing.append("it needs root: containers are mounts, cgroups and namespaces")
    elif not _has_capability(CAP_SYS_ADMIN):
        missing.append("root has no CAP_SYS_ADMIN here (a container?): no mounts, no namespaces")
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        missing.append(f"not on PATH: {', '.join(absent)} (package util-linux)")
    known = {name for hierarchy in find_hierarchies() for name in hierarchy.controllers}
    lacking = [name for name in CONTROLLERS if name not in known]
    if lacking:
        missing.append(
            f"no cgroup v1 hierarchy for {', '.join(lacking)} is mounted; a machine with cgroup v2 alone "
            "can name another cluster for the tests, such as one of kind"
        )
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        missing.append("the kernel has no overlayfs (`modprobe overlay`)")
    return missing


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
